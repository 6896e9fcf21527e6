"""Give a file back with new notes in it: all its messages and the kept notes, on channels that sound as they did.

Not given back as they were: note-offs have the usual velocity; programs are set where a reader needs them;
all-notes-off messages are gone, for every note has its note-off; so are those that made other channels play drums, for
all drums are on channel 10.
"""

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any, Final, NamedTuple

import mido
import numpy as np

from amt.midi import smf
from amt.midi.drum_hits import written_spans
from amt.midi.instruments import instrument_name
from amt.midi.notes import DRUMS, TICKS_PER_SECOND, Note
from amt.midi.pairing import ALL_NOTES_OFF, ALL_SOUND_OFF
from amt.midi.players import DRUM_CHANNEL, N_CHANNELS, is_rhythm_message
from amt.midi.score import MAX_TAIL_SECONDS, Score
from amt.midi.smf import Column
from amt.midi.timing import MILLISECONDS_PER_TICK, Timing
from amt.midi.voices import FOR_EVER, SOSTENUTO, SUSTAIN, Voice, Voices, bend_spans, pedal_spans

NOTE_OFF_VELOCITY: Final = 64
"""The value that RP-001 recommends where the release velocity is not known."""

_META, _STATE, _END, _BEGIN, _END_AT_ONCE = range(5)
"""What comes first at one tick in one track."""

_CENTRE: Final = 8_192
_SAME_TIME_SECONDS: Final = 1e-6
_CHANNEL_TYPES: Final = {
    0xA0: ("polytouch", "note", "value"),
    0xB0: ("control_change", "control", "value"),
    0xC0: ("program_change", "program"),
    0xD0: ("aftertouch", "value"),
}
_LEFT_OUT: Final = (smf.OTHER, smf.TEMPO, smf.TIME_SIGNATURE, smf.PORT, smf.DEVICE_NAME, smf.CHANNEL_PREFIX)
"""What timing and channels say anew."""


class Item(NamedTuple):
    """Hold one message of a track: when, what comes first, and the message without its time.

    `channel` is 16 x port + channel, or None for messages of the whole track.
    """

    tick: int
    phase: int
    order: int
    channel: int | None
    message: Any


