/** Records what is played on the computer's keyboard or on a MIDI keyboard. */

import { MIN_DURATION } from "./editing.js";

/**
 * @typedef {import("./piece.js").Note} Note
 *
 * @typedef {object} Held
 * @property {number} onset
 * @property {number} velocity
 * @property {Promise<() => void>} ending
 */

/** Two rows of the keyboard, by the places of the keys, whatever is printed on them: white keys and black ones. */
const KEYS = [
  "KeyA",
  "KeyW",
  "KeyS",
  "KeyE",
  "KeyD",
  "KeyF",
  "KeyT",
  "KeyG",
  "KeyY",
  "KeyH",
  "KeyU",
  "KeyJ",
  "KeyK",
  "KeyO",
  "KeyL",
  "KeyP",
  "Semicolon",
];
const MIDDLE_C = 60;
const VELOCITY = 88;

export class Recorder extends EventTarget {
  /**
   * @param {import("./player.js").Player} player
   * @param {() => number} instrument that is played
   */
  constructor(player, instrument) {
    super();
    this.player = player;
    this.instrument = instrument;
    this.on = false;
    /** @type {Note[]} */
    this.notes = [];
    /** @type {Map<number, Held>} */
    this.held = new Map();
    /** @type {MIDIAccess | undefined} */
    this.midi = undefined;
  }

  /** Begin; the music plays on while notes are recorded. A MIDI keyboard is used if the browser lets it. */
  async start() {
    this.on = true;
    this.notes = [];
    this.player.endless = true;
    await this.player.play();
    this.midi ??= await navigator.requestMIDIAccess?.().catch(() => undefined);
    if (!this.midi) return;
    this.midi.onstatechange = () => this.#listen();
    this.#listen();
  }

  /** Listen to every MIDI keyboard that is there now. */
  #listen() {
    for (const input of this.midi?.inputs.values() ?? []) {
      input.onmidimessage = ({ data }) => data && this.#message(data);
    }
  }

  /** End. @returns {Note[]} what was played */
  stop() {
    for (const pitch of [...this.held.keys()]) this.release(pitch);
    this.on = false;
    this.player.endless = false;
    return this.notes;
  }

  /** Take a key of the computer's keyboard. @param {KeyboardEvent} event @returns {boolean} whether it is one of ours */
  key(event) {
    const index = KEYS.indexOf(event.code);
    if (!this.on || index < 0 || event.ctrlKey || event.metaKey || event.altKey) return false;
    const pitch = MIDDLE_C + index;
    if (event.type === "keyup") this.release(pitch);
    else if (!event.repeat) this.press(pitch, VELOCITY);
    return true;
  }

  /** @param {number} pitch @param {number} velocity */
  press(pitch, velocity) {
    this.release(pitch);
    const ending = this.player.strike(pitch, this.instrument(), velocity);
    this.held.set(pitch, { onset: this.player.position, velocity, ending });
    this.dispatchEvent(new Event("change"));
  }

  /** @param {number} pitch */
  release(pitch) {
    const held = this.held.get(pitch);
    if (!held) return;
    this.held.delete(pitch);
    held.ending.then((stop) => stop());
    const duration = Math.max(MIN_DURATION, this.player.position - held.onset);
    this.notes = [...this.notes, {
      onset: held.onset,
      duration,
      pitch,
      instrument: this.instrument(),
      velocity: held.velocity,
    }];
    this.dispatchEvent(new Event("change"));
  }

  /** @param {Uint8Array} data of a MIDI message */
  #message([status, pitch, velocity]) {
    if (!this.on) return;
    if ((status & 0xf0) === 0x90 && velocity) this.press(pitch, velocity);
    else if ((status & 0xf0) === 0x80 || (status & 0xf0) === 0x90) this.release(pitch);
  }
}
