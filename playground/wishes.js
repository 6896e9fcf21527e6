/** The form: what the music is to be like. It is kept in the tab, and the address bar holds it as a link. */

import { MOODS, RHYTHMS, STYLES } from "./presets.js";
import { readValue } from "./schema.js";
import { steady } from "./timing.js";

/** @typedef {import("./schema.js").Field} Field */

const STORED = "wishes";
const MAX_SEED = 1_000_000;
/** Fields of the service that have a place of their own on the page, or none because the page decides them. */
const PLACED = new Set(
  ("task length_seconds length_bars num_variations seed bpm time_signature key chords client_job_id include time_unit " +
    "notes midi_input sustain prime_from prime_seconds prime_bars start_seconds start_bar end_seconds end_bar locked " +
    "similarity melody_instruments melody_tracks").split(" "),
);
const LEFT_OUT_OF_SPANS = ["bpm", "time_signature", "instruments", "exclude_instruments", "density"];
/** What goes with each task but generate depends on the piece: these fields stay at home. */
const LEFT_OUT = {
  generate: [],
  continue: ["bpm", "time_signature"],
  accompany: ["bpm", "time_signature"],
  infill: LEFT_OUT_OF_SPANS,
  variation: LEFT_OUT_OF_SPANS,
};

export class Wishes extends EventTarget {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    super();
    this.form = form;
    this.more = /** @type {HTMLElement} */ (form.querySelector("#more"));
    /** @type {import("./schema.js").Schema | undefined} */
    this.schema = undefined;
    form.addEventListener("input", () => this.#store());
    // A field that is wrong is shown, also if it was folded away.
    form.addEventListener("invalid", ({ target }) => {
      const details = /** @type {HTMLElement} */ (target).closest("details");
      if (details) details.open = true;
    }, true);
    this.#restore();
  }

  /** What is wrong with the first field that is wrong; there is one. */
  get problem() {
    const field = /** @type {HTMLInputElement} */ (this.form.querySelector("input:invalid"));
    const label = field.labels?.[0]?.firstChild?.textContent ?? field.name;
    return `${label.trim()}: ${field.validationMessage}`;
  }

  /** Take the limits, and add the fields that have no place yet. @param {import("./schema.js").Schema} schema */
  setSchema(schema) {
    this.schema = schema;
    for (
      const [id, name] of [["seconds", "length_seconds"], ["bpm", "bpm"], ["count", "num_variations"], ["seed", "seed"]]
    ) {
      const field = schema.field("generate", name);
      if (field) limit(this.#input(id), field);
    }
    this.#limitBars();
    this.more.replaceChildren(...this.#moreFields.map(row));
    this.#restore();
  }

  /** What can be wished, but for what has a place of its own. */
  get #moreFields() {
    const tasks = /** @type {(keyof typeof LEFT_OUT)[]} */ (Object.keys(LEFT_OUT));
    return this.schema?.fields(tasks).filter(({ name }) => !PLACED.has(name)) ?? [];
  }

  /** @param {string} name @returns {HTMLInputElement} */
  #input(name) {
    return /** @type {HTMLInputElement} */ (this.form.elements.namedItem(name));
  }

