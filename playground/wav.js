/** Writes a piece as a WAV file, as it sounds in the page. */

import { endOf, isHeard } from "./piece.js";
import { firstFrom } from "./player.js";
import { Synth } from "./synth.js";

/** @typedef {import("./piece.js").Note} Note */

const RATE = 44100;
/** One after the other: a browser takes minutes for all notes at once. */
const SEGMENT_SECONDS = 6;
const TAIL_SECONDS = 3;
/** -1 dB below full scale. */
const MAX_PEAK = 0.89;

/**
 * Render what is heard.
 * @param {readonly Note[]} notes in the order of their onsets
 * @param {import("./piece.js").Piece["mixer"]} mixer
 * @param {import("./sf2.js").SoundFont} font
 * @param {(share: number) => void} onProgress
 * @returns {Promise<Blob>} 16 bits, two channels, 44,100 Hz
 */
export async function renderWav(notes, mixer, font, onProgress) {
  const heard = notes.filter((note) => isHeard(mixer, note.instrument)), end = endOf(heard);
  const mix = [0, 1].map(() => new Float32Array(Math.ceil((end + TAIL_SECONDS) * RATE)));
  for (let from = 0; from < end; from += SEGMENT_SECONDS) {
    const part = await renderSegment(heard, font, from);
    part.forEach((frames, channel) => add(mix[channel], frames, Math.round(from * RATE)));
    onProgress(Math.min(1, (from + SEGMENT_SECONDS) / end));
  }
  return encode(mix);
}

/** Render the notes that begin in one segment, until they have died away. @returns {Promise<Float32Array[]>} */
async function renderSegment(
  /** @type {readonly Note[]} */ notes,
  /** @type {import("./sf2.js").SoundFont} */ font,
  /** @type {number} */ from,
) {
  const to = from + SEGMENT_SECONDS, own = notes.slice(firstFrom(notes, from), firstFrom(notes, to));
  const seconds = Math.max(SEGMENT_SECONDS, endOf(own) - from) + TAIL_SECONDS;
  const context = new OfflineAudioContext(2, Math.ceil(seconds * RATE), RATE);
  const synth = new Synth(context, font, context.destination);
  for (const note of own) synth.play(note, note.onset - from);
  // A hi-hat that is closed in the next segment ends one that is open in this.
  for (const note of notes.slice(firstFrom(notes, to), firstFrom(notes, to + TAIL_SECONDS))) {
    synth.cut(note, note.onset - from);
  }
  const buffer = await context.startRendering();
  return [buffer.getChannelData(0), buffer.getChannelData(1)];
}

/** @param {Float32Array} mix @param {Float32Array} frames @param {number} offset */
function add(mix, frames, offset) {
  const length = Math.min(frames.length, mix.length - offset);
  for (let index = 0; index < length; index++) mix[offset + index] += frames[index];
}

/** @param {Float32Array[]} channels @returns {Blob} */
function encode(channels) {
  let peak = 0;
  for (const frames of channels) for (const frame of frames) peak = Math.max(peak, Math.abs(frame));
  const gain = Math.min(1 / Math.max(peak, 1e-9), 2.5) * MAX_PEAK * 32767, length = channels[0].length;
  const header = new DataView(new ArrayBuffer(44)), size = length * 4;
  const text = (/** @type {number} */ at, /** @type {string} */ word) =>
    [...word].forEach((letter, index) => header.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, 36 + size, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true);
  header.setUint16(22, 2, true);
  header.setUint32(24, RATE, true);
  header.setUint32(28, RATE * 4, true);
  header.setUint16(32, 4, true);
  header.setUint16(34, 16, true);
  text(36, "data");
  header.setUint32(40, size, true);
  const frames = new Int16Array(length * 2);
  for (let index = 0; index < length; index++) {
    frames[index * 2] = channels[0][index] * gain;
    frames[index * 2 + 1] = channels[1][index] * gain;
  }
  return new Blob([header, frames], { type: "audio/wav" });
}
