/** Turns what a pointer does on the roll into what it means: seek, select a span, edit notes, press keys. */

import { DRUMS } from "./instruments.js";
import { RULER_HEIGHT } from "./view.js";

/**
 * @typedef {import("./piece.js").Note} Note
 * @typedef {import("./roll.js").Roll} Roll
 *
 * @typedef {object} Actions what the page can do
 * @property {() => import("./roll.js").Scene} scene
 * @property {() => "span" | "edit"} tool
 * @property {(second: number, edits: boolean) => number} snap to the nearest line of the grid
 * @property {(second: number, edits: boolean) => [number, number]} around the lines before and after
 * @property {(second: number) => void} seek
 * @property {(span: [number, number] | undefined) => void} setSpan
 * @property {(notes: Iterable<Note>) => void} select
 * @property {(seconds: number, semitones: number, done: boolean) => void} move what is selected
 * @property {(seconds: number, done: boolean) => void} stretch what is selected
 * @property {(second: number, pitch: number, drum: boolean) => void} addNote and select it
 * @property {() => void} finishNote makes it a step of the history
 * @property {(frame: import("./roll.js").Scene["frame"]) => void} setFrame
 * @property {(pitch: number, drum: boolean) => Promise<() => void>} strike returns what ends it
 * @property {() => void} redraw
 *
 * @typedef {object} Drag
 * @property {(event: PointerEvent) => void} move
 * @property {(event: PointerEvent, moved: boolean) => void} end
 * @property {(event: PointerEvent, moved: boolean) => void} [cancel] where the browser takes a finger to scroll the page
 */

const CLICK_PIXELS = 4;
const EDGE_PIXELS = 7;

