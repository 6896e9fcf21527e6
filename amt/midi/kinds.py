"""Name the kinds of messages in MIDI files.

Source: MIDI 1.0 (channel and system messages), Standard MIDI Files 1.0, RP-001 (meta events), RP-019 (device names);
`FF 21`, the port of a track, is no standard, but sequencers have written it for thirty years.
"""

from typing import Final

NOTE_OFF: Final = 0x80
NOTE_ON: Final = 0x90
CONTROL_CHANGE: Final = 0xB0
PROGRAM_CHANGE: Final = 0xC0
CHANNEL_PRESSURE: Final = 0xD0
PITCH_BEND: Final = 0xE0
SYSEX: Final = 0xF0
ESCAPE: Final = 0xF7
"""A message of any bytes; its payload may continue a system exclusive message."""

META: Final = 0x100
"""Added to the type of a meta message, so that no kind means two things."""

SEQUENCE_NUMBER: Final = META | 0x00
TRACK_NAME: Final = META | 0x03
DEVICE_NAME: Final = META | 0x09
CHANNEL_PREFIX: Final = META | 0x20
PORT: Final = META | 0x21
END_OF_TRACK: Final = META | 0x2F
TEMPO: Final = META | 0x51
SMPTE_OFFSET: Final = META | 0x54
TIME_SIGNATURE: Final = META | 0x58
KEY_SIGNATURE: Final = META | 0x59
MAX_META: Final = META | 0x7F
OTHER: Final = 0
"""A message that says nothing that we could keep. Its place counts: times are summed message by message."""

BANK_MSB: Final = 0
BANK_LSB: Final = 32
VOLUME: Final = 7
PAN: Final = 10
EXPRESSION: Final = 11
SUSTAIN: Final = 64
SOSTENUTO: Final = 66
REVERB: Final = 91
CHORUS: Final = 93
ALL_SOUND_OFF: Final = 120
RESET_CONTROLLERS: Final = 121
ALL_NOTES_OFF: Final = 123
"""The modes that follow this controller switch all notes off too."""

N_CHANNELS: Final = 16
DRUM_CHANNEL: Final = 9
"""Channel 10, counted from 1 as musicians do."""
