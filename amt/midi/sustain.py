"""Let notes sound as long as the sustain pedal holds them."""

from bisect import bisect_left
from typing import Final

import numpy as np

from amt.midi.colours import PEDAL_DOWN
from amt.midi.kinds import CONTROL_CHANGE, RESET_CONTROLLERS, SUSTAIN
from amt.midi.notes import DRUMS, TICKS_PER_SECOND, Note
from amt.midi.pairing import TRACK_END
from amt.midi.score import Score

NEVER: Final = 1 << 60
MAX_TAIL_TICKS: Final = 60 * TICKS_PER_SECOND
"""How long after the piece a pedal may be lifted."""

Span = tuple[int, int | None]
"""The indices of the messages that press and lift a pedal; None: it is never lifted."""


def sustained_notes(score: Score) -> list[Note]:
    """Return the notes of a score in their order; one that ends while the pedal is down lasts until that goes up.

    It ends earlier if its key is struck again. A pedal that is never lifted, or long after the piece, holds until the
    piece ends.
    """
    spans = _pedal_spans(score)
    if not spans:
        return score.notes
    starts = {channel: [since for since, _ in own] for channel, own in spans.items()}
    length = round(TICKS_PER_SECOND * score.length_seconds)
    next_onset: dict[tuple[int, int], tuple[int, int]] = {}
    notes = list(score.notes)
    columns = (score.note_channels, score.pairs.end, score.instruments == DRUMS)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    for number in range(len(notes) - 1, -1, -1):
        note, (channel, end, is_drums) = notes[number], rows[number]
        key = channel, note.pitch
        onset, after = next_onset.get(key, (NEVER, NEVER))
        next_onset[key] = note.onset, after if onset == note.onset else onset
        place = bisect_left(starts.get(channel, []), end) - 1
        if is_drums or end == TRACK_END or place < 0:
            continue
        lifted = spans[channel][place][1]
        if lifted is None or lifted > end:
            released = NEVER if lifted is None else round(TICKS_PER_SECOND * float(score.seconds[lifted]))
            released = released if released <= length + MAX_TAIL_TICKS else length
            until = min(released, after if onset == note.onset else onset)
            notes[number] = note._replace(duration=max(note.duration, until - note.onset))
    return notes


def _pedal_spans(score: Score) -> dict[int, list[Span]]:
    """Return for each channel the spans in which its sustain pedal is down."""
    messages = score.messages
    is_used = (messages.data1 == SUSTAIN) | (messages.data1 == RESET_CONTROLLERS)
    found = np.flatnonzero((messages.kind == CONTROL_CHANGE) & is_used)
    is_down = (messages.data1[found] == SUSTAIN) & (messages.data2[found] >= PEDAL_DOWN)
    pressed: dict[int, int] = {}
    spans: dict[int, list[Span]] = {}
    columns = (found, score.channels[found], is_down)
    for index, channel, down in zip(*(column.tolist() for column in columns), strict=True):
        if down:
            pressed.setdefault(channel, index)
        elif channel in pressed:
            spans.setdefault(channel, []).append((pressed.pop(channel), index))
    for channel, index in pressed.items():
        spans.setdefault(channel, []).append((index, None))
    return spans
