"""Name the instruments, and find them by name. Source: General MIDI System Level 1 (RP-003), sound set."""

from difflib import get_close_matches
from typing import Final

from amt.errors import InstrumentError
from amt.midi.notes import DRUMS

_FAMILIES: Final = {
    "Piano": "Acoustic Grand Piano, Bright Acoustic Piano, Electric Grand Piano, Honky-tonk Piano, "
    "Electric Piano 1, Electric Piano 2, Harpsichord, Clavinet",
    "Chromatic Percussion": "Celesta, Glockenspiel, Music Box, Vibraphone, Marimba, Xylophone, Tubular Bells, Dulcimer",
    "Organ": "Drawbar Organ, Percussive Organ, Rock Organ, Church Organ, Reed Organ, Accordion, Harmonica, "
    "Tango Accordion",
    "Guitar": "Acoustic Guitar (nylon), Acoustic Guitar (steel), Electric Guitar (jazz), Electric Guitar (clean), "
    "Electric Guitar (muted), Overdriven Guitar, Distortion Guitar, Guitar Harmonics",
    "Bass": "Acoustic Bass, Electric Bass (finger), Electric Bass (pick), Fretless Bass, Slap Bass 1, Slap Bass 2, "
    "Synth Bass 1, Synth Bass 2",
    "Strings": "Violin, Viola, Cello, Contrabass, Tremolo Strings, Pizzicato Strings, Orchestral Harp, Timpani",
    "Ensemble": "String Ensemble 1, String Ensemble 2, Synth Strings 1, Synth Strings 2, Choir Aahs, Voice Oohs, "
    "Synth Voice, Orchestra Hit",
    "Brass": "Trumpet, Trombone, Tuba, Muted Trumpet, French Horn, Brass Section, Synth Brass 1, Synth Brass 2",
    "Reed": "Soprano Sax, Alto Sax, Tenor Sax, Baritone Sax, Oboe, English Horn, Bassoon, Clarinet",
    "Pipe": "Piccolo, Flute, Recorder, Pan Flute, Blown Bottle, Shakuhachi, Whistle, Ocarina",
    "Synth Lead": "Lead 1 (square), Lead 2 (sawtooth), Lead 3 (calliope), Lead 4 (chiff), Lead 5 (charang), "
    "Lead 6 (voice), Lead 7 (fifths), Lead 8 (bass + lead)",
    "Synth Pad": "Pad 1 (new age), Pad 2 (warm), Pad 3 (polysynth), Pad 4 (choir), Pad 5 (bowed), Pad 6 (metallic), "
    "Pad 7 (halo), Pad 8 (sweep)",
    "Synth Effects": "FX 1 (rain), FX 2 (soundtrack), FX 3 (crystal), FX 4 (atmosphere), FX 5 (brightness), "
    "FX 6 (goblins), FX 7 (echoes), FX 8 (sci-fi)",
    "Ethnic": "Sitar, Banjo, Shamisen, Koto, Kalimba, Bagpipe, Fiddle, Shanai",
    "Percussive": "Tinkle Bell, Agogo, Steel Drums, Woodblock, Taiko Drum, Melodic Tom, Synth Drum, Reverse Cymbal",
    "Sound Effects": "Guitar Fret Noise, Breath Noise, Seashore, Bird Tweet, Telephone Ring, Helicopter, Applause, "
    "Gunshot",
}

NAMES: Final = (*(name for family in _FAMILIES.values() for name in family.split(", ")), "Drums")

if len(NAMES) != DRUMS + 1:
    raise AssertionError("General MIDI has 128 programs; drums come after them")

_FAMILY_SIZE: Final = 8

MAX_NAME_LENGTH: Final = 40
"""Characters of an unknown name that are compared and shown."""

_BY_NAME: Final[dict[str, frozenset[int]]] = {
    **{name.lower(): frozenset({program}) for program, name in enumerate(NAMES)},
    **{
        family.lower(): frozenset(range(index * _FAMILY_SIZE, (index + 1) * _FAMILY_SIZE))
        for index, family in enumerate(_FAMILIES)
    },
}


def instrument_name(instrument: int) -> str:
    """Return the General MIDI name of a program (0..127), or "Drums" for 128."""
    return NAMES[instrument]


def find_instruments(wanted: int | str) -> frozenset[int]:
    """Return the instruments that a number, a General MIDI name or the name of a family means; case is ignored.

    Raises:
        InstrumentError: there is no such instrument; the message names the nearest.
    """
    if isinstance(wanted, int):
        if not 0 <= wanted <= DRUMS:
            raise InstrumentError(f"an instrument's number must be in range 0..{DRUMS} (128: drums), got {wanted}")
        return frozenset({wanted})
    name = " ".join(wanted.lower().split())
    if name in _BY_NAME:
        return _BY_NAME[name]
    near = get_close_matches(name[:MAX_NAME_LENGTH], _BY_NAME, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise InstrumentError(
        f"there is no instrument {wanted[:MAX_NAME_LENGTH]!r}: {hint}A General MIDI name, "
        f"a number (0..127, 128: drums) or a family ({', '.join(_FAMILIES)}) is wanted"
    )
