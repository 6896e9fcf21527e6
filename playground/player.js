/** The clock of the music, and what sounds when. */

import { endOf, noteKey } from "./piece.js";
import { SoundFont } from "./sf2.js";
import { Synth } from "./synth.js";

/**
 * @typedef {import("./piece.js").Note} Note
 *
 * @typedef {object} Anchor from a time of the audio clock on, the music is at a position and goes on
 * @property {number} time
 * @property {number} position
 */

/** Notes are handed to the browser this much ahead: all at once takes it minutes, later than this they stumble. */
const AHEAD_SECONDS = 0.5;
const TICK_MS = 60;
/** Between a click and the first note. */
const LEAD_SECONDS = 0.06;
/** How far behind a stream the music is heard, so that it seldom has to wait. */
const BEHIND_SECONDS = 1;
/** A note that began before the position is sounded if this much of it is left. */
const MIN_REST_SECONDS = 0.12;
const CEILING = 0.84;

export class Player extends EventTarget {
  constructor() {
    super();
    /** @type {AudioContext | undefined} */
    this.context = undefined;
    /** @type {AnalyserNode | undefined} */
    this.analyser = undefined;
    /** @type {Synth | undefined} */
    this.synth = undefined;
    /** @type {Promise<SoundFont> | undefined} */
    this.font = undefined;
    /** @type {readonly Note[]} */
    this.notes = [];
    /** @type {import("./piece.js").Piece["mixer"]} */
    this.mixer = {};
    this.playing = false;
    /** While recording, the music has no end. */
    this.endless = false;
    /** Up to where the notes are known; from there to the next number a stream has still to decide. */
    this.front = Infinity;
    this.knownFrom = Infinity;
    /** @type {readonly [number, number] | undefined} */
    this.loop = undefined;
    /** @type {number | undefined} */
    this.until = undefined;
    this.rest = 0;
    this.waits = false;
    /** @type {Anchor[]} */
    this.anchors = [];
    this.cursor = 0;
    this.cursorTime = 0;
    /** @type {Map<string, {start: number, end: number, voices: import("./voice.js").Voice[]}>} */
    this.sounding = new Map();
    setInterval(() => this.#tick(), TICK_MS);
  }

  /** Fetch and read the SoundFont, once. @returns {Promise<SoundFont>} */
  loadFont() {
    this.font ??= fetch("soundfont").then(async (response) => {
      if (!response.ok) throw new Error((await response.json()).detail);
      return new SoundFont(await response.arrayBuffer());
    });
    this.font.catch(() => {
      this.font = undefined;
    });
    return this.font;
  }

  /** Make sound possible. Browsers want this in a click or a key press. */
  async wake() {
    if (!this.context) {
      const context = new AudioContext({ latencyHint: "interactive" });
      this.context = context;
      const limiter = new DynamicsCompressorNode(context, {
        threshold: -12,
        ratio: 8,
        attack: 0.003,
        release: 0.2,
      });
      const half = new GainNode(context, { gain: 0.5 });
      const ceiling = new WaveShaperNode(context, { curve: ceilingCurve() });
      this.analyser = new AnalyserNode(context, { fftSize: 4096 });
      limiter.connect(half).connect(ceiling).connect(this.analyser).connect(context.destination);
      this.synth = new Synth(context, await this.loadFont(), limiter);
      this.synth.setMixer(this.mixer);
    }
    await this.context.resume();
  }

  /** Where the music is, in seconds. */
  get position() {
    if (!this.playing || !this.context) return this.rest;
    if (this.waits) return this.cursor;
    const now = this.context.currentTime;
    const anchor = this.anchors.findLast(({ time }) => time <= now);
    return anchor ? anchor.position + now - anchor.time : this.anchors[0]?.position ?? this.cursor;
  }

  /** When the music ends: where nothing is left to come. */
  get end() {
    return this.until ?? endOf(this.notes);
  }

  /**
   * Play from where the music rests.
   * @param {number} [until] where to stop, instead of the end
   */
  async play(until) {
    this.until = until;
    this.playing = true;
    this.waits = true;
    this.cursor = this.rest;
    this.#changed();
    try {
      await this.wake();
    } catch (error) {
      this.pause();
      throw error;
    }
    this.#tick();
  }

  pause() {
    const position = this.position;
    this.playing = false;
    this.waits = false;
    this.until = undefined;
    this.rest = position;
    this.#silence();
    this.#changed();
  }

  /** @param {number} position in seconds */
  seek(position) {
    this.rest = Math.max(0, position);
    if (this.playing) {
      this.#silence();
      if (this.until !== undefined && position >= this.until) this.until = undefined;
      this.cursor = this.rest;
      this.waits = true;
      this.#tick();
    }
    this.#changed();
  }

  /**
   * Go on with other notes at the same position: what both have sounds on, all else ends or begins.
   * @param {readonly Note[]} notes in the order of their onsets
   */
  setNotes(notes) {
    if (notes === this.notes) return;
    this.notes = notes;
    if (!this.playing || !this.context || this.waits) return;
    const keys = new Set(notes.map(noteKey)), now = this.context.currentTime;
    for (const [key, { voices }] of this.sounding) {
      if (keys.has(key)) continue;
      for (const voice of voices) voice.kill(now);
      this.sounding.delete(key);
    }
    // Scheduled again from here: what has been handed over and is still wanted is left out below.
    const position = this.position;
    this.anchors = [{ time: now, position }];
    this.cursor = position;
    this.cursorTime = now;
    this.#chase(now + 0.01);
    this.#tick();
  }

  /** @param {import("./piece.js").Piece["mixer"]} mixer */
  setMixer(mixer) {
    this.mixer = mixer;
    this.synth?.setMixer(mixer);
  }

  /**
   * Sound a note at once, whatever plays.
   * @param {number} pitch
   * @param {number} instrument
   * @param {number} [velocity]
   * @returns {Promise<() => void>} ends it
   */
  async strike(pitch, instrument, velocity = 90) {
    await this.wake();
    const { context, synth } = this;
    if (!context || !synth) return () => {};
    const note = { onset: 0, duration: 1, pitch, instrument, velocity };
    const voices = synth.play(note, context.currentTime + 0.005, Infinity);
    return () => voices.forEach((voice) => voice.end(context.currentTime));
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  #silence() {
    const now = this.context?.currentTime ?? 0;
    for (const { voices } of this.sounding.values()) voices.forEach((voice) => voice.kill(now));
    this.sounding.clear();
    this.anchors = [];
  }

  /** Hand over what is due soon; stop at the end; wait for a stream that has fallen behind. */
  #tick() {
    if (!this.playing || !this.context || !this.synth) return;
    const now = this.context.currentTime;
    if (this.waits) {
      if (this.#front() < this.cursor + BEHIND_SECONDS) return;
      this.waits = false;
      this.cursorTime = now + LEAD_SECONDS;
      this.anchors = [{ time: this.cursorTime, position: this.cursor }];
      this.#chase(this.cursorTime);
    }
    this.#forget(now);
    this.#schedule(now + AHEAD_SECONDS);
    if (this.front === Infinity && !this.endless && !this.#loopEnd() && this.position >= this.end) this.#finish();
    else if (this.cursor >= this.#front() && this.cursorTime <= now + TICK_MS / 1000) this.waits = true;
  }

  #finish() {
    const back = this.until === undefined ? 0 : this.rest;
    this.playing = false;
    this.until = undefined;
    this.rest = back;
    this.anchors = [];
    this.sounding.clear();
    this.#changed();
  }

  /** @returns {number} up to where the notes from the cursor on are known */
  #front() {
    return this.cursor >= this.knownFrom ? Infinity : this.front;
  }

  /** @returns {number | undefined} where the music jumps back, if it is inside the loop */
  #loopEnd() {
    return this.loop && this.cursor < this.loop[1] ? this.loop[1] : undefined;
  }

