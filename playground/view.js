/** What part of the music the roll shows: between places on the canvas and seconds, pitches, rows. */

import { DRUMS } from "./instruments.js";

/** @typedef {import("./piece.js").Note} Note */

export const RULER_HEIGHT = 28;
/** Pitch classes of black keys. */
export const BLACK = new Set([1, 3, 6, 8, 10]);
const MIN_ROWS = 26;
const MAX_DRUM_ROW = 15;
/** Drums are struck: how long they ring is not drawn. */
const MAX_DRUM_SECONDS = 0.12;
const DEFAULT_KIT = [36, 38, 42, 46, 49];
const MIN_SECONDS = 1.5;
const MARGIN_ROWS = 3;

export class View {
  constructor() {
    this.width = 0;
    this.height = 0;
    /** Width of the piano keys at the side. */
    this.keysWidth = 52;
    /** Seconds at the left edge. */
    this.start = 0;
    /** Seconds that are seen. */
    this.seconds = 16;
    /** Seconds that there are. */
    this.length = 16;
    this.low = 40;
    this.high = 84;
    /** Pitches of the drums that have a row, the lowest row first. @type {number[]} */
    this.kit = [];
  }

  get perSecond() {
    return (this.width - this.keysWidth) / this.seconds;
  }

  /** Height of the strip below, where the drums are. */
  get drumHeight() {
    return this.kit.length * this.drumRow;
  }

  get drumRow() {
    return this.kit.length ? Math.min(MAX_DRUM_ROW, (this.height - RULER_HEIGHT) * 0.36 / this.kit.length) : 0;
  }

  /** Where the strip of the drums begins, and melodies end. */
  get floor() {
    return this.height - this.drumHeight;
  }

  get row() {
    return (this.floor - RULER_HEIGHT) / (this.high - this.low + 1);
  }

  /** @param {number} second @returns {number} */
  x(second) {
    return this.keysWidth + (second - this.start) * this.perSecond;
  }

  /** @param {number} x @returns {number} seconds, never before the start */
  second(x) {
    return Math.max(0, this.start + (x - this.keysWidth) / this.perSecond);
  }

  /** @param {{pitch: number, instrument: number}} note @returns {number} the top of its row */
  y({ pitch, instrument }) {
    if (instrument === DRUMS) return this.height - (this.kit.indexOf(pitch) + 1) * this.drumRow;
    return RULER_HEIGHT + (this.high - pitch) * this.row;
  }

  /** Trace the outline of a note. @param {CanvasRenderingContext2D} brush @param {Note} note */
  trace(brush, note) {
    const drum = note.instrument === DRUMS, row = drum ? this.drumRow : this.row;
    const length = drum ? Math.min(note.duration, MAX_DRUM_SECONDS) : note.duration;
    const width = Math.max(3, length * this.perSecond - 1), height = Math.max(2, row - (row > 5 ? 1.5 : 0.5));
    brush.beginPath();
    brush.roundRect(this.x(note.onset), this.y(note) + 0.5, width, height, Math.min(3, height / 3, width / 2));
  }

  /** @param {number} y @returns {{pitch: number, drum: boolean}} whose row it is */
  rowAt(y) {
    if (this.kit.length && y >= this.floor) {
      const index = Math.min(this.kit.length - 1, Math.max(0, Math.floor((this.height - y) / this.drumRow)));
      return { pitch: this.kit[index], drum: true };
    }
    const pitch = this.high - Math.floor((y - RULER_HEIGHT) / this.row);
    return { pitch: Math.min(127, Math.max(0, pitch)), drum: false };
  }

  /**
   * Make room for notes. It only grows, so that nothing jumps while music is written, unless it is fitted.
   * @param {readonly Note[]} notes
   * @param {boolean} drums whether drums have rows although none plays
   * @param {boolean} fit whether it may shrink too
   */
  include(notes, drums, fit) {
    const pitches = notes.filter((note) => note.instrument !== DRUMS).map((note) => note.pitch);
    let low = Math.min(...pitches, 127) - MARGIN_ROWS, high = Math.max(...pitches, 0) + MARGIN_ROWS;
    if (!pitches.length) [low, high] = [48, 84];
    if (!fit) [low, high] = [Math.min(low, this.low), Math.max(high, this.high)];
    const missing = Math.max(0, MIN_ROWS - (high - low + 1));
    this.low = Math.max(0, low - Math.floor(missing / 2));
    this.high = Math.min(127, high + Math.ceil(missing / 2));
    const kit = new Set(notes.filter((note) => note.instrument === DRUMS).map((note) => note.pitch));
    if (drums) DEFAULT_KIT.forEach((pitch) => kit.add(pitch));
    this.kit = [...kit].sort((a, b) => a - b);
  }

  /** @param {number} seconds that are there */
  setLength(seconds) {
    this.length = seconds;
    this.scroll(0);
  }

  /** Show everything, as far as notes can still be told apart. */
  fit() {
    this.start = 0;
    this.seconds = Math.min(this.length, Math.max(8, (this.width - this.keysWidth) / 18));
  }

  /**
   * @param {number} factor above 1 shows less time, larger
   * @param {number} second that stays where it is
   */
  zoom(factor, second) {
    const share = (second - this.start) / this.seconds;
    this.seconds = Math.min(Math.max(this.seconds / factor, MIN_SECONDS), Math.max(this.length, MIN_SECONDS));
    this.start = second - share * this.seconds;
    this.scroll(0);
  }

  /** @param {number} seconds to go on */
  scroll(seconds) {
    this.start = Math.max(0, Math.min(this.start + seconds, this.length - this.seconds));
  }

  /**
   * @param {number} second that is to be seen, a third from the left once there is something to scroll
   * @param {boolean} [still] scroll page by page instead
   */
  follow(second, still) {
    const target = second - this.seconds * (still ? 0.03 : 0.35);
    if (second > this.start + this.seconds * 0.97 || second < this.start) this.start = target;
    else if (!still && target > this.start) this.start += Math.min(target - this.start, this.seconds * 0.02);
    this.scroll(0);
  }
}
