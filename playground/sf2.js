/** Reads SoundFonts (SoundFont 2.04): which sample sounds for a note, and how. */

/**
 * @typedef {object} Sample
 * @property {number} start in frames of all samples
 * @property {number} end
 * @property {number} loopStart
 * @property {number} loopEnd
 * @property {number} rate in frames a second
 * @property {number} root the pitch it was played at
 * @property {number} cents that it is out of tune
 *
 * @typedef {object} Contour an envelope
 * @property {number} delay in seconds, like the next three
 * @property {number} attack
 * @property {number} hold
 * @property {number} decay from full to nothing
 * @property {number} sustain share of the way to nothing at which the decay ends
 * @property {number} release in seconds, from full to nothing
 *
 * @typedef {object} Region what sounds for some keys and velocities
 * @property {readonly [number, number]} keys
 * @property {readonly [number, number]} velocities
 * @property {Sample} sample with the region's own bounds
 * @property {boolean} loops
 * @property {number} gain
 * @property {number} pan from -1 to 1
 * @property {number} centsPerKey
 * @property {number} cents
 * @property {Contour} volume its sustain is a share of 100 dB
 * @property {Contour} modulation
 * @property {number} modulationToPitch in cents
 * @property {number} modulationToCutoff in cents
 * @property {number} cutoff of the low-pass, in Hz; infinite where there is none
 * @property {number} resonance in dB
 * @property {number} vibratoCents
 * @property {number} vibratoHz
 * @property {number} vibratoDelay in seconds
 * @property {number} exclusiveClass notes of one class other than 0 end each other
 *
 * @typedef {Map<number, number>} Generators by number
 */

const KEY_RANGE = 43, VELOCITY_RANGE = 44, INSTRUMENT = 41, SAMPLE = 53;
const RANGES = new Set([KEY_RANGE, VELOCITY_RANGE, INSTRUMENT, SAMPLE]);
const NO_TIME = -12000, OPEN = 13500;
const DEFAULTS = new Map([
  [8, OPEN], // cutoff
  ...[21, 23, 25, 26, 27, 28, 30, 33, 34, 35, 36, 38].map((time) => /** @type {[number, number]} */ ([time, NO_TIME])),
  [56, 100], // cents per key
  [58, -1], // root
]);
/** Listeners find synthesisers right that take initial attenuation for less than it says, as the first hardware did. */
const ATTENUATION = 0.4;
const DRUM_BANK = 128;

/** @param {number} timecents */
const seconds = (timecents) => 2 ** (timecents / 1200);
/** @param {number} cents */
const hertz = (cents) => 8.176 * 2 ** (cents / 1200);

export class SoundFont {
  /**
   * @param {ArrayBuffer} file
   * @throws {Error} if it is no SoundFont
   */
  constructor(file) {
    this.view = new DataView(file);
    this.chunks = findChunks(this.view);
    const { at, size } = this.#chunk("smpl");
    /** All samples, one after the other. */
    this.frames = new Int16Array(file.slice(at, at + size));
    this.samples = this.#readSamples();
    this.instruments = this.#readZones("inst", 20, 22, "ibag", "igen");
    this.presets = this.#readPresets();
    /** @type {Map<number, Region[]>} */
    this.regions = new Map();
  }

  /**
   * Return what sounds for a note: the regions that hold its key and velocity, or the nearest where none does.
   * @param {number} instrument 0 to 127, and 128 for drums
   * @param {number} pitch
   * @param {number} velocity
   * @returns {Region[]}
   */
  regionsFor(instrument, pitch, velocity) {
    const all = this.#regionsOf(instrument);
    const distance = (/** @type {readonly [number, number]} */ [low, high], /** @type {number} */ value) =>
      Math.max(low - value, 0, value - high);
    const away = (/** @type {Region} */ region) =>
      distance(region.keys, pitch) * 128 + distance(region.velocities, velocity);
    const nearest = Math.min(...all.map(away));
    return all.filter((region) => away(region) === nearest);
  }

  /** @param {number} instrument @returns {Region[]} */
  #regionsOf(instrument) {
    let found = this.regions.get(instrument);
    if (!found) {
      const zones = this.presets.get(instrument) ?? this.presets.get(instrument & 120) ?? this.presets.get(0) ?? [];
      found = zones.flatMap((preset) =>
        this.instruments[preset.get(INSTRUMENT) ?? 0].flatMap((zone) => this.#region(zone, preset) ?? [])
      );
      this.regions.set(instrument, found);
    }
    return found;
  }

