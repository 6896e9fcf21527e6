"""Which MIDI channel each note is played on."""

from collections.abc import Sequence
from typing import Final

from amt.midi.notes import DRUMS, Note

DRUM_CHANNEL: Final = 9
"""Channel 10 to musicians."""

MELODIC_CHANNELS: Final = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)


class _Channel:
    """What sounds on one channel, as far as the notes have been dealt out."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.instrument: int | None = None
        self.busy_until = 0
        self._pitch_until: dict[int, int] = {}

    def is_free_for(self, note: Note) -> bool:
        """Whether no note of the same pitch still sounds here: its note-off would end this one, or the reverse."""
        return self._pitch_until.get(note.pitch, 0) <= note.onset

    def play(self, note: Note) -> int:
        self.instrument = note.instrument
        end = note.onset + note.duration
        self.busy_until = max(self.busy_until, end)
        self._pitch_until[note.pitch] = max(self._pitch_until.get(note.pitch, 0), end)
        return self.number


def assign_channels(notes: Sequence[Note]) -> list[int]:
    """A channel for each note, notes sorted by onset; drums are on channel 10.

    Up to 15 other instruments have a channel each, and what is left over goes to notes that overlap another of the
    same instrument and pitch, or if that does not suffice any channel where their pitch is silent. With more
    instruments all channels change hands: an idle one is taken, that which has been silent longest, or else the one
    that falls silent first.
    """
    channels = [_Channel(number) for number in MELODIC_CHANNELS]
    instruments = list(dict.fromkeys(note.instrument for note in notes if note.instrument != DRUMS))
    if len(instruments) <= len(channels):
        own = dict(zip(instruments, channels, strict=False))
        spare = channels[len(instruments) :]
    else:
        own, spare = {}, channels
    return [
        DRUM_CHANNEL
        if note.instrument == DRUMS
        else _choose(note, own.get(note.instrument), spare, channels).play(note)
        for note in notes
    ]


def _choose(note: Note, own: _Channel | None, spare: list[_Channel], channels: list[_Channel]) -> _Channel:
    if own and own.is_free_for(note):
        return own
    theirs = [channel for channel in spare if channel.instrument == note.instrument and channel.is_free_for(note)]
    if theirs:
        return theirs[0]
    free = [channel for channel in spare if channel.is_free_for(note)]
    free = free or [channel for channel in channels if channel.is_free_for(note)]
    if not free and own:
        return own
    return min(free or channels, key=lambda channel: channel.busy_until)
