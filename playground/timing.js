/** Beats and bars: from a tempo map and time signatures to seconds. */

/**
 * @typedef {object} Tempo
 * @property {number} second from which it holds
 * @property {number} bpm quarter notes a minute
 *
 * @typedef {object} Metre
 * @property {number} second from which it holds
 * @property {number} numerator
 * @property {number} denominator
 *
 * @typedef {object} Timing
 * @property {readonly Tempo[]} tempos by second; the first at 0
 * @property {readonly Metre[]} metres likewise
 *
 * @typedef {object} Bar
 * @property {number} number from 1
 * @property {number} start in seconds
 * @property {number} end in seconds
 * @property {readonly number[]} beats when each begins, in seconds
 */

/** @returns {Timing} one tempo and one metre from the start on */
export function steady(bpm = 120, numerator = 4, denominator = 4) {
  return { tempos: [{ second: 0, bpm }], metres: [{ second: 0, numerator, denominator }] };
}

/**
 * Return the last entry that has begun at a second.
 * @template {{second: number}} T
 * @param {readonly T[]} entries
 * @param {number} second
 * @returns {T}
 */
export function current(entries, second) {
  let found = entries[0];
  for (const entry of entries) if (entry.second <= second + 1e-6) found = entry;
  return found;
}

/**
 * Return the second that lies some quarter notes after another.
 * @param {Timing} timing
 * @param {number} second
 * @param {number} quarters
 */
export function advance(timing, second, quarters) {
  for (;;) {
    const { bpm } = current(timing.tempos, second);
    const end = second + quarters * 60 / bpm;
    const next = timing.tempos.find((tempo) => tempo.second > second + 1e-6);
    if (!next || next.second >= end) return end;
    quarters -= (next.second - second) * bpm / 60;
    second = next.second;
  }
}

/** @type {WeakMap<Timing, Bar[]>} */
const known = new WeakMap();

/**
 * Return the bars up to a second and the one that holds it. What is counted once is remembered.
 * @param {Timing} timing
 * @param {number} until in seconds
 * @returns {readonly Bar[]}
 */
export function barsUntil(timing, until) {
  const bars = known.get(timing) ?? [];
  known.set(timing, bars);
  while (!bars.length || bars[bars.length - 1].end <= until + 1e-6) {
    const start = bars.length ? bars[bars.length - 1].end : 0;
    const { numerator, denominator } = current(timing.metres, start);
    const beats = [start];
    for (let beat = 1; beat < numerator; beat++) beats.push(advance(timing, beats[beat - 1], 4 / denominator));
    let end = advance(timing, beats[numerator - 1], 4 / denominator);
    // A new time signature begins a bar, also where the one before is not full.
    const cut = timing.metres.find((metre) => metre.second > start + 1e-3 && metre.second < end - 1e-3);
    if (cut) end = cut.second;
    bars.push({ number: bars.length + 1, start, end, beats: beats.filter((beat) => beat < end - 1e-6) });
  }
  return bars;
}

/**
 * Return the bar that holds a second.
 * @param {Timing} timing
 * @param {number} second
 * @returns {Bar}
 */
export function barAt(timing, second) {
  const bars = barsUntil(timing, Math.max(0, second));
  let low = 0, high = bars.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (bars[middle].start <= second + 1e-6) low = middle;
    else high = middle - 1;
  }
  return bars[low];
}

/** @typedef {"bar" | "beat" | "sixteenth" | "off"} Grid */

/**
 * Return the lines of a grid at or before a second, and after it.
 * @param {Timing} timing
 * @param {number} second
 * @param {Grid} grid without one, the second itself and half a second on
 * @returns {[number, number]}
 */
export function linesAround(timing, second, grid) {
  if (grid === "off") return [second, second + 0.5];
  const bar = barAt(timing, second);
  if (grid === "bar") return [bar.start, bar.end];
  const beat = bar.beats.findLastIndex((each) => each <= second + 1e-6), start = bar.beats[Math.max(0, beat)];
  const end = bar.beats[beat + 1] ?? bar.end, step = (end - start) / (grid === "beat" ? 1 : 4);
  const line = start + Math.floor((second - start) / step + 1e-6) * step;
  return [line, line + step];
}

/**
 * Return the line of a grid that is nearest to a second.
 * @param {Timing} timing
 * @param {number} second
 * @param {Grid} grid
 */
export function snapped(timing, second, grid) {
  const [before, after] = linesAround(timing, Math.max(0, second), grid);
  return grid === "off" || second - before < after - second ? before : after;
}

/**
 * Tell whether notes begin on sixteenths or triplets, as those do that were not played by hand.
 * @param {Timing} timing
 * @param {readonly {onset: number}[]} notes
 */
export function isOnGrid(timing, notes) {
  const near = notes.filter(({ onset }) => {
    const { beats, end } = barAt(timing, onset), beat = beats.findLast((each) => each <= onset + 1e-6) ?? onset;
    const next = beats[beats.indexOf(beat) + 1] ?? end, share = (onset - beat) / (next - beat) * 12;
    const off = Math.min(...[0, 3, 4, 6, 8, 9, 12].map((line) => Math.abs(share - line))) * (next - beat) / 12;
    return off < 0.012;
  });
  return near.length > notes.length * 0.8;
}

/**
 * Say where a span is, in bars where it is made of whole ones, else in seconds.
 * @param {Timing} timing
 * @param {readonly [number, number]} span in seconds
 */
export function spanText(timing, [start, end]) {
  const first = barAt(timing, start + 1e-3), last = barAt(timing, end - 1e-3);
  const whole = Math.abs(first.start - start) < 0.02 && Math.abs(last.end - end) < 0.02;
  if (!whole) return `${start.toFixed(1)} to ${end.toFixed(1)} s`;
  return first.number === last.number ? `bar ${first.number}` : `bars ${first.number} to ${last.number}`;
}

/** @param {number} seconds @returns {string} minutes and seconds */
export function clockText(seconds) {
  const tenths = Math.round(Math.max(0, seconds) * 10);
  return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
}
