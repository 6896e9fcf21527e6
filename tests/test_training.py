"""The recipe, on a corpus small enough to be trained on in seconds."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

from amt import events as ev
from amt.vocab import ANTICIPATE, AUTOREGRESS, CONTROL_OFFSET, MAX_ONSET_TICKS, NOTE, SLOTS
from tests.conftest import GOLDEN, PROJECT
from training.corpus import Piece
from training.model import TrainingModel
from training.train import collate
from training.windows import Sampler


def pieces(golden_midi: Path = GOLDEN / "midi") -> list[Piece]:
    from amt import midi

    return [
        Piece(f"collection{index % 3}", path.name, ev.sort(ev.from_notes(midi.read_notes(path.read_bytes()))))
        for index, path in enumerate(sorted(golden_midi.glob("[cdef]*.mid")))
    ]


def test_windows_are_legal_model_inputs() -> None:
    sampler = Sampler(pieces(), seed=0)
    modes = set()
    for mode, events in sampler.batch(200, 85):
        modes.add(mode)
        assert 0 < len(events) <= 85
        controls = ev.is_control(events)
        assert mode == ANTICIPATE or not controls.any()
        assert int(ev.onsets(events).min()) == 0
        assert int(ev.onsets(events).max()) < MAX_ONSET_TICKS
        assert np.all(np.diff(events[~controls, 0]) >= 0)
        values = events - CONTROL_OFFSET * controls[:, None]
        for index, slot in enumerate(SLOTS):
            assert ((values[:, index] >= slot.offset) & (values[:, index] < slot.offset + slot.size)).all()
    assert modes == {AUTOREGRESS, ANTICIPATE}


def test_the_exported_model_has_the_loss_of_the_trained_one() -> None:
    torch.manual_seed(0)
    model = TrainingModel(2, torch.ones(NOTE.size, dtype=torch.bool)).eval()
    windows = Sampler(pieces(), seed=1).batch(3, 40)
    modes, events, targets = collate(windows, 40, torch.device("cpu"))
    with torch.no_grad():
        trained = model(modes, events, targets, torch.zeros(3, dtype=torch.int64))
        exported = model.export()
        logits = exported(torch.cat([modes[:, None], events.flatten(1)[:, :-1]], dim=1)).logits.unflatten(1, (-1, 3))
        for index, slot in enumerate(SLOTS):
            expected = torch.nn.functional.cross_entropy(
                logits[:, :, index][targets][:, slot.slice], events[targets][:, index] - slot.offset
            )
            torch.testing.assert_close(trained[index], expected, atol=1e-4, rtol=1e-4)


def test_held_out_pieces_are_a_fixed_share_by_name() -> None:
    names = [Piece("any", f"piece_{index}.mid", ev.empty()) for index in range(4_000)]
    share = sum(piece.held_out for piece in names) / len(names)
    assert 0.08 < share < 0.12


@pytest.mark.slow
def test_the_recipe_makes_a_checkpoint_that_hugging_face_loads(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    for name in ("one", "two"):
        (corpus / name).mkdir(parents=True)
        for path in (GOLDEN / "midi").glob("[cdef]*.mid"):
            (corpus / name / path.name).symlink_to(path)
    command = [sys.executable, "-m", "training.train", str(corpus), str(tmp_path / "out")]
    command += ["--minutes", "0.5", "--stages", "20:0.5,40:0.5", "--layers", "2", "--tokens", "300"]
    subprocess.run(command, cwd=PROJECT, check=True, timeout=300)
    model = GPT2LMHeadModel.from_pretrained(tmp_path / "out/model")
    assert model.dtype == torch.bfloat16
