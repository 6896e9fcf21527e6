"""Let notes sound as long as the sustain pedal holds them."""

import numpy as np

from amt.midi.notes import DRUMS, TICKS_PER_SECOND, Note
from amt.midi.score import Score
from amt.midi.voices import SUSTAIN, pedal_spans


def sustained_notes(score: Score) -> list[Note]:
    """Return the notes of a score in their order; one that ends while the pedal is down lasts until that goes up.

    It ends earlier if its key is struck again, and at the latest with the piece.
    """
    spans = pedal_spans(score, SUSTAIN)
    if not spans:
        return score.notes
    length = round(TICKS_PER_SECOND * score.length_seconds)
    next_onset: dict[tuple[int, int], int] = {}
    notes = list(score.notes)
    for number in range(len(notes) - 1, -1, -1):
        note, channel = notes[number], int(score.note_channels[number])
        key = channel, note.pitch
        end = int(score.end_ticks[number])
        released = next((until for since, until in spans.get(channel, []) if since <= end < until), None)
        if released is not None and note.instrument != DRUMS:
            lasts_until = min(_ticks_at(score, released), next_onset.get(key, length), length)
            notes[number] = note._replace(duration=max(note.duration, lasts_until - note.onset))
        next_onset[key] = note.onset
    return notes


def _ticks_at(score: Score, file_tick: int) -> int:
    """Return when the message at a file tick comes, in ticks of 10 ms; at the end if there is none."""
    place = int(np.searchsorted(score.messages.tick, file_tick))
    seconds = score.seconds[place] if place < len(score.seconds) else score.length_seconds
    return round(TICKS_PER_SECOND * float(seconds))
