/** Draws the piano roll: the sheet, what sounds, where the music is, and the keys at the side. */

import { DRUMS } from "./instruments.js";
import { drawKeys, keyOf } from "./keys.js";
import { Palette } from "./palette.js";
import { isHeard } from "./piece.js";
import { Sheet } from "./sheet.js";
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

/** Short notes are bright for so long. */
const MIN_LIT_SECONDS = 0.12;

export class Roll {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.view = new View();
    this.palette = new Palette(canvas);
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.brush = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    this.sheet = new Sheet(this.view, this.palette);
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

  /** Let new notes glow for a moment. @param {Iterable<Note>} notes */
  greet(notes) {
    if (!this.still.matches) this.sheet.greet(notes);
  }

  /**
   * Show a scene. While nothing but the position changes, the sheet is not drawn again.
   * @param {Scene} scene
   * @param {boolean} changed whether more has changed
   */
  draw(scene, changed) {
    const { brush, palette, sheet } = this;
    if (changed || !sheet.holds) sheet.draw(scene);
    brush.setTransform(1, 0, 0, 1, 0, 0);
    brush.drawImage(sheet.canvas, -Math.round(sheet.shift * devicePixelRatio), 0);
    brush.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    /** @type {Map<string, string>} */
    const lit = new Map();
    for (const note of soundingIn(scene)) {
      this.#light(note);
      lit.set(keyOf(note.pitch, note.instrument === DRUMS), palette.instrument(note.instrument));
    }
    for (const pitch of scene.pressed) lit.set(keyOf(pitch, false), palette.colours.accent);
    this.#playhead(scene);
    drawKeys(brush, this.view, palette, lit);
  }

  /** @param {Note} note */
  #light(note) {
    const { brush, view, palette } = this;
    brush.fillStyle = brush.strokeStyle = palette.instrument(note.instrument, 1);
    brush.lineWidth = 1;
    view.trace(brush, note);
    brush.fill();
    brush.stroke();
  }

  /** @param {Scene} scene */
  #playhead({ position }) {
    const { brush, view, palette: { colours } } = this, x = view.x(position);
    brush.fillStyle = colours.ink;
    brush.fillRect(x - 0.75, RULER_HEIGHT - 6, 1.5, view.height);
    brush.beginPath();
    brush.moveTo(x - 6, RULER_HEIGHT - 12);
    brush.lineTo(x + 6, RULER_HEIGHT - 12);
    brush.lineTo(x, RULER_HEIGHT - 1);
    brush.fill();
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

/** @param {Scene} scene @returns {Note[]} what is seen and heard now */
function soundingIn({ notes, mixer, position, playing }) {
  const sounding = [];
  for (const note of playing ? notes : []) {
    if (note.onset > position) break;
    if (position >= note.onset + Math.max(note.duration, MIN_LIT_SECONDS)) continue;
    if (isHeard(mixer, note.instrument) && !mixer[note.instrument]?.hidden) sounding.push(note);
  }
  return sounding;
}
