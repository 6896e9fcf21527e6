"""Assign a MIDI channel to each note."""

from collections.abc import Sequence
from typing import Final

from amt.midi.kinds import DRUM_CHANNEL, N_CHANNELS
from amt.midi.notes import DRUMS, Note

MELODIC_CHANNELS: Final = tuple(channel for channel in range(N_CHANNELS) if channel != DRUM_CHANNEL)


class _Channel:
    """Know one channel, and the notes that have been assigned to it so far."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.instrument: int | None = None
        self.busy_until = 0
        self._pitch_until: dict[int, int] = {}

    def is_free_for(self, note: Note) -> bool:
        """Return whether no note of this pitch still sounds here: its note-off would end this one, or the reverse."""
        return self._pitch_until.get(note.pitch, 0) <= note.onset

    def play(self, note: Note) -> int:
        """Assign a note to this channel, and return the channel's number."""
        self.instrument = note.instrument
        end = note.onset + note.duration
        self.busy_until = max(self.busy_until, end)
        self._pitch_until[note.pitch] = max(self._pitch_until.get(note.pitch, 0), end)
        return self.number


def assign_channels(notes: Sequence[Note]) -> list[int]:
    """Return a channel for each note; drums are on channel 10.

    Up to 15 other instruments have a channel each. The channels left over go to notes that overlap another of the same
    instrument and pitch; if there are too few, these go to any channel where their pitch is silent.

    With more instruments all channels are shared. A note then takes the channel that has been silent longest, or if
    all sound, the one that falls silent first.

    Args:
        notes: sorted by onset.
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
    """Return the channel for a note.

    Args:
        note: the next by onset.
        own: the channel of its instrument, if instruments have one each.
        spare: the channels that belong to no instrument.
        channels: all of them.
    """
    if own and own.is_free_for(note):
        return own
    taken = [channel for channel in spare if channel.instrument == note.instrument and channel.is_free_for(note)]
    if taken:
        return taken[0]
    free = [channel for channel in spare if channel.is_free_for(note)]
    free = free or [channel for channel in channels if channel.is_free_for(note)]
    if not free and own:
        return own
    return min(free or channels, key=lambda channel: channel.busy_until)