class Rewriter:
    """Collect the tracks of a file that is given back."""

    def __init__(self, score: Score, notes: Sequence[Note], kept: Iterable[Note], timing: Timing) -> None:
        """Begin with the kept notes.

        Args:
            score: of the input.
            notes: its notes.
            kept: some of these.
            timing: of the output, fit to be written.
        """
        self._score, self._timing = score, timing
        self._kept = _numbers_of(notes, kept)
        self._voices = Voices(score, self._kept)
        self._names: list[str | None] = [None] * len(score.file.track_lengths)
        self._tracks: list[list[Item]] = [[] for _ in self._names]
        self._programs: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        self._factor = _common_factor(score, timing)

    def file_tick(self, tick: int, seconds: float) -> int:
        """Return the file tick in the output of what is at a file tick, and at a time, in the input."""
        return tick * self._factor if self._factor else self._timing.file_tick(round(1_000 * seconds))

    def _add(self, track: int, tick: int, phase: int, channel: int | None, message: Any) -> None:
        items = self._tracks[track]
        items.append(Item(tick, phase, len(items), channel, message))

    def add_messages(self, until_seconds: float | None) -> None:
        """Add all messages but notes, up to a time, and let go there what would colour the notes that follow."""
        score, data = self._score, self._score.file.data
        is_note = np.isin(score.messages.kind, (smf.NOTE_ON, smf.NOTE_OFF))
        until = score.length_seconds + MAX_TAIL_SECONDS if until_seconds is None else until_seconds - _SAME_TIME_SECONDS
        is_kept = ~is_note & (score.seconds <= until)
        found = np.flatnonzero(is_kept)
        columns = (score.tracks[found], score.channels[found], score.seconds[found])
        rows = zip(score.messages[found].rows(), *(column.tolist() for column in columns), strict=True)
        for message, track, channel, seconds in rows:
            tick = self.file_tick(message.tick, seconds)
            if message.kind >= smf.META:
                if message.kind not in _LEFT_OUT:
                    payload = data[message.begin : message.end]
                    meta = mido.UnknownMetaMessage(message.kind & 0xFF, data=payload)
                    self._add(track, tick, _META, None, meta)
            elif message.kind == smf.SYSEX:
                payload = data[message.begin : message.end]
                if not is_rhythm_message(payload):
                    clean = [byte for byte in payload if byte < 0x80]
                    self._add(track, tick, _META, None, mido.Message("sysex", data=clean))
            elif message.kind not in (smf.OTHER, smf.ESCAPE) and not _switches_all_off(message):
                self._add_channel_message(message, track, channel, tick)
        if until_seconds is not None:
            self._let_go(until_seconds)

    def _add_channel_message(self, message: smf.Message, track: int, channel: int, tick: int) -> None:
        fields = _fields(message)
        for voice in self._voices.targets(channel, track):
            target = self._voices.channels[voice]
            if message.kind == smf.PROGRAM_CHANGE:
                insort(self._programs[target], (tick, message.data1), key=lambda change: change[0])
            own = self._home(voice, track) if message.kind == smf.PROGRAM_CHANGE else track
            self._add(own, tick, _STATE, target, mido.Message(skip_checks=True, channel=target % N_CHANNELS, **fields))

    def _home(self, voice: Voice, track: int) -> int:
        """Return a track if it has notes of a voice, else the first that has."""
        tracks = [
            own for own, other in zip(self._score.note_tracks[self._kept].tolist(), self._voices.of_notes, strict=True)
            if other == voice
        ]  # fmt: skip
        return track if track in tracks else tracks[0]

    def _let_go(self, until_seconds: float) -> None:
        """Lift pedals and centre bends that hold at a time."""
        tick = self._timing.file_tick(round(1_000 * until_seconds))
        for voice, target in self._voices.channels.items():
            track, channel = self._home(voice, -1), target % N_CHANNELS
            last = {(each.message.type, getattr(each.message, "control", 0)): each.message
                    for items in self._tracks for each in items
                    if each.channel == target and each.phase == _STATE}  # fmt: skip
            for control in (SUSTAIN, SOSTENUTO):
                if (pedal := last.get(("control_change", control))) and pedal.value >= 64:
                    lifted = mido.Message("control_change", channel=channel, control=control, value=0)
                    self._add(track, tick, _STATE, target, lifted)
            if (bend := last.get(("pitchwheel", 0))) and bend.pitch:
                self._add(track, tick, _STATE, target, mido.Message("pitchwheel", channel=channel, pitch=0))

    def add_kept(self) -> None:
        """Add the kept notes, and the programs that a reader needs for them."""
        score, kept = self._score, self._kept
        on = score.pairs.on[kept]
        columns = (
            score.note_tracks[kept],
            score.messages.tick[on],
            score.seconds[on],
            score.end_ticks[kept],
            score.end_seconds[kept],
            score.messages.data1[on],
            score.messages.data2[on],
            score.instruments[kept],
        )
        rows = zip(self._voices.of_notes, *(column.tolist() for column in columns), strict=True)
        for voice, track, on_tick, on_seconds, end_tick, end_seconds, pitch, velocity, instrument in rows:
            channel = self._voices.channels[voice]
            begin, end = self.file_tick(on_tick, on_seconds), self.file_tick(end_tick, end_seconds)
            self._set_program(track, begin, channel, instrument)
            self._add_note(track, begin, end, channel, pitch, velocity)

    def _set_program(self, track: int, tick: int, channel: int, instrument: int) -> None:
        """Set the program of a channel before a note, unless it is set already."""
        if instrument == DRUMS:
            return
        changes = self._programs[channel]
        place = bisect_right(changes, tick, key=lambda change: change[0])
        if place and changes[place - 1][1] == instrument:
            return
        tick = tick if changes else 0
        insort(changes, (tick, instrument), key=lambda change: change[0])
        change = mido.Message("program_change", channel=channel % N_CHANNELS, program=instrument)
        self._add(track, tick, _STATE, channel, change)

    def _add_note(self, track: int, begin: int, end: int, channel: int, pitch: int, velocity: int) -> None:
        wire = {"channel": channel % N_CHANNELS, "note": pitch, "skip_checks": True}
        self._add(track, begin, _BEGIN, channel, mido.Message("note_on", velocity=velocity, **wire))
        off = mido.Message("note_off", velocity=NOTE_OFF_VELOCITY, **wire)
        self._add(track, end, _END if end > begin else _END_AT_ONCE, channel, off)

    def add_new(self, new: Iterable[Note]) -> None:
        """Add new notes to the track of their instrument, on its channel unless a bend or a pedal would colour them."""
        ordered = sorted(new, key=lambda note: note.onset)
        spans = [tuple(map(self._timing.file_tick, span)) for span in written_spans(ordered)]
        by_instrument: defaultdict[int, list[tuple[int, int, Note]]] = defaultdict(list)
        for note, (begin, end) in zip(ordered, spans, strict=True):
            by_instrument[note.instrument].append((begin, end, note))
        taken: list[int] = []
        for instrument, notes in by_instrument.items():
            track = self._track_of(instrument)
            channels = self._channels_of(instrument, notes)
            busy: dict[tuple[int, int], int] = {}
            for begin, end, note in notes:
                free = [channel for channel in channels if busy.get((channel, note.pitch), 0) <= begin]
                if not free and instrument != DRUMS:
                    free = [self._voices.free_channel(taken)]
                    channels += free
                    taken += free
                channel = (free or channels)[0]
                busy[channel, note.pitch] = max(busy.get((channel, note.pitch), 0), end)
                self._set_program(track, begin, channel, instrument)
                self._add_note(track, begin, end, channel, note.pitch, note.velocity)

    def _track_of(self, instrument: int) -> int:
        """Return the track in which an instrument plays most, or a new one."""
        of_instrument = self._score.note_tracks[self._score.instruments == instrument]
        if len(of_instrument):
            return int(np.bincount(of_instrument).argmax())
        self._names.append(instrument_name(instrument))
        self._tracks.append([])
        return len(self._tracks) - 1

    def _channels_of(self, instrument: int, notes: list[tuple[int, int, Note]]) -> list[int]:
        """Return the channels of the output on which new notes of an instrument can be played as they are."""
        players: dict[Voice, set[int]] = {}
        for voice, other in zip(self._voices.of_notes, self._score.instruments[self._kept].tolist(), strict=True):
            players.setdefault(voice, set()).add(other)
        if instrument == DRUMS:
            return [DRUM_CHANNEL]
        kinds = [bend_spans(self._score), *(pedal_spans(self._score, pedal) for pedal in (SUSTAIN, SOSTENUTO))]
        channels = []
        for voice in (voice for voice, instruments in players.items() if instruments == {instrument}):
            spans = [tuple(map(self._moved, span)) for kind in kinds for span in kind.get(voice.channel, [])]
            if not any(begin < until and end > since for begin, end, _ in notes for since, until in spans):
                channels.append(self._voices.channels[voice])
        return channels[:1]

    def _moved(self, tick: int) -> int:
        """Return where a file tick of the input is in the output."""
        if self._factor or tick == FOR_EVER:
            return tick * (self._factor or 1)
        place = int(np.searchsorted(self._score.messages.tick, tick, side="right")) - 1
        return self._timing.file_tick(round(1_000 * float(self._score.seconds[max(place, 0)])))

    def bytes(self, end_milliseconds: int) -> bytes:
        """Return the file, which ends at a time."""
        end = self._timing.file_tick(end_milliseconds)
        has_ports = any(
            item.channel is not None and item.channel >= N_CHANNELS for each in self._tracks for item in each
        )
        file = mido.MidiFile(type=1, ticks_per_beat=self._timing.ticks_per_beat)
        conductor = [Item(tick, _META, -1, None, message) for tick, message in timing_messages(self._timing)]
        for number, (name, own) in enumerate(zip(self._names, self._tracks, strict=True)):
            ordered = sorted([*conductor, *own] if number == 0 else own, key=lambda item: item[:3])
            if name is not None:
                ordered.insert(0, Item(0, _META, 0, None, mido.MetaMessage("track_name", name=name)))
            file.tracks.append(_track(_with_ports(ordered) if has_ports else ordered, end))
        buffer = BytesIO()
        file.save(file=buffer)
        return buffer.getvalue()


