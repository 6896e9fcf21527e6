"""Decode the bytes of a MIDI file to notes, and encode notes to such bytes, in memory."""

from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from typing import Final, NamedTuple

from amt.errors import MidiError
from amt.midi import kinds
from amt.midi.channels import assign_channels
from amt.midi.drum_hits import Span, in_order
from amt.midi.encoding import channel_message, encode_file, encode_track, meta_message
from amt.midi.instruments import instrument_name
from amt.midi.notes import DRUMS, TICKS_PER_SECOND, Note
from amt.midi.rewriting import NOTE_OFF_VELOCITY, numbers_of, rewrite, timing_messages
from amt.midi.score import Score, read_score
from amt.midi.sustain import sustained_notes
from amt.midi.timing import MILLISECONDS_PER_TICK, Timing

MAX_FILE_SECONDS: Final = 24 * 3_600

MAX_NOTICES: Final = 20


class Piece(NamedTuple):
    """Hold the notes of an input in their order, how it counts time, and all else that it says.

    Attributes:
        notes: of a MIDI file, or of a list.
        timing: of the input.
        score: what the MIDI file says; None: the input is a list of notes.
        spans: when each note of a list begins and ends, in milliseconds; None: the input is a MIDI file.
    """

    notes: list[Note]
    timing: Timing
    score: Score | None = None
    spans: Sequence[Span] | None = None

    @property
    def length_ticks(self) -> int:
        """When the piece ends: see `Score.length_seconds`, or with its last note as the pedal holds it."""
        last = max((note.onset + note.duration for note in self.notes), default=0)
        return max(round(TICKS_PER_SECOND * self.score.length_seconds), last) if self.score else last

    @property
    def notices(self) -> list[str]:
        """What was mended while reading, and what cannot be given back, in at most 20 sentences."""
        if not self.score:
            return []
        lost = []
        if self.score.file.type == 2:
            lost.append("the file holds independent patterns (type 2): only their notes are given back")
        elif self.score.file.seconds_per_tick:
            lost.append("the file counts in SMPTE frames and has no beats: it is given back at 120 bpm")
        elif not self.timing.can_be_written(MILLISECONDS_PER_TICK * self.length_ticks):
            lost.append("the tempo map counts more ticks than a file can hold: it is given back at 120 bpm")
        return [*lost, *self.score.notices][:MAX_NOTICES]

    def spans_of(self, kept: Sequence[Note]) -> list[Span]:
        """Return when some of the notes begin and end, in milliseconds: exactly if they are of a list."""
        if self.spans is None:
            scale = MILLISECONDS_PER_TICK
            return [(scale * note.onset, scale * (note.onset + note.duration)) for note in kept]
        return [self.spans[number] for number in numbers_of(self.notes, kept)]


def read_notes(data: bytes, *, sustained: bool = False) -> list[Note]:
    """Return the notes of a MIDI file; see `read_piece`."""
    return read_piece(data, sustained=sustained).notes


def read_piece(data: bytes, *, sustained: bool = False) -> Piece:
    """Return the notes of a MIDI file and its tempo map.

    Notes come in the order in which they are switched on, with the tracks merged by time. The patterns of a file of
    type 2 are independent; they follow one another. Onsets and durations are rounded to ticks of 10 ms.

    Args:
        data: the bytes of the file.
        sustained: whether notes last as long as the sustain pedal holds them, or as they were struck.

    Raises:
        MidiError: the bytes are not a MIDI file, or its notes last longer than a day.
    """
    score = read_score(data)
    last = float(score.end_seconds.max(initial=0))
    if last > MAX_FILE_SECONDS:
        raise MidiError(f"the notes of the MIDI file last {last / 3600:.0f} hours: at most 24 are read")
    notes = sustained_notes(score) if sustained else score.notes
    return Piece(notes, Timing.from_messages(score.file, score.messages), score)


def write_piece(
    piece: Piece,
    kept: Sequence[Note],
    new: Sequence[Note],
    length_ticks: float,
    timing: Timing,
    until_ticks: int | None = None,
    new_spans: Sequence[Span] | None = None,
) -> bytes:
    """Return a file of type 1 with the kept notes of a piece, all else that its file says, and new notes.

    Args:
        piece: as it was read.
        kept: some of its notes.
        new: in any order.
        length_ticks: the file ends here, or with its last note if that is later.
        timing: of the output.
        until_ticks: nothing but kept notes is given back from here on; None: everything is.
        new_spans: when each new note begins and ends, in milliseconds, where that is known more exactly.
    """
    score = piece.score
    if score and score.file.type != 2:  # there is no one time at which the patterns of type 2 would sound
        return rewrite(score, piece.notes, kept, new, length_ticks, timing, until_ticks, new_spans)
    if piece.spans is None and new_spans is None:
        return write_notes([*kept, *new], length_ticks, timing)
    kept = [piece.notes[number] for number in numbers_of(piece.notes, kept)]
    new, spans = in_order(new, new_spans)
    return write_notes([*kept, *new], length_ticks, timing, [*piece.spans_of(kept), *spans])


