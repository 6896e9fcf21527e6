"""Give a file back with new notes in it: all its messages and the kept notes, on channels that sound as they did.

Not given back as they were: note-offs have the usual velocity; programs and banks stand in every track that has notes
of their channel, where every reader finds them; all-notes-off messages are gone, for every note has its note-off; so
are those that made other channels play drums, for all drums are on channel 10.
"""

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Final, NamedTuple

import mido
import numpy as np

from amt.midi import kinds
from amt.midi.colours import PITCH_BEND_PLACE, Colours
from amt.midi.drum_hits import Span, in_order
from amt.midi.encoding import channel_message, encode_file, encode_track, meta_message, sysex_message
from amt.midi.instruments import instrument_name
from amt.midi.kinds import DRUM_CHANNEL, N_CHANNELS
from amt.midi.notes import DRUMS, TICKS_PER_SECOND, Note
from amt.midi.pairing import TRACK_END, switch_all_off
from amt.midi.players import is_rhythm_message
from amt.midi.score import MAX_TAIL_SECONDS, Score
from amt.midi.smf import Column, Message
from amt.midi.timing import MILLISECONDS_PER_TICK, Timing
from amt.midi.voices import Voice, Voices

NOTE_OFF_VELOCITY: Final = 64
"""The value that RP-001 recommends where the release velocity is not known."""

_META, _SOUND, _END, _INPUT, _BEGIN, _END_AT_ONCE = range(6)
"""What comes first at one tick in one track: texts, banks and programs, the ends of new notes, what the input has in
its own order, new notes, and the ends of those of no length."""

_AT_TRACK_END: Final = 1 << 60
_BEND_AT_REST: Final = 8_192
_SAME_TIME_SECONDS: Final = 1e-6
_LEFT_OUT: Final = (kinds.OTHER, kinds.TEMPO, kinds.TIME_SIGNATURE, kinds.PORT, kinds.DEVICE_NAME, kinds.CHANNEL_PREFIX)
"""What timing and channels say again."""

_SELECTS_SOUND: Final = (kinds.BANK_MSB, kinds.BANK_LSB)


class Item(NamedTuple):
    """Hold one message of a track: when, what comes first, and the message.

    `channel` is 16 x port + channel, or None for messages of the whole track.
    """

    tick: int
    phase: int
    order: int
    channel: int | None
    message: bytes