def rewrite(
    score: Score,
    notes: Sequence[Note],
    kept: Iterable[Note],
    new: Iterable[Note],
    length_ticks: int,
    timing: Timing,
    until_ticks: int | None = None,
) -> bytes:
    """Return a file of type 1 with the kept notes of a file, all else that it says, and new notes.

    Args:
        score: of the file.
        notes: its notes.
        kept: some of these.
        new: in any order.
        length_ticks: the file ends here, or with its last note if that is later.
        timing: of the output.
        until_ticks: nothing but kept notes is given back from here on; None: everything is.
    """
    new = list(new)
    ends = [note.onset + note.duration for note in [*kept, *new]]
    last = MILLISECONDS_PER_TICK * max([length_ticks, *ends])
    rewriter = Rewriter(score, notes, kept, timing.fit_to_write(last))
    rewriter.add_messages(None if until_ticks is None else until_ticks / TICKS_PER_SECOND)
    rewriter.add_kept()
    rewriter.add_new(new)
    return rewriter.bytes(last)


def _numbers_of(notes: Sequence[Note], kept: Iterable[Note]) -> Column:
    """Return which of the notes are kept; of notes that are alike it does not matter which."""
    left = Counter(kept)
    numbers = []
    for number, note in enumerate(notes):
        if left[note]:
            left[note] -= 1
            numbers.append(number)
    return np.array(numbers, np.int64)


