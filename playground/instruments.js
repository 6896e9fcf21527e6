/** The instruments of General MIDI (RP-003): their names, families and colours. */

export const DRUMS = 128;

/** Name and hue of each family, and its eight programs. Families that often play together differ most in hue. */
const FAMILIES = /** @type {const} */ ([
  [
    "Piano",
    255,
    "Acoustic Grand Piano, Bright Acoustic Piano, Electric Grand Piano, Honky-tonk Piano, " +
    "Electric Piano 1, Electric Piano 2, Harpsichord, Clavinet",
  ],
  [
    "Chromatic Percussion",
    205,
    "Celesta, Glockenspiel, Music Box, Vibraphone, Marimba, Xylophone, Tubular Bells, " +
    "Dulcimer",
  ],
  [
    "Organ",
    40,
    "Drawbar Organ, Percussive Organ, Rock Organ, Church Organ, Reed Organ, Accordion, Harmonica, " +
    "Tango Accordion",
  ],
  [
    "Guitar",
    75,
    "Acoustic Guitar (nylon), Acoustic Guitar (steel), Electric Guitar (jazz), Electric Guitar (clean), " +
    "Electric Guitar (muted), Overdriven Guitar, Distortion Guitar, Guitar Harmonics",
  ],
  [
    "Bass",
    310,
    "Acoustic Bass, Electric Bass (finger), Electric Bass (pick), Fretless Bass, Slap Bass 1, " +
    "Slap Bass 2, Synth Bass 1, Synth Bass 2",
  ],
  ["Strings", 25, "Violin, Viola, Cello, Contrabass, Tremolo Strings, Pizzicato Strings, Orchestral Harp, Timpani"],
  [
    "Ensemble",
    0,
    "String Ensemble 1, String Ensemble 2, Synth Strings 1, Synth Strings 2, Choir Aahs, Voice Oohs, " +
    "Synth Voice, Orchestra Hit",
  ],
  ["Brass", 95, "Trumpet, Trombone, Tuba, Muted Trumpet, French Horn, Brass Section, Synth Brass 1, Synth Brass 2"],
  ["Reed", 145, "Soprano Sax, Alto Sax, Tenor Sax, Baritone Sax, Oboe, English Horn, Bassoon, Clarinet"],
  ["Pipe", 180, "Piccolo, Flute, Recorder, Pan Flute, Blown Bottle, Shakuhachi, Whistle, Ocarina"],
  [
    "Synth Lead",
    285,
    "Lead 1 (square), Lead 2 (sawtooth), Lead 3 (calliope), Lead 4 (chiff), Lead 5 (charang), " +
    "Lead 6 (voice), Lead 7 (fifths), Lead 8 (bass + lead)",
  ],
  [
    "Synth Pad",
    230,
    "Pad 1 (new age), Pad 2 (warm), Pad 3 (polysynth), Pad 4 (choir), Pad 5 (bowed), " +
    "Pad 6 (metallic), Pad 7 (halo), Pad 8 (sweep)",
  ],
  [
    "Synth Effects",
    335,
    "FX 1 (rain), FX 2 (soundtrack), FX 3 (crystal), FX 4 (atmosphere), FX 5 (brightness), " +
    "FX 6 (goblins), FX 7 (echoes), FX 8 (sci-fi)",
  ],
  ["Ethnic", 120, "Sitar, Banjo, Shamisen, Koto, Kalimba, Bagpipe, Fiddle, Shanai"],
  [
    "Percussive",
    60,
    "Tinkle Bell, Agogo, Steel Drums, Woodblock, Taiko Drum, Melodic Tom, Synth Drum, " +
    "Reverse Cymbal",
  ],
  [
    "Sound Effects",
    350,
    "Guitar Fret Noise, Breath Noise, Seashore, Bird Tweet, Telephone Ring, Helicopter, " +
    "Applause, Gunshot",
  ],
]);

/** How far the hues of a family's members are from its own: neighbours, who often play together, are far apart. */
const SHADES = [-28, 8, 36, -12, 22, -20, 0, -32];

const NAMES = [...FAMILIES.flatMap(([, , names]) => names.split(", ")), "Drums"];

/** Groups for a menu: family, and its instruments by number. Drums are a group of their own. */
export const GROUPS = [
  { family: "Drums", instruments: [DRUMS] },
  ...FAMILIES.map(([family], index) => ({
    family: /** @type {string} */ (family),
    instruments: Array.from({ length: 8 }, (_, member) => index * 8 + member),
  })),
];

/** @param {number} instrument @returns {string} */
export function instrumentName(instrument) {
  return NAMES[instrument];
}

/**
 * Return the colour of an instrument, which stays the same in every piece.
 * @param {number} instrument
 * @param {boolean} dark whether it is seen on a dark page
 * @param {number} [glow] from 0 to 1: how much brighter while it sounds
 */
export function instrumentColour(instrument, dark, glow = 0) {
  const lightness = (dark ? 0.72 : 0.6) + glow * (dark ? 0.2 : 0.16);
  if (instrument === DRUMS) return `oklch(${lightness - (dark ? 0.06 : 0.04)} 0.015 255)`;
  const member = instrument % 8, hue = FAMILIES[instrument >> 3][1] + SHADES[member];
  return `oklch(${lightness + (member % 3 - 1) * 0.04} ${0.15 - glow * 0.04} ${hue})`;
}

/** @param {number} pitch @returns {string} such as C4 for 60 */
export function pitchName(pitch) {
  return `${["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"][pitch % 12]}${
    Math.floor(pitch / 12) - 1
  }`;
}
