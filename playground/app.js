/** Puts the page together: what is shown, what is heard, and what each button does. */

import { bindControls, bindFiles, bindPointers } from "./bindings.js";
import { run, Work } from "./composer.js";
import { Display } from "./display.js";
import { askForKey, download, find } from "./dom.js";
import { Editor, withRecorded } from "./editor.js";
import { History } from "./history.js";
import { DRUMS } from "./instruments.js";
import { takeLinkedFile } from "./link.js";
import { readMidi, writeMidi } from "./midi.js";
import { endOf, notesOf, rewritten } from "./piece.js";
import { Player } from "./player.js";
import { Recorder } from "./recorder.js";
import { accompanyJob, continueJob, generateJob, infillJob, varyJob } from "./requests.js";
import { Schema } from "./schema.js";
import { Service, ServiceError, Unreachable } from "./service.js";
import { bindKeys } from "./shortcuts.js";
import { barAt, clockText, isOnGrid, snapped } from "./timing.js";
import { renderWav } from "./wav.js";
import { Wishes } from "./wishes.js";

/**
 * @typedef {import("./piece.js").Note} Note
 * @typedef {import("./piece.js").Piece} Piece
 * @typedef {import("./composer.js").Job} Job
 */

/** New music inside a piece is heard with what leads to it. */
const LEAD_IN_SECONDS = 2;
/** What comes after the new music is known. @type {ReadonlySet<unknown>} */
const SPAN_TASKS = new Set(["infill", "variation"]);

