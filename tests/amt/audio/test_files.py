"""Sound in files, as another reader hears it."""

import numpy as np
import pytest

from amt.audio.files import FORMATS, write_sound
from amt.audio.synthesis import SAMPLE_RATE

soundfile = pytest.importorskip("soundfile", reason="the group audio is not installed: uv run --group audio pytest")

SECONDS = 60  # libvorbis crashes from 45 s on if they are written at once


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_sound_back(name, tmp_path):
    times = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    left = 0.5 * np.sin(2 * np.pi * 440 * times) * (times % 2 < 1)
    sound = np.stack([left, 0.25 * left], axis=1).astype(np.float32)
    path = tmp_path / f"sound.{name}"
    write_sound(sound, name, path)
    found, rate = soundfile.read(path, dtype="float32")
    assert rate == SAMPLE_RATE
    assert abs(len(found) - len(sound)) < 0.1 * SAMPLE_RATE
    for second in range(0, SECONDS, 7):
        span = slice(round((second + 0.2) * SAMPLE_RATE), round((second + 0.8) * SAMPLE_RATE))
        expected = sound[span].std(axis=0)
        assert found[span].std(axis=0) == pytest.approx(expected, abs=0.01)
