/** Draws what stands still while music plays: rows, bars, the span, the notes. */

import { DRUMS } from "./instruments.js";
import { isHeard } from "./piece.js";
import { barsUntil } from "./timing.js";
import { BLACK, RULER_HEIGHT } from "./view.js";

/**
 * @typedef {import("./piece.js").Note} Note
 * @typedef {import("./roll.js").Scene} Scene
 */

const BORN_MS = 420;

/** It is wider than the roll, which scrolls a good way before it must be drawn again. */
const MARGIN_SHARE = 0.5;

export class Sheet {
  /**
   * @param {import("./view.js").View} view
   * @param {import("./palette.js").Palette} palette
   */
  constructor(view, palette) {
    this.view = view;
    this.palette = palette;
    this.canvas = document.createElement("canvas");
    this.brush = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { alpha: false }));
    /** Seconds at its left edge. */
    this.start = 0;
    /** In pixels of the page. */
    this.width = 0;
    /** When notes came while music was written. @type {WeakMap<Note, number>} */
    this.born = new WeakMap();
    /** Some of them still glow. */
    this.fading = false;
  }

  /** Pixels of it that are left of the view. */
  get shift() {
    return (this.view.start - this.start) * this.view.perSecond;
  }

  /** Whether it need not be drawn again, if nothing has changed. */
  get holds() {
    return !this.fading && this.shift >= 0 && this.shift <= this.width - this.view.width;
  }

  /** @param {Iterable<Note>} notes that glow for a moment, if they are new */
  greet(notes) {
    const now = performance.now();
    for (const note of notes) if (!this.born.has(note)) this.born.set(note, now);
  }

  /** @param {Scene} scene */
  draw(scene) {
    const { canvas, brush, view } = this, scale = devicePixelRatio;
    this.start = view.start;
    this.width = Math.round(view.width * (1 + MARGIN_SHARE));
    const width = Math.round(this.width * scale), height = Math.round(view.height * scale);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    brush.setTransform(scale, 0, 0, scale, 0, 0);
    this.fading = false;
    brush.fillStyle = this.palette.colours.paper;
    brush.fillRect(0, 0, this.width, view.height);
    this.#rows();
    this.#lines(scene);
    this.#unwritten(scene);
    this.#span(scene);
    this.#notes(scene);
    this.#frame(scene);
    this.#ruler(scene);
  }

  /** Seconds at its right edge. */
  get #end() {
    return this.start + (this.width - this.view.keysWidth) / this.view.perSecond;
  }

  #rows() {
    const { brush, view, palette: { colours } } = this;
    brush.fillStyle = colours["black-row"];
    for (let pitch = view.low; pitch <= view.high; pitch++) {
      if (BLACK.has(pitch % 12)) brush.fillRect(0, view.y({ pitch, instrument: 0 }), this.width, view.row);
    }
    if (!view.kit.length) return;
    view.kit.forEach((pitch, index) => {
      if (index % 2) brush.fillRect(0, view.y({ pitch, instrument: DRUMS }), this.width, view.drumRow);
    });
    brush.fillStyle = colours.bar;
    brush.fillRect(0, view.floor - 0.5, this.width, 1);
  }

  /** @param {Scene} scene */
  #lines({ timing }) {
    const { brush, view, palette: { colours } } = this, end = this.#end;
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
    const { brush, view, palette: { colours } } = this, left = view.x(unwritten[0]), right = view.x(unwritten[1]);
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
    const { brush, view, palette: { colours } } = this, left = view.x(span[0]), width = view.x(span[1]) - left;
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
    const { brush, view } = this, end = this.#end, now = performance.now();
    brush.save();
    brush.beginPath();
    brush.rect(view.keysWidth, RULER_HEIGHT, this.width, view.height);
    brush.clip();
    for (const note of scene.notes) {
      if (note.onset > end) break;
      if (note.onset + note.duration < view.start || scene.mixer[note.instrument]?.hidden) continue;
      this.#note(note, scene, now);
    }
    brush.restore();
  }

  /** @param {Note} note @param {Scene} scene @param {number} now */
  #note(note, { mixer, selected }, now) {
    const { brush, palette } = this;
    const age = Math.min(1, (now - (this.born.get(note) ?? -Infinity)) / BORN_MS);
    if (age < 1) this.fading = true;
    brush.globalAlpha = isHeard(mixer, note.instrument) ? 0.55 + 0.45 * note.velocity / 127 : 0.22;
    brush.fillStyle = palette.instrument(note.instrument, 1 - age);
    this.view.trace(brush, note);
    brush.fill();
    if (!selected.has(note)) return;
    brush.lineWidth = 2;
    brush.strokeStyle = palette.colours.ink;
    brush.stroke();
  }

  /** @param {Scene} scene */
  #frame({ frame }) {
    if (!frame) return;
    this.brush.strokeStyle = this.palette.colours.accent;
    this.brush.lineWidth = 1;
    this.brush.strokeRect(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
  }

  /** @param {Scene} scene */
  #ruler({ timing, span }) {
    const { brush, view, palette: { colours } } = this, end = this.#end;
    brush.fillStyle = colours.ruler;
    brush.fillRect(0, 0, this.width, RULER_HEIGHT);
    if (span) {
      brush.fillStyle = colours.accent;
      brush.fillRect(view.x(span[0]), 0, (span[1] - span[0]) * view.perSecond, RULER_HEIGHT);
    }
    brush.fillStyle = colours.bar;
    brush.fillRect(0, RULER_HEIGHT - 1, this.width, 1);
    brush.font = `11px ${this.palette.font}`;
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
}