def _common_factor(score: Score, timing: Timing) -> int:
    """Return how many file ticks of the output a file tick of the input has; 0 if their tempo maps are others."""
    ticks_per_beat = score.file.ticks_per_beat
    if score.file.seconds_per_tick or timing.ticks_per_beat % ticks_per_beat:
        return 0
    factor = timing.ticks_per_beat // ticks_per_beat
    own = Timing.from_messages(score.file, score.messages)
    tempos = [(factor * change.tick, change.tempo) for change in own.tempos]
    return factor if tempos[: len(timing.tempos)] == [tuple(change) for change in timing.tempos] else 0


def _switches_all_off(message: smf.Message) -> bool:
    is_mode = message.data1 == ALL_SOUND_OFF or message.data1 >= ALL_NOTES_OFF
    return message.kind == smf.CONTROL_CHANGE and is_mode


def _fields(message: smf.Message) -> dict[str, str | int]:
    """Return a channel message as mido takes it, without its channel and time."""
    if message.kind == smf.PITCH_BEND:
        return {"type": "pitchwheel", "pitch": (message.data2 << 7 | message.data1) - _CENTRE}
    kind, *names = _CHANNEL_TYPES[message.kind]
    return {"type": kind, **dict(zip(names, (message.data1, message.data2), strict=False))}


def timing_messages(timing: Timing) -> list[tuple[int, mido.MetaMessage]]:
    """Return changes of tempo and time signature at their file ticks; the time signature is first at one tick."""
    changes = [
        (
            change.tick,
            mido.MetaMessage(
                "time_signature",
                numerator=change.numerator,
                denominator=change.denominator,
                clocks_per_click=change.clocks_per_click,
                notated_32nd_notes_per_beat=change.thirty_seconds_per_beat,
            ),
        )
        for change in timing.signatures
    ]
    changes += [(change.tick, mido.MetaMessage("set_tempo", tempo=change.tempo)) for change in timing.tempos]
    return sorted(changes, key=lambda change: change[0])


def _with_ports(items: list[Item]) -> list[Item]:
    """Return the items with a message wherever the port changes."""
    port, named = -1, []
    for item in items:
        if item.channel is not None and item.channel // N_CHANNELS != port:
            port = item.channel // N_CHANNELS
            named.append(Item(item.tick, _META, 0, None, mido.UnknownMetaMessage(smf.PORT & 0xFF, data=[port])))
        named.append(item)
    return named


def _track(items: list[Item], end: int) -> mido.MidiTrack:
    track, previous = mido.MidiTrack(), 0
    for item in items:
        track.append(item.message.copy(skip_checks=True, time=item.tick - previous))
        previous = item.tick
    track.append(mido.MetaMessage("end_of_track", time=max(end - previous, 0)))
    return track