  /** @param {Generators} zone @param {Generators} preset @returns {Region | undefined} */
  #region(zone, preset) {
    const get = (/** @type {number} */ number) =>
      (zone.get(number) ?? DEFAULTS.get(number) ?? 0) + (preset.get(number) ?? 0);
    const range = (/** @type {number} */ number) => {
      const parts = [zone, preset].map((each) => each.get(number) ?? 127 << 8);
      return /** @type {[number, number]} */ ([
        Math.max(...parts.map((part) => part & 255)),
        Math.min(...parts.map((part) => part >> 8)),
      ]);
    };
    const keys = range(KEY_RANGE), velocities = range(VELOCITY_RANGE);
    const sample = this.samples[zone.get(SAMPLE) ?? 0];
    if (!sample || keys[0] > keys[1] || velocities[0] > velocities[1]) return undefined;
    const contour = (/** @type {number} */ first, /** @type {number} */ sustain) => ({
      delay: seconds(get(first)),
      attack: seconds(get(first + 1)),
      hold: seconds(get(first + 2)),
      decay: seconds(get(first + 3)),
      sustain: Math.min(1, Math.max(0, sustain / 1000)),
      release: seconds(get(first + 5)),
    });
    return {
      keys,
      velocities,
      sample: {
        ...sample,
        start: sample.start + get(0) + get(4) * 32768,
        end: sample.end + get(1) + get(12) * 32768,
        loopStart: sample.loopStart + get(2) + get(45) * 32768,
        loopEnd: sample.loopEnd + get(3) + get(50) * 32768,
        root: get(58) >= 0 ? get(58) : sample.root,
      },
      loops: Boolean(get(54) & 1),
      gain: 10 ** (-Math.max(0, get(48)) * ATTENUATION / 200),
      pan: Math.max(-1, Math.min(1, get(17) / 500)),
      centsPerKey: get(56),
      cents: get(51) * 100 + get(52) + sample.cents,
      volume: contour(33, get(37)),
      modulation: contour(25, get(29)),
      modulationToPitch: get(7),
      modulationToCutoff: get(11),
      cutoff: get(8) < OPEN ? hertz(get(8)) : Infinity,
      resonance: get(9) / 10,
      vibratoCents: get(6) + get(5),
      vibratoHz: hertz(get(get(6) ? 24 : 22)),
      vibratoDelay: seconds(get(get(6) ? 23 : 21)),
      exclusiveClass: get(57),
    };
  }

  /** @param {string} name @returns {{at: number, size: number}} */
  #chunk(name) {
    const found = this.chunks.get(name);
    if (!found) throw new Error(`the SoundFont has no part ${name}`);
    return found;
  }

  /** @returns {Sample[]} */
  #readSamples() {
    const { at, size } = this.#chunk("shdr"), long = (/** @type {number} */ place) => this.view.getUint32(place, true);
    return Array.from({ length: size / 46 - 1 }, (_, index) => {
      const from = at + index * 46 + 20, root = this.view.getUint8(from + 20);
      return {
        start: long(from),
        end: long(from + 4),
        loopStart: long(from + 8),
        loopEnd: long(from + 12),
        rate: long(from + 16),
        root: root <= 127 ? root : 60,
        cents: this.view.getInt8(from + 21),
      };
    });
  }

  /** @returns {Map<number, Generators[]>} zones by instrument: those of bank 0, and the first drum kit as 128 */
  #readPresets() {
    const { at } = this.#chunk("phdr"), zones = this.#readZones("phdr", 24, 38, "pbag", "pgen");
    /** @type {Map<number, Generators[]>} */
    const presets = new Map();
    zones.forEach((own, index) => {
      const program = this.view.getUint16(at + index * 38 + 20, true);
      const bank = this.view.getUint16(at + index * 38 + 22, true);
      if (bank === 0) presets.set(program, own);
      else if (bank === DRUM_BANK && program === 0) presets.set(128, own);
    });
    return presets;
  }

  /**
   * Return the zones of each instrument or preset. Their first zone may be for all others, which then hold it already.
   * @param {string} headers chunk with one entry each
   * @param {number} offset where in an entry its first zone is named
   * @param {number} size of an entry
   * @param {string} bags
   * @param {string} generators
   * @returns {Generators[][]}
   */
  #readZones(headers, offset, size, bags, generators) {
    const header = this.#chunk(headers), bag = this.#chunk(bags).at, list = this.#chunk(generators).at;
    const short = (/** @type {number} */ place) => this.view.getUint16(place, true);
    const points = headers === "phdr" ? INSTRUMENT : SAMPLE;
    return Array.from({ length: header.size / size - 1 }, (_, index) => {
      const first = short(header.at + index * size + offset), end = short(header.at + (index + 1) * size + offset);
      const zones = [];
      let common = /** @type {Generators} */ (new Map());
      for (let zone = first; zone < end; zone++) {
        const own = /** @type {Generators} */ (new Map());
        for (let entry = short(bag + zone * 4); entry < short(bag + zone * 4 + 4); entry++) {
          const number = short(list + entry * 4), place = list + entry * 4 + 2;
          own.set(number, RANGES.has(number) ? short(place) : this.view.getInt16(place, true));
        }
        if (own.has(points)) zones.push(new Map([...common, ...own]));
        else if (zone === first) common = own;
      }
      return zones;
    });
  }
}

/** @param {DataView} view @returns {Map<string, {at: number, size: number}>} */
function findChunks(view) {
  const found = new Map();
  const tag = (/** @type {number} */ at) =>
    String.fromCharCode(...[0, 1, 2, 3].map((index) => view.getUint8(at + index)));
  const walk = (/** @type {number} */ at, /** @type {number} */ end) => {
    while (at + 8 <= end) {
      const size = view.getUint32(at + 4, true);
      if (["RIFF", "LIST"].includes(tag(at))) walk(at + 12, Math.min(at + 8 + size, end));
      else found.set(tag(at), { at: at + 8, size });
      at += 8 + size + size % 2;
    }
  };
  walk(0, view.byteLength);
  return found;
}
