import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from amt.decoding.model import load_model
from amt.gpt2.network import GPT2
from amt.gpt2.sampling_params import SamplingParams
from amt.tokens import events as ev
from benchmarks import steering_settings
from benchmarks.batches import decode_all, divergences
from benchmarks.checkpoints import TINY
from benchmarks.plain_nats import nats_an_event
from benchmarks.precision import nats
from benchmarks.steering import TOP_P, Bench, markdown
from benchmarks.steering_figures import FIGURES
from benchmarks.steering_settings import SETTINGS, chosen
from training.windows import autoregressive

SAMPLING = tuple(SamplingParams(top_p=value) for value in TOP_P)


@pytest.fixture(scope="module")
def tiny() -> GPT2:
    return load_model(TINY, torch.float32, torch.device("cpu"))


def test_the_divergence_is_that_of_the_distributions() -> None:
    own = torch.tensor([[0.5, 0.25, 0.25, 0.0]] * 3).log()
    steered = torch.tensor([[0.5, 0.25, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0], [0.25, 0.75, 0.0, 0.0]]).log()
    expected = [0, math.log(2), 0.25 * math.log(0.5) + 0.75 * math.log(3)]
    assert divergences(steered, own).tolist() == pytest.approx(expected, abs=1e-6)
    assert divergences(own, own).tolist() == [0, 0, 0]


def test_every_setting_is_in_a_table_and_has_what_it_is_steered_to() -> None:
    for setting in SETTINGS:
        constraints = setting.steered(0, SAMPLING).constraints
        assert setting.group in FIGURES
        assert (constraints.grid is not None) == setting.has_grid
        assert bool(constraints.chords) == bool(setting.progression)
        assert constraints != setting.free(0, SAMPLING).constraints


def test_settings_are_found_by_group_and_by_name() -> None:
    assert {setting.group for setting in chosen(["grid"])} == {"grid"}
    assert [setting.bpm for setting in chosen(["at 93"])] == [93]
    assert chosen([]) == list(SETTINGS)


def test_grid_and_chords_begin_with_the_new_music_and_reach_its_end() -> None:
    setting = next(each for each in SETTINGS if each.prompt and each.has_grid and each.progression)
    start, end = setting.plan.start_ticks, setting.plan.end_ticks
    assert (setting.grid.ticks[0], setting.chords[0].start_ticks, setting.strong_ticks[0]) == (start, start, start)
    assert setting.grid.levels[:17].tolist() == [3, 0, 1, 0, *[2, 0, 1, 0] * 3, 3]
    assert end - 15 <= setting.grid.ticks[-1] < end
    assert np.diff([chord.start_ticks for chord in setting.chords]).tolist() == [240] * (len(setting.chords) - 1)


def test_notes_are_scored_as_the_network_scores_their_window(tiny: GPT2) -> None:
    setting = next(each for each in SETTINGS if each.prompt == steering_settings.CHORALE)
    request = replace(setting, seconds=2).free(0, SAMPLING)
    new = ev.translate(request.prompt[20:30], int(request.start_ticks - request.prompt[20, 0]))
    padded = ev.pad(np.concatenate([request.prompt, new]), request.end_ticks)
    expected = nats(tiny, autoregressive(padded, len(padded)))[padded[:, 0] >= request.start_ticks].mean()
    assert nats_an_event(tiny, [request], [new]) == pytest.approx([float(expected)], rel=1e-4)


def test_steered_music_diverges_from_the_models_own_and_free_music_does_not(tiny: GPT2) -> None:
    setting = replace(chosen(["1/16 at 93, from nothing"])[0], seconds=1)
    free, steered = decode_all(tiny, [setting.free(0, SAMPLING), setting.steered(0, SAMPLING)])
    assert free.divergence == 0
    assert 0 < steered.divergence < 3


@pytest.mark.slow
def test_the_table_of_a_group_has_a_row_for_each_way_to_get_there(tiny: GPT2) -> None:
    settings = [replace(chosen(["chords and grid"])[1], seconds=3)]
    rows = list(Bench(tiny, n_seeds=2).rows(settings))
    assert [row.how for row in rows] == ["free", "moved afterwards", "steered"]
    lines = [line.split(" | ") for line in markdown(rows).splitlines()]
    assert {len(line) for line in lines} == {len(lines[0])}
    on_line = lines[0].index("on a line")
    assert [line[on_line] for line in lines[3:]] == ["100.0%", "100.0%"]
