/** What was done, step by step, so that everything can be undone; kept in the tab, also when the page is loaded again. */

import { emptyPiece } from "./piece.js";

/**
 * @typedef {import("./piece.js").Note} Note
 * @typedef {import("./piece.js").Piece} Piece
 *
 * @typedef {object} Step
 * @property {string} label what was done
 * @property {Piece} piece what came of it
 */

const STORED = "piece";
const MAX_STEPS = 200;
const FIELDS = 5;

export class History extends EventTarget {
  constructor() {
    super();
    /** @type {Step[]} */
    this.steps = [{ label: "Empty page", piece: emptyPiece() }];
    this.index = 0;
    /** @type {number | undefined} */
    this.saving = undefined;
    this.#load();
  }

  /** The piece as it is now. */
  get piece() {
    return this.steps[this.index].piece;
  }

  get canUndo() {
    return this.index > 0;
  }

  get canRedo() {
    return this.index < this.steps.length - 1;
  }

  /**
   * Take a step; those that were undone before are gone.
   * @param {string} label
   * @param {Piece} piece
   */
  push(label, piece) {
    this.steps.length = this.index + 1;
    this.steps.push({ label, piece });
    if (this.steps.length > MAX_STEPS) this.steps.splice(0, this.steps.length - MAX_STEPS);
    this.go(this.steps.length - 1);
  }

  undo() {
    if (this.canUndo) this.go(this.index - 1);
  }

  redo() {
    if (this.canRedo) this.go(this.index + 1);
  }

  /** @param {number} index of the step to go to */
  go(index) {
    this.index = index;
    this.dispatchEvent(new Event("change"));
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.save(), 300);
  }

  /** Store the steps in the tab. */
  save() {
    // A tab may store some five million characters. The oldest steps go first.
    for (let from = 0; from <= this.index; from += Math.max(1, this.index >> 1)) {
      try {
        sessionStorage.setItem(STORED, encode(this.steps.slice(from), this.index - from));
        return;
      } catch (error) {
        if (!(error instanceof DOMException)) throw error;
      }
    }
  }

  #load() {
    const text = sessionStorage.getItem(STORED);
    if (text) ({ steps: this.steps, index: this.index } = decode(text));
  }
}

/**
 * Write steps as JSON. Steps share most of their notes, so each list of notes is written once, as plain numbers.
 * @param {Step[]} steps
 * @param {number} index
 */
function encode(steps, index) {
  /** @type {Map<readonly Note[], number>} */
  const lists = new Map();
  const number = (/** @type {readonly Note[]} */ notes) => {
    if (!lists.has(notes)) lists.set(notes, lists.size);
    return lists.get(notes);
  };
  const flat = steps.map(({ label, piece }) => ({
    label,
    piece: { ...piece, takes: piece.takes.map((take) => ({ ...take, notes: number(take.notes) })) },
  }));
  return JSON.stringify({ index, steps: flat, lists: [...lists.keys()].map(flatten) });
}

/** @param {readonly Note[]} notes */
function flatten(notes) {
  const round = (/** @type {number} */ seconds) => Math.round(seconds * 1e4) / 1e4;
  return notes.flatMap((note) => [
    round(note.onset),
    round(note.duration),
    note.pitch,
    note.instrument,
    note.velocity,
  ]);
}

/** @param {string} text @returns {{steps: Step[], index: number}} */
function decode(text) {
  const { index, steps, lists } = JSON.parse(text);
  const notes = lists.map((/** @type {number[]} */ flat) =>
    Array.from({ length: flat.length / FIELDS }, (_, at) => {
      const [onset, duration, pitch, instrument, velocity] = flat.slice(at * FIELDS, (at + 1) * FIELDS);
      return { onset, duration, pitch, instrument, velocity };
    })
  );
  for (const step of steps) {
    for (const take of step.piece.takes) take.notes = notes[take.notes];
  }
  return { steps, index };
}
