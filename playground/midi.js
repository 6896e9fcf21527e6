/** Reads and writes MIDI files: notes with their instruments, tempo and metre. */

import { DRUMS, instrumentName } from "./instruments.js";
import { sorted } from "./piece.js";
import { steady } from "./timing.js";

/**
 * @typedef {import("./piece.js").Note} Note
 * @typedef {import("./timing.js").Timing} Timing
 *
 * @typedef {object} Message
 * @property {number} tick
 * @property {number} status 0xff for meta messages, whose kind is data[0]
 * @property {Uint8Array} data
 * @property {number} port
 */

const TICKS_PER_QUARTER = 960;
const DRUM_CHANNEL = 9;
const META = 0xff, TEMPO = 0x51, METRE = 0x58, END = 0x2f, PORT = 0x21, NAME = 0x03;

/**
 * Read a MIDI file, also one in a RIFF (.rmi) or with lyrics (.kar).
 * @param {Uint8Array} file
 * @returns {{notes: Note[], timing: Timing, isCut: boolean}} and whether it ends in the middle of a track
 * @throws {Error} if it is none
 */
export function readMidi(file) {
  const start = find(file, "MThd");
  if (start < 0) throw new Error("this is no MIDI file: it has no header MThd");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const division = view.getInt16(start + 12);
  /** @type {Message[]} */
  const messages = [];
  let at = start + 8 + view.getUint32(start + 4), isCut = false;
  while (at + 8 <= file.length) {
    const end = at + 8 + view.getUint32(at + 4);
    isCut = end > file.length;
    if (String.fromCharCode(...file.subarray(at, at + 4)) === "MTrk") readTrack(file.subarray(at + 8, end), messages);
    at = end;
  }
  messages.sort((a, b) => a.tick - b.tick);
  const { seconds, tempos } = tempoMap(messages, division);
  return { notes: readNotes(messages, seconds), timing: { tempos, metres: readMetres(messages, seconds) }, isCut };
}

/** @param {Uint8Array} file @param {string} word @returns {number} where it first stands, or -1 */
function find(file, word) {
  const codes = [...word].map((letter) => letter.charCodeAt(0));
  for (let at = 0; at + 14 <= file.length; at++) if (codes.every((code, index) => file[at + index] === code)) return at;
  return -1;
}

/** @param {Uint8Array} track @param {Message[]} messages to which its own are added */
function readTrack(track, messages) {
  let at = 0, tick = 0, status = 0, port = 0;
  const varying = () => {
    let value = 0;
    while (at < track.length) {
      const byte = track[at++];
      value = value * 128 + (byte & 127);
      if (byte < 128) break;
    }
    return value;
  };
  while (at < track.length) {
    tick += varying();
    if (track[at] >= 0x80) status = track[at++];
    if (status === META) {
      const kind = track[at++], length = varying(), data = track.subarray(at, at + length);
      at += length;
      if (kind === PORT) port = data[0];
      else if (kind === TEMPO || kind === METRE) {
        messages.push({ tick, status, data: Uint8Array.of(kind, ...data), port });
      } else if (kind === END) return;
    } else if (status >= 0xf0) at += varying();
    else {
      const length = (status & 0xe0) === 0xc0 ? 1 : 2;
      messages.push({ tick, status, data: track.subarray(at, at + length), port });
      at += length;
    }
  }
}

/**
 * @param {Message[]} messages by tick
 * @param {number} division of the header
 * @returns {{seconds: (tick: number) => number, tempos: import("./timing.js").Tempo[]}}
 */
function tempoMap(messages, division) {
  if (division < 0) {
    const perSecond = -(division >> 8) * (division & 255);
    return { seconds: (tick) => tick / perSecond, tempos: [{ second: 0, bpm: 120 }] };
  }
  const changes = [{ tick: 0, second: 0, bpm: 120 }];
  for (const { tick, status, data } of messages) {
    if (status !== META || data[0] !== TEMPO) continue;
    const last = changes[changes.length - 1], bpm = 60e6 / ((data[1] << 16 | data[2] << 8 | data[3]) || 500_000);
    const change = { tick, second: last.second + (tick - last.tick) / division * 60 / last.bpm, bpm };
    if (tick === last.tick) changes.pop();
    changes.push(change);
  }
  let from = 0;
  const seconds = (/** @type {number} */ tick) => {
    if (tick < changes[from].tick) from = 0;
    while (from + 1 < changes.length && changes[from + 1].tick <= tick) from++;
    const { tick: start, second, bpm } = changes[from];
    return second + (tick - start) / division * 60 / bpm;
  };
  return { seconds, tempos: changes.map(({ second, bpm }) => ({ second, bpm })) };
}

/** @param {Message[]} messages @param {(tick: number) => number} seconds */
function readMetres(messages, seconds) {
  const metres = [...steady().metres];
  for (const { tick, status, data } of messages) {
    if (status !== META || data[0] !== METRE || !data[1]) continue;
    if (tick === 0) metres.length = 0;
    metres.push({ second: seconds(tick), numerator: data[1], denominator: 2 ** data[2] });
  }
  return metres;
}

