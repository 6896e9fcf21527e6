"""MIDI bytes to notes and back, in memory."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import accumulate
from operator import itemgetter
from typing import Final, NamedTuple

import mido
import numpy as np
from numpy.typing import NDArray

from amt.errors import MidiError
from amt.midi import smf
from amt.midi.channels import DRUM_CHANNEL, assign_channels
from amt.midi.instruments import instrument_name
from amt.midi.notes import DRUMS, TICKS_PER_SECOND, Note
from amt.midi.timing import MILLISECONDS_PER_TICK, TimeSignature, Timing

Fields = dict[str, str | int]
"""A message as mido takes it, without its time."""

Indices = NDArray[np.int64]

UNCLOSED_TICKS: Final = TICKS_PER_SECOND // 4
"""What a note lasts that is never switched off, as in the reference."""

MAX_FILE_SECONDS: Final = 24 * 3_600

_SLACK: Final = (MILLISECONDS_PER_TICK - 1) // 2
"""By so many milliseconds an onset or a duration can change and still be rounded to the same tick."""


class Piece(NamedTuple):
    """What a MIDI file says: its notes in file order, and how it counts time."""

    notes: list[Note]
    timing: Timing


_PITCH_BITS: Final = 7
_KEY_BITS: Final = 4 + _PITCH_BITS
"""Of what tells open notes apart, beside the instrument: a channel and a pitch."""


def read_notes(data: bytes) -> list[Note]:
    """The notes of a MIDI file in file order: as switched on, tracks merged by time.

    See `read_piece`.
    """
    return read_piece(data).notes


def read_piece(data: bytes) -> Piece:
    """The notes of a MIDI file in file order, as switched on, tracks merged by time; and its tempo map.

    Type 2 files hold independent patterns; they follow one another. A note-off closes the oldest open note of its
    channel, instrument and pitch. Onsets and durations are rounded to ticks of 10 ms.

    Raises:
        MidiError: the bytes are not a MIDI file, or it lasts longer than a day.
    """
    file = smf.read(data)
    # Type 2 apart, all tracks are one pattern.
    patterns = np.repeat(np.arange(len(file.lengths)) * (file.type == 2), file.lengths)
    order = np.lexsort((file.messages[:, 0], patterns))
    messages, patterns = file.messages[order], patterns[order]
    starts_pattern = np.diff(patterns, prepend=-1) > 0
    seconds = _seconds(file, messages, starts_pattern)
    if len(seconds) and seconds[-1] > MAX_FILE_SECONDS:
        raise MidiError(f"the MIDI file lasts {seconds[-1] / 3600:.0f} hours: at most 24 are read")
    begins, ends, instruments = _pair(messages, patterns)
    onsets = np.rint(TICKS_PER_SECOND * seconds[begins])
    durations = np.rint(TICKS_PER_SECOND * (seconds[ends] - seconds[begins]))
    durations[ends < 0] = UNCLOSED_TICKS
    rows = (onsets.astype(int), durations.astype(int), messages[begins, 3], instruments, messages[begins, 4])
    notes = list(map(Note, *(row.tolist() for row in rows)))
    counts_time = np.isin(messages[:, 1], (smf.TEMPO, smf.TIME_SIGNATURE))
    return Piece(notes, Timing.of(file, messages[counts_time].tolist()))


def _seconds(file: smf.File, messages: smf.Messages, starts_pattern: NDArray[np.bool_]) -> NDArray[np.float64]:
    """When each message comes, in seconds from the start of the file; shape = (n_messages,).

    Summed message by message, in floating point: the reference does so, and halves are rounded on the result.
    """
    ticks, kinds, _, tempos, _ = messages.T
    deltas = np.where(starts_pattern, ticks, np.diff(ticks, prepend=0))
    changes = np.flatnonzero(starts_pattern | (kinds == smf.TEMPO))
    tempos = np.where(kinds == smf.TEMPO, tempos, smf.DEFAULT_TEMPO)[changes]
    tick_seconds = [file.tick_seconds(tempo) for tempo in tempos.tolist()]
    from_here_on = np.repeat(tick_seconds, np.diff(changes, append=len(messages)))
    until_here = np.roll(from_here_on, 1)
    until_here[starts_pattern] = file.tick_seconds(smf.DEFAULT_TEMPO)
    return np.cumsum(deltas * until_here)


def _pair(messages: smf.Messages, patterns: Indices) -> tuple[Indices, Indices, Indices]:
    """(which message switches each note on, which one off or -1, its instrument), as switched on.

    Nothing outlasts its pattern; `patterns` says to which each message belongs.
    """
    kinds, channels, data1, velocities = messages.T[1:]
    wanted = np.flatnonzero(np.isin(kinds, (smf.NOTE_ON, smf.NOTE_OFF, smf.PROGRAM_CHANGE)))
    switches_on = (kinds == smf.NOTE_ON) & (velocities > 0)
    columns = (each[wanted].tolist() for each in (patterns, kinds, channels, data1, switches_on))
    begins: list[int] = []
    ends: list[int] = []
    keys: list[int] = []
    current = -1
    for index, pattern, kind, channel, pitch, is_on in zip(wanted.tolist(), *columns, strict=True):
        if pattern != current:
            current = pattern
            programs = [0] * 16
            programs[DRUM_CHANNEL] = DRUMS
            open_notes: defaultdict[int, deque[int]] = defaultdict(deque)
        if kind == smf.PROGRAM_CHANGE:
            if channel != DRUM_CHANNEL:
                programs[channel] = pitch
            continue
        key = programs[channel] << _KEY_BITS | channel << _PITCH_BITS | pitch
        if is_on:
            open_notes[key].append(len(begins))
            begins.append(index)
            ends.append(-1)
            keys.append(key)
        elif opened := open_notes.get(key):
            ends[opened.popleft()] = index
    return np.array(begins, int), np.array(ends, int), np.array(keys, int) >> _KEY_BITS


def write_notes(notes: Iterable[Note], length_ticks: int = 0, timing: Timing | None = None) -> bytes:
    """A MIDI file of type 1: a tempo track, then one named track per instrument.

    Drums are on channel 10. Any number of instruments can be written: see `assign_channels`.

    Args:
        notes: in any order.
        length_ticks: the file ends here, or with its last note if that is later.
        timing: of the file; the notes sound at the same time whatever it is. 120 bpm without it, or if it is not
            fit to be written.
    """
    ordered = sorted(notes, key=itemgetter(0))
    milliseconds = _times(ordered)
    last = max([length_ticks * MILLISECONDS_PER_TICK, *(end for _, end in milliseconds)])
    timing = (timing or Timing()).fit_to_write(last)
    times = [(timing.file_tick(start), timing.file_tick(end)) for start, end in milliseconds]
    tracks: dict[int, list[tuple[int, Fields]]] = {note.instrument: [] for note in ordered}
    for tick, instrument, fields in _messages(ordered, times, list(tracks)):
        tracks[instrument].append((tick, fields))
    end = timing.file_tick(last)
    file = mido.MidiFile(type=1, ticks_per_beat=timing.ticks_per_beat)
    file.tracks.append(_tempo_track(timing, end))
    for instrument, messages in tracks.items():
        file.tracks.append(_track(instrument_name(instrument), messages, end))
    buffer = BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _times(ordered: list[Note]) -> list[tuple[int, int]]:
    """When each note begins and ends, in milliseconds.

    A reader ends the oldest note first, and drums have one channel only. Rounding can have made a hit end a tick
    after a younger one of its pitch: such hits begin and end earlier, by less than what rounds to another tick.
    """
    scale = MILLISECONDS_PER_TICK
    times = [(note.onset * scale, (note.onset + note.duration) * scale) for note in ordered]
    drums: defaultdict[int, list[int]] = defaultdict(list)
    for index, note in enumerate(ordered):
        if note.instrument == DRUMS:
            drums[note.pitch].append(index)
    for hits in drums.values():
        ends = [times[index][1] for index in hits]
        latest_so_far = accumulate(ends, max)
        earliest_to_come = reversed(list(accumulate(reversed(ends), min)))
        start = end = 0
        for index, latest, earliest in zip(hits, latest_so_far, earliest_to_come, strict=True):
            exact_start, exact_end = times[index]
            length = exact_end - exact_start
            slack = _SLACK if latest > earliest else 0
            start = max(start, exact_start - slack)
            end = max(end, exact_end - 2 * slack, start + max(length - _SLACK, 0))
            start = max(start, end - length - _SLACK)
            if start > exact_start + _SLACK:  # one sounds within the other, and no rounding explains it
                start, end = exact_start, exact_end
            times[index] = start, end
    return times


def _messages(
    ordered: list[Note], times: list[tuple[int, int]], instruments: list[int]
) -> Iterator[tuple[int, int, Fields]]:
    """(file tick, instrument, message's fields) in the order in which a reader meets them: by time, then by track.

    Wherever a channel has changed hands, its program is set anew, also for a note-off: a reader finds the note that
    it ends by the channel's instrument.
    """
    channels = assign_channels(ordered)
    programs: dict[int, int] = {}
    for note, channel in zip(ordered, channels, strict=True):
        if channel not in programs:
            programs[channel] = note.instrument
            yield 0, note.instrument, _program_change(channel, note.instrument % DRUMS)
    # At one tick a track first ends what sounds and then begins; a note of no length ends after it has begun.
    begin, end_sounding, end_at_once = 1, 0, 2
    order = []
    for index, (note, (start, end)) in enumerate(zip(ordered, times, strict=True)):
        track = instruments.index(note.instrument)
        order.append((start, track, begin, index))
        order.append((end, track, end_sounding if end > start else end_at_once, index))
    for tick, _, phase, index in sorted(order):
        note, channel = ordered[index], channels[index]
        if programs[channel] != note.instrument:
            programs[channel] = note.instrument
            yield tick, note.instrument, _program_change(channel, note.instrument)
        kind, velocity = ("note_on", note.velocity) if phase == begin else ("note_off", 64)
        yield tick, note.instrument, {"type": kind, "channel": channel, "note": note.pitch, "velocity": velocity}


def _program_change(channel: int, program: int) -> Fields:
    return {"type": "program_change", "channel": channel, "program": program}


def _named(name: str) -> mido.MetaMessage:
    return mido.MetaMessage("track_name", name=name)


def _tempo_track(timing: Timing, end: int) -> mido.MidiTrack:
    """Changes of time signature and tempo at their file ticks, in this order where both change."""
    changes = [(change.tick, _signature_fields(change)) for change in timing.signatures]
    changes += [(change.tick, {"type": "set_tempo", "tempo": change.tempo}) for change in timing.tempos]
    track = mido.MidiTrack([_named("Tempo")])
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


def _track(name: str, messages: list[tuple[int, Fields]], end: int) -> mido.MidiTrack:
    """Messages at file ticks from the start -> a track with times from the message before."""
    track = mido.MidiTrack([_named(name)])
    previous = 0
    for tick, fields in messages:
        # mido's checks of each field take longer than all the rest, and a Note holds only what is legal.
        track.append(mido.Message(skip_checks=True, time=tick - previous, **fields))
        previous = tick
    track.append(mido.MetaMessage("end_of_track", time=end - previous))
    return track
