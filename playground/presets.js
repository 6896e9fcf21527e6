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

/** How lively, by mood. @type {Readonly<Record<string, Record<string, unknown>>>} */
export const MOODS = {
  calm: { density: 3 },
  balanced: {},
  lively: { density: 8 },
  wild: { density: 12, top_p: 0.99 },
};
