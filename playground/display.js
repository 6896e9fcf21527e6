/** Shows the piece: the roll, the lists, what can be pressed, and where the music is. */

import { find } from "./dom.js";
import { DRUMS, GROUPS, instrumentName } from "./instruments.js";
import { InstrumentList, StepList, VariationList } from "./panels.js";
import { instrumentsOf, notesOf, rewritten } from "./piece.js";
import { Roll } from "./roll.js";
import { barAt, clockText, spanText } from "./timing.js";

const MIN_LENGTH_SECONDS = 8;
/** What moves is drawn again once it has moved so far, but 20 to 30 times a second: twice as many would cost twice. */
const STEP_PIXELS = 2;
const [MIN_PAUSE_MS, MAX_PAUSE_MS] = [30, 48];

export class Display {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    this.roll = new Roll(find("canvas"));
    /** What the page shows is to be made again. */
    this.stale = false;
    /** The next frame, if one is asked for. @type {number | undefined} */
    this.next = undefined;
    /** The timer that asks for it. */
    this.timer = 0;
    /** @type {import("./roll.js").Scene["frame"]} */
    this.frame = undefined;
    this.instruments = new InstrumentList(
      find("instruments"),
      (instrument, change, label) => app.setChannel(instrument, change, label),
      (instrument, on) => app.choose(instrument, on),
    );
    this.variations = new VariationList(find("variations"), (index) => app.pick(index), (index) => app.keep(index));
    this.steps = new StepList(find("steps"), (index) => app.work || app.history.go(index));
    this.#fillMenus();
    new ResizeObserver(() => this.touch()).observe(find("canvas"));
  }

  /** Show what has changed, with the next frame. */
  touch() {
    this.stale = true;
    this.#ask();
  }

  /** A hidden page gets no frames, and so takes no time. */
  #ask() {
    this.next ??= requestAnimationFrame(() => {
      this.next = undefined;
      this.#show();
    });
  }

  #fillMenus() {
    for (const { family, instruments } of GROUPS) {
      const group = document.createElement("optgroup");
      group.label = family;
      group.append(...instruments.map((instrument) => new Option(instrumentName(instrument), String(instrument))));
      find("instrument").append(group);
    }
    find("instrument").value = 0;
  }

  /** Show all of the piece. @param {boolean} whole also its pitches alone */
  fit(whole) {
    const { view } = this.roll, { work, piece, instrument } = this.app;
    view.include(work && whole ? [] : notesOf(piece), instrument === DRUMS, whole);
    view.setLength(this.#length());
    view.fit();
    if (work && !whole) view.follow(work.job.from + Math.min(view.seconds * 0.5, work.to - work.job.from));
    this.touch();
  }

  /** @param {number} factor above 1 shows less time, larger */
  zoom(factor) {
    const { view } = this.roll, { position } = this.app.player;
    const seen = position >= view.start && position <= view.start + view.seconds;
    view.zoom(factor, seen ? position : view.start + view.seconds / 2);
    this.touch();
  }

  /** Seconds that the roll has room for. */
  #length() {
    const { work, recorder, player } = this.app;
    const heard = recorder.on ? player.position + MIN_LENGTH_SECONDS : 0;
    return Math.max(MIN_LENGTH_SECONDS, this.app.end, work?.to ?? 0, heard);
  }

  /** @returns {import("./roll.js").Scene} */
  scene() {
    const { work, player, piece, span, editor, recorder } = this.app;
    return {
      notes: notesOf(piece),
      mixer: piece.mixer,
      timing: piece.timing,
      position: player.position,
      playing: player.playing,
      span,
      loop: Boolean(player.loop),
      selected: editor.shown,
      unwritten: work && !work.result ? [work.front, work.to] : undefined,
      pressed: [...recorder.held.keys()],
      frame: this.frame,
    };
  }

  /** Bring everything on the page up to date with the piece. */
  #refresh() {
    const { piece, work, player, editor, history, chosen, instrument, tool, recorder } = this.app, { roll } = this;
    const notes = notesOf(piece);
    editor.tidy();
    const instruments = instrumentsOf(notes);
    for (const each of chosen) if (!instruments.includes(each)) chosen.delete(each);
    player.setNotes(notes);
    player.setMixer(piece.mixer);
    roll.view.include(notes, instrument === DRUMS && tool === "edit", false);
    roll.view.setLength(this.#length());
    if (work) roll.greet(work.written[work.chosen]);
    if (player.loop && !this.app.span) player.loop = [0, this.app.end];
    this.instruments.show(instruments, piece.mixer, chosen, roll.palette.dark.matches);
    this.variations.show(piece, !work);
    this.steps.show(history);
    const count = notes.length === 1 ? "1 note" : `${notes.length} notes`;
    find("roll").setAttribute("aria-description", count);
    find("nobody").hidden = instruments.length > 0;
    find("welcome").hidden = notes.length > 0 || Boolean(work) || recorder.on || tool === "edit";
    this.#enable(notes.length > 0);
    this.#hint();
  }

  /** @param {boolean} some whether there are notes */
  #enable(some) {
    const { work, player, history, span, recorder, editor, tool } = this.app, idle = !work;
    const enable = (/** @type {string} */ id, /** @type {boolean} */ on) => {
      const element = find(id);
      // Whoever works with the keys alone would lose their place with it.
      if (!on && element === document.activeElement) this.roll.canvas.focus({ preventScroll: true });
      element.disabled = !on;
    };
    enable("generate", idle);
    enable("stop", !idle || player.playing);
    enable("infill", idle && some && Boolean(span));
    enable("vary", idle && some);
    enable("continue", idle && some);
    enable("accompany", idle && (some || recorder.on));
    enable("listen", Boolean(span) && some);
    enable("undo", idle && history.canUndo);
    enable("redo", idle && history.canRedo);
    enable("midi", idle && some);
    enable("wav", idle && some);
    enable("record", idle);
    enable("file", idle);
    find("play").querySelector("span").textContent = player.playing ? "Pause" : "Play";
    find("play").querySelector("use").setAttribute("href", player.playing ? "#i-pause" : "#i-play");
    find("record").setAttribute("aria-pressed", String(recorder.on));
    find("edit-tools").hidden = tool !== "edit";
    for (const id of ["octave-up", "octave-down", "delete"]) enable(id, idle && editor.selected.size > 0);
  }

  /** Say what the buttons would do now. */
  #hint() {
    const { span, chosen, piece, tool } = this.app, some = notesOf(piece).length > 0;
    let text = "";
    if (tool === "edit") {
      text = "Click to add a note, drag to move it, drag its end to stretch it. Shift selects several.";
    } else if (span) {
      const players = rewritten(piece, chosen)?.map(instrumentName).join(", ") ?? "all instruments";
      text = `Infill writes ${spanText(piece.timing, span)} again, Vary a part of it, for ${players || "nobody"}.`;
    } else if (chosen.size) {
      text = `Accompany writes other parts around ${[...chosen].map(instrumentName).join(", ")}.`;
    } else if (some) text = "Drag over the roll to select bars. Click to go there.";
    find("hint").textContent = text;
  }

  /** Show what has changed and what has moved, and go on while something moves. */
  #show() {
    const { player, work, recorder } = this.app, { roll, stale } = this;
    this.stale = false;
    const first = !roll.view.width, resized = roll.resize();
    if (first) this.fit(true);
    if (stale) this.#refresh();
    if (player.playing && !player.waits && !this.frame) roll.view.follow(player.position, roll.still.matches);
    if (recorder.on) roll.view.setLength(this.#length());
    roll.draw(this.scene(), stale || resized);
    this.#clock();
    clearTimeout(this.timer);
    const pause = Math.min(MAX_PAUSE_MS, Math.max(MIN_PAUSE_MS, 1000 * STEP_PIXELS / roll.view.perSecond));
    if (player.playing || work || roll.sheet.fading) this.timer = setTimeout(() => this.#ask(), pause);
  }

  #clock() {
    const { player, work, piece } = this.app, { position } = player, slider = find("position");
    const text = `${clockText(position)}, bar ${barAt(piece.timing, position).number}`;
    const progress = find("progress"), left = work?.secondsLeft;
    progress.hidden = !work;
    if (work) progress.value = work.share;
    find("left").textContent = left === undefined ? "" : `${Math.ceil(left)} s left`;
    const end = Math.max(this.roll.view.length, position);
    // Ten times a second is enough: to lay the page out again in every frame takes more than to play.
    if (find("clock").textContent === text && Number(slider.max) === end) return;
    slider.max = String(end);
    slider.value = String(position);
    slider.setAttribute("aria-valuetext", text);
    find("clock").textContent = text;
  }
}
