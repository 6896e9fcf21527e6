/** The loudness of a note over time. It is computed here, for not every browser can say what it is at a moment. */

const SILENCE_DB = 100;
const SILENCE = 10 ** (-SILENCE_DB / 20);

/** @param {number} gain @param {number} db */
const lowered = (gain, db) => gain * 10 ** (-db / 20);

export class Envelope {
  /**
   * @param {number} when it begins
   * @param {number} peak gain
   * @param {import("./sf2.js").Contour} contour
   */
  constructor(when, peak, contour) {
    this.begin = when + contour.delay;
    this.top = this.begin + contour.attack;
    this.fall = this.top + contour.hold;
    this.peak = peak;
    this.dbPerSecond = SILENCE_DB / contour.decay;
    this.rest = this.fall + contour.decay * contour.sustain;
    this.sustained = lowered(peak, SILENCE_DB * contour.sustain);
    this.off = Infinity;
    this.offLevel = 0;
    this.offDbPerSecond = 0;
  }

  /** @param {number} time @returns {number} the gain at a moment */
  at(time) {
    if (time >= this.off) {
      return Math.max(SILENCE * 1e-3, lowered(this.offLevel, (time - this.off) * this.offDbPerSecond));
    }
    if (time <= this.begin) return 0;
    if (time < this.top) return this.peak * (time - this.begin) / (this.top - this.begin);
    if (time <= this.fall) return this.peak;
    if (time < this.rest) return lowered(this.peak, (time - this.fall) * this.dbPerSecond);
    return this.sustained;
  }

  /** @param {AudioParam} gain that follows it from now on */
  apply(gain) {
    gain.setValueAtTime(0, this.begin);
    gain.linearRampToValueAtTime(this.peak, this.top);
    gain.setValueAtTime(this.peak, this.fall);
    gain.exponentialRampToValueAtTime(Math.max(this.sustained, SILENCE * this.peak), this.rest);
  }

  /**
   * Fall to nothing from a moment on, which lies in the future or now.
   * @param {AudioParam} gain
   * @param {number} time
   * @param {number} seconds that it would take from full to nothing
   */
  release(gain, time, seconds) {
    const level = this.at(time);
    gain.cancelScheduledValues(time);
    // What was cut off here is drawn to here again, along the same line.
    if (time < this.top || !level) gain.linearRampToValueAtTime(level, time);
    else if (time > this.fall && time < this.rest || time > this.off) gain.exponentialRampToValueAtTime(level, time);
    else gain.setValueAtTime(level, time);
    if (level) gain.exponentialRampToValueAtTime(level * SILENCE, time + seconds);
    this.off = time;
    this.offLevel = level;
    this.offDbPerSecond = SILENCE_DB / seconds;
  }
}