class Rewriter:
    """Collect the tracks of a file that is given back."""

    def __init__(self, score: Score, kept: Column, new: Sequence[Note], spans: Sequence[Span], timing: Timing) -> None:
        """Begin with the tracks of the input.

        Args:
            score: of the input.
            kept: the numbers of the kept notes.
            new: notes to be added, sorted by onset.
            spans: when each of these begins and ends, in milliseconds.
            timing: of the output, fit to be written.
        """
        self._score, self._kept, self._new, self._spans, self._timing = score, kept, new, spans, timing
        self._voices = Voices(score, kept, frozenset(note.instrument for note in new))
        self._names: list[str | None] = [None] * len(score.file.track_lengths)
        self._tracks: list[list[Item]] = [[] for _ in self._names]
        self._programs: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        self._without_program: set[int] = set()
        self._colours = Colours()
        self._factor = _common_factor(score, timing)

    def _file_tick(self, tick: int, seconds: float) -> int:
        """Return the file tick in the output of what is at a file tick, and at a time, in the input."""
        return tick * self._factor if self._factor else self._timing.file_tick(1_000 * seconds)

    def _add(self, track: int, item: Item) -> None:
        self._tracks[track].append(item)

    def add_messages(self, until_seconds: float | None) -> None:
        """Add all messages but notes, up to a time, and let go there what would colour the notes that follow."""
        score = self._score
        latest = score.length_seconds + MAX_TAIL_SECONDS
        until = latest if until_seconds is None else until_seconds - _SAME_TIME_SECONDS
        is_left_out = np.isin(score.messages.kind, (kinds.NOTE_ON, kinds.NOTE_OFF, *_LEFT_OUT))
        found = np.flatnonzero(~is_left_out & ~switch_all_off(score.messages) & (score.seconds <= until))
        columns = (found, score.tracks[found], score.channels[found], score.seconds[found])
        rows = zip(score.messages[found].rows(), *(column.tolist() for column in columns), strict=True)
        unfinished: dict[int, Item] = {}
        for message, index, track, channel, seconds in rows:
            tick = self._file_tick(message.tick, seconds)
            payload = score.file.data[message.begin : message.end]
            if message.kind >= kinds.META:
                if _is_valid(message.kind, payload):
                    self._add(track, Item(tick, _META, index, None, meta_message(message.kind, payload)))
            elif message.kind in (kinds.SYSEX, kinds.ESCAPE):
                self._add_sysex(track, Item(tick, _META, index, None, payload), message.kind, unfinished)
            else:
                self._add_channel_message(message, payload, track, channel, tick, index)
        for track, item in unfinished.items():
            self._finish_sysex(track, item)
        if until_seconds is not None:
            self._let_go(self._timing.file_tick(1_000 * until_seconds))

    def _add_sysex(self, track: int, item: Item, kind: int, unfinished: dict[int, Item]) -> None:
        """Add a system exclusive message when its last part has come.

        Args:
            track: its number.
            item: with the payload of this part in the place of the message.
            kind: whether it begins or continues one.
            unfinished: of each track, what has come.
        """
        begun = unfinished.pop(track, None)
        if kind == kinds.ESCAPE:
            if not begun:
                return  # bytes for the wire that are no message of a file
            item = begun._replace(message=begun.message + item.message)
        elif begun:
            self._finish_sysex(track, begun)
        if item.message.endswith(b"\xf7"):
            self._finish_sysex(track, item)
        else:
            unfinished[track] = item

    def _finish_sysex(self, track: int, item: Item) -> None:
        if not is_rhythm_message(item.message):
            self._add(track, item._replace(message=sysex_message(item.message)))

    def _add_channel_message(
        self, message: Message, payload: bytes, track: int, channel: int, tick: int, index: int
    ) -> None:
        """Add a channel message for each voice whose it is; what selects a sound, in all tracks of the voice."""
        data = [min(byte, 0x7F) for byte in payload]
        is_controller = message.kind == kinds.CONTROL_CHANGE
        is_program = message.kind == kinds.PROGRAM_CHANGE
        selects_sound = is_program or (is_controller and message.data1 in _SELECTS_SOUND)
        for voice in self._voices.targets(channel, track):
            target = self._voices.channels[voice]
            if is_program:
                insort(self._programs[target], (tick, message.data1), key=lambda change: change[0])
            elif is_controller:
                self._colours.add(target, tick, message.data1, message.data2)
            elif message.kind == kinds.PITCH_BEND:
                bend = (message.data2 << 7 | message.data1) - _BEND_AT_REST
                self._colours.add(target, tick, PITCH_BEND_PLACE, bend)
            encoded = channel_message(message.kind, target, *data)
            phase, order = (_SOUND, index) if selects_sound else (_INPUT, 2 * index)
            for own in self._voices.tracks[voice] if selects_sound else (track,):
                self._add(own, Item(tick, phase, order, target, encoded))

    def _let_go(self, tick: int) -> None:
        """Lift pedals and centre bends that hold at a time."""
        for voice, target in self._voices.channels.items():
            for control in self._colours.held(target):
                self._colours.add(target, tick, control, 0)
                if control == PITCH_BEND_PLACE:
                    encoded = channel_message(kinds.PITCH_BEND, target, 0, _BEND_AT_REST >> 7)
                else:
                    encoded = channel_message(kinds.CONTROL_CHANGE, target, control, 0)
                self._add(self._voices.tracks[voice][0], Item(tick, _END, 0, target, encoded))

    def add_kept(self) -> None:
        """Add the kept notes, and the programs that a reader needs for them."""
        score, kept = self._score, self._kept
        on, end = score.pairs.on[kept], score.pairs.end[kept]
        columns = (
            score.note_channels[kept],
            score.note_tracks[kept],
            score.instruments[kept],
            score.messages.tick[on],
            score.seconds[on],
            score.end_ticks[kept],
            score.end_seconds[kept],
            score.messages.data1[on],
            score.messages.data2[on],
            2 * on + 1,
            np.where(end == TRACK_END, _AT_TRACK_END, 2 * end),
        )
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for channel, track, instrument, on_tick, on_seconds, end_tick, end_seconds, pitch, velocity, *orders in rows:
            voice = self._voices.voice(channel, track, instrument)
            target = self._voices.channels[voice]
            begin, stop = self._file_tick(on_tick, on_seconds), self._file_tick(end_tick, end_seconds)
            self._set_program(self._voices.tracks[voice], begin, target, instrument)
            items = _note(begin, stop, target, pitch, velocity)
            for item, order in zip(items, orders, strict=True):
                self._add(track, item._replace(phase=_INPUT, order=order))

    def _set_program(self, tracks: Iterable[int], tick: int, channel: int, instrument: int) -> None:
        """Set the program of a channel before a note, unless it is set already."""
        if instrument == DRUMS:
            return
        changes = self._programs[channel]
        place = bisect_right(changes, tick, key=lambda change: change[0])
        if place and changes[place - 1][1] == instrument:
            return
        # Where the input has no program, its banks mean nothing: so this one comes before them.
        tick, order = (tick, _AT_TRACK_END) if changes else (0, -1)
        if not changes:
            self._without_program.add(channel)
        insort(changes, (tick, instrument), key=lambda change: change[0])
        encoded = channel_message(kinds.PROGRAM_CHANGE, channel, instrument)
        for track in tracks:
            self._add(track, Item(tick, _SOUND, order, channel, encoded))

    def add_new(self) -> None:
        """Add new notes to the track of their instrument, on its channel unless what that holds would colour them."""
        by_instrument: defaultdict[int, list[tuple[int, int, Note]]] = defaultdict(list)
        for note, (begin, end) in zip(self._new, self._spans, strict=True):
            by_instrument[note.instrument].append((self._timing.file_tick(begin), self._timing.file_tick(end), note))
        for instrument, notes in by_instrument.items():
            track, channels = self._place_of(instrument, notes)
            busy: dict[tuple[int, int], int] = {}
            for begin, end, note in notes:
                free = [channel for channel in channels if busy.get((channel, note.pitch), 0) <= begin]
                if not free and instrument != DRUMS:
                    free = [self._voices.take_free_channel()]
                    self._copy_mix(channels[0], free[0], track, begin)
                    channels += free
                channel = (free or channels)[0]
                busy[channel, note.pitch] = max(busy.get((channel, note.pitch), 0), end)
                self._set_program((track,), begin, channel, instrument)
                for item in _note(begin, end, channel, note.pitch, note.velocity):
                    self._add(track, item)

    def _place_of(self, instrument: int, notes: list[tuple[int, int, Note]]) -> tuple[int, list[int]]:
        """Return (the track for new notes of an instrument, the channels on which they sound as they are)."""
        voices = [voice for voice, players in self._voices.instruments.items() if players == {instrument}]
        for voice in voices:
            channel = self._voices.channels[voice]
            spans = self._colours.spans(channel)
            if instrument == DRUMS or not _overlaps(notes, spans):
                return self._track_of(instrument, voice), [channel]
        track = self._track_of(instrument, voices[0] if voices else None)
        if instrument == DRUMS:
            return track, [DRUM_CHANNEL]
        own = self._voices.take_free_channel()
        if voices:
            self._copy_mix(self._voices.channels[voices[0]], own, track, notes[0][0])
        return track, [own]

    def _copy_mix(self, source: int, target: int, track: int, tick: int) -> None:
        """Give a channel the bank, the volume and the place of another, before its first note."""
        for control, value in sorted(self._colours.mix(source, tick).items()):
            if control not in _SELECTS_SOUND or source not in self._without_program:
                encoded = channel_message(kinds.CONTROL_CHANGE, target, control, value)
                self._add(track, Item(0, _SOUND, -2, target, encoded))
                self._colours.add(target, 0, control, value)

    def _track_of(self, instrument: int, voice: Voice | None) -> int:
        """Return the track in which an instrument plays most, of a voice if there is one, or a new track."""
        tracks = self._score.note_tracks[self._score.instruments == instrument]
        if voice:
            tracks = tracks[np.isin(tracks, self._voices.tracks[voice])]
        if len(tracks):
            return int(np.bincount(tracks).argmax())
        self._names.append(instrument_name(instrument))
        self._tracks.append([])
        return len(self._tracks) - 1

    def bytes(self, end_milliseconds: float) -> bytes:
        """Return the file, which ends at a time."""
        end = self._timing.file_tick(end_milliseconds)
        has_ports = any(item.channel is not None and item.channel >= N_CHANNELS for own in self._tracks for item in own)
        conductor = [Item(tick, _META, -1, None, message) for tick, message in timing_messages(self._timing)]
        tracks = []
        for number, (name, own) in enumerate(zip(self._names, self._tracks, strict=True)):
            ordered = sorted([*conductor, *own] if number == 0 else own, key=lambda item: item[:3])
            if name is not None:
                ordered.insert(0, Item(0, _META, 0, None, meta_message(kinds.TRACK_NAME, name.encode())))
            ordered = _with_ports(ordered) if has_ports else ordered
            tracks.append(encode_track(((item.tick, item.message) for item in ordered), end))
        return encode_file(tracks, self._timing.ticks_per_beat)


