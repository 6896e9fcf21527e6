/** Asks the service for music, and holds what it has written so far. */

import { before } from "./editing.js";
import { endOf, sorted } from "./piece.js";
import { Unreachable } from "./service.js";

/**
 * @typedef {import("./piece.js").Note} Note
 * @typedef {import("./piece.js").Piece} Piece
 *
 * @typedef {object} Job what is asked for
 * @property {string} label
 * @property {Record<string, unknown>} body
 * @property {Piece} base the piece that it begins with
 * @property {readonly Note[]} kept notes that stay
 * @property {number} from where new music begins, in seconds
 * @property {number} to where it ends
 * @property {number} count of variations
 * @property {readonly Note[]} [varied] the others, if the service chooses which of them stay
 */

/** A request that runs, and its notes. */
export class Work {
  /** @param {Job} job */
  constructor(job) {
    this.job = job;
    this.abort = new AbortController();
    this.chosen = 0;
    /** New notes of each variation. @type {Note[][]} */
    this.written = Array.from({ length: job.count }, () => []);
    this.seconds = 0;
    /** Where new music ends: the service knows it best. */
    this.to = job.to;
    this.began = performance.now();
    /** What stays of the varied notes, by variation: the result says it. @type {Note[][] | undefined} */
    this.stays = undefined;
    /** @type {any} */
    this.result = undefined;
    /** @type {Piece | undefined} */
    this.made = undefined;
  }

  /** @param {number} index of the variation that is seen and heard */
  choose(index) {
    this.chosen = index;
    this.made = undefined;
  }

  get hasNotes() {
    return this.written.some((notes) => notes.length);
  }

  /** Whether it can be kept: half of a variation lacks the notes that stay. */
  get isMusic() {
    return this.hasNotes && (!this.job.varied || Boolean(this.result));
  }

  /** Up to where the chosen variation is decided. */
  get front() {
    const { job: { from, count, varied }, to, written, chosen, seconds } = this;
    if (this.result) return Infinity;
    if (varied) return from;
    // Of several variations the service says how far they are on average; the last note is a safe bound for one.
    const decided = count === 1 ? from + seconds : Math.max(from, written[chosen].at(-1)?.onset ?? from);
    return Math.min(decided, to);
  }

  /** How much of the new music is written, from 0 to 1. */
  get share() {
    return Math.min(1, this.seconds / (this.to - this.job.from));
  }

  /** Seconds that it will take until all is written, or undefined while nobody can know. */
  get secondsLeft() {
    const elapsed = (performance.now() - this.began) / 1000, share = this.share;
    return share > 0.02 ? elapsed / share - elapsed : undefined;
  }

  /** @returns {Piece} the piece as far as it is written */
  get piece() {
    return this.made ??= this.#make();
  }

  /** @returns {Piece} */
  #make() {
    const { job, written, stays, result } = this;
    const seeds = result?.variations.map((/** @type {any} */ each) => each.seed);
    const all = written.map((notes, index) => ({
      notes: sorted([...job.kept, ...(stays?.[index] ?? []), ...notes]),
      seed: seeds?.[index] ?? Number(job.body.seed) + index,
    }));
    return { ...job.base, takes: all, chosen: this.chosen };
  }

  /** @param {import("./service.js").StreamEvent} event */
  take({ name, data }) {
    if (name !== "progress") this.made = undefined;
    if (name === "note") this.written[data.variation].push(readNote(data));
    else if (name === "discard") this.written[data.variation] = [];
    else if (name === "progress") {
      this.seconds = data.seconds;
      this.to = this.job.from + data.total_seconds;
    } else if (name === "result") this.#conclude(data);
    else if (name === "error") throw new Error(data.detail);
  }

  /** Take the answer: its notes are those that were told, with their last word. @param {any} result */
  #conclude(result) {
    this.result = result;
    this.written = result.variations.map((/** @type {any} */ { notes }) =>
      notes.filter((/** @type {any} */ note) => note.is_new).map(readNote)
    );
    const { varied } = this.job;
    if (varied) this.stays = result.variations.map((/** @type {any} */ { notes }) => staying(varied, notes));
  }
}

/**
 * Return those notes that an answer has kept, as they are here: of a file's notes it rounds the times to 10 ms.
 * @param {readonly Note[]} notes
 * @param {any[]} answered
 * @returns {Note[]}
 */
function staying(notes, answered) {
  const key = (/** @type {Note} */ { pitch, instrument }) => `${pitch} ${instrument}`;
  const kept = Map.groupBy(answered.filter(({ is_new }) => !is_new), key);
  return notes.filter((note) => kept.get(key(note))?.some(({ onset }) => Math.abs(onset - note.onset) < 0.01));
}

/** @param {any} data of the service @returns {Note} */
function readNote({ onset, duration, pitch, instrument, velocity }) {
  return { onset, duration, pitch, instrument, velocity };
}

/**
 * Run a job, and tell of every event. A service that is not there yet is waited for.
 * @param {import("./service.js").Service} service
 * @param {Work} work
 * @param {(event?: import("./service.js").StreamEvent) => void} onEvent
 * @param {(reason: string) => void} onWait
 */
export async function run(service, work, onEvent, onWait) {
  for (;;) {
    try {
      for await (const event of service.stream(work.job.body, work.abort.signal)) {
        work.take(event);
        onEvent(event);
      }
      if (!work.result) throw new Unreachable();
      return;
    } catch (error) {
      const there = error instanceof Unreachable && error.message && await isReady(work.abort.signal);
      if (!(error instanceof Unreachable) || work.hasNotes || there) throw error;
      onWait(error.message);
      await service.ready(work.abort.signal);
    }
  }
}

/** @param {AbortSignal} signal */
async function isReady(signal) {
  return (await fetch("health", { signal }).catch(() => undefined))?.ok;
}

/**
 * Return what is kept and what is asked for when music goes on at a place.
 * @param {readonly Note[]} notes
 * @param {number | undefined} position where to go on; undefined: at the end
 * @param {number} end of the bar in which the last note ends
 * @param {number} most seconds that the service takes as a prime
 */
export function continuation(notes, position, end, most) {
  if (position !== undefined && position < endOf(notes) && position <= most) {
    const kept = notes.filter((note) => note.onset < position - 1e-6);
    return { kept, from: position, prime: { prime_from: "start", prime_seconds: position } };
  }
  const from = position !== undefined && position < end ? position : end;
  const prime = { prime_from: "end", prime_seconds: Math.max(1, Math.min(most, from)) };
  return { kept: before(notes, from), from, prime };
}
