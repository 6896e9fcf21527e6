/** Plays notes by Web Audio with the samples of a SoundFont. */

import { isHeard } from "./piece.js";
import { createRoom } from "./room.js";
import { Voice } from "./voice.js";

/**
 * @typedef {import("./piece.js").Note} Note
 * @typedef {import("./sf2.js").Region} Region
 * @typedef {import("./sf2.js").SoundFont} SoundFont
 */

const PAN_STEPS = 8;
const MIX_GAIN = 0.35;
const FADE_SECONDS = 0.012;

/** @type {WeakMap<SoundFont, Map<string, AudioBuffer>>} */
const samples = new WeakMap();

export class Synth {
  /**
   * @param {BaseAudioContext} context
   * @param {SoundFont} font
   * @param {AudioNode} destination
   */
  constructor(context, font, destination) {
    this.context = context;
    this.font = font;
    this.mix = context.createGain();
    this.mix.gain.value = MIX_GAIN;
    this.mix.connect(destination);
    createRoom(context, this.mix, destination);
    /** @type {import("./piece.js").Piece["mixer"]} */
    this.mixer = {};
    /** @type {Map<number, GainNode>} */
    this.buses = new Map();
    /** @type {Map<string, StereoPannerNode>} */
    this.panners = new Map();
    /** The voices that end each other, by instrument and class. @type {Map<string, Voice[]>} */
    this.exclusive = new Map();
  }

  /**
   * Start a note, and end what it ends.
   * @param {Note} note
   * @param {number} when on the context's clock
   * @param {number} [duration] in seconds; endless for a key that is held
   * @returns {Voice[]} what sounds
   */
  play(note, when, duration = note.duration) {
    const regions = this.font.regionsFor(note.instrument, note.pitch, note.velocity);
    this.cut(note, when, regions);
    return regions.map((region) => {
      const output = this.#panner(note.instrument, region.pan);
      const voice = new Voice(this.context, region, this.#sample(region), output, note, when, duration);
      if (region.exclusiveClass) {
        const key = `${note.instrument} ${region.exclusiveClass}`;
        this.exclusive.set(key, [...(this.exclusive.get(key) ?? []), voice]);
      }
      return voice;
    });
  }

  /**
   * End the voices that a note ends, such as an open hi-hat when a closed one is struck.
   * @param {Note} note
   * @param {number} when
   * @param {Region[]} [regions]
   */
  cut(note, when, regions = this.font.regionsFor(note.instrument, note.pitch, note.velocity)) {
    for (const region of regions) {
      if (!region.exclusiveClass) continue;
      const key = `${note.instrument} ${region.exclusiveClass}`, voices = this.exclusive.get(key) ?? [];
      for (const voice of voices) if (voice.when < when) voice.end(when, FADE_SECONDS * 4);
      this.exclusive.set(key, voices.filter((voice) => voice.when >= when));
    }
  }

  /** @param {import("./piece.js").Piece["mixer"]} mixer who is heard from now on */
  setMixer(mixer) {
    this.mixer = mixer;
    for (const [instrument, bus] of this.buses) {
      bus.gain.setTargetAtTime(isHeard(mixer, instrument) ? 1 : 0, this.context.currentTime, FADE_SECONDS);
    }
  }

  /** @param {number} instrument @param {number} pan @returns {AudioNode} */
  #panner(instrument, pan) {
    let bus = this.buses.get(instrument);
    if (!bus) {
      bus = this.context.createGain();
      bus.gain.value = isHeard(this.mixer, instrument) ? 1 : 0;
      bus.connect(this.mix);
      this.buses.set(instrument, bus);
    }
    const step = Math.round(pan * PAN_STEPS), key = `${instrument} ${step}`;
    let panner = this.panners.get(key);
    if (!panner) {
      panner = this.context.createStereoPanner();
      panner.pan.value = step / PAN_STEPS;
      panner.connect(bus);
      this.panners.set(key, panner);
    }
    return panner;
  }

  /** @param {Region} region @returns {AudioBuffer} */
  #sample({ sample }) {
    const buffers = samples.get(this.font) ?? new Map();
    samples.set(this.font, buffers);
    const key = `${sample.start} ${sample.end}`;
    let buffer = buffers.get(key);
    if (!buffer) {
      const frames = this.font.frames.subarray(sample.start, Math.max(sample.end, sample.start + 1));
      // Browsers promise buffers of 8 to 96 kHz; the voice plays others faster or slower.
      buffer = new AudioBuffer({ length: frames.length, sampleRate: Math.min(96000, Math.max(8000, sample.rate)) });
      buffer.copyToChannel(Float32Array.from(frames, (frame) => frame / 32768), 0);
      buffers.set(key, buffer);
    }
    return buffer;
  }
}