/** @param {Message[]} messages by tick @param {(tick: number) => number} seconds @returns {Note[]} */
function readNotes(messages, seconds) {
  /** @type {Note[]} */
  const notes = [];
  /** @type {Map<string, Note[]>} */
  const open = new Map();
  /** @type {Map<string, number>} */
  const programs = new Map();
  let last = 0;
  for (const { tick, status, data, port } of messages) {
    const kind = status & 0xf0, channel = `${port} ${status & 15}`, key = `${channel} ${data[0]}`;
    last = seconds(tick);
    if (kind === 0xc0) programs.set(channel, data[0] & 127);
    else if (kind === 0x90 && data[1]) {
      const instrument = (status & 15) === DRUM_CHANNEL ? DRUMS : programs.get(channel) ?? 0;
      const note = { onset: last, duration: 0, pitch: data[0] & 127, instrument, velocity: data[1] & 127 };
      open.set(key, [...(open.get(key) ?? []), note]);
      notes.push(note);
    } else if (kind === 0x80 || kind === 0x90) {
      const note = open.get(key)?.shift();
      if (note) note.duration = Math.max(0.01, last - note.onset);
    }
  }
  for (const note of notes) if (!note.duration) note.duration = Math.max(0.01, last - note.onset);
  return sorted(notes);
}

/**
 * Write a MIDI file of type 1: tempo and metre, then a track for each instrument.
 * @param {readonly Note[]} notes
 * @param {Timing} timing
 * @param {number} [end] where the file ends, in seconds, if that is after the last note
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function writeMidi(notes, timing, end = 0) {
  const ticks = ticksBy(timing);
  /** @type {[number, number[]][]} */
  const conductor = [];
  for (const { second, bpm } of timing.tempos) {
    const micros = Math.round(60e6 / bpm);
    conductor.push([ticks(second), [META, TEMPO, 3, micros >> 16 & 255, micros >> 8 & 255, micros & 255]]);
  }
  for (const { second, numerator, denominator } of timing.metres) {
    conductor.push([ticks(second), [META, METRE, 4, numerator, Math.log2(denominator), 24, 8]]);
  }
  const instruments = [...new Set(notes.map((note) => note.instrument))].sort((a, b) => a - b);
  const tracks = [
    conductor,
    ...instruments.map((instrument, index) => instrumentTrack(notes, instrument, index, ticks)),
  ];
  const header = [0, 1, tracks.length >> 8, tracks.length & 255, TICKS_PER_QUARTER >> 8, TICKS_PER_QUARTER & 255];
  return Uint8Array.from([...chunk("MThd", header), ...tracks.flatMap((track) => trackBytes(track, ticks(end)))]);
}

/**
 * @param {readonly Note[]} notes of all instruments
 * @param {number} instrument
 * @param {number} index of the instrument among those of the piece
 * @param {(second: number) => number} ticks
 * @returns {[number, number[]][]} messages with their ticks
 */
function instrumentTrack(notes, instrument, index, ticks) {
  // Fifteen channels are for melody; more instruments are on further ports.
  const channel = instrument === DRUMS ? DRUM_CHANNEL : index % 15 + (index % 15 >= DRUM_CHANNEL ? 1 : 0);
  const name = [...new TextEncoder().encode(instrumentName(instrument))];
  /** @type {[number, number[]][]} */
  const messages = [[0, [META, NAME, name.length, ...name]]];
  if (index >= 15 && instrument !== DRUMS) messages.push([0, [META, PORT, 1, Math.floor(index / 15)]]);
  if (instrument !== DRUMS) messages.push([0, [0xc0 | channel, instrument]]);
  for (const { onset, duration, pitch, velocity, instrument: own } of notes) {
    if (own !== instrument) continue;
    const on = ticks(onset), off = Math.max(on + 1, ticks(onset + duration));
    messages.push([on, [0x90 | channel, pitch, velocity]], [off, [0x80 | channel, pitch, 64]]);
  }
  return messages;
}

/** @param {Timing} timing @returns {(second: number) => number} */
function ticksBy({ tempos }) {
  const marks = [{ ...tempos[0], tick: 0 }];
  for (const tempo of tempos.slice(1)) {
    const last = marks[marks.length - 1];
    marks.push({ ...tempo, tick: last.tick + (tempo.second - last.second) * last.bpm / 60 * TICKS_PER_QUARTER });
  }
  return (second) => {
    const mark = marks.findLast((each) => each.second <= second + 1e-9) ?? marks[0];
    return Math.max(0, Math.round(mark.tick + (second - mark.second) * mark.bpm / 60 * TICKS_PER_QUARTER));
  };
}

/** @param {[number, number[]][]} messages @param {number} end in ticks @returns {number[]} */
function trackBytes(messages, end) {
  // At one tick, notes end before others begin, and everything else comes first.
  const rank = (/** @type {number[]} */ bytes) => (bytes[0] & 0xf0) === 0x90 ? 2 : (bytes[0] & 0xf0) === 0x80 ? 1 : 0;
  const ordered = [...messages].sort(([a, left], [b, right]) => a - b || rank(left) - rank(right));
  /** @type {number[]} */
  const bytes = [];
  let last = 0;
  for (const [tick, message] of ordered) {
    bytes.push(...varying(tick - last), ...message);
    last = tick;
  }
  return chunk("MTrk", [...bytes, ...varying(Math.max(0, end - last)), META, END, 0]);
}

/** @param {number} value @returns {number[]} */
function varying(value) {
  const bytes = [value & 127];
  while (value > 127) {
    value = Math.floor(value / 128);
    bytes.unshift(value & 127 | 128);
  }
  return bytes;
}

/** @param {string} name @param {number[]} bytes @returns {number[]} */
function chunk(name, bytes) {
  const length = bytes.length;
  const size = [length >>> 24, length >> 16 & 255, length >> 8 & 255, length & 255];
  return [...[...name].map((letter) => letter.charCodeAt(0)), ...size, ...bytes];
}

/** @param {Uint8Array} bytes @returns {string} in base64 */
export function toBase64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
