/** The colours and the font of what is drawn, as the style sheet has them: other ones in the dark. */

import { instrumentColour } from "./instruments.js";

const NAMES = [
  "paper",
  "black-row",
  "bar",
  "beat",
  "ink",
  "faint",
  "accent",
  "key",
  "key-ink",
  "black-key",
  "ruler",
];

export class Palette {
  /** @param {Element} element whose style holds them */
  constructor(element) {
    this.element = element;
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    /** @type {Record<string, string>} */
    this.colours = {};
    this.font = "";
    this.#read();
    this.dark.addEventListener("change", () => this.#read());
  }

  /** @param {number} instrument @param {number} [glow] from 0 to 1: how much brighter than at rest @returns {string} */
  instrument(instrument, glow) {
    return instrumentColour(instrument, this.dark.matches, glow);
  }

  #read() {
    const style = getComputedStyle(this.element);
    for (const name of NAMES) this.colours[name] = style.getPropertyValue(`--roll-${name}`);
    this.font = style.fontFamily;
  }
}
