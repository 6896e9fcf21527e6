/** A piece: takes of the same music, when its bars are, and who is heard. Pieces are values: a change makes a new one. */

import { steady } from "./timing.js";

/**
 * @typedef {import("./timing.js").Timing} Timing
 *
 * @typedef {object} Note
 * @property {number} onset in seconds
 * @property {number} duration in seconds
 * @property {number} pitch 0 to 127
 * @property {number} instrument 0 to 127, and 128 for drums
 * @property {number} velocity 1 to 127
 *
 * @typedef {object} Take
 * @property {readonly Note[]} notes in the order of their onsets
 * @property {number | null} seed null where no request made it
 *
 * @typedef {object} Channel
 * @property {boolean} [mute]
 * @property {boolean} [solo]
 * @property {boolean} [hidden]
 * @property {boolean} [locked]
 *
 * @typedef {object} Piece
 * @property {readonly Take[]} takes at least one
 * @property {number} chosen index of the take that is seen and heard
 * @property {Timing} timing
 * @property {Readonly<Record<number, Channel>>} mixer by instrument
 * @property {string} name of the file that it came from, or what it is saved as
 */

/** @returns {Piece} */
export function emptyPiece() {
  return { takes: [{ notes: [], seed: null }], chosen: 0, timing: steady(), mixer: {}, name: "music" };
}

/** @param {Piece} piece @returns {Take} */
function chosenTake(piece) {
  return piece.takes[piece.chosen];
}

/** @param {Piece} piece @returns {readonly Note[]} */
export function notesOf(piece) {
  return chosenTake(piece).notes;
}

/** @param {Iterable<Note>} notes @returns {number} seconds until the last one ends */
export function endOf(notes) {
  let end = 0;
  for (const note of notes) end = Math.max(end, note.onset + note.duration);
  return end;
}

/** @param {readonly Note[]} notes @returns {Note[]} */
export function sorted(notes) {
  return [...notes].sort((a, b) => a.onset - b.onset || a.instrument - b.instrument || a.pitch - b.pitch);
}

/**
 * Return the piece with other notes in the chosen take. Of changed notes no seed makes the same again.
 * @param {Piece} piece
 * @param {readonly Note[]} notes
 * @returns {Piece}
 */
export function withNotes(piece, notes) {
  const takes = piece.takes.map((take, index) => index === piece.chosen ? { notes: sorted(notes), seed: null } : take);
  return { ...piece, takes };
}

/** @param {readonly Note[]} notes @returns {number[]} who plays, by number, drums last */
export function instrumentsOf(notes) {
  return [...new Set(notes.map((note) => note.instrument))].sort((a, b) => a - b);
}

/** @param {Piece} piece @returns {number[]} instruments whose notes stay */
export function lockedOf(piece) {
  return instrumentsOf(notesOf(piece)).filter((instrument) => piece.mixer[instrument]?.locked);
}

/**
 * Return who is written again: those who are chosen, or everybody, but nobody who is locked.
 * @param {Piece} piece
 * @param {ReadonlySet<number>} chosen instruments; none means all
 * @returns {number[] | undefined} undefined: all
 */
export function rewritten(piece, chosen) {
  const locked = lockedOf(piece);
  if (!chosen.size && !locked.length) return undefined;
  const players = chosen.size ? [...chosen] : instrumentsOf(notesOf(piece));
  return players.filter((instrument) => !locked.includes(instrument));
}

/**
 * Tell whether an instrument sounds: it is not muted, and nobody else plays solo.
 * @param {Piece["mixer"]} mixer
 * @param {number} instrument
 */
export function isHeard(mixer, instrument) {
  const solos = Object.values(mixer).some((channel) => channel.solo);
  const channel = mixer[instrument];
  return !channel?.mute && (!solos || Boolean(channel?.solo));
}

/** @param {Note} note @returns {string} equal for notes that sound the same */
export function noteKey(note) {
  const ms = (/** @type {number} */ seconds) => Math.round(seconds * 1000);
  return `${ms(note.onset)} ${ms(note.duration)} ${note.pitch} ${note.instrument} ${note.velocity}`;
}
