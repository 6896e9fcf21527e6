"""Fine-tuning itself, on a model small enough to be trained in seconds.

Imports are in the tests: without the dependency group `training` they are skipped, and nobody else waits for them.
"""

import base64
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from amt.errors import CheckpointError, TrainingError
from amt.tokens import events as ev
from amt.tokens.vocab import ANTICIPATE, AUTOREGRESS, MAX_WINDOW_EVENTS
from tests.conftest import GOLDEN, PROJECT, Service
from training.library import Library, read_library
from training.recipe import Recipe
from training.schedule import Schedule

if TYPE_CHECKING:
    from torch import Tensor

    from training.base import Base
    from training.tuner import Tuner

MISSING = [name for name in ("accelerate", "matplotlib", "peft") if find_spec(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs the dependency group training: {', '.join(MISSING)}"),
]

RATE = 0.01


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All MIDI files of the tests: eleven hold enough notes."""
    root = tmp_path_factory.mktemp("mine")
    for path in (GOLDEN / "midi").glob("*.mid"):
        shutil.copy(path, root)
    return root


@pytest.fixture(scope="module")
def library(folder: Path) -> Library:
    return read_library(folder)


@pytest.fixture
def base(tmp_path: Path) -> "Base":
    """The golden model, which asks for a variety."""
    from training.base import find_base

    copy = tmp_path / "golden"
    shutil.copytree(GOLDEN / "model", copy)
    (copy / "generation_config.json").write_text('{"variety": 0.6}')
    return find_base(str(copy))


def make_tuner(base: "Base", library: Library, lora: int | None = None, seed: int = 0, rate: float = RATE) -> "Tuner":
    from training.base import add_adapter
    from training.tuner import Tuner

    model = base.load()
    recipe = Recipe(base.source, lora, 1_000, rate, seed, bfloat16=False)
    adapted = add_adapter(model, base, lora) if lora else model
    return Tuner(adapted, library.split()[0], recipe, has_controls=base.has_controls, on_cpu=True)


def weights_of(tuner: "Tuner") -> dict[str, Any]:
    return dict(tuner.model.named_parameters())


@pytest.mark.parametrize("lora", [None, 4])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(
    base: "Base", library: Library, lora: int | None, tmp_path: Path
) -> None:
    import torch

    whole = make_tuner(base, library, lora)
    for step in range(4):
        if step == 2:
            whole.save(tmp_path / "states")
        whole.step(1 - step / 4)
    resumed = make_tuner(base, library, lora, seed=0)
    torch.manual_seed(99)
    resumed.resume(tmp_path / "states")
    assert resumed.progress.n_steps == 2
    for step in (2, 3):
        resumed.step(1 - step / 4)
    expected, found = weights_of(whole), weights_of(resumed)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert resumed.progress.nats == whole.progress.nats


def test_seeds_decide_what_is_learned_and_in_which_order(base: "Base", library: Library) -> None:
    import torch

    one, same, other = (make_tuner(base, library, seed=seed) for seed in (3, 3, 4))
    assert [window.mode for window in one.windows(5)] == [window.mode for window in same.windows(5)]
    for tuner in (one, same, other):
        torch.manual_seed(0)  # of dropout, which they share here
        tuner.step(1.0)
    expected = weights_of(one)
    assert all(torch.equal(weight, expected[name]) for name, weight in weights_of(same).items())
    assert not all(torch.equal(weight, expected[name]) for name, weight in weights_of(other).items())


def test_passes_of_any_size_add_up_to_the_same_step(base: "Base", library: Library) -> None:
    import torch

    from training.tuner import Tuner

    recipe = Recipe(base.source, None, 4_000, 1e-4, 0, bfloat16=False)
    found = []
    for n_windows in (1, 4):
        model = base.load()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        tuner = Tuner(model, library.split()[0], recipe, n_windows * MAX_WINDOW_EVENTS, on_cpu=True)
        tuner.step(1.0)
        found.append(tuner.progress.nats)
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_model_without_controls_is_shown_none_and_stays_one(base: "Base", library: Library, tmp_path: Path) -> None:
    from training.base import find_base, write_model

    config = base.folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"anticipation": False}))
    without = find_base(str(base.folder))
    assert {window.mode for step in range(6) for window in make_tuner(base, library).windows(step)} == {
        AUTOREGRESS,
        ANTICIPATE,
    }
    windows = [window for step in range(6) for window in make_tuner(without, library).windows(step)]
    assert {window.mode for window in windows} == {AUTOREGRESS}
    assert not any(ev.is_control(window.events).any() for window in windows)
    write_model(without.load(), without, tmp_path / "written")
    assert not find_base(str(tmp_path / "written")).has_controls


def test_an_adapter_holds_what_was_learned_and_names_its_base(base: "Base", library: Library, tmp_path: Path) -> None:
    import torch

    from training.base import find_base, plain, read_model, write_model

    tuner = make_tuner(base, library, lora=4)
    for _ in range(3):
        tuner.step(1.0)
    write_model(tuner.model, base, tmp_path / "adapter")
    said = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert (said["base_model_name_or_path"], said["r"], said["bias"]) == (base.source, 4, "none")
    assert json.loads((tmp_path / "adapter/generation_config.json").read_text())["variety"] == 0.6
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 27_000, (1, 60)))
    with torch.no_grad():
        expected = plain(tuner.model.eval())(tokens).logits
        found = read_model(base, tmp_path / "adapter").eval()(tokens).logits
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(base.load().eval()(tokens).logits, expected, atol=1e-2)
    with pytest.raises(TrainingError, match="is an adapter"):
        find_base(str(tmp_path / "adapter"))


def test_what_cannot_be_a_base_is_refused_by_name(tmp_path: Path) -> None:
    from training.base import find_base

    with pytest.raises(TrainingError, match="nowhere: name tiny, small, medium, large, a folder"):
        find_base(str(tmp_path / "nowhere"))
    other = tmp_path / "other"
    shutil.copytree(GOLDEN / "model", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"vocab_size": 50_257}))
    with pytest.raises(CheckpointError, match="50257 tokens and not 55028"):
        find_base(str(other))


def test_training_stops_early_where_held_out_music_gets_no_easier(
    base: "Base", library: Library, tmp_path: Path
) -> None:
    from training import loop
    from training.windows import held_out_windows

    tuner = make_tuner(base, library, rate=0.0)
    windows = held_out_windows(library.split()[1], MAX_WINDOW_EVENTS, 2)
    kept: list[int] = []
    reason = loop.run(tuner, Schedule(steps=12), windows, tmp_path, lambda: kept.append(tuner.progress.n_steps))
    assert reason == "4 measurements in turn were no better"
    assert tuner.progress.n_steps == 1 + loop.PATIENCE
    assert kept == [1]


def test_more_memory_than_is_free_is_refused_before_it_is_taken() -> None:
    from transformers import GPT2Config

    from training import needs

    large = GPT2Config(vocab_size=55_028, n_embd=1_280, n_layer=36, n_head=20)
    found = needs.estimate(large, 780_000_000, 0, 4e9, on_cpu=True)
    assert found.n_bytes > 12e9
    assert found.n_windows == 1
    assert needs.estimate(large, 5_000_000, 780_000_000, 8e10, on_cpu=False).n_windows > 1


def weights_in(state: Path) -> dict[str, "Tensor"]:
    """The weights in a saved state: the second thing that is saved beside accelerate's own."""
    import torch

    found: dict[str, Tensor] = torch.load(state / "custom_checkpoint_1.pkl")
    return found


def command(folder: Path, out: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "training.finetune", str(folder), "--out", str(out), "--cpu", *words]


def test_the_command_makes_a_model_that_the_service_plays(
    folder: Path, base: "Base", tmp_path: Path, start: Callable[..., Service]
) -> None:
    out = tmp_path / "mine"
    words = ("--from", str(base.folder), "--tokens", "1000", "--steps", "12", "--rate", str(RATE))
    done = subprocess.run(command(folder, out, *words), cwd=PROJECT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not used:" in done.stdout
    before, after = json.loads((out / "training/run.json").read_text())["before"], (out / "README.md").read_text()
    assert "| before |" in after
    assert (out / "pianorolls.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "generation_config.json").read_text()) == {"variety": 0.6}
    rows = [line.split(" | ") for line in after.splitlines() if line.startswith(("| before", "| after"))]
    assert sum(map(float, rows[1][2:5])) < sum(map(float, rows[0][2:5])) == pytest.approx(sum(before["slots"]), abs=0.1)
    again = subprocess.run(command(folder, out, "--resume"), cwd=PROJECT, capture_output=True, text=True, timeout=400)
    assert again.returncode == 1
    assert "this run is over" in again.stderr

    service = start("--model", f"mine={out}")
    service.wait_until_ready()
    request = {"model_size": "mine", "task": "generate", "length_seconds": 2}
    answer = httpx.post(f"{service.url}/predict", json=request, timeout=120)
    assert answer.status_code == 200, answer.text
    assert base64.b64decode(answer.json()["variations"][0]["midi_base64"]).startswith(b"MThd")


def test_an_interrupted_command_saves_and_goes_on_to_the_same_model(folder: Path, base: "Base", tmp_path: Path) -> None:
    import torch

    words = ("--from", str(base.folder), "--tokens", "1000", "--steps", "4", "--rate", str(RATE), "--lora", "2")
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    subprocess.run(command(folder, whole, *words), cwd=PROJECT, check=True, timeout=400, capture_output=True)
    with subprocess.Popen(
        command(folder, parted, *words), cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("step 1,"):
                process.send_signal(signal.SIGINT)
                break
        said = process.stdout.read()
    assert process.returncode == 0, said
    assert "training ended early: it was interrupted" in said
    assert (parted / "README.md").exists()
    done = subprocess.run(command(folder, parted, "--resume"), cwd=PROJECT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "step 1," not in done.stdout
    name = "adapter_model.safetensors"
    assert (parted / name).read_bytes() == (whole / name).read_bytes()
    expected, found = (weights_in(out / "training/step-00000004") for out in (whole, parted))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
