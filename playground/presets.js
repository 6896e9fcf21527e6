/** Wishes in a musician's words. */

/** Who plays, by style; null: anybody. @type {Readonly<Record<string, string[] | null>>} */
export const STYLES = {
  band: ["Acoustic Guitar (steel)", "Electric Piano 1", "Electric Bass (finger)", "Drums"],
  piano: ["Acoustic Grand Piano"],
  jazz: ["Acoustic Grand Piano", "Acoustic Bass", "Drums"],
  strings: ["Violin", "Viola", "Cello"],
  orchestra: ["Strings", "String Ensemble 1", "French Horn", "Flute", "Clarinet", "Timpani"],
  synths: ["Lead 2 (sawtooth)", "Pad 2 (warm)", "Synth Bass 1", "Drums"],
  guitar: ["Acoustic Guitar (nylon)"],
  anything: null,
};

/** Rhythm is bolder than it should be if it is chosen as freely as harmony. */
const BALANCED = { top_p: { onset: 0.9, duration: 0.97, note: 0.97 } };

/** How lively, by mood. @type {Readonly<Record<string, Record<string, unknown>>>} */
export const MOODS = {
  calm: { ...BALANCED, density: 3 },
  balanced: BALANCED,
  lively: { ...BALANCED, density: 8 },
  wild: { density: 12, top_p: 0.99 },
};

/** Where new notes may begin, by rhythm. @type {Readonly<Record<string, Record<string, unknown>>>} */
export const RHYTHMS = {
  straight: { grid: "1/16" },
  swing: { grid: "1/8", swing: 0.64 },
  triplets: { grid: "1/8T" },
  free: {},
};