/** Holds what the page knows, and does what its buttons say. */
export class App {
  constructor() {
    const linked = takeLinkedFile(); // before the wishes look for theirs in the address
    this.history = new History();
    this.editor = new Editor(this.history);
    this.player = new Player();
    this.service = new Service(askForKey);
    this.wishes = new Wishes(find("wishes"));
    this.recorder = new Recorder(this.player, () => this.instrument);
    /** @type {Work | undefined} */
    this.work = undefined;
    /** @type {[number, number] | undefined} */
    this.span = undefined;
    /** Instruments that are chosen for infill and accompany. @type {Set<number>} */
    this.chosen = new Set();
    this.display = new Display(this);
    this.wishes.form.addEventListener("invalid", () => this.say(this.wishes.problem, true), true);
    bindControls(this);
    bindFiles(this);
    bindPointers(this);
    bindKeys(this);
    addEventListener("pagehide", () => {
      if (this.work?.isMusic) this.history.push(this.work.job.label, this.work.piece);
      this.history.save();
    });
    this.player.loadFont().catch((error) => this.say(error.message, true));
    this.#describe().then(() => linked && this.open(linked));
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

  /** The instrument of the keys at the side, which are not drums. */
  get melodic() {
    return this.instrument === DRUMS ? 0 : this.instrument;
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

  /** @param {boolean} edits whether a note is placed, for which bars are too coarse @returns {import("./timing.js").Grid} */
  grid(edits) {
    const { value } = find("snap");
    return edits && value === "bar" ? "sixteenth" : value;
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
    this.display.fit(job.body.task === "generate");
    // On a phone the roll may be below what is seen.
    find("stage").scrollIntoView({ block: "nearest", behavior: this.display.roll.still.matches ? "auto" : "smooth" });
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
    player.knownFrom = work && SPAN_TASKS.has(work.job.body.task) ? work.to : Infinity;
    this.display.touch();
  }

  /** @param {Work} work @param {Error} [problem] */
  #conclude(work, problem) {
    const { job } = work, { piece } = work;
    this.work = undefined;
    if (work.isMusic) this.history.push(job.label, piece);
    this.#follow();
    if (problem) this.say(advice(problem, work.isMusic), true);
    else if (work.result) {
      const flaw = work.result.variations.find((/** @type {any} */ each) => each.flaw)?.flaw;
      const notices = [flaw && `It is ${flaw}: try another seed.`, ...work.result.notices].filter(Boolean).join(" ");
      this.say(`${job.label}: written, ${work.written[work.chosen].length} notes. ${notices}`);
    } else if (work.isMusic) this.say("Stopped. What was written is kept.");
    else {
      this.player.pause();
      this.say("Stopped.");
    }
  }

  generate() {
    this.compose(() => {
      this.setSpan(undefined);
      this.chosen.clear();
      return generateJob(this.wishes);
    });
  }

  infill() {
    const { span } = this;
    if (!span || !notesOf(this.piece).length) {
      return this.say("Drag over the roll first, to say what is written again.");
    }
    if (this.#someoneIsFree()) this.compose(() => infillJob(this.history.piece, span, this.chosen, this.wishes));
  }

  vary() {
    if (!notesOf(this.piece).length) return this.say("There is nothing yet to vary.");
    if (!this.#someoneIsFree()) return;
    const similarity = Number(find("similarity").value);
    this.compose(() => varyJob(this.history.piece, this.span, this.chosen, similarity, this.wishes));
  }

  /** Tell whether there is somebody to write for, who is not locked. */
  #someoneIsFree() {
    const free = rewritten(this.piece, this.chosen)?.length !== 0;
    if (!free) this.say("All these instruments are locked.");
    return free;
  }

  continue() {
    if (!notesOf(this.piece).length) return this.say("There is nothing yet to go on from.");
    const here = snapped(this.piece.timing, Math.max(1, this.player.position), "beat");
    const position = find("continue-from").value === "position" ? here : undefined;
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
    // What has just been changed is shown with the next frame, and heard at once.
    this.player.setNotes(notesOf(this.piece));
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
    this.setSpan(this.span);
  }

  /** @param {[number, number] | undefined} span in seconds */
  setSpan(span) {
    this.span = span;
    const loops = find("loop").getAttribute("aria-pressed") === "true";
    this.player.loop = loops && this.end ? span ?? [0, this.end] : undefined;
    this.display.touch();
  }

  /** Seconds that the piece takes: whole bars. */
  get end() {
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
    this.display.touch();
  }

  // ---- changes of the piece

  /** @param {number} second @param {number} pitch @param {boolean} drum */
  addNote(second, pitch, drum) {
    const bar = barAt(this.piece.timing, second), beat = (bar.end - bar.start) / bar.beats.length;
    const instrument = drum ? DRUMS : this.melodic;
    this.editor.add(second, drum ? beat / 4 : beat / 2, pitch, instrument);
    this.player.strike(pitch, instrument).then((stop) => setTimeout(stop, 200));
  }

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
    this.display.touch();
  }

  /** @param {number} index of the variation */
  pick(index) {
    const { work } = this, { takes, chosen } = this.piece;
    if (index === chosen || index >= takes.length) return;
    if (work) {
      work.choose(index);
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
      const { notes, timing, isCut } = readMidi(new Uint8Array(await file.arrayBuffer()));
      if (!notes.length) throw new Error("there are no notes in it");
      this.player.pause();
      this.player.seek(0);
      this.setSpan(undefined);
      this.chosen.clear();
      this.wishes.setRhythm(isOnGrid(timing, notes));
      const name = file.name.replace(/\.\w+$/, "");
      this.history.push(`Open ${file.name}`, { takes: [{ notes, seed: null }], chosen: 0, timing, mixer: {}, name });
      this.display.fit(true);
      this.display.roll.canvas.focus({ preventScroll: true });
      const cut = isCut ? " It ends in the middle of a track: this is what could be read." : "";
      this.say(`${file.name}: ${notes.length} notes, ${clockText(endOf(notes))}.${cut}`, isCut);
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
    this.display.touch();
  }
}

/** @param {Error} error @param {boolean} kept whether there is music of it @returns {string} what was wrong, and what to do */
function advice(error, kept) {
  if (error instanceof Unreachable) {
    return error.message || `The connection broke. ${kept ? "What had come is kept; try" : "Try"} again.`;
  }
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

// Within reach of the browser's console, and of the tests.
Object.assign(globalThis, { playground: new App() });
