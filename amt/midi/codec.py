"""Decode the bytes of a MIDI file to notes, and encode notes to such bytes, in memory."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from operator import itemgetter
from typing import Final, NamedTuple

import mido

from amt.errors import MidiError
from amt.midi.channels import assign_channels
from amt.midi.drum_hits import Span, written_spans
from amt.midi.instruments import instrument_name
from amt.midi.notes import DRUMS, Note
from amt.midi.score import Score, read_score
from amt.midi.timing import MILLISECONDS_PER_TICK, TimeSignature, Timing

Fields = dict[str, str | int]
"""A message as mido takes it, without its time."""

MAX_FILE_SECONDS: Final = 24 * 3_600

NOTE_OFF_VELOCITY: Final = 64
"""The value that RP-001 recommends where the release velocity is not known."""


class Piece(NamedTuple):
    """Hold the notes of a MIDI file in file order, how the file counts time, and all else that it says."""

    notes: list[Note]
    timing: Timing
    score: Score

    @property
    def notices(self) -> tuple[str, ...]:
        """What was mended while reading, in sentences."""
        return self.score.notices


def read_notes(data: bytes) -> list[Note]:
    """Return the notes of a MIDI file; see `read_piece`."""
    return read_piece(data).notes


def read_piece(data: bytes) -> Piece:
    """Return the notes of a MIDI file and its tempo map.

    Notes come in the order in which they are switched on, with the tracks merged by time. The patterns of a file of
    type 2 are independent; they follow one another. Onsets and durations are rounded to ticks of 10 ms.

    Raises:
        MidiError: the bytes are not a MIDI file, or its notes last longer than a day.
    """
    score = read_score(data)
    last = float(score.end_seconds.max(initial=0))
    if last > MAX_FILE_SECONDS:
        raise MidiError(f"the notes of the MIDI file last {last / 3600:.0f} hours: at most 24 are read")
    return Piece(score.notes, Timing.from_messages(score.file, score.messages), score)


def write_notes(notes: Iterable[Note], length_ticks: int = 0, timing: Timing | None = None) -> bytes:
    """Return a MIDI file of type 1: a tempo track, then one named track per instrument.

    Drums are on channel 10. Any number of instruments can be written: see `assign_channels`.

    Args:
        notes: in any order.
        length_ticks: the file ends here, or with its last note if that is later.
        timing: of the file; it does not change when the notes sound. 120 bpm if it is not given, or if no file can
            hold it.
    """
    ordered = sorted(notes, key=itemgetter(0))
    spans = written_spans(ordered)
    last = max([length_ticks * MILLISECONDS_PER_TICK, *(end for _, end in spans)])
    timing = (timing or Timing()).fit_to_write(last)
    file_spans = [(timing.file_tick(start), timing.file_tick(end)) for start, end in spans]
    tracks: dict[int, list[tuple[int, Fields]]] = {note.instrument: [] for note in ordered}
    for tick, instrument, fields in _messages(ordered, file_spans, list(tracks)):
        tracks[instrument].append((tick, fields))
    end = timing.file_tick(last)
    file = mido.MidiFile(type=1, ticks_per_beat=timing.ticks_per_beat)
    file.tracks.append(_tempo_track(timing, end))
    for instrument, messages in tracks.items():
        file.tracks.append(_note_track(instrument_name(instrument), messages, end))
    buffer = BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _messages(notes: list[Note], spans: list[Span], instruments: list[int]) -> Iterator[tuple[int, int, Fields]]:
    """Yield (file tick, instrument, fields of the message) in the order in which a reader meets them.

    That is by time, then by track. Where another instrument has taken a channel over, the program is set again, before
    a note-off too: a reader finds the note that it ends by the program of the channel.

    Args:
        notes: sorted by onset.
        spans: when each note begins and ends, in file ticks.
        instruments: in the order of their tracks.
    """
    channels = assign_channels(notes)
    programs: dict[int, int] = {}
    for note, channel in zip(notes, channels, strict=True):
        if channel not in programs:
            programs[channel] = note.instrument
            yield 0, note.instrument, _program_change(channel, note.instrument % DRUMS)
    for tick, index, begins in _note_order(notes, spans, instruments):
        note, channel = notes[index], channels[index]
        if programs[channel] != note.instrument:
            programs[channel] = note.instrument
            yield tick, note.instrument, _program_change(channel, note.instrument)
        kind, velocity = ("note_on", note.velocity) if begins else ("note_off", NOTE_OFF_VELOCITY)
        yield tick, note.instrument, {"type": kind, "channel": channel, "note": note.pitch, "velocity": velocity}


def _note_order(notes: list[Note], spans: list[Span], instruments: list[int]) -> Iterator[tuple[int, int, bool]]:
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


def _program_change(channel: int, program: int) -> Fields:
    return {"type": "program_change", "channel": channel, "program": program}


def _track_name(name: str) -> mido.MetaMessage:
    return mido.MetaMessage("track_name", name=name)


def _tempo_track(timing: Timing, end: int) -> mido.MidiTrack:
    """Return a track of time signatures and tempos; where both change at one tick, the time signature is first."""
    changes = [(change.tick, _signature_fields(change)) for change in timing.signatures]
    changes += [(change.tick, {"type": "set_tempo", "tempo": change.tempo}) for change in timing.tempos]
    track = mido.MidiTrack([_track_name("Tempo")])
    previous = 0
    for tick, fields in sorted(changes, key=itemgetter(0)):
        track.append(mido.MetaMessage(time=tick - previous, **fields))
        previous = tick
    track.append(mido.MetaMessage("end_of_track", time=end - previous))
    return track


def _signature_fields(signature: TimeSignature) -> Fields:
    return {
        "type": "time_signature",
        "numerator": signature.numerator,
        "denominator": signature.denominator,
        "clocks_per_click": signature.clocks_per_click,
        "notated_32nd_notes_per_beat": signature.thirty_seconds_per_beat,
    }


def _note_track(name: str, messages: list[tuple[int, Fields]], end: int) -> mido.MidiTrack:
    """Return a track of messages whose times are given in file ticks from the start."""
    track = mido.MidiTrack([_track_name(name)])
    previous = 0
    for tick, fields in messages:
        # mido's checks of each field take longer than all the rest, and a Note holds only legal values.
        track.append(mido.Message(skip_checks=True, time=tick - previous, **fields))
        previous = tick
    track.append(mido.MetaMessage("end_of_track", time=end - previous))
    return track
