/** Edits notes: which are selected, and what becomes of them while they are dragged. */

import { moved, replaced, stretched } from "./editing.js";
import { DRUMS, instrumentName, pitchName } from "./instruments.js";
import { notesOf, sorted, withNotes } from "./piece.js";

/** @typedef {import("./piece.js").Note} Note @typedef {import("./piece.js").Piece} Piece */

const VELOCITY = 88;

export class Editor extends EventTarget {
  /** @param {import("./history.js").History} history */
  constructor(history) {
    super();
    this.history = history;
    /** @type {ReadonlySet<Note>} */
    this.selected = new Set();
    /** The piece while notes are dragged. @type {Piece | undefined} */
    this.preview = undefined;
    /** What is selected in the preview. @type {ReadonlySet<Note>} */
    this.dragged = new Set();
    /** A note that has been added and is still being drawn. @type {Piece | undefined} */
    this.begun = undefined;
  }

  /** The piece as it is seen. */
  get piece() {
    return this.preview ?? this.begun ?? this.history.piece;
  }

  /** What is selected in the piece as it is seen. */
  get shown() {
    return this.preview ? this.dragged : this.selected;
  }

  /** @param {Iterable<Note>} notes */
  select(notes) {
    this.selected = new Set(notes);
    this.#changed();
  }

  /** Forget what is not in the piece any more. */
  tidy() {
    const notes = new Set(notesOf(this.begun ?? this.history.piece));
    if ([...this.selected].some((note) => !notes.has(note))) {
      this.selected = new Set([...this.selected].filter((note) => notes.has(note)));
    }
  }

  /**
   * Change what is selected; while it is dragged, only in the preview.
   * @param {(note: Note) => Note | undefined} change
   * @param {string} label
   * @param {boolean} [done]
   */
  change(change, label, done = true) {
    if (!this.selected.size) return;
    const base = this.begun ?? this.history.piece, { notes, changed } = replaced(notesOf(base), this.selected, change);
    const piece = withNotes(base, notes);
    if (done) this.#commit(label, piece, changed);
    else {
      this.preview = piece;
      this.dragged = changed;
      this.#changed();
    }
  }

  /** @param {number} seconds @param {number} semitones @param {boolean} [done] */
  move(seconds, semitones, done) {
    this.change(moved(seconds, semitones), this.#label("Move"), done);
  }

  /** @param {number} seconds @param {boolean} [done] */
  stretch(seconds, done) {
    this.change(stretched(seconds), this.begun ? "Add a note" : this.#label("Stretch"), done);
  }

  remove() {
    this.change(() => undefined, this.#label("Delete"));
  }

  /** @param {number} octaves */
  octave(octaves) {
    this.change(moved(0, 12 * octaves), this.#label(octaves > 0 ? "Octave up" : "Octave down"));
  }

  /**
   * Add a note, and select it. It is not a step of the history before it is finished.
   * @param {number} onset in seconds
   * @param {number} duration in seconds
   * @param {number} pitch
   * @param {number} instrument
   */
  add(onset, duration, pitch, instrument) {
    const note = { onset, duration, pitch, instrument, velocity: VELOCITY }, { piece } = this.history;
    this.begun = withNotes(piece, [...notesOf(piece), note]);
    this.selected = new Set([note]);
    this.#changed();
  }

  /** Make a note that was added a step of the history. */
  finish() {
    if (this.begun) this.#commit("Add a note", this.begun, this.selected);
  }

  /**
   * Select the next note in time, or the one before.
   * @param {number} direction 1 or -1
   * @param {number} position in seconds, from which to go on if nothing is selected
   * @returns {Note | undefined}
   */
  step(direction, position) {
    const notes = notesOf(this.history.piece), [first] = this.selected;
    const after = notes.findIndex((note) => note.onset >= position - 1e-6);
    const index = first ? notes.indexOf(first) + direction : direction > 0 ? after : after - 1;
    const note = notes[Math.max(0, Math.min(notes.length - 1, index))];
    if (note) this.select([note]);
    return note;
  }

  /** @param {string} verb */
  #label(verb) {
    const { size } = this.selected, [first] = this.selected;
    return `${verb} ${size === 1 ? noteText(first) : `${size} notes`}`;
  }

  /** @param {string} label @param {Piece} piece @param {ReadonlySet<Note>} selected */
  #commit(label, piece, selected) {
    this.preview = undefined;
    this.begun = undefined;
    this.selected = selected;
    this.history.push(label, piece);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** @param {Note} note @returns {string} such as "C4 of Flute" */
export function noteText({ pitch, instrument }) {
  return instrument === DRUMS ? `drum ${pitch}` : `${pitchName(pitch)} of ${instrumentName(instrument)}`;
}

/**
 * Return the piece with notes that were recorded, of which the last take holds none yet.
 * @param {Piece} piece
 * @param {readonly Note[]} notes
 */
export function withRecorded(piece, notes) {
  return notes.length ? withNotes(piece, sorted([...notesOf(piece), ...notes])) : piece;
}