export class Gestures {
  /** @param {Roll} roll @param {Actions} actions */
  constructor(roll, actions) {
    this.roll = roll;
    this.actions = actions;
    /** @type {Drag | undefined} */
    this.drag = undefined;
    this.from = { x: 0, y: 0 };
    this.moved = false;
    /** Fingers on the roll; two of them zoom and scroll. @type {Map<number, number>} */
    this.fingers = new Map();
    const { canvas } = roll;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event, this.drag?.end));
    canvas.addEventListener("pointercancel", (event) => this.#up(event, this.drag?.cancel ?? this.drag?.end));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button) return;
    const { canvas } = this.roll;
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, event.offsetX);
    this.from = { x: event.offsetX, y: event.offsetY };
    this.moved = false;
    this.drag = this.fingers.size > 1 ? this.#pinch() : this.#begin(event);
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const { offsetX: x, offsetY: y } = event;
    if (!this.drag) {
      this.roll.canvas.style.cursor = this.#cursor(x, y);
      return;
    }
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, x);
    this.moved ||= Math.hypot(x - this.from.x, y - this.from.y) > CLICK_PIXELS;
    if (this.moved) this.drag.move(event);
  }

  /** @param {PointerEvent} event @param {Drag["end"]} [end] */
  #up(event, end) {
    this.fingers.delete(event.pointerId);
    end?.(event, this.moved);
    this.drag = undefined;
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    const { view } = this.roll;
    if (event.ctrlKey || event.metaKey) view.zoom(Math.exp(-event.deltaY / 300), view.second(event.offsetX));
    else if (event.deltaX || event.shiftKey) view.scroll((event.deltaX || event.deltaY) / view.perSecond);
    else return;
    event.preventDefault();
    this.actions.redraw();
  }

  /** @param {PointerEvent} event @returns {Drag} */
  #begin(event) {
    const { x, y } = this.from, { keysWidth } = this.roll.view;
    if (y < RULER_HEIGHT) return this.#scrub();
    if (x < keysWidth) return this.#keys();
    return this.actions.tool() === "edit" ? this.#edit(event) : this.#span();
  }

  /** Two fingers. @returns {Drag} */
  #pinch() {
    const { view } = this.roll;
    const places = () => [...this.fingers.values()].sort((a, b) => a - b);
    let [left, right] = places();
    return {
      move: () => {
        const [newLeft, newRight] = places();
        if (newRight === undefined) return;
        view.scroll((left + right - newLeft - newRight) / 2 / view.perSecond);
        view.zoom(Math.max(20, newRight - newLeft) / Math.max(20, right - left), view.second((newLeft + newRight) / 2));
        [left, right] = [newLeft, newRight];
        this.actions.redraw();
      },
      end: () => {},
    };
  }

  /** @returns {Drag} */
  #scrub() {
    const seek = (/** @type {number} */ x) => this.actions.seek(this.roll.view.second(x));
    seek(this.from.x);
    return { move: (event) => seek(event.offsetX), end: () => {} };
  }

  /** @returns {Drag} */
  #keys() {
    const { view } = this.roll;
    let { pitch, drum } = view.rowAt(this.from.y), ending = this.actions.strike(pitch, drum);
    const end = () => ending.then((stop) => stop());
    return {
      move: ({ offsetY }) => {
        const row = view.rowAt(offsetY);
        if (row.pitch === pitch && row.drum === drum) return;
        end();
        ({ pitch, drum } = row);
        ending = this.actions.strike(pitch, drum);
      },
      end,
    };
  }

  /** @returns {Drag} selects a span; a click seeks */
  #span() {
    const { view } = this.roll, { actions } = this, { span } = actions.scene();
    let anchor = actions.snap(view.second(this.from.x), false);
    const raw = view.second(this.from.x);
    // Near an edge of the span, that edge is moved.
    if (span) {
      const near = span.findIndex((edge) => Math.abs(view.x(edge) - this.from.x) < EDGE_PIXELS);
      if (near >= 0) anchor = span[1 - near];
    }
    const grown = (/** @type {PointerEvent} */ event) => {
      const snap = (/** @type {number} */ second) => event.altKey ? second : actions.snap(second, false);
      const here = view.second(Math.max(view.keysWidth, event.offsetX)), start = event.altKey ? raw : anchor;
      let [from, to] = [start, snap(here)].sort((a, b) => a - b);
      if (to - from < 0.1) {
        [from, to] = here >= start ? [from, actions.around(from + 0.01, false)[1]] : actions.around(to - 0.01, false);
      }
      actions.setSpan([Math.max(0, from), Math.min(to, Math.max(view.length, from + 0.1))]);
    };
    return {
      move: grown,
      end: (event, moved) => {
        if (moved) return grown(event);
        const second = view.second(event.offsetX);
        if (span && (second < span[0] || second > span[1])) actions.setSpan(undefined);
        actions.seek(second);
      },
      cancel: () => actions.setSpan(span && [...span]),
    };
  }

  /** @param {PointerEvent} event @returns {Drag} */
  #edit(event) {
    const { view } = this.roll, { actions } = this, scene = actions.scene(), { x, y } = this.from;
    const note = this.roll.noteAt(scene, x, y);
    if (event.shiftKey) return note ? this.#toggle(note) : this.#marquee();
    if (!note) {
      const { pitch, drum } = view.rowAt(y);
      actions.addNote(actions.around(view.second(x), true)[0], pitch, drum);
      const { move, end } = this.#stretch();
      return { move, end: (to, moved) => moved ? end(to, moved) : actions.finishNote() };
    }
    if (!scene.selected.has(note)) actions.select([note]);
    if (this.#onEdge(note, x)) return this.#stretch();
    const { pitch } = note;
    const change = (/** @type {PointerEvent} */ { offsetX, offsetY, altKey }) => {
      const to = note.onset + (offsetX - x) / view.perSecond,
        seconds = (altKey ? to : actions.snap(to, true)) - note.onset;
      const row = view.rowAt(offsetY);
      return /** @type {[number, number]} */ ([seconds, note.instrument === DRUMS || row.drum ? 0 : row.pitch - pitch]);
    };
    return {
      move: (to) => actions.move(...change(to), false),
      end: (to, moved) => {
        if (moved) actions.move(...change(to), true);
        else actions.select([note]);
      },
    };
  }

  /** @returns {Drag} */
  #stretch() {
    const { x } = this.from,
      seconds = (/** @type {PointerEvent} */ event) => (event.offsetX - x) / this.roll.view.perSecond;
    return {
      move: (event) => this.actions.stretch(seconds(event), false),
      end: (event, moved) => moved && this.actions.stretch(seconds(event), true),
    };
  }

  /** @param {Note} note @returns {Drag} */
  #toggle(note) {
    const selected = new Set(this.actions.scene().selected);
    if (!selected.delete(note)) selected.add(note);
    this.actions.select(selected);
    return { move: () => {}, end: () => {} };
  }

  /** @returns {Drag} */
  #marquee() {
    const { view } = this.roll, { x, y } = this.from, { notes } = this.actions.scene();
    return {
      move: ({ offsetX, offsetY }) => {
        const frame = {
          left: Math.min(x, offsetX),
          right: Math.max(x, offsetX),
          top: Math.min(y, offsetY),
          bottom: Math.max(y, offsetY),
        };
        this.actions.setFrame(frame);
        this.actions.select(notes.filter((note) => {
          const top = view.y(note);
          return view.x(note.onset + note.duration) > frame.left && view.x(note.onset) < frame.right &&
            top + view.row > frame.top && top < frame.bottom;
        }));
      },
      end: () => this.actions.setFrame(undefined),
    };
  }

  /** @param {Note} note @param {number} x */
  #onEdge(note, x) {
    const { view } = this.roll, end = view.x(note.onset + note.duration), wide = end - view.x(note.onset);
    return note.instrument !== DRUMS && x > end - Math.min(EDGE_PIXELS, wide / 3);
  }

  /** @param {number} x @param {number} y */
  #cursor(x, y) {
    const { view } = this.roll, scene = this.actions.scene();
    if (y < RULER_HEIGHT) return "pointer";
    if (x < view.keysWidth) return "pointer";
    if (this.actions.tool() === "edit") {
      const note = this.roll.noteAt(scene, x, y);
      if (!note) return "copy";
      return this.#onEdge(note, x) ? "ew-resize" : "move";
    }
    return scene.span?.some((edge) => Math.abs(view.x(edge) - x) < EDGE_PIXELS) ? "ew-resize" : "text";
  }
}
