/** Makes requests to the service out of a piece and the wishes. */

import { continuation } from "./composer.js";
import { instrumentName } from "./instruments.js";
import { toBase64, writeMidi } from "./midi.js";
import { emptyPiece, endOf, lockedOf, notesOf, rewritten } from "./piece.js";
import { barAt, spanText } from "./timing.js";

/**
 * @typedef {import("./composer.js").Job} Job
 * @typedef {import("./piece.js").Note} Note
 * @typedef {import("./piece.js").Piece} Piece
 * @typedef {import("./wishes.js").Wishes} Wishes
 */

const MAX_PRIME_SECONDS = 60;
const MAX_PART_SECONDS = 120;

/**
 * Return the music in the form that the service takes: notes, or a MIDI file where tempo or metre change.
 * @param {readonly Note[]} notes
 * @param {import("./timing.js").Timing} timing
 */
function input(notes, timing) {
  if (timing.tempos.length > 1 || timing.metres.length > 1) return { midi_input: toBase64(writeMidi(notes, timing)) };
  const [{ bpm }] = timing.tempos, [{ numerator, denominator }] = timing.metres;
  return { notes, bpm, time_signature: `${numerator}/${denominator}` };
}

/** @param {Wishes} wishes @returns {Job} */
export function generateJob(wishes) {
  const fields = wishes.fields("generate");
  return {
    label: `${wishes.style}, ${wishes.lengthText}, seed ${fields.seed}`,
    body: { task: "generate", ...wishes.length, ...fields },
    base: { ...emptyPiece(), timing: wishes.timing },
    kept: [],
    from: 0,
    to: wishes.seconds,
    count: wishes.count,
  };
}

/**
 * Return what jobs that write a span again have in common.
 * @param {"infill" | "variation"} task
 * @param {Piece} piece
 * @param {readonly [number, number]} span in seconds
 * @param {ReadonlySet<number>} chosen instruments; none means all
 * @param {Wishes} wishes
 * @returns {Job}
 */
function spanJob(task, piece, [from, to], chosen, wishes) {
  const notes = notesOf(piece), end = Math.max(from + 0.1, Math.min(to, Math.floor(endOf(notes) * 100) / 100));
  const players = rewritten(piece, chosen);
  const replaced = (/** @type {Note} */ { onset, instrument }) =>
    onset >= from - 1e-6 && onset < end - 1e-6 && (!players || players.includes(instrument));
  return {
    label: `${spanText(piece.timing, [from, to])}${players ? ` (${players.map(instrumentName).join(", ")})` : ""}`,
    body: {
      task,
      ...input(notes, piece.timing),
      start_seconds: from,
      end_seconds: end,
      ...wishes.fields(task, barAt(piece.timing, from).number),
      ...(players ? { instruments: players } : {}),
    },
    base: piece,
    kept: notes.filter((note) => !replaced(note)),
    from,
    to: end,
    count: wishes.count,
  };
}

/**
 * @param {Piece} piece
 * @param {readonly [number, number]} span in seconds
 * @param {ReadonlySet<number>} chosen instruments; none means all
 * @param {Wishes} wishes
 * @returns {Job}
 */
export function infillJob(piece, span, chosen, wishes) {
  const job = spanJob("infill", piece, span, chosen, wishes), locked = lockedOf(piece);
  const body = locked.length ? { ...job.body, locked: { instruments: locked } } : job.body;
  return { ...job, label: `Infill ${job.label}`, body };
}

/**
 * @param {Piece} piece
 * @param {readonly [number, number] | undefined} span in seconds; undefined: the whole piece, as far as the service goes
 * @param {ReadonlySet<number>} chosen instruments; none means all
 * @param {number} similarity share of the notes that stays
 * @param {Wishes} wishes
 * @returns {Job}
 */
export function varyJob(piece, span, chosen, similarity, wishes) {
  const notes = notesOf(piece), end = barAt(piece.timing, endOf(notes) - 0.02).end;
  const job = spanJob("variation", piece, span ?? [0, Math.min(MAX_PART_SECONDS, end)], chosen, wishes);
  const kept = new Set(job.kept);
  return {
    ...job,
    label: `Vary, keep ${100 * similarity} % of ${job.label}`,
    body: { ...job.body, similarity },
    varied: notes.filter((note) => !kept.has(note)),
  };
}

/**
 * @param {Piece} piece
 * @param {number | undefined} position where to go on; undefined: at the end
 * @param {Wishes} wishes
 * @returns {Job}
 */
export function continueJob(piece, position, wishes) {
  const { timing } = piece, notes = notesOf(piece), bar = barAt(timing, endOf(notes) - 1e-3);
  const { kept, from, prime } = continuation(notes, position, bar.end, MAX_PRIME_SECONDS);
  // A file can say where its last bar ends, which notes cannot: new music begins there.
  const music = prime.prime_from === "end"
    ? { midi_input: toBase64(writeMidi(kept, timing, from)) }
    : input(notes, timing);
  return {
    label: `Continue from bar ${barAt(timing, from).number}`,
    body: {
      task: "continue",
      ...music,
      ...prime,
      ...wishes.length,
      ...wishes.fields("continue", barAt(timing, from).number),
    },
    base: piece,
    kept,
    from,
    to: from + wishes.seconds,
    count: wishes.count,
  };
}

/**
 * @param {Piece} piece
 * @param {ReadonlySet<number>} chosen instruments that are accompanied; none means all
 * @param {Wishes} wishes
 * @returns {Job}
 */
export function accompanyJob(piece, chosen, wishes) {
  const notes = notesOf(piece), part = chosen.size ? notes.filter((note) => chosen.has(note.instrument)) : notes;
  const who = chosen.size ? [...chosen].map(instrumentName).join(", ") : "everything";
  return {
    label: `Accompany ${who}`,
    body: {
      task: "accompany",
      ...input(notes, piece.timing),
      ...(chosen.size ? { melody_instruments: [...chosen] } : {}),
      ...wishes.fields("accompany"),
    },
    base: piece,
    kept: part,
    from: 0,
    to: Math.min(MAX_PART_SECONDS, endOf(part)),
    count: wishes.count,
  };
}
