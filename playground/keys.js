/** Draws the piano keys and the names of the drums at the side of the roll. */

import { DRUMS, pitchName } from "./instruments.js";
import { BLACK, RULER_HEIGHT } from "./view.js";

const DRUM_NAMES = new Map(
  /** @type {[number, string][]} */ ([
    [35, "Kick"],
    [36, "Kick"],
    [37, "Stick"],
    [38, "Snare"],
    [39, "Clap"],
    [40, "Snare"],
    [41, "Tom"],
    [42, "Hi-hat"],
    [43, "Tom"],
    [44, "Pedal"],
    [45, "Tom"],
    [46, "Open"],
    [47, "Tom"],
    [48, "Tom"],
    [49, "Crash"],
    [50, "Tom"],
    [51, "Ride"],
    [52, "China"],
    [53, "Bell"],
    [54, "Tamb."],
    [55, "Splash"],
    [56, "Cowbell"],
    [57, "Crash"],
    [59, "Ride"],
    [70, "Maracas"],
  ]),
);

/**
 * @typedef {import("./palette.js").Palette} Palette
 * @typedef {import("./view.js").View} View
 * @typedef {ReadonlyMap<string, string>} Lit colours of the keys that sound, by `keyOf`
 */

/** @param {number} pitch @param {boolean} drum */
export const keyOf = (pitch, drum) => `${drum ? "drum" : "key"} ${pitch}`;

/** @param {CanvasRenderingContext2D} brush @param {View} view @param {Palette} palette @param {Lit} lit */
export function drawKeys(brush, view, palette, lit) {
  drawPiano(brush, view, palette, lit);
  drawKit(brush, view, palette, lit);
  drawCorner(brush, view, palette);
}

/** @param {CanvasRenderingContext2D} brush @param {View} view @param {Palette} palette @param {Lit} lit */
function drawPiano(brush, view, { colours, font }, lit) {
  const wide = view.keysWidth;
  brush.fillStyle = colours.key;
  brush.fillRect(0, RULER_HEIGHT, wide, view.height);
  brush.font = `10px ${font}`;
  brush.textBaseline = "middle";
  for (let pitch = view.low; pitch <= view.high; pitch++) {
    const top = view.y({ pitch, instrument: 0 }),
      black = BLACK.has(pitch % 12),
      colour = lit.get(keyOf(pitch, false));
    brush.fillStyle = colour ?? colours["black-key"];
    if (colour || black) brush.fillRect(0, top, black ? wide * 0.5 : wide, view.row);
    if (pitch % 12 === 0 || pitch % 12 === 5) brush.fillRect(0, top + view.row - 0.5, wide, 0.5);
    if (pitch % 12 === 0 && view.row > 1.5) {
      brush.fillStyle = colour ? colours.paper : colours["key-ink"];
      brush.fillText(pitchName(pitch), wide - 20, top + view.row / 2 + 0.5);
    }
  }
}

/** @param {CanvasRenderingContext2D} brush @param {View} view @param {Palette} palette @param {Lit} lit */
function drawKit(brush, view, { colours, font }, lit) {
  brush.fillStyle = colours.ruler;
  brush.fillRect(0, view.floor, view.keysWidth, view.height);
  brush.font = `${Math.min(10, view.drumRow)}px ${font}`;
  for (const pitch of view.drumRow > 7 ? view.kit : []) {
    const top = view.y({ pitch, instrument: DRUMS });
    brush.fillStyle = lit.has(keyOf(pitch, true)) ? colours.ink : colours.faint;
    brush.fillText(DRUM_NAMES.get(pitch) ?? pitchName(pitch), 5, top + view.drumRow / 2 + 0.5);
  }
}

/** @param {CanvasRenderingContext2D} brush @param {View} view @param {Palette} palette */
function drawCorner(brush, view, { colours }) {
  brush.fillStyle = colours.ruler;
  brush.fillRect(0, 0, view.keysWidth, RULER_HEIGHT - 1);
  brush.fillStyle = colours.bar;
  brush.fillRect(0, RULER_HEIGHT - 1, view.keysWidth, 1);
  brush.fillRect(view.keysWidth - 1, 0, 1, view.height);
}