  /** @param {string} name @returns {string} */
  #value(name) {
    return this.#input(name).value;
  }

  get bpm() {
    return Number(this.#value("bpm")) || 120;
  }

  /** When the bars of new music are. */
  get timing() {
    const [numerator, denominator] = this.#value("metre").split("/").map(Number);
    return steady(this.bpm, numerator, denominator);
  }

  /** Seconds of new music. */
  get seconds() {
    const amount = Number(this.#value("seconds"));
    const [numerator, denominator] = this.#value("metre").split("/").map(Number);
    return this.#value("unit") === "bars" ? amount * numerator * 4 / denominator * 60 / this.bpm : amount;
  }

  /** What a request says of the length. */
  get length() {
    const amount = Number(this.#value("seconds"));
    return this.#value("unit") === "bars" ? { length_bars: amount } : { length_seconds: amount };
  }

  /** Let new notes begin when they like, or on the lines of a grid. @param {boolean} grid */
  setRhythm(grid) {
    if (grid !== (this.#value("rhythm") !== "free")) this.#input("rhythm").value = grid ? "straight" : "free";
    this.#store();
  }

  get lengthText() {
    return `${this.#value("seconds")} ${this.#value("unit")}`;
  }

  get style() {
    return this.form.querySelector("input[name=style]:checked")?.parentElement?.textContent?.trim() ?? "";
  }

  get count() {
    return Number(this.#value("count")) || 1;
  }

  /** The seed of the next request: the one that is locked, or a new one. */
  nextSeed() {
    if (!this.#input("locked").checked || !this.#value("seed")) {
      this.#input("seed").value = String(Math.floor(Math.random() * MAX_SEED));
    }
    this.#store();
    return Number(this.#value("seed"));
  }

  /**
   * Return the fields of a request that say what new notes are to be like.
   * @param {keyof typeof LEFT_OUT} task
   * @param {number} [bar] in which new music begins
   * @returns {Record<string, unknown>}
   */
  fields(task, bar = 1) {
    const left = new Set(/** @type {string[]} */ (LEFT_OUT[task])), known = this.schema?.tasks.get(task);
    const instruments = STYLES[this.#value("style")] ?? undefined;
    /** @type {Record<string, unknown>} */
    const fields = {
      include: ["notes"],
      instruments,
      ...MOODS[this.#value("mood")],
      ...RHYTHMS[this.#value("rhythm")],
      bpm: this.bpm,
      time_signature: this.#value("metre"),
      key: this.#value("key") || undefined,
      chords: chordsFrom(this.#value("chords"), bar),
    };
    for (const field of this.#moreFields) {
      const value = readValue(field, this.#value(`more-${field.name}`));
      if (value !== undefined && value !== null) fields[field.name] = value;
    }
    const sent = Object.entries(fields).filter(([name, value]) =>
      value !== undefined && known?.has(name) && !left.has(name)
    );
    return { ...Object.fromEntries(sent), num_variations: this.count, seed: this.nextSeed() };
  }

  /** Put the wishes in the address bar: whoever opens the link gets the same music. */
  link() {
    const entries = this.#entries().filter(([name, value]) => name !== "locked" && value);
    history.replaceState(null, "", `#${new URLSearchParams(entries)}`);
    sessionStorage.setItem("link", location.hash);
  }

  /** @returns {[string, string][]} */
  #entries() {
    return [...new FormData(this.form)].map(([name, value]) => [name, String(value)]);
  }

  #store() {
    this.#limitBars();
    sessionStorage.setItem(STORED, JSON.stringify(this.#entries()));
    this.dispatchEvent(new Event("change"));
  }

  /** Fill the form from a link that was opened, or else as it was before the page was loaded again. */
  #restore() {
    const isLink = location.hash.length > 1 && sessionStorage.getItem("link") !== location.hash;
    const stored = JSON.parse(sessionStorage.getItem(STORED) ?? "[]");
    /** @type {[string, string][]} */
    const entries = isLink ? [...new URLSearchParams(location.hash.slice(1)), ["locked", "on"]] : stored;
    if (!isLink && stored.length) this.#input("locked").checked = false;
    for (const [name, value] of entries) {
      const input = this.form.elements.namedItem(name);
      if (input instanceof HTMLInputElement && input.type === "checkbox") input.checked = true;
      else if (input) /** @type {HTMLInputElement} */ (input).value = value;
    }
    this.#limitBars();
  }

  /** Bars have the limits of their seconds. */
  #limitBars() {
    const field = this.schema?.field("generate", "length_seconds"), input = this.#input("seconds");
    if (!field) return;
    const per = this.#value("unit") === "bars" ? this.seconds / (Number(input.value) || 1) : 1;
    input.min = String(Math.ceil((field.minimum ?? 1) / per));
    input.max = String(Math.floor((field.maximum ?? 120) / (per || 1)));
  }
}

/**
 * Return a progression as it goes on in a bar: the service begins it where new music begins.
 * @param {string} text such as "Am | F | C | %"
 * @param {number} bar
 * @returns {string | undefined} undefined if there are no chords
 */
function chordsFrom(text, bar) {
  const bars = text.split("|").map((each) => each.trim()).filter(Boolean);
  bars.forEach((each, index) => each === "%" && index && (bars[index] = bars[index - 1]));
  const first = (bar - 1) % (bars.length || 1);
  return bars.length ? [...bars.slice(first), ...bars.slice(0, first)].join(" | ") : undefined;
}

/** @param {HTMLInputElement} input @param {Field} field */
function limit(input, { minimum, maximum, whole }) {
  if (minimum !== undefined) input.min = String(minimum);
  if (maximum !== undefined) input.max = String(maximum);
  input.step = whole ? "1" : "any";
}

/** @param {Field} field @returns {HTMLElement} its label, its input, and what it means */
function row(field) {
  const label = document.createElement("label");
  label.className = "wish";
  const title = document.createElement("span");
  title.textContent = field.name.replaceAll("_", " ");
  const help = document.createElement("small");
  help.textContent = field.description.split(/(?<=\.) /)[0];
  help.id = `help-${field.name}`;
  const input = field.choices || field.kind === "switch" ? select(field) : entry(field);
  input.name = `more-${field.name}`;
  input.setAttribute("aria-describedby", help.id);
  label.append(title, input);
  const box = document.createElement("div");
  box.append(label, help);
  return box;
}

/** @param {Field} field */
function entry(field) {
  const input = document.createElement("input");
  if (field.kind === "number") {
    input.type = "number";
    limit(input, field);
  }
  const usual = field.usual ?? { list: "such as piano, drums", pair: "such as 48 84" }[String(field.kind)] ?? "any";
  input.placeholder = String(usual);
  return input;
}

/** @param {Field} field */
function select(field) {
  const input = document.createElement("select");
  const choices = field.choices ?? ["true", "false"];
  input.append(new Option(field.usual === undefined ? "as usual" : `${field.usual} (usual)`, ""));
  input.append(...choices.map((choice) => new Option({ true: "yes", false: "no" }[choice] ?? choice, choice)));
  return input;
}
