import random

import numpy as np
import pytest

from amt.arranging.beat import BeatTracker


@pytest.mark.parametrize("period", [40, 50, 60, 75])
def test_the_accent_is_stronger_on_the_beat_than_between_beats(period):
    beats = BeatTracker()
    for beat in range(16):
        beats.observe(beat * period, 2)
        if beat % 2:
            beats.observe(beat * period + period // 2)
    on, off = beats.accent(16 * period), beats.accent(16 * period + period // 2)
    assert on > off + 0.05


def test_random_onsets_have_weak_accents():
    beats, rng, accents, now = BeatTracker(), random.Random(0), [], 0
    for _ in range(400):
        now += rng.randrange(1, 60)
        accents.append(beats.accent(now))
        beats.observe(now)
    assert np.abs(accents).mean() < 0.25
    assert abs(np.mean(accents)) < 0.1
