/** Draws the piano roll. */

import { DRUMS, instrumentColour, pitchName } from "./instruments.js";
import { isHeard } from "./piece.js";
import { barsUntil } from "./timing.js";
import { RULER_HEIGHT, View } from "./view.js";

/**
 * @typedef {import("./piece.js").Note} Note
 *
 * @typedef {object} Scene what there is to draw
 * @property {readonly Note[]} notes
 * @property {import("./piece.js").Piece["mixer"]} mixer
 * @property {import("./timing.js").Timing} timing
 * @property {number} position
 * @property {boolean} playing
 * @property {readonly [number, number] | undefined} span
 * @property {boolean} loop
 * @property {ReadonlySet<Note>} selected
 * @property {readonly [number, number] | undefined} unwritten what a stream has still to decide
 * @property {readonly number[]} pressed keys
 * @property {{left: number, top: number, right: number, bottom: number} | undefined} frame that selects notes
 */

const DRUM_NAMES = new Map(
  /** @type {[number, string][]} */ ([
    [35, "Kick"],
    [36, "Kick"],
    [37, "Stick"],
    [38, "Snare"],
    [39, "Clap"],
    [40, "Snare"],
    [41, "Tom"],
    [42, "Hi-hat"],
    [43, "Tom"],
    [44, "Pedal"],
    [45, "Tom"],
    [46, "Open"],
    [47, "Tom"],
    [48, "Tom"],
    [49, "Crash"],
    [50, "Tom"],
    [51, "Ride"],
    [52, "China"],
    [53, "Bell"],
    [54, "Tamb."],
    [55, "Splash"],
    [56, "Cowbell"],
    [57, "Crash"],
    [59, "Ride"],
    [70, "Maracas"],
  ]),
);
const BLACK = new Set([1, 3, 6, 8, 10]);
const BORN_MS = 420;

