/** One sample that sounds, from its start to its release. */

import { Envelope } from "./envelope.js";
import { DRUMS } from "./instruments.js";

/** Releases are cut where nothing is heard any more. */
const AUDIBLE_SHARE = 0.7;
const MIN_RELEASE_SECONDS = 0.02;
const MIN_VIBRATO_CENTS = 3;
/** Web Audio's low-pass has a bump of 3 dB where the SoundFont's has none. */
const FLAT_DB = -3.01;

export class Voice {
  /**
   * @param {BaseAudioContext} context
   * @param {import("./sf2.js").Region} region
   * @param {AudioBuffer} buffer
   * @param {AudioNode} output
   * @param {import("./piece.js").Note} note
   * @param {number} when
   * @param {number} duration
   */
  constructor(context, region, buffer, output, note, when, duration) {
    this.when = when;
    const { sample, volume } = region;
    this.release = Math.max(MIN_RELEASE_SECONDS, Math.min(volume.release, 6));
    this.source = new AudioBufferSourceNode(context, { buffer, loop: region.loops });
    this.source.loopStart = (sample.loopStart - sample.start) / buffer.sampleRate;
    this.source.loopEnd = (sample.loopEnd - sample.start) / buffer.sampleRate;
    this.source.playbackRate.value = sample.rate / buffer.sampleRate;
    this.source.detune.value = (note.pitch - sample.root) * region.centsPerKey + region.cents;
    const level = new GainNode(context, { gain: 0 });
    this.level = level.gain;
    this.envelope = new Envelope(when, region.gain * (note.velocity / 127) ** 2, volume);
    this.envelope.apply(this.level);
    this.#modulate(region, this.source.detune, region.modulationToPitch, this.source.detune.value);
    this.#connect(context, region, level).connect(output);
    this.#vibrate(context, region);
    this.source.start(when);
    // Drums ring on, whenever the stick is lifted.
    const rings = note.instrument === DRUMS && !region.loops;
    if (!rings && duration < Infinity) this.end(when + duration, this.release);
  }

  /**
   * Let it die away from a moment on.
   * @param {number} when
   * @param {number} [seconds] of the release
   */
  end(when, seconds = this.release) {
    this.envelope.release(this.level, Math.max(when, this.when), seconds);
    this.source.stop(Math.max(when, this.when) + seconds * AUDIBLE_SHARE);
  }

  /** End it at once, or never let it begin. @param {number} now */
  kill(now) {
    if (this.when > now) this.source.stop();
    else this.end(now, 0.05);
  }

  /** @param {BaseAudioContext} context @param {import("./sf2.js").Region} region @param {GainNode} level */
  #connect(context, region, level) {
    if (region.cutoff === Infinity && !region.modulationToCutoff) return this.source.connect(level);
    const frequency = Math.min(region.cutoff, context.sampleRate * 0.45, 19912);
    const filter = new BiquadFilterNode(context, { type: "lowpass", frequency, Q: region.resonance + FLAT_DB });
    this.#modulate(region, filter.detune, region.modulationToCutoff, 0);
    return this.source.connect(filter).connect(level);
  }

  /**
   * Bend a parameter in cents by the modulation envelope.
   * @param {import("./sf2.js").Region} region
   * @param {AudioParam} detune
   * @param {number} cents
   * @param {number} rest
   */
  #modulate({ modulation }, detune, cents, rest) {
    if (!cents) return;
    const top = this.when + modulation.delay + modulation.attack, fall = modulation.decay * modulation.sustain;
    detune.setValueAtTime(rest, this.when + modulation.delay);
    detune.linearRampToValueAtTime(rest + cents, top);
    detune.setValueAtTime(rest + cents, top + modulation.hold);
    detune.linearRampToValueAtTime(rest + cents * (1 - modulation.sustain), top + modulation.hold + fall);
  }

  /** @param {BaseAudioContext} context @param {import("./sf2.js").Region} region */
  #vibrate(context, region) {
    if (Math.abs(region.vibratoCents) < MIN_VIBRATO_CENTS) return;
    const wave = new OscillatorNode(context, { frequency: region.vibratoHz });
    const depth = new GainNode(context, { gain: region.vibratoCents });
    wave.connect(depth).connect(this.source.detune);
    wave.start(this.when + region.vibratoDelay);
    this.source.addEventListener("ended", () => wave.stop());
  }
}