  /** @param {number} horizon on the audio clock */
  #schedule(horizon) {
    while (this.cursorTime < horizon) {
      const loopEnd = this.#loopEnd(), limit = Math.min(this.#front(), loopEnd ?? this.until ?? Infinity);
      const target = Math.min(this.cursor + horizon - this.cursorTime, limit);
      for (let index = firstFrom(this.notes, this.cursor); index < this.notes.length; index++) {
        const note = this.notes[index];
        if (note.onset >= target) break;
        this.#sound(note, this.cursorTime + note.onset - this.cursor, loopEnd ?? this.until);
      }
      if (target > this.cursor) this.cursorTime += target - this.cursor;
      this.cursor = Math.max(this.cursor, target);
      if (this.loop && loopEnd !== undefined && this.cursor >= loopEnd) {
        this.cursor = this.loop[0];
        this.anchors.push({ time: this.cursorTime, position: this.cursor });
      } else return;
    }
  }

  /**
   * @param {Note} note
   * @param {number} when
   * @param {number | undefined} limit position where it is cut off
   * @param {number} [duration]
   */
  #sound(note, when, limit = Infinity, duration = note.duration) {
    const key = noteKey(note), old = this.sounding.get(key);
    if (!this.synth || old && (old.end > when + 0.02 || old.start > when - 0.01)) return;
    const length = Math.max(0.02, Math.min(duration, limit - note.onset));
    const voices = this.synth.play(note, Math.max(when, this.synth.context.currentTime), length);
    this.sounding.set(key, { start: when, end: when + length, voices });
  }

  /** Sound what began before the cursor and is not over. @param {number} when */
  #chase(when) {
    for (const note of this.notes) {
      if (note.onset >= this.cursor) break;
      const rest = note.onset + note.duration - this.cursor;
      if (rest > MIN_REST_SECONDS && note.instrument < 128) this.#sound(note, when, undefined, rest);
    }
  }

  /** @param {number} now */
  #forget(now) {
    for (const [key, { end }] of this.sounding) if (end < now - 0.05) this.sounding.delete(key);
    while (this.anchors.length > 1 && this.anchors[1].time <= now) this.anchors.shift();
  }
}

/** @param {readonly Note[]} notes @param {number} position @returns {number} index of the first that begins there or later */
export function firstFrom(notes, position) {
  let low = 0, high = notes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (notes[middle].onset < position - 1e-9) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** @returns {Float32Array<ArrayBuffer>} what bends peaks so that nothing goes over -1.5 dB, for input of half the size */
function ceilingCurve() {
  const knee = 0.6;
  return Float32Array.from({ length: 2049 }, (_, index) => {
    const value = (index / 1024 - 1) * 2, size = Math.abs(value);
    const bent = size <= knee ? size : knee + (CEILING - knee) * Math.tanh((size - knee) / (CEILING - knee));
    return Math.sign(value) * bent;
  });
}
