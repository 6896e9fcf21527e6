/** The shortcuts: what each key does. The dialogue behind ? lists them. */

import { find } from "./dom.js";
import { noteText } from "./editor.js";
import { DRUMS } from "./instruments.js";
import { listenToKeys } from "./keyboard.js";
import { endOf, notesOf } from "./piece.js";
import { barAt, barsUntil, clockText, linesAround } from "./timing.js";

/** @typedef {import("./app.js").App} App */

/** @param {App} app */
export function bindKeys(app) {
  const { editor, player, history, display } = app;
  const edits = () => app.tool === "edit" && !app.work && !app.recorder.on;
  const arrow = (/** @type {number} */ beats, /** @type {boolean} */ shift) => {
    if (edits() && editor.selected.size) {
      return shift ? editor.stretch(beats * beatAt(app) / 4) : editor.move(beats * beatAt(app) / 4, 0);
    }
    const target = beatFrom(app, beats);
    if (shift) extend(app, target);
    player.seek(target);
  };
  const up = (/** @type {number} */ semitones) => edits() && editor.move(0, semitones);
  const step = (/** @type {number} */ direction) => {
    const note = edits() && editor.step(direction, player.position);
    if (note) app.say(`${noteText(note)}, ${clockText(note.onset)}`);
  };
  const tools = find("roll").querySelectorAll("[name=tool]");
  listenToKeys(display.roll.canvas, {
    before: (event) => app.recorder.key(event),
    anywhere: {
      Space: () => app.toggle(),
      Escape: () => escape(app),
      Home: () => player.seek(0),
      End: () => player.seek(endOf(notesOf(app.piece))),
      ArrowLeft: () => arrow(-1, false),
      ArrowRight: () => arrow(1, false),
      "Ctrl+z": () => app.work || history.undo(),
      "Ctrl+y": () => app.work || history.redo(),
      "Ctrl+Shift+z": () => app.work || history.redo(),
      Delete: () => edits() && editor.remove(),
      Backspace: () => edits() && editor.remove(),
      g: () => app.wishes.form.requestSubmit(),
      i: () => app.infill(),
      v: () => app.vary(),
      c: () => app.continue(),
      a: () => app.accompany(),
      l: () => app.loop(),
      r: () => app.record(),
      e: () => tools[app.tool === "edit" ? 0 : 1].click(),
      n: () => step(1),
      b: () => step(-1),
      "+": () => display.zoom(1.5),
      "-": () => display.zoom(1 / 1.5),
      0: () => display.fit(true),
      "?": () => find("shortcuts").showModal(),
      ...Object.fromEntries([1, 2, 3, 4, 5].map((number) => [number, () => app.pick(number - 1)])),
    },
    canvas: {
      "Shift+ArrowLeft": () => arrow(-1, true),
      "Shift+ArrowRight": () => arrow(1, true),
      ArrowUp: () => up(1),
      ArrowDown: () => up(-1),
      "Shift+ArrowUp": () => up(12),
      "Shift+ArrowDown": () => up(-12),
      Enter: () => {
        if (!edits()) return;
        app.addNote(linesAround(app.piece.timing, player.position, app.grid(true))[0], 60, app.instrument === DRUMS);
        editor.finish();
      },
    },
  });
}

/** End what is going on, or else select nothing. @param {App} app */
function escape(app) {
  if (app.work || app.player.playing || app.recorder.on) return app.stop();
  app.editor.select([]);
  app.setSpan(undefined);
}

/** @param {App} app @returns {number} seconds of a beat at the position */
function beatAt({ piece, player }) {
  const bar = barAt(piece.timing, player.position);
  return (bar.end - bar.start) / bar.beats.length;
}

/** @param {App} app @param {number} direction @returns {number} the beat before the position or after it, in seconds */
function beatFrom({ piece, player }, direction) {
  const { position } = player, beats = barsUntil(piece.timing, position + 10).flatMap((bar) => bar.beats);
  const found = direction > 0
    ? beats.find((beat) => beat > position + 0.01)
    : beats.findLast((beat) => beat < position - 0.01);
  return found ?? 0;
}

/** Move that edge of the span which is at the position; without one, a span begins there. @param {App} app @param {number} to */
function extend(app, to) {
  const { span } = app, { position } = app.player, [start, end] = span ?? [position, position];
  const other = Math.abs(end - position) < 0.01 ? start : Math.abs(start - position) < 0.01 ? end : position;
  const [from, until] = [other, to].sort((a, b) => a - b);
  app.setSpan(until - from > 0.05 ? [from, until] : undefined);
}
