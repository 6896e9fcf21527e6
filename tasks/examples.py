"""Show one request of each task, and what all tasks take in a musician's terms."""

from typing import Any, Final

EXAMPLE_MIDI: Final = "TVRoZAAAAAYAAAABAeBNVHJrAAAADQCQPFCDYIA8QAD/LwA="
"""A MIDI file of one middle C that lasts half a second, written by hand:

    4d546864 00000006 0000 0001 01e0    MThd, 6 bytes: type 0, 1 track, 480 ticks a quarter note (120 bpm)
    4d54726b 0000000d                   MTrk, 13 bytes
    00   90 3c 50                       at 0: note on, channel 1, pitch 60, velocity 80
    8360 80 3c 40                       480 ticks later: note off
    00   ff 2f 00                       end of track
"""

EXAMPLE_SCALE: Final = (
    "TVRoZAAAAAYAAAABAeBNVHJrAAAATACQPFCDYIA8QACQPlCDYIA+QACQQFCDYIBAQACQQVCDYIBBQACQQ1CDYIBDQACQRVCDYIBFQACQR1CDYIBHQACQ"
    "SFCDYIBIQAD/LwA="
)
"""A scale of C major, written likewise: eight notes of half a second each."""

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "generate": {
        "task": "generate",
        "length_seconds": 20.0,
        "top_p": 0.95,
        "num_variations": 1,
        "client_job_id": "optional-tracking-id",
    },
    "continue": {
        "task": "continue",
        "midi_input": EXAMPLE_MIDI,
        "prime_seconds": 5.0,
        "length_seconds": 20.0,
        "top_p": 0.95,
        "num_variations": 1,
    },
    "accompany": {"task": "accompany", "midi_input": EXAMPLE_MIDI, "length_seconds": 5.0},
    "infill": {"task": "infill", "midi_input": EXAMPLE_SCALE, "start_seconds": 1.0, "end_seconds": 2.5},
    "variation": {"task": "variation", "midi_input": EXAMPLE_SCALE, "similarity": 0.5, "num_variations": 2},
    "embed": {"task": "embed", "midi_input": EXAMPLE_MIDI, "embed_layer": -3},
}

MORE_EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "bars, grid, key and chords": {
        "task": "generate",
        "length_bars": 4,
        "bpm": 100,
        "time_signature": "4/4",
        "grid": "1/8",
        "key": "A minor",
        "chords": "Am | F | C G | E7",
        "include": ["midi", "notes"],
    },
    "notes": {
        "task": "continue",
        "notes": [
            {"onset": 0, "duration": 1, "pitch": 60, "instrument": "Violin"},
            {"onset": 1, "duration": 1, "pitch": 64, "instrument": "Violin"},
            {"onset": 2, "duration": 2, "pitch": 67, "instrument": "Violin"},
        ],
        "time_unit": "beats",
        "bpm": 100,
        "prime_bars": 1,
        "length_bars": 2,
        "include": ["notes"],
    },
}
"""By what they show."""
