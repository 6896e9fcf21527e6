/** Puts the page together: what is shown, what is heard, and what each button does. */

import { run, Work } from "./composer.js";
import { Editor, noteText, withRecorded } from "./editor.js";
import { Gestures } from "./gestures.js";
import { History } from "./history.js";
import { DRUMS, GROUPS, instrumentName } from "./instruments.js";
import { listenToKeys } from "./keyboard.js";
import { readMidi, writeMidi } from "./midi.js";
import { InstrumentList, StepList, VariationList } from "./panels.js";
import { endOf, instrumentsOf, notesOf } from "./piece.js";
import { Player } from "./player.js";
import { Recorder } from "./recorder.js";
import { accompanyJob, continueJob, generateJob, infillJob } from "./requests.js";
import { Roll } from "./roll.js";
import { Schema } from "./schema.js";
import { Service, ServiceError, Unreachable } from "./service.js";
import { barAt, barsUntil, clockText, isOnGrid, snapped, spanText } from "./timing.js";
import { renderWav } from "./wav.js";
import { Wishes } from "./wishes.js";

/**
 * @typedef {import("./piece.js").Note} Note
 * @typedef {import("./piece.js").Piece} Piece
 * @typedef {import("./composer.js").Job} Job
 */

/** New music inside a piece is heard with what leads to it. */
const LEAD_IN_SECONDS = 2;
const MIN_LENGTH_SECONDS = 8;

/** @param {string} id @returns {any} */
const find = (id) => document.getElementById(id);

class App {
  constructor() {
    this.history = new History();
    this.editor = new Editor(this.history);
    this.player = new Player();
    this.service = new Service(askForKey);
    this.wishes = new Wishes(find("wishes"));
    this.roll = new Roll(find("canvas"));
    this.recorder = new Recorder(this.player, () => this.instrument);
    /** @type {Work | undefined} */
    this.work = undefined;
    /** @type {[number, number] | undefined} */
    this.span = undefined;
    /** Instruments that are chosen for infill and accompany. @type {Set<number>} */
    this.chosen = new Set();
    /** @type {import("./roll.js").Scene["frame"]} */
    this.frame = undefined;
    /** What the page shows is to be made again. */
    this.stale = true;
    this.drawnAt = 0;
    this.panels = {
      instruments: new InstrumentList(
        find("instruments"),
        (instrument, change, label) => this.setChannel(instrument, change, label),
        (instrument, on) => this.choose(instrument, on),
      ),
      variations: new VariationList(find("variations"), (index) => this.pick(index), (index) => this.keep(index)),
      steps: new StepList(find("steps"), (index) => this.work || this.history.go(index)),
    };
    this.#fillMenus();
    this.#listen();
    this.player.loadFont().catch((error) => this.say(error.message, true));
    this.#describe();
    const loop = () => {
      this.#frame();
      requestAnimationFrame(loop);
    };
    requestAnimationFrame(loop);
    this.roll.view.fit();
  }

  /** The piece as it is seen and heard: while it is written, recorded or edited, as far as it is. */
  get piece() {
    if (this.work) return this.work.piece;
    if (this.recorder.on) return withRecorded(this.history.piece, this.recorder.notes);
    return this.editor.piece;
  }

  /** Whose notes are added by hand. */
  get instrument() {
    return Number(find("instrument").value);
  }

  /** @returns {"span" | "edit"} */
  get tool() {
    return find("roll").querySelector("[name=tool]:checked").value;
  }

  /** @param {string} text @param {boolean} [problem] */
  say(text, problem = false) {
    const status = find("status");
    status.textContent = text;
    status.classList.toggle("problem", problem);
  }

  // ---- requests