export class Roll {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.view = new View();
    this.brush = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    /** When notes were first drawn while music was written. @type {WeakMap<Note, number>} */
    this.born = new WeakMap();
    /** @type {Record<string, string>} */
    this.colours = {};
    this.readColours();
    this.dark.addEventListener("change", () => this.readColours());
  }

  /** Take the colours from the style sheet. */
  readColours() {
    const style = getComputedStyle(this.canvas);
    for (
      const name of [
        "paper",
        "black-row",
        "bar",
        "beat",
        "ink",
        "faint",
        "accent",
        "key",
        "key-ink",
        "black-key",
        "ruler",
      ]
    ) {
      this.colours[name] = style.getPropertyValue(`--roll-${name}`);
    }
    this.font = style.fontFamily;
  }

  /** Fit the canvas to its place on the page. @returns {boolean} whether it has changed */
  resize() {
    const { canvas, view } = this, scale = devicePixelRatio, { clientWidth: width, clientHeight: height } = canvas;
    if (view.width === width && view.height === height && canvas.width === Math.round(width * scale)) return false;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    view.width = width;
    view.height = height;
    view.keysWidth = width < 600 ? 40 : 52;
    return true;
  }

  /** @param {Scene} scene */
  draw(scene) {
    const { brush, view, colours } = this;
    brush.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    brush.fillStyle = colours.paper;
    brush.fillRect(0, 0, view.width, view.height);
    this.#rows();
    this.#lines(scene);
    this.#unwritten(scene);
    this.#span(scene);
    this.#notes(scene);
    this.#frame(scene);
    this.#ruler(scene);
    this.#playhead(scene);
    this.#keys(scene);
  }

  #rows() {
    const { brush, view, colours } = this;
    brush.fillStyle = colours["black-row"];
    for (let pitch = view.low; pitch <= view.high; pitch++) {
      if (BLACK.has(pitch % 12)) brush.fillRect(0, view.y({ pitch, instrument: 0 }), view.width, view.row);
    }
    if (!view.kit.length) return;
    view.kit.forEach((pitch, index) => {
      if (index % 2) brush.fillRect(0, view.y({ pitch, instrument: DRUMS }), view.width, view.drumRow);
    });
    brush.fillStyle = colours.bar;
    brush.fillRect(0, view.floor - 0.5, view.width, 1);
  }

  /** @param {Scene} scene */
  #lines({ timing }) {
    const { brush, view, colours } = this, end = view.start + view.seconds;
    for (const bar of barsUntil(timing, end)) {
      if (bar.end < view.start || bar.start > end) continue;
      const wide = (bar.end - bar.start) * view.perSecond;
      brush.fillStyle = colours.beat;
      if (wide > 40) {
        for (const beat of bar.beats.slice(1)) brush.fillRect(view.x(beat), RULER_HEIGHT, 1, view.height);
      }
      brush.fillStyle = colours.bar;
      if (wide > 6) brush.fillRect(view.x(bar.start), RULER_HEIGHT, 1, view.height);
    }
  }

  /** @param {Scene} scene */
  #unwritten({ unwritten }) {
    if (!unwritten) return;
    const { brush, view, colours } = this, left = view.x(unwritten[0]), right = view.x(unwritten[1]);
    if (right <= left) return;
    brush.save();
    brush.globalAlpha = 0.07;
    brush.fillStyle = colours.accent;
    brush.fillRect(left, RULER_HEIGHT, right - left, view.height);
    brush.globalAlpha = 0.9;
    brush.fillRect(left - 1, RULER_HEIGHT, 2, view.height);
    brush.restore();
  }

  /** @param {Scene} scene */
  #span({ span, loop }) {
    if (!span) return;
    const { brush, view, colours } = this, left = view.x(span[0]), width = view.x(span[1]) - left;
    brush.save();
    brush.fillStyle = colours.accent;
    brush.globalAlpha = 0.14;
    brush.fillRect(left, 0, width, view.height);
    brush.globalAlpha = 1;
    brush.fillRect(left - 1, 0, 2, view.height);
    brush.fillRect(left + width - 1, 0, 2, view.height);
    brush.fillRect(left, 0, width, loop ? 6 : 3);
    brush.restore();
  }

  /** @param {Scene} scene */
  #notes(scene) {
    const { brush, view } = this, end = view.start + view.seconds, now = performance.now();
    brush.save();
    brush.beginPath();
    brush.rect(view.keysWidth, RULER_HEIGHT, view.width, view.height);
    brush.clip();
    for (const note of scene.notes) {
      if (note.onset > end) break;
      if (note.onset + note.duration < view.start || scene.mixer[note.instrument]?.hidden) continue;
      this.#note(note, scene, now);
    }
    brush.restore();
  }

  /** @param {Note} note @param {Scene} scene @param {number} now */
  #note(note, { mixer, position, playing, selected }, now) {
    const { brush, view, colours } = this, drum = note.instrument === DRUMS;
    const row = drum ? view.drumRow : view.row, left = view.x(note.onset), top = view.y(note);
    const length = drum ? Math.min(note.duration, 0.12) : note.duration;
    const width = Math.max(3, length * view.perSecond - 1), height = Math.max(2, row - (row > 5 ? 1.5 : 0.5));
    const sounds = playing && note.onset <= position && position < note.onset + Math.max(note.duration, 0.12);
    const age = this.still.matches ? 1 : Math.min(1, (now - (this.born.get(note) ?? -1e9)) / BORN_MS);
    const glow = Math.max(sounds ? 1 : 0, 1 - age);
    brush.globalAlpha = isHeard(mixer, note.instrument) ? sounds ? 1 : 0.55 + 0.45 * note.velocity / 127 : 0.22;
    brush.fillStyle = instrumentColour(note.instrument, this.dark.matches, glow);
    brush.beginPath();
    brush.roundRect(left, top + 0.5, width, height, Math.min(3, height / 3, width / 2));
    brush.fill();
    if (sounds || selected.has(note)) {
      brush.lineWidth = selected.has(note) ? 2 : 1;
      brush.strokeStyle = selected.has(note) ? colours.ink : instrumentColour(note.instrument, this.dark.matches, 1);
      brush.stroke();
    }
  }

  /** @param {Scene} scene */
  #frame({ frame }) {
    if (!frame) return;
    this.brush.strokeStyle = this.colours.accent;
    this.brush.lineWidth = 1;
    this.brush.strokeRect(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
  }

  /** @param {Scene} scene */
  #ruler({ timing, span }) {
    const { brush, view, colours } = this, end = view.start + view.seconds;
    brush.fillStyle = colours.ruler;
    brush.fillRect(0, 0, view.width, RULER_HEIGHT);
    if (span) {
      brush.fillStyle = colours.accent;
      brush.fillRect(view.x(span[0]), 0, (span[1] - span[0]) * view.perSecond, RULER_HEIGHT);
    }
    brush.fillStyle = colours.bar;
    brush.fillRect(0, RULER_HEIGHT - 1, view.width, 1);
    brush.font = `11px ${this.font}`;
    brush.textBaseline = "middle";
    let free = -Infinity;
    for (const bar of barsUntil(timing, end)) {
      const left = view.x(bar.start);
      if (bar.end < view.start || left < free || bar.start > end) continue;
      brush.fillStyle = colours.bar;
      brush.fillRect(left, RULER_HEIGHT - 9, 1, 9);
      const inside = span && bar.start >= span[0] - 1e-3 && bar.start < span[1] - 1e-3;
      brush.fillStyle = inside ? colours.paper : colours.faint;
      brush.fillText(String(bar.number), left + 5, RULER_HEIGHT / 2);
      free = left + 30;
    }
  }

  /** @param {Scene} scene */
  #playhead({ position }) {
    const { brush, view, colours } = this, x = view.x(position);
    brush.fillStyle = colours.ink;
    brush.fillRect(x - 0.75, RULER_HEIGHT - 6, 1.5, view.height);
    brush.beginPath();
    brush.moveTo(x - 6, RULER_HEIGHT - 12);
    brush.lineTo(x + 6, RULER_HEIGHT - 12);
    brush.lineTo(x, RULER_HEIGHT - 1);
    brush.fill();
  }

  /** @param {Scene} scene */
  #keys({ notes, position, playing, pressed }) {
    const { brush, view, colours } = this, wide = view.keysWidth;
    /** @type {Map<string, string>} */
    const lit = new Map();
    for (const note of playing ? notes : []) {
      if (note.onset > position) break;
      if (position > note.onset + Math.max(note.duration, 0.12)) continue;
      lit.set(`${note.instrument === DRUMS} ${note.pitch}`, instrumentColour(note.instrument, this.dark.matches));
    }
    pressed.forEach((pitch) => lit.set(`false ${pitch}`, colours.accent));
    brush.fillStyle = colours.key;
    brush.fillRect(0, RULER_HEIGHT, wide, view.height);
    brush.font = `10px ${this.font}`;
    for (let pitch = view.low; pitch <= view.high; pitch++) {
      const top = view.y({ pitch, instrument: 0 }), black = BLACK.has(pitch % 12), colour = lit.get(`false ${pitch}`);
      brush.fillStyle = colour ?? colours["black-key"];
      if (colour || black) brush.fillRect(0, top, black ? wide * 0.5 : wide, view.row);
      if (pitch % 12 === 0 || pitch % 12 === 5) brush.fillRect(0, top + view.row - 0.5, wide, 0.5);
      if (pitch % 12 === 0 && view.row > 1.5) {
        brush.fillStyle = colours["key-ink"];
        brush.fillText(pitchName(pitch), wide - 20, top + view.row / 2 + 0.5);
      }
    }
    brush.fillStyle = colours.ruler;
    brush.fillRect(0, view.floor, wide, view.height);
    brush.font = `${Math.min(10, view.drumRow)}px ${this.font}`;
    for (const pitch of view.kit) {
      const top = view.y({ pitch, instrument: DRUMS });
      brush.fillStyle = lit.has(`true ${pitch}`) ? colours.ink : colours.faint;
      if (view.drumRow > 7) {
        brush.fillText(DRUM_NAMES.get(pitch) ?? pitchName(pitch), 5, top + view.drumRow / 2 + 0.5);
      }
    }
    brush.fillStyle = colours.ruler;
    brush.fillRect(0, 0, wide, RULER_HEIGHT - 1);
    brush.fillStyle = colours.bar;
    brush.fillRect(wide - 1, 0, 1, view.height);
  }

  /**
   * @param {Scene} scene
   * @param {number} x
   * @param {number} y
   * @returns {Note | undefined} the note that is drawn there, the topmost one
   */
  noteAt({ notes, mixer }, x, y) {
    const { view } = this, second = view.second(x), { pitch, drum } = view.rowAt(y), slack = 3 / view.perSecond;
    return notes.findLast((note) =>
      note.pitch === pitch && (note.instrument === DRUMS) === drum && !mixer[note.instrument]?.hidden &&
      note.onset - slack <= second && second <= note.onset + Math.max(note.duration, 4 / view.perSecond) + slack
    );
  }
}
