/** Lets the buttons, the form, files and pointers do what they are there for. */

import { find } from "./dom.js";
import { Gestures } from "./gestures.js";
import { DRUMS } from "./instruments.js";
import { linesAround, snapped } from "./timing.js";

/** @typedef {import("./app.js").App} App */

/** @param {App} app */
export function bindControls(app) {
  const { history, editor, player, display } = app;
  const touch = () => display.touch();
  const actions = {
    undo: () => app.work || history.undo(),
    redo: () => app.work || history.redo(),
    play: () => app.toggle(),
    stop: () => app.stop(),
    loop: () => app.loop(),
    listen: () => app.listen(),
    infill: () => app.infill(),
    vary: () => app.vary(),
    continue: () => app.continue(),
    accompany: () => app.accompany(),
    record: () => app.record(),
    midi: () => app.saveMidi(),
    wav: () => app.saveWav(),
    help: () => find("shortcuts").showModal(),
    "octave-up": () => editor.octave(1),
    "octave-down": () => editor.octave(-1),
    delete: () => editor.remove(),
    "zoom-in": () => display.zoom(1.5),
    "zoom-out": () => display.zoom(1 / 1.5),
    fit: () => display.fit(true),
  };
  for (const [id, action] of Object.entries(actions)) find(id).addEventListener("click", action);
  for (const source of [history, editor, player, app.recorder, app.wishes]) {
    source.addEventListener("change", touch);
  }
  for (const id of ["instrument", "snap"]) find(id).addEventListener("change", touch);
  for (const radio of find("roll").querySelectorAll("[name=tool]")) radio.addEventListener("change", touch);
  display.roll.palette.dark.addEventListener("change", touch);
  app.wishes.form.addEventListener("submit", (event) => {
    event.preventDefault();
    app.generate();
  });
  find("position").addEventListener("input", () => player.seek(Number(find("position").value)));
  // Whoever clicks goes on with the keys of the roll: Space plays, and does not press the button again.
  addEventListener("click", ({ detail, target }) => {
    const pressed = /** @type {HTMLElement} */ (target).closest("button, [name=tool], .instruments input");
    if (detail && pressed && !pressed.closest("dialog")) display.roll.canvas.focus({ preventScroll: true });
  });
}

/** Take files that are chosen or dropped. @param {App} app */
export function bindFiles(app) {
  find("file").addEventListener("change", () => {
    const [file] = find("file").files;
    if (file) app.open(file);
    find("file").value = "";
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    find("stage").classList.add("drop");
  });
  for (const kind of ["dragleave", "drop"]) addEventListener(kind, () => find("stage").classList.remove("drop"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    if (file) app.open(file);
  });
}

/** @param {App} app */
export function bindPointers(app) {
  const { editor, player, display, recorder } = app;
  new Gestures(display.roll, {
    scene: () => display.scene(),
    tool: () => app.work || recorder.on ? "span" : app.tool,
    snap: (second, edits) => snapped(app.piece.timing, second, app.grid(edits)),
    around: (second, edits) => linesAround(app.piece.timing, second, app.grid(edits)),
    seek: (second) => player.seek(Math.min(second, display.roll.view.length)),
    setSpan: (span) => app.setSpan(span),
    select: (notes) => editor.select(notes),
    move: (seconds, semitones, done) => editor.move(seconds, semitones, done),
    stretch: (seconds, done) => editor.stretch(seconds, done),
    addNote: (second, pitch, drum) => app.addNote(second, pitch, drum),
    finishNote: () => editor.finish(),
    setFrame: (frame) => {
      display.frame = frame;
      display.touch();
    },
    strike: (pitch, drum) => player.strike(pitch, drum ? DRUMS : app.melodic),
    redraw: () => display.touch(),
  });
}
