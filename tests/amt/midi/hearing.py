"""Hear a MIDI file with mido, for tests that hold what comes back against what went in."""

from collections import defaultdict, deque
from io import BytesIO
from typing import Any, NamedTuple

import mido

from amt.midi.notes import DRUMS

TEXTS = (
    "text",
    "copyright",
    "lyrics",
    "marker",
    "cue_marker",
    "instrument_name",
    "key_signature",
)
"""Meta messages that belong to a track, but for its name."""

AT_REST = {("control", 64): 0, ("control", 66): 0, ("control", 7): 100, ("control", 11): 127, "bend": 0}


class Heard(NamedTuple):
    """A note, and all that colours it.

    Attributes:
        track: its number.
        begin: file tick, as `end`.
        pitch: of the note, as `velocity`.
        instrument: its program, or 128 on channel 10.
        state: the controllers, bend and pressures of its channel when it begins.
        changes: (file tick, what, value) of those that come while it sounds.
    """

    track: int
    begin: int
    end: int
    pitch: int
    velocity: int
    instrument: int
    state: dict[Any, int]
    changes: list[tuple[int, Any, int]]

    def in_units(self, factor):
        """The note with other file ticks, in a form that can be sorted."""
        changes = tuple((factor * tick, str(what), value) for tick, what, value in self.changes)
        state = tuple(sorted((str(what), value) for what, value in self.state.items()))
        begin, end = factor * self.begin, factor * self.end
        return (begin, end, self.track, self.pitch, self.velocity, self.instrument, state, changes)


class Hearing:
    """A file as mido reads it.

    Attributes:
        file: mido's.
        notes: in the order in which they begin.
        texts: of each track, (file tick, message) of its texts and system exclusive messages.
        names: of each track.
        conductor: (file tick, message) of tempos and time signatures.
    """

    def __init__(self, data):
        self.file = mido.MidiFile(file=BytesIO(data))
        self.texts = [[] for _ in self.file.tracks]
        self.names = [""] * len(self.file.tracks)
        self.conductor = []
        self.notes = []
        self._states = defaultdict(lambda: dict(AT_REST))
        self._programs = defaultdict(int)
        self._open = defaultdict(deque)
        events = []
        for number, track in enumerate(self.file.tracks):
            tick = port = 0
            for index, message in enumerate(track):
                tick += message.time
                port = message.port if message.type == "midi_port" else port
                events.append((tick, number, index, port, message))
        for tick, number, _, port, message in sorted(events, key=lambda event: event[:3]):
            self._take(tick, number, port, message.copy(time=0))

    def _take(self, tick, track, port, message):
        if message.type in ("set_tempo", "time_signature"):
            self.conductor.append((tick, message))
        elif message.type == "track_name":
            self.names[track] = message.name
        elif message.type == "sysex" or message.type in TEXTS:
            self.texts[track].append((tick, str(message)))
        elif not message.is_meta:
            self._take_channel_message(tick, track, 16 * port + message.channel, message)

    def _take_channel_message(self, tick, track, channel, message):
        state = self._states[channel]
        if message.type == "program_change":
            self._programs[channel] = message.program
        elif message.type == "note_on" and message.velocity:
            instrument = DRUMS if message.channel == 9 else self._programs[channel]
            heard = Heard(track, tick, -1, message.note, message.velocity, instrument, dict(state), [])
            self._open[channel, message.note, track].append(len(self.notes))
            self.notes.append(heard)
        elif message.type in ("note_on", "note_off"):
            number = self._open[channel, message.note, track].popleft()  # as the files of the tests are
            self.notes[number] = self.notes[number]._replace(end=tick)
        else:
            what, value = {
                "control_change": lambda: (("control", message.control), message.value),
                "pitchwheel": lambda: ("bend", message.pitch),
                "aftertouch": lambda: ("pressure", message.value),
                "polytouch": lambda: (("pressure", message.note), message.value),
            }[message.type]()
            if state.get(what) == value:  # said twice, in two tracks
                return
            state[what] = value
            for (other, *_), numbers in self._open.items():
                for number in numbers if other == channel else ():
                    self.notes[number].changes.append((tick, what, value))