def rewrite(
    score: Score,
    notes: Sequence[Note],
    kept: Sequence[Note],
    new: Sequence[Note],
    length_ticks: float,
    timing: Timing,
    until_ticks: int | None = None,
    new_spans: Sequence[Span] | None = None,
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
        new_spans: when each new note begins and ends, in milliseconds, where that is known more exactly.
    """
    ordered, spans = in_order(new, new_spans)
    kept_ends = [MILLISECONDS_PER_TICK * (note.onset + note.duration) for note in kept]
    last = max([MILLISECONDS_PER_TICK * length_ticks, *kept_ends, *(end for _, end in spans)])
    rewriter = Rewriter(score, numbers_of(notes, kept), ordered, spans, timing.fit_to_write(ceil(last)))
    rewriter.add_messages(None if until_ticks is None else until_ticks / TICKS_PER_SECOND)
    rewriter.add_kept()
    rewriter.add_new()
    return rewriter.bytes(last)


def numbers_of(notes: Sequence[Note], kept: Sequence[Note]) -> Column:
    """Return which of the notes are kept: the very same ones, and for copies of notes any that are alike."""
    same = {id(note) for note in kept}
    numbers = {number for number, note in enumerate(notes) if id(note) in same}
    if len(numbers) < len(kept):
        left = Counter(kept) - Counter(notes[number] for number in numbers)
        for number, note in enumerate(notes):
            if number not in numbers and left[note] > 0:
                left[note] -= 1
                numbers.add(number)
    return np.array(sorted(numbers), np.int64)


def _common_factor(score: Score, timing: Timing) -> int:
    """Return how many file ticks of the output a file tick of the input has; 0 if their tempo maps are others."""
    ticks_per_beat = score.file.ticks_per_beat
    if score.file.seconds_per_tick or timing.ticks_per_beat % ticks_per_beat:
        return 0
    factor = timing.ticks_per_beat // ticks_per_beat
    own = Timing.from_messages(score.file, score.messages)
    tempos = [(factor * change.tick, change.tempo) for change in own.tempos]
    return factor if tempos[: len(timing.tempos)] == [tuple(change) for change in timing.tempos] else 0


def _is_valid(kind: int, payload: bytes) -> bool:
    """Tell whether other readers accept a meta message; some refuse a whole file for one that they do not."""
    if kind == kinds.SEQUENCE_NUMBER:
        return len(payload) == 2
    if kind == kinds.SMPTE_OFFSET:
        return len(payload) == 5 and max(payload) < 0x80
    if kind == kinds.KEY_SIGNATURE:
        return len(payload) == 2 and payload[1] <= 1 and (payload[0] <= 7 or payload[0] >= 0x100 - 7)
    return kind <= kinds.MAX_META


def _overlaps(notes: list[tuple[int, int, Note]], spans: list[tuple[int, int]]) -> bool:
    """Tell whether a note sounds within a span; both are in order of time."""
    starts = [since for since, _ in spans]
    for begin, end, _ in notes:
        place = bisect_right(starts, begin) - 1
        if (place >= 0 and spans[place][1] > begin) or (place + 1 < len(spans) and spans[place + 1][0] < end):
            return True
    return False


def _note(begin: int, end: int, channel: int, pitch: int, velocity: int) -> tuple[Item, Item]:
    on = channel_message(kinds.NOTE_ON, channel, pitch, velocity)
    off = channel_message(kinds.NOTE_OFF, channel, pitch, NOTE_OFF_VELOCITY)
    last = _END if end > begin else _END_AT_ONCE
    return Item(begin, _BEGIN, 0, channel, on), Item(end, last, 0, channel, off)


def timing_messages(timing: Timing) -> list[tuple[int, bytes]]:
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
    return [(tick, bytes(message.bytes())) for tick, message in sorted(changes, key=lambda change: change[0])]


def _with_ports(items: list[Item]) -> list[Item]:
    """Return the items with a message wherever the port changes."""
    port, named = -1, []
    for item in items:
        if item.channel is not None and item.channel // N_CHANNELS != port:
            port = item.channel // N_CHANNELS
            named.append(Item(item.tick, _META, 0, None, meta_message(kinds.PORT, bytes((port,)))))
        named.append(item)
    return named