def write_notes(
    notes: Iterable[Note],
    length_ticks: float = 0,
    timing: Timing | None = None,
    spans: Sequence[Span] | None = None,
) -> bytes:
    """Return a MIDI file of type 1: a tempo track, then one named track per instrument.

    Drums are on channel 10. Any number of instruments can be written: see `assign_channels`.

    Args:
        notes: in any order.
        length_ticks: the file ends here, or with its last note if that is later.
        timing: of the file; it does not change when the notes sound. 120 bpm if it is not given, or if no file can
            hold it.
        spans: when each note begins and ends, in milliseconds, where that is known more exactly than its ticks say.
    """
    ordered, spans = in_order(notes, spans)
    last = max([length_ticks * MILLISECONDS_PER_TICK, *(end for _, end in spans)])
    timing = (timing or Timing()).fit_to_write(ceil(last))
    file_spans = [(timing.file_tick(start), timing.file_tick(end)) for start, end in spans]
    tracks: dict[int, list[tuple[int, bytes]]] = {note.instrument: [] for note in ordered}
    for tick, instrument, message in _messages(ordered, file_spans, list(tracks)):
        tracks[instrument].append((tick, message))
    end = timing.file_tick(last)
    chunks = [_encode_track("Tempo", timing_messages(timing), end)]
    chunks += [_encode_track(instrument_name(instrument), each, end) for instrument, each in tracks.items()]
    return encode_file(chunks, timing.ticks_per_beat)


def _messages(
    notes: list[Note], spans: list[tuple[int, int]], instruments: list[int]
) -> Iterator[tuple[int, int, bytes]]:
    """Yield (file tick, instrument, message) in the order in which a reader meets them.

    That is by time, then by track. Where instruments share a channel, the program is set again at each tick at which a
    note begins, and before a note-off too: some readers find the note that it ends by the program of the channel.

    Args:
        notes: sorted by onset.
        spans: when each note begins and ends, in file ticks.
        instruments: in the order of their tracks.
    """
    channels = assign_channels(notes)
    programs: dict[int, tuple[int, int]] = {}  # of each channel: the last one, and when it was set
    shared = set()
    for note, channel in zip(notes, channels, strict=True):
        if channel not in programs:
            programs[channel] = note.instrument, 0
            yield 0, note.instrument, _program_change(channel, note.instrument % DRUMS)
        elif programs[channel][0] != note.instrument:
            shared.add(channel)
    for tick, index, begins in _note_order(notes, spans, instruments):
        note, channel = notes[index], channels[index]
        program, since = programs[channel]
        if channel in shared and (program != note.instrument or (begins and since < tick)):
            programs[channel] = note.instrument, tick
            yield tick, note.instrument, _program_change(channel, note.instrument)
        kind, velocity = (kinds.NOTE_ON, note.velocity) if begins else (kinds.NOTE_OFF, NOTE_OFF_VELOCITY)
        yield tick, note.instrument, channel_message(kind, channel, note.pitch, velocity)


def _note_order(
    notes: list[Note], spans: list[tuple[int, int]], instruments: list[int]
) -> Iterator[tuple[int, int, bool]]:
    """Yield (file tick, index of the note, whether it begins or ends then) by time, then by track.

    At one tick a track first ends notes that sound, then begins notes, and then ends notes of no length.
    """
    end_sounding, begin, end_at_once = range(3)
    order = []
    for index, (note, (start, end)) in enumerate(zip(notes, spans, strict=True)):
        track = instruments.index(note.instrument)
        order.append((start, track, begin, index))
        order.append((end, track, end_sounding if end > start else end_at_once, index))
    return ((tick, index, phase == begin) for tick, _, phase, index in sorted(order))


def _program_change(channel: int, program: int) -> bytes:
    return channel_message(kinds.PROGRAM_CHANGE, channel, program)


def _encode_track(name: str, messages: list[tuple[int, bytes]], end: int) -> bytes:
    return encode_track([(0, meta_message(kinds.TRACK_NAME, name.encode("ascii"))), *messages], end)
