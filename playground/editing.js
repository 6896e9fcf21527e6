/** What can be done to notes by hand: each returns a new list, and leaves the old one as it is. */

import { DRUMS } from "./instruments.js";

/** @typedef {import("./piece.js").Note} Note */

export const MIN_DURATION = 0.03;

/**
 * Replace some notes by what becomes of them; those that become nothing are gone.
 * @param {readonly Note[]} notes
 * @param {ReadonlySet<Note>} chosen
 * @param {(note: Note) => Note | undefined} change
 * @returns {{notes: Note[], changed: Set<Note>}}
 */
export function replaced(notes, chosen, change) {
  /** @type {Set<Note>} */
  const changed = new Set();
  const result = notes.flatMap((note) => {
    if (!chosen.has(note)) return [note];
    const other = change(note);
    if (other) changed.add(other);
    return other ? [other] : [];
  });
  return { notes: result, changed };
}

/**
 * Return what moves a note; drums stay on their own line of the kit.
 * @param {number} seconds
 * @param {number} semitones
 * @returns {(note: Note) => Note}
 */
export function moved(seconds, semitones) {
  return (note) => ({
    ...note,
    onset: Math.max(0, note.onset + seconds),
    pitch: note.instrument === DRUMS ? note.pitch : Math.min(127, Math.max(0, note.pitch + semitones)),
  });
}

/** @param {number} seconds that are added @returns {(note: Note) => Note} */
export function stretched(seconds) {
  return (note) => ({ ...note, duration: Math.max(MIN_DURATION, note.duration + seconds) });
}

/**
 * Return the notes that begin before a moment, as far as they sound by then.
 * @param {readonly Note[]} notes
 * @param {number} second
 * @returns {Note[]}
 */
export function before(notes, second) {
  return notes.filter((note) => note.onset < second - 1e-6)
    .map((note) => note.onset + note.duration > second ? { ...note, duration: second - note.onset } : note);
}
