"""Write sound to files of several formats."""

from pathlib import Path
from typing import Any, Final

from amt.audio.synthesis import SAMPLE_RATE, Frames

FORMATS: Final[dict[str, dict[str, Any]]] = {
    "wav": {"format": "WAV", "subtype": "PCM_16"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
    "ogg": {"format": "OGG", "subtype": "VORBIS", "compression_level": 0.4},
    "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.1},
}
"""What soundfile is told of each. `compression_level` is from 0, the best, to 1, the smallest."""

BLOCK_FRAMES: Final = 65_536
"""Written at a time: libvorbis crashes if it is given 45 seconds at once."""


def write_sound(sound: Frames, name: str, path: Path) -> None:
    """Write sound to a file; `name` is one of `FORMATS`. The library must be there."""
    import soundfile

    with soundfile.SoundFile(path, "w", SAMPLE_RATE, sound.shape[1], **FORMATS[name]) as file:
        for begin in range(0, len(sound), BLOCK_FRAMES):
            file.write(sound[begin : begin + BLOCK_FRAMES])