  /** Take the limits from the service. */
  async #describe() {
    for (;;) {
      try {
        this.wishes.setSchema(new Schema(await this.service.describe()));
        return this.say("");
      } catch (error) {
        if (!(error instanceof Unreachable)) throw error;
        this.say("The service is not there yet. It is waited for.", true);
        await this.service.ready(new AbortController().signal);
      }
    }
  }

  /**
   * Ask for music, show and play it while it comes, and keep it.
   * @param {() => Job} make
   */
  async compose(make) {
    if (this.work || !this.wishes.form.reportValidity()) return;
    if (this.recorder.on) this.record();
    const work = new Work(make()), { job } = work;
    this.work = work;
    this.editor.select([]);
    this.wishes.link();
    this.say(`${job.label}: it is being written.`);
    // A piece that plays already plays on.
    if (!this.player.playing || job.body.task === "generate") {
      this.player.pause();
      this.player.seek(Math.max(0, job.from - LEAD_IN_SECONDS));
      this.#sound(() => this.player.play());
    }
    this.#follow();
    this.#fit(job.body.task === "generate");
    // On a phone the roll may be below what is seen.
    find("stage").scrollIntoView({ block: "nearest", behavior: this.roll.still.matches ? "auto" : "smooth" });
    let problem;
    try {
      await run(this.service, work, () => this.#follow(), (reason) => {
        this.say(reason || "The service does not answer. It is waited for, and then asked again.", true);
      });
    } catch (error) {
      if (!work.abort.signal.aborted) problem = /** @type {Error} */ (error);
    }
    this.#conclude(work, problem);
  }

  /** Let player and page know how far the music is. */
  #follow() {
    const { work, player } = this;
    player.front = work ? work.front : Infinity;
    player.knownFrom = work && work.job.body.task === "infill" ? work.job.to : Infinity;
    this.stale = true;
  }

  /** @param {Work} work @param {Error} [problem] */
  #conclude(work, problem) {
    const { job } = work, { piece } = work;
    this.work = undefined;
    if (work.hasNotes) this.history.push(job.label, piece);
    this.#follow();
    if (problem) this.say(advice(problem), true);
    else if (work.result) {
      const flaw = work.result.variations.find((/** @type {any} */ each) => each.flaw)?.flaw;
      const notices = [flaw && `It is ${flaw}: try another seed.`, ...work.result.notices].filter(Boolean).join(" ");
      this.say(`${job.label}: written, ${work.written[work.chosen].length} notes. ${notices}`);
    } else if (work.hasNotes) this.say("Stopped. What was written is kept.");
    else {
      this.player.pause();
      this.say("Stopped.");
    }
  }

  generate() {
    this.compose(() => {
      this.#setSpan(undefined);
      this.chosen.clear();
      return generateJob(this.wishes);
    });
  }

  infill() {
    const { span } = this;
    if (!span || !notesOf(this.piece).length) {
      return this.say("Drag over the roll first, to say what is written again.");
    }
    this.compose(() => infillJob(this.history.piece, span, this.chosen, this.wishes));
  }

  continue() {
    if (!notesOf(this.piece).length) return this.say("There is nothing yet to go on from.");
    const position = find("continue-from").value === "position" ? Math.max(1, this.player.position) : undefined;
    this.compose(() => continueJob(this.history.piece, position, this.wishes));
  }

  accompany() {
    if (this.recorder.on) this.record();
    if (!notesOf(this.piece).length) return this.say("There is nothing yet to accompany.");
    this.compose(() => accompanyJob(this.history.piece, this.chosen, this.wishes));
  }

  /** End what is going on; what was written or recorded is kept. */
  stop() {
    if (this.recorder.on) return this.record();
    this.work?.abort.abort();
    if (this.player.playing) this.player.pause();
  }

  // ---- playing

  /** @param {() => Promise<unknown>} play */
  async #sound(play) {
    try {
      await play();
    } catch (error) {
      this.say(/** @type {Error} */ (error).message, true);
    }
  }

  toggle() {
    if (this.player.playing) this.player.pause();
    else this.#sound(() => this.player.play());
  }

  /** Play the span alone. */
  listen() {
    const { span } = this;
    if (!span) return;
    this.player.pause();
    this.player.seek(span[0]);
    this.#sound(() => this.player.play(span[1]));
  }

  loop() {
    const on = find("loop").getAttribute("aria-pressed") !== "true";
    find("loop").setAttribute("aria-pressed", String(on));
    this.#setSpan(this.span);
  }

  /** @param {[number, number] | undefined} span in seconds */
  #setSpan(span) {
    this.span = span;
    const loops = find("loop").getAttribute("aria-pressed") === "true";
    this.player.loop = loops && this.#end() ? span ?? [0, this.#end()] : undefined;
    this.stale = true;
  }

  /** Seconds that the piece takes: whole bars. */
  #end() {
    const end = endOf(notesOf(this.piece));
    return end ? barAt(this.piece.timing, end - 0.02).end : 0;
  }

  async record() {
    const { recorder } = this;
    if (recorder.on) {
      const notes = recorder.stop(), piece = withRecorded(this.history.piece, notes);
      this.player.pause();
      if (notes.length) this.history.push(`Record ${notes.length} notes`, piece);
      this.say(notes.length ? `${notes.length} notes recorded. Accompany plays with them.` : "Nothing was recorded.");
    } else {
      find("canvas").focus({ preventScroll: true });
      this.say("Play on the keys A to L, or on a MIDI keyboard. Stop ends it.");
      await this.#sound(() => recorder.start());
    }
    this.stale = true;
  }

  // ---- changes of the piece

  /** @param {number} instrument @param {import("./piece.js").Channel} change @param {string} label */
  setChannel(instrument, change, label) {
    if (this.work) return this.say("Wait until it is written.");
    const { piece } = this.history, channel = { ...piece.mixer[instrument], ...change };
    this.history.push(label, { ...piece, mixer: { ...piece.mixer, [instrument]: channel } });
  }

  /** @param {number} instrument @param {boolean} on */
  choose(instrument, on) {
    if (on) this.chosen.add(instrument);
    else this.chosen.delete(instrument);
    if (on) find("instrument").value = instrument;
    this.stale = true;
  }

  /** @param {number} index of the variation */
  pick(index) {
    const { work } = this, { takes, chosen } = this.piece;
    if (index === chosen || index >= takes.length) return;
    if (work) {
      work.chosen = index;
      this.#follow();
    } else this.history.push(`Variation ${index + 1}`, { ...this.history.piece, chosen: index });
  }

  /** @param {number} index of the variation */
  keep(index) {
    const { piece } = this.history;
    this.history.push(`Keep variation ${index + 1}`, { ...piece, takes: [piece.takes[index]], chosen: 0 });
  }

  /** @param {File} file */
  async open(file) {
    try {
      const { notes, timing } = readMidi(new Uint8Array(await file.arrayBuffer()));
      if (!notes.length) throw new Error("there are no notes in it");
      this.player.pause();
      this.player.seek(0);
      this.#setSpan(undefined);
      this.chosen.clear();
      this.wishes.setRhythm(isOnGrid(timing, notes));
      const name = file.name.replace(/\.\w+$/, "");
      this.history.push(`Open ${file.name}`, { takes: [{ notes, seed: null }], chosen: 0, timing, mixer: {}, name });
      this.#fit(true);
      this.roll.canvas.focus({ preventScroll: true });
      this.say(`${file.name}: ${notes.length} notes, ${clockText(endOf(notes))}.`);
    } catch (error) {
      this.say(`${file.name} cannot be opened: ${/** @type {Error} */ (error).message}.`, true);
    }
  }

  saveMidi() {
    const { piece } = this, muted = Object.values(piece.mixer).some((channel) => channel.mute || channel.solo);
    const bytes = writeMidi(notesOf(piece), piece.timing);
    download(new Blob([bytes], { type: "audio/midi" }), `${piece.name}.mid`);
    this.say(`${piece.name}.mid is saved${muted ? ", with the instruments that are muted" : ""}.`);
  }

  async saveWav() {
    const { piece } = this, button = find("wav");
    button.disabled = true;
    try {
      const blob = await renderWav(notesOf(piece), piece.mixer, await this.player.loadFont(), (share) => {
        this.say(`The WAV file is made: ${Math.round(share * 100)} %.`);
      });
      download(blob, `${piece.name}.wav`);
      this.say(`${piece.name}.wav is saved, as it is heard here.`);
    } catch (error) {
      this.say(/** @type {Error} */ (error).message, true);
    }
    button.disabled = false;
    this.stale = true;
  }

  // ---- showing

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
  #fit(whole) {
    const { view } = this.roll, { work } = this;
    view.include(work && whole ? [] : notesOf(this.piece), this.instrument === DRUMS, whole);
    view.setLength(this.#length());
    view.fit();
    if (work && !whole) view.follow(work.job.from + Math.min(view.seconds * 0.5, work.job.to - work.job.from));
    this.stale = true;
  }

  /** Seconds that the roll has room for. */
  #length() {
    const { work, recorder, player } = this;
    const heard = recorder.on ? player.position + MIN_LENGTH_SECONDS : 0;
    return Math.max(MIN_LENGTH_SECONDS, this.#end(), work?.job.to ?? 0, heard);
  }

  /** @returns {import("./roll.js").Scene} */
  #scene() {
    const { work, player, piece } = this, task = work?.job.body.task;
    const end = work && task !== "infill" ? work.job.to : work?.job.to ?? 0;
    return {
      notes: notesOf(piece),
      mixer: piece.mixer,
      timing: piece.timing,
      position: player.position,
      playing: player.playing,
      span: this.span,
      loop: Boolean(player.loop),
      selected: this.editor.shown,
      unwritten: work && !work.result ? [work.front, end] : undefined,
      pressed: [...this.recorder.held.keys()],
      frame: this.frame,
    };
  }

  /** Bring everything on the page up to date with the piece. */
  #refresh() {
    const { piece, work, roll, player, editor, history } = this, notes = notesOf(piece);
    editor.tidy();
    const instruments = instrumentsOf(notes);
    for (const each of this.chosen) if (!instruments.includes(each)) this.chosen.delete(each);
    player.setNotes(notes);
    player.setMixer(piece.mixer);
    roll.view.include(notes, this.instrument === DRUMS && this.tool === "edit", false);
    roll.view.setLength(this.#length());
    if (work) {
      for (const note of work.written[work.chosen]) if (!roll.born.has(note)) roll.born.set(note, performance.now());
    }
    if (player.loop && !this.span) player.loop = [0, this.#end()];
    this.panels.instruments.show(instruments, piece.mixer, this.chosen, roll.dark.matches);
    this.panels.variations.show(piece, !work);
    this.panels.steps.show(history);
    const count = notes.length === 1 ? "1 note" : `${notes.length} notes`;
    find("roll").setAttribute("aria-description", count);
    find("nobody").hidden = instruments.length > 0;
    find("welcome").hidden = notes.length > 0 || Boolean(work) || this.recorder.on || this.tool === "edit";
    this.#enable(notes.length > 0);
    this.#hint();
  }

  /** @param {boolean} some whether there are notes */
  #enable(some) {
    const { work, player, history, span, recorder } = this, idle = !work;
    const enable = (/** @type {string} */ id, /** @type {boolean} */ on) => (find(id).disabled = !on);
    enable("generate", idle);
    enable("stop", !idle || player.playing);
    enable("infill", idle && some && Boolean(span));
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
    find("edit-tools").hidden = this.tool !== "edit";
    for (const id of ["octave-up", "octave-down", "delete"]) enable(id, idle && this.editor.selected.size > 0);
  }

  /** Say what the buttons would do now. */
  #hint() {
    const { span, chosen, piece } = this, some = notesOf(piece).length > 0;
    const who = chosen.size ? [...chosen].map(instrumentName).join(", ") : "all instruments";
    let text = "";
    if (this.tool === "edit") {
      text = "Click to add a note, drag to move it, drag its end to stretch it. Shift selects several.";
    } else if (span) text = `Infill writes ${spanText(piece.timing, span)} again, for ${who}.`;
    else if (chosen.size) text = `Accompany writes other parts around ${who}.`;
    else if (some) text = "Drag over the roll to select bars. Click to go there.";
    find("hint").textContent = text;
  }

  #frame() {
    const { player, roll, work, recorder } = this, resized = roll.resize();
    if (resized && !this.drawnAt) this.#fit(true);
    if (this.stale) {
      this.stale = false;
      this.#refresh();
      this.drawnAt = performance.now();
    }
    const moves = player.playing || work || recorder.on || performance.now() - this.drawnAt < 600;
    if (!moves && !resized) return;
    if (player.playing && !player.waits && !this.frame) roll.view.follow(player.position);
    if (recorder.on) roll.view.setLength(this.#length());
    roll.draw(this.#scene());
    this.#clock();
  }

  #clock() {
    const { player, work, piece } = this, { position } = player, slider = find("position");
    const bar = barAt(piece.timing, position), text = `${clockText(position)}, bar ${bar.number}`;
    slider.max = String(Math.max(this.roll.view.length, position));
    slider.value = String(position);
    slider.setAttribute("aria-valuetext", text);
    find("clock").textContent = text;
    const progress = find("progress"), left = work?.secondsLeft;
    progress.hidden = !work;
    if (work) progress.value = Math.min(1, work.seconds / (work.job.to - work.job.from));
    find("left").textContent = left === undefined ? "" : `${Math.ceil(left)} s left`;
  }

  // ---- wiring

  #listen() {
    const { history, editor, player, roll } = this;
    const touch = () => (this.stale = true);
    const actions = {
      undo: () => this.work || history.undo(),
      redo: () => this.work || history.redo(),
      play: () => this.toggle(),
      stop: () => this.stop(),
      loop: () => this.loop(),
      listen: () => this.listen(),
      infill: () => this.infill(),
      continue: () => this.continue(),
      accompany: () => this.accompany(),
      record: () => this.record(),
      midi: () => this.saveMidi(),
      wav: () => this.saveWav(),
      help: () => find("shortcuts").showModal(),
      "octave-up": () => editor.octave(1),
      "octave-down": () => editor.octave(-1),
      delete: () => editor.remove(),
      "zoom-in": () => this.#zoom(1.5),
      "zoom-out": () => this.#zoom(1 / 1.5),
      fit: () => this.#fit(true),
    };
    for (const [id, action] of Object.entries(actions)) find(id).addEventListener("click", action);
    for (const source of [history, editor, player, this.recorder, this.wishes]) {
      source.addEventListener("change", touch);
    }
    for (const id of ["instrument", "snap"]) find(id).addEventListener("change", touch);
    for (const radio of find("roll").querySelectorAll("[name=tool]")) radio.addEventListener("change", touch);
    roll.dark.addEventListener("change", touch);
    this.wishes.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.generate();
    });
    find("position").addEventListener("input", () => player.seek(Number(find("position").value)));
    find("file").addEventListener("change", () => {
      const [file] = find("file").files;
      if (file) this.open(file);
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
      if (file) this.open(file);
    });
    // Whoever clicks goes on with the keys of the roll: Space plays, and does not press the button again.
    addEventListener("click", ({ detail, target }) => {
      const pressed = /** @type {HTMLElement} */ (target).closest("button, [name=tool], .instruments input");
      if (detail && pressed && !pressed.closest("dialog")) this.roll.canvas.focus({ preventScroll: true });
    });
    this.#listenToPointers();
    this.#listenToKeys();
  }

  /** @param {number} factor */
  #zoom(factor) {
    const { view } = this.roll, { position } = this.player;
    const seen = position >= view.start && position <= view.start + view.seconds;
    view.zoom(factor, seen ? position : view.start + view.seconds / 2);
    this.stale = true;
  }

  /** @param {number} second @param {boolean} edits whether a note is placed, for which bars are too coarse */
  #snap(second, edits) {
    const { value } = find("snap");
    return snapped(this.piece.timing, second, edits && value === "bar" ? "sixteenth" : value);
  }

  #listenToPointers() {
    const { editor, player } = this;
    new Gestures(this.roll, {
      scene: () => this.#scene(),
      tool: () => this.work || this.recorder.on ? "span" : this.tool,
      snap: (second, edits) => this.#snap(second, edits),
      seek: (second) => player.seek(Math.min(second, this.roll.view.length)),
      setSpan: (span) => this.#setSpan(span),
      select: (notes) => editor.select(notes),
      move: (seconds, semitones, done) => editor.move(seconds, semitones, done),
      stretch: (seconds, done) => editor.stretch(seconds, done),
      addNote: (second, pitch, drum) => this.#addNote(second, pitch, drum),
      finishNote: () => editor.finish(),
      setFrame: (frame) => {
        this.frame = frame;
        this.stale = true;
      },
      strike: (pitch, drum) => player.strike(pitch, drum ? DRUMS : this.#melodic()),
      redraw: () => (this.stale = true),
    });
  }

  /** The instrument of the keys at the side, which are not drums. */
  #melodic() {
    return this.instrument === DRUMS ? 0 : this.instrument;
  }

  /** @param {number} second @param {number} pitch @param {boolean} drum */
  #addNote(second, pitch, drum) {
    const bar = barAt(this.piece.timing, second), beat = (bar.end - bar.start) / bar.beats.length;
    const instrument = drum ? DRUMS : this.#melodic();
    this.editor.add(second, drum ? beat / 4 : beat / 2, pitch, instrument);
    this.player.strike(pitch, instrument).then((stop) => setTimeout(stop, 200));
  }

  #listenToKeys() {
    const { editor, player, history } = this;
    const edits = () => this.tool === "edit" && !this.work && !this.recorder.on;
    const arrow = (/** @type {number} */ beats, /** @type {boolean} */ shift) => {
      if (edits() && editor.selected.size) {
        return shift ? editor.stretch(beats * this.#beat() / 4) : editor.move(beats * this.#beat() / 4, 0);
      }
      const target = this.#beatFrom(player.position, beats);
      if (shift) this.#extend(player.position, target);
      player.seek(target);
    };
    const up = (/** @type {number} */ semitones) => edits() && editor.move(0, semitones);
    const step = (/** @type {number} */ direction) => {
      const note = edits() && editor.step(direction, player.position);
      if (note) this.say(`${noteText(note)}, ${clockText(note.onset)}`);
    };
    const tools = find("roll").querySelectorAll("[name=tool]");
    listenToKeys(this.roll.canvas, {
      before: (event) => this.recorder.key(event),
      anywhere: {
        Space: () => this.toggle(),
        Escape: () => this.#escape(),
        Home: () => player.seek(0),
        End: () => player.seek(endOf(notesOf(this.piece))),
        ArrowLeft: () => arrow(-1, false),
        ArrowRight: () => arrow(1, false),
        "Ctrl+z": () => this.work || history.undo(),
        "Ctrl+y": () => this.work || history.redo(),
        "Ctrl+Shift+z": () => this.work || history.redo(),
        Delete: () => edits() && editor.remove(),
        Backspace: () => edits() && editor.remove(),
        g: () => this.wishes.form.requestSubmit(),
        i: () => this.infill(),
        c: () => this.continue(),
        a: () => this.accompany(),
        l: () => this.loop(),
        r: () => this.record(),
        e: () => tools[this.tool === "edit" ? 0 : 1].click(),
        n: () => step(1),
        b: () => step(-1),
        "+": () => this.#zoom(1.5),
        "-": () => this.#zoom(1 / 1.5),
        0: () => this.#fit(true),
        "?": () => find("shortcuts").showModal(),
        ...Object.fromEntries([1, 2, 3, 4, 5].map((number) => [number, () => this.pick(number - 1)])),
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
          this.#addNote(this.#snap(player.position, true), 60, this.instrument === DRUMS);
          editor.finish();
        },
      },
    });
  }

  #escape() {
    if (this.work || this.player.playing || this.recorder.on) return this.stop();
    this.editor.select([]);
    this.#setSpan(undefined);
  }

  /** Seconds of a beat at the position. */
  #beat() {
    const bar = barAt(this.piece.timing, this.player.position);
    return (bar.end - bar.start) / bar.beats.length;
  }

  /** @param {number} second @param {number} direction @returns {number} the beat before or after */
  #beatFrom(second, direction) {
    const beats = barsUntil(this.piece.timing, second + 10).flatMap((bar) => bar.beats);
    const found = direction > 0
      ? beats.find((beat) => beat > second + 0.01)
      : beats.findLast((beat) => beat < second - 0.01);
    return found ?? 0;
  }

  /** Let the span reach from where it begins to a place. @param {number} from @param {number} to */
  #extend(from, to) {
    const { span } = this;
    const anchor = span && Math.abs(span[1] - from) < 0.01
      ? span[0]
      : span && Math.abs(span[0] - from) < 0.01
      ? span[1]
      : from;
    const edges = [anchor, to].sort((a, b) => a - b);
    this.#setSpan(edges[1] - edges[0] > 0.05 ? [edges[0], edges[1]] : undefined);
  }
}

/** @param {Error} error @returns {string} what was wrong, and what to do */
function advice(error) {
  if (error instanceof Unreachable) return error.message || "The connection broke. What had come is kept; try again.";
  if (!(error instanceof ServiceError)) return error.message;
  const wait = error.retrySeconds ? ` Try again in ${error.retrySeconds} s.` : " Try again later.";
  const next = {
    413: " Shorten the piece.",
    422: " Change it, and try again.",
    429: wait,
    504: " Ask for less at once.",
  };
  return `${error.message[0].toUpperCase()}${error.message.slice(1)}.${
    next[/** @type {422} */ (error.status)] ?? wait
  }`;
}

/** @returns {Promise<string>} the key that was typed */
function askForKey() {
  const dialog = find("key-dialog");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(find("key").value), { once: true });
    if (!dialog.open) dialog.showModal();
  });
}

/** @param {Blob} blob @param {string} name */
function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Within reach of the browser's console, and of the tests.
Object.assign(globalThis, { playground: new App() });
