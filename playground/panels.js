/** The lists beside the roll: who plays, the variations, and what was done. */

import { instrumentColour, instrumentName } from "./instruments.js";

/**
 * @typedef {import("./piece.js").Piece} Piece
 * @typedef {import("./piece.js").Channel} Channel
 */

/**
 * Keep one element for each key, in order; elements that stay keep the focus.
 * @template K
 * @param {Element} list
 * @param {readonly K[]} keys
 * @param {(key: K) => HTMLElement} create
 * @param {(element: HTMLElement, key: K) => void} update
 */
function keyed(list, keys, create, update) {
  const old = new Map([...list.children].map((child) => [/** @type {HTMLElement} */ (child).dataset.key, child]));
  const wanted = keys.map((key) => {
    const element = /** @type {HTMLElement} */ (old.get(String(key)) ?? create(key));
    element.dataset.key = String(key);
    update(element, key);
    return element;
  });
  for (const child of [...list.children]) if (!wanted.includes(/** @type {HTMLElement} */ (child))) child.remove();
  wanted.forEach((element, index) => {
    if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
  });
}

/** @param {string} text @param {() => void} onClick @returns {HTMLButtonElement} */
function button(text, onClick) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  element.addEventListener("click", onClick);
  return element;
}

/** @param {Element} element @param {string} name @param {boolean} value */
function press(element, name, value) {
  element.querySelector(`[data-name=${name}]`)?.setAttribute("aria-pressed", String(value));
}

/** What can be switched of an instrument, and what that does. */
const TOGGLES = /** @type {const} */ ([
  ["mute", "Mute", "Do not play it"],
  ["solo", "Solo", "Play it alone"],
  ["locked", "Lock", "Leave its notes as they are in Infill and Vary"],
  ["hidden", "Hide", "Do not show it"],
]);

/** Who plays: choose, mute, solo, lock, hide. */
export class InstrumentList {
  /**
   * @param {HTMLElement} list
   * @param {(instrument: number, change: Channel, label: string) => void} onChange
   * @param {(instrument: number, chosen: boolean) => void} onChoose
   */
  constructor(list, onChange, onChoose) {
    this.list = list;
    this.onChange = onChange;
    this.onChoose = onChoose;
  }

  /**
   * @param {readonly number[]} instruments
   * @param {Piece["mixer"]} mixer
   * @param {ReadonlySet<number>} chosen
   * @param {boolean} dark
   */
  show(instruments, mixer, chosen, dark) {
    keyed(this.list, instruments, (instrument) => this.#create(instrument), (row, instrument) => {
      const channel = mixer[instrument] ?? {};
      press(row, "mute", Boolean(channel.mute));
      press(row, "solo", Boolean(channel.solo));
      press(row, "locked", Boolean(channel.locked));
      press(row, "hidden", Boolean(channel.hidden));
      row.classList.toggle("muted", Boolean(channel.mute));
      row.style.setProperty("--colour", instrumentColour(instrument, dark));
      const box = /** @type {HTMLInputElement} */ (row.querySelector("input"));
      box.checked = chosen.has(instrument);
    });
  }

  /** @param {number} instrument @returns {HTMLElement} */
  #create(instrument) {
    const name = instrumentName(instrument), row = document.createElement("li");
    row.setAttribute("aria-label", name);
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.addEventListener("change", () => this.onChoose(instrument, box.checked));
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    label.append(box, swatch, name);
    label.title = `Choose ${name} for Infill, Vary and Accompany`;
    row.append(label);
    for (const [key, text, title] of TOGGLES) {
      const toggle = button(text, () => {
        const on = toggle.getAttribute("aria-pressed") !== "true";
        this.onChange(instrument, { [key]: on }, `${on ? text : `${text} off`}: ${name}`);
      });
      toggle.dataset.name = key;
      toggle.title = title;
      toggle.setAttribute("aria-description", name);
      row.append(toggle);
    }
    return row;
  }
}

/** The variations: choose one, keep one. */
export class VariationList {
  /**
   * @param {HTMLElement} list
   * @param {(index: number) => void} onChoose
   * @param {(index: number) => void} onKeep
   */
  constructor(list, onChoose, onKeep) {
    this.list = list;
    this.onChoose = onChoose;
    this.onKeep = onKeep;
  }

  /** @param {Piece} piece @param {boolean} complete whether one may be kept already */
  show({ takes, chosen }, complete) {
    const indices = complete && takes.every(({ notes }) => !notes.length) ? [] : takes.map((_, index) => index);
    keyed(this.list, indices, (index) => {
      const row = document.createElement("li");
      const pick = button("", () => this.onChoose(index)), keep = button("Keep", () => this.onKeep(index));
      pick.dataset.name = "pick";
      pick.className = "pick";
      keep.dataset.name = "keep";
      keep.title = "Keep this variation, and drop the others";
      row.append(pick, keep);
      return row;
    }, (row, index) => {
      const take = takes[index],
        pick = row.querySelector("[data-name=pick]"),
        keep = row.querySelector("[data-name=keep]");
      press(row, "pick", index === chosen);
      if (pick) {
        pick.textContent = `${index + 1}: ${take.notes.length} notes${take.seed === null ? "" : `, seed ${take.seed}`}`;
      }
      keep?.setAttribute("aria-description", `Variation ${index + 1}`);
      keep?.toggleAttribute("hidden", takes.length < 2 || !complete);
    });
  }
}

/** What was done: each step leads back to what was there then. */
export class StepList {
  /** @param {HTMLElement} list @param {(index: number) => void} onChoose */
  constructor(list, onChoose) {
    this.list = list;
    this.onChoose = onChoose;
  }

  /** @param {import("./history.js").History} history */
  show({ steps, index: current }) {
    // The last step is first; keys count from the oldest, so that rows stay what they are.
    const indices = steps.map((_, index) => index).reverse();
    keyed(this.list, indices, (index) => {
      const row = document.createElement("li");
      row.append(button("", () => this.onChoose(index)));
      return row;
    }, (row, index) => {
      const step = row.firstElementChild;
      if (step) step.textContent = steps[index].label;
      row.title = steps[index].label;
      if (index === current) step?.setAttribute("aria-current", "step");
      else step?.removeAttribute("aria-current");
      row.classList.toggle("undone", index > current);
    });
  }
}
