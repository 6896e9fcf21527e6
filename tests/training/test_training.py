"""The recipe, on a corpus small enough to be trained on in seconds."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from amt.midi import codec
from amt.midi.notes import Note
from amt.tokens import events as ev
from amt.tokens.vocab import ANTICIPATE, AUTOREGRESS, CONTROL_OFFSET, DURATION, MAX_ONSET_TICKS, NOTE, SLOTS, VOCAB_SIZE
from tests.conftest import GOLDEN, PROJECT
from training import guidance
from training.augmentation import Augmentation
from training.corpus import Piece
from training.model import TrainingModel
from training.train import Run, collate, optimizer_of_heads, optimizers
from training.windows import OPENING_EVENTS, OPENINGS, Sampler, Window


@cache
def pieces() -> list[Piece]:
    return [
        Piece(f"collection{index % 3}", path.name, ev.sort(ev.from_notes(codec.read_notes(path.read_bytes()))))
        for index, path in enumerate(sorted((GOLDEN / "midi").glob("[cdef]*.mid")))
    ]


def narrow(n_layers: int) -> TrainingModel:
    """A model with a quarter of the recipe's width: most weights are drawn for the rows of its vocabulary."""
    return TrainingModel(n_layers, torch.ones(NOTE.size, dtype=torch.bool), width=64)


def test_windows_are_legal_model_inputs() -> None:
    sampler = Sampler(pieces(), seed=0, repeating=0.5)
    modes = set()
    reachable = sampler.augmentation.reachable_notes()
    for mode, events, targets in sampler.batch(40_000, 85):
        modes.add(mode)
        assert 0 < len(events) <= 85
        assert targets.shape == (len(events),)
        assert targets.any()
        assert not targets[ev.is_control(events)].any()
        assert reachable[events[targets, 2] - NOTE.offset].all()
        controls = ev.is_control(events)
        assert mode == ANTICIPATE or not controls.any()
        assert int(ev.onsets(events).min()) == 0
        assert int(ev.onsets(events).max()) < MAX_ONSET_TICKS
        assert np.all(np.diff(events[~controls, 0]) >= 0)
        values = events - CONTROL_OFFSET * controls[:, None]
        for index, slot in enumerate(SLOTS):
            assert ((values[:, index] >= slot.offset) & (values[:, index] < slot.offset + slot.size)).all()
    assert modes == {AUTOREGRESS, ANTICIPATE}


def test_the_latest_possible_onset_has_a_loss() -> None:
    model = narrow(2)
    events = torch.tensor([[[0, DURATION.offset, NOTE.offset], [MAX_ONSET_TICKS - 1, DURATION.offset, NOTE.offset]]])
    losses, _ = model(torch.tensor([AUTOREGRESS]), events, torch.ones(1, 2, dtype=torch.bool), torch.tensor([0]))
    assert losses.isfinite().all()


def test_the_exported_model_has_the_loss_of_the_trained_one() -> None:
    torch.manual_seed(0)
    model = narrow(2).eval()
    windows = Sampler(pieces(), seed=1, repeating=0.5).batch(360, 40)
    modes, events, targets = collate(windows, torch.device("cpu"))
    with torch.no_grad():
        trained, _ = model(modes, events, targets, torch.zeros(len(windows), dtype=torch.int64))
        exported = model.export()
        logits = exported(torch.cat([modes[:, None], events.flatten(1)[:, :-1]], dim=1)).logits.unflatten(1, (-1, 3))
        for index, slot in enumerate(SLOTS):
            expected = torch.nn.functional.cross_entropy(
                logits[:, :, index][targets][:, slot.slice], events[targets][:, index] - slot.offset
            )
            torch.testing.assert_close(trained[index], expected, atol=1e-4, rtol=1e-4)


def test_a_deeper_model_starts_with_the_outputs_of_the_exported_one() -> None:
    torch.manual_seed(0)
    shorter, longer = (narrow(n_layers).eval() for n_layers in (2, 3))
    with torch.no_grad():
        for parameter in shorter.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    exported = shorter.export()
    longer.adopt(exported)
    tokens = torch.randint(VOCAB_SIZE, (2, 60))
    with torch.no_grad():
        torch.testing.assert_close(longer.export()(tokens).logits, exported(tokens).logits, atol=1e-4, rtol=1e-4)
    for table in (longer.onset, longer.duration, longer.note.pitch):
        assert table.remainder.norm() < table().norm() / 2, "neighbours share features"


def test_a_network_of_another_shape_is_refused() -> None:
    model, longer = (narrow(n_layers) for n_layers in (1, 2))
    with pytest.raises(ValueError, match="2 blocks"):
        model.adopt(longer.export())
    other = longer.export()
    other.config = GPT2Config(n_embd=64, n_head=4)
    with pytest.raises(ValueError, match="n_head is 4, not 2"):
        longer.adopt(other)


def test_whole_instruments_become_controls() -> None:
    notes = [Note(25 * index, 20, 60 + index % 7, (0, 40, 128)[index % 3]) for index in range(240)]
    sampler = Sampler([Piece("any", "any", ev.from_notes(notes))], seed=0, repeating=0.0)
    parts = []
    for window in sampler.batch(12_000, 85):
        given = ev.is_control(window.events)
        both = [ev.instrument_codes(ev.unpad(window.events[~given])), ev.instrument_codes(window.events[given])]
        parts.append(all(both) and not set.intersection(*both))
    assert 0.3 < sum(parts) / len(parts) < 0.7


def test_openings_are_short_and_have_no_controls() -> None:
    sampler = Sampler(pieces(), seed=0, repeating=0.0)
    for _ in range(20):
        openings = sampler.openings(85)
        assert len(openings) == OPENINGS
        for mode, events, targets in openings:
            assert mode == AUTOREGRESS
            assert not ev.is_control(events).any()
            assert len(targets) == len(events) <= OPENING_EVENTS
            assert targets.any()
            assert ev.onsets(events).min() == 0


def test_held_out_pieces_are_a_fixed_share_by_name() -> None:
    names = [Piece("any", f"piece_{index}.mid", ev.empty()) for index in range(4_000)]
    share = sum(piece.held_out for piece in names) / len(names)
    assert 0.08 < share < 0.12


def test_a_stuck_passage_delays_the_music_and_has_no_targets() -> None:
    augmentation = Augmentation(pieces(), np.random.default_rng(0))
    music = pieces()[0].events[:60]
    for _ in range(50):
        events, begin, end = augmentation.get_stuck(music)
        assert 0 < begin < end
        stuck = (events[:, 0] >= begin) & (events[:, 0] < end)
        assert stuck.sum() == len(events) - len(music) <= 128
        assert np.all(np.diff(events[:, 0]) >= 0)
        assert (events[~stuck, 1:] == music[:, 1:]).all()
        delays = events[~stuck, 0] - music[:, 0]
        assert set(delays) == {0, end - begin}
        assert set(events[stuck, 2]) <= set(music[:, 2])


def test_a_repeated_phrase_is_identical_and_followed_by_the_rest() -> None:
    music = pieces()[0].events[:200]
    augmentation = Augmentation(pieces(), np.random.default_rng(0))
    for _ in range(50):
        events = augmentation.repeat(music)
        n_more = len(events) - len(music)
        assert n_more > 0
        assert np.all(np.diff(events[:, 0]) >= 0)
        first = int((events[: len(music)] != music).any(axis=1).argmax())
        period = next(
            n
            for n in range(1, n_more + 1)
            if (events[first : first + n, 1:] == events[first - n : first, 1:]).all() and n_more % n == 0
        )
        delays = events[first : first + n_more, 0] - events[first - period : first + n_more - period, 0]
        assert len(set(delays.tolist())) == 1
        assert (events[first + n_more :, 1:] == music[first:, 1:]).all()


def notes_only(notes: list[int]) -> torch.Tensor:
    """Events and controls of these notes, of which nothing else counts; shape = (1, n, 3)."""
    events = torch.zeros(1, len(notes), 3, dtype=torch.int64)
    events[0, :, 2] = torch.tensor(notes)
    return events


def test_guides_point_to_previous_notes_and_to_earlier_repetitions() -> None:
    events = notes_only([1, 2, 3, 9, 1, 2, 3])
    found = guidance.guides(events, torch.ones(1, 7, dtype=torch.bool))
    shown = {head: {tuple(pair) for pair in guide[0].nonzero().tolist()} for head, guide in found.items()}
    note = {event: 3 * event + 3 for event in range(7)}
    assert shown[0, 5] == {(note[event], note[event - 1]) for event in range(1, 6)}, "the last note is no input"
    assert {(note[3] + 1, note[3]), (note[3] + 2, note[3])} <= shown[0, 3]
    assert {(note[3] + 1, note[2]), (note[3] + 2, note[2])} <= shown[0, 2]
    assert shown[2, 7] == {(note[6] - 1, note[2])}
    assert shown[2, 6] == {(note[6] - 2, note[2] - 1)}
    assert shown[2, 5] == {(note[5], note[2] - 2)}
    behind = {(note[5] - 1, note[2] - k) for k in (1, 2)} | {(note[6] - 1, note[3] - k) for k in (1, 2)}
    assert all(shown[head] == behind for head in guidance.CONTINUING_HEADS)
    found = guidance.guides(events, torch.tensor([6 * [True] + [False]]))
    assert not any(found[head].any() for head in guidance.COPYING_HEADS), "there is nothing to learn"
    assert found[3, 5].sum() == 2


def test_guides_skip_controls() -> None:
    events = notes_only([1, 2, CONTROL_OFFSET + 7, 3, 9, CONTROL_OFFSET + 8, 1, 2, CONTROL_OFFSET + 9, 3])
    found = guidance.guides(events, events[..., 2] < CONTROL_OFFSET)
    shown = {head: {tuple(pair) for pair in guide[0].nonzero().tolist()} for head, guide in found.items()}
    note = {event: 3 * event + 3 for event in range(10)}
    of_events = [(note[event], note[earlier]) for event, earlier in [(1, 0), (3, 1), (4, 3), (6, 4), (7, 6)]]
    of_controls = [(note[control], note[earlier]) for control, earlier in [(2, 1), (5, 4), (8, 7)]]
    assert shown[0, 5] == {*of_events, *of_controls}
    assert {(note[1] + 2, note[1]), (note[2] + 1, note[1]), (note[3] + 1, note[3])} <= shown[0, 3]
    assert {(note[1] + 1, note[0]), (note[4] + 1, note[3])} <= shown[0, 2]
    assert {(note[2] + 1, note[2]), (note[3] + 1, note[2])} <= shown[0, 2], "controls stand between"
    assert not {(note[2] + 1, note[0]), (note[3] + 1, note[1])} & shown[0, 2]
    assert shown[1, 0] == shown[0, 3] | shown[0, 5]
    assert all(shown[head] == shown[0, 3] | set(of_controls) for head in guidance.RELAYING_HEADS)
    assert shown[1, 5] == shown[0, 3]
    behind = {(note[7] - 1, note[3] - k) for k in (1, 2)} | {(note[9] - 1, note[4] - k) for k in (1, 2)}
    assert all(shown[head] == behind for head in guidance.CONTINUING_HEADS)
    assert shown[2, 7] == shown[7, 2] == {(note[9] - 1, note[3])}
    assert shown[2, 6] == shown[7, 1] == {(note[9] - 2, note[3] - 1)}
    assert shown[2, 5] == shown[7, 0] == {(note[8], note[3] - 2)}, "asked at the control before"


def test_guides_point_to_controls_at_the_same_time() -> None:
    given = CONTROL_OFFSET
    events = torch.tensor(
        [[[0, 0, 1], [given + 50, given, given + 7], [given + 140, given, given + 8], [100, 0, 2], [300, 0, 3]]]
    )
    found = guidance.guides(events, events[..., 2] < CONTROL_OFFSET)
    shown = {head: {tuple(pair) for pair in guide[0].nonzero().tolist()} for head, guide in found.items()}
    first, second, third, fourth = (3 * event + 1 for event in range(4))  # their onsets
    of_last, of_own = guidance.TIMING_HEADS
    assert shown[of_last] == {(second + 2, first), (third + 2, first)}
    assert {(second + 1, second), (second + 2, second), (fourth + 1, fourth)} <= shown[of_own]
    of_now, of_next = guidance.CONTROL_HEADS
    assert shown[of_now] == {(fourth, second + 2), (fourth + 1, second + 2)}, "at 1 s the one that began at 0.5 s"
    assert shown[of_next] == {(fourth - 1, second), (fourth + 2, third)}, "after 0 s that of 0.5 s, after 1 s of 1.4 s"


def test_the_guidance_loss_is_minus_the_log_of_the_attention_to_the_guide() -> None:
    model = TrainingModel(1, torch.ones(NOTE.size, dtype=torch.bool))
    model.config._attn_implementation = "eager"
    block, hidden = model.blocks[0], torch.randn(1, 12, 256)
    guide = torch.eye(12, dtype=torch.bool).roll(-2, dims=1).tril()[None] | torch.eye(12, dtype=torch.bool)[None]
    with torch.no_grad():
        causal = torch.full((12, 12), -torch.inf).triu(1)
        weights = block.attn(block.ln_1(hidden), attention_mask=causal[None, None])[1][0, 3]
        expected = -(weights * guide[0]).sum(1).log().mean()
        torch.testing.assert_close(guidance.guidance_loss(block, 3, hidden, guide), expected[None])


def test_substitutes_are_of_the_family_and_leave_drums_alone() -> None:
    notes = [Note(50 * index, 40, 60, (40, 41, 42, 0, 128)[index % 5]) for index in range(50)]
    piece = Piece("any", "any", ev.from_notes(notes))
    augmentation = Augmentation([piece], np.random.default_rng(0))
    seen = set()
    for _ in range(200):
        playing = ev.instrument_codes(augmentation.vary(piece.events))
        assert playing <= {40, 41, 42, 0, 128}, "only what the pieces use"
        seen.add(frozenset(playing))
    assert any(len(playing) < 5 for playing in seen), "instruments are left out"


def test_a_step_shared_by_threads_has_the_gradient_of_each_window_by_its_length(tmp_path: Path) -> None:
    sampler = Sampler(pieces(), seed=2, repeating=0.5)
    full = next(window for window in iter(lambda: sampler.window(341), None) if len(window.events) == 341)
    windows = [full, *sampler.openings(341)[:4]]
    n_events = sum(len(window.events) for window in windows)
    n_targets = sum(int(window.targets.sum()) for window in windows)
    torch.manual_seed(0)
    model = TrainingModel(1, torch.ones(NOTE.size, dtype=torch.bool)).eval()
    parameters = list(model.parameters())
    expected = torch.zeros(sum(parameter.numel() for parameter in parameters))
    for window in windows:
        losses, guidance_losses = model(*collate([window], torch.device("cpu")), torch.zeros(1, dtype=torch.int64))
        loss = (
            losses.sum() * window.targets.sum() / n_targets
            + 0.5 * guidance_losses.sum() * len(window.events) / n_events
        )
        expected += torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, parameters)])
    with ThreadPoolExecutor(2) as pool:
        run = Run(
            model,
            optimizers(model, 1e-3, torch.float32),
            tmp_path / "checkpoint.pt",
            workers=2,
            guidance=0.5,
            only_heads=False,
            dtype=torch.float32,
        )
        run.learn(windows, 1.0, pool)
    found = torch.cat([parameter.grad.flatten() for parameter in parameters])
    torch.testing.assert_close(found / found.norm(), expected / expected.norm(), atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_heads_trains_queries_and_keys_and_nothing_else(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = TrainingModel(4, torch.ones(NOTE.size, dtype=torch.bool))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    windows = Sampler(pieces(), seed=2, repeating=0.5).batch(240, 40)

    def loss() -> float:
        with torch.no_grad():
            return float(
                model.guidance_loss(*collate(windows, torch.device("cpu")), torch.zeros(2, dtype=torch.int64)).sum()
            )

    at_first = loss()
    optim = optimizer_of_heads(model, 1e-3)
    with ThreadPoolExecutor(1) as pool:
        run = Run(model, [optim], tmp_path / "checkpoint.pt", workers=1, guidance=1.0, only_heads=True, dtype=dtype)
        for _ in range(5):
            run.learn(windows, 1.0, pool)
    assert loss() < at_first
    guided = {
        head for head, guide in guidance.guides(*collate(windows, torch.device("cpu"))[1:]).items() if guide.any()
    }
    for name, value in model.state_dict().items():
        changed = (value != before[name]).any()
        if "c_attn" not in name:
            assert not changed, name
        else:
            block = int(name.split(".")[1])
            columns = (value != before[name]).reshape(-1, 3, 8, 32).any(dim=3).any(dim=0)
            looking = [(block, head) in guided for head in range(8)]
            assert columns.tolist() == [looking, looking, 8 * [False]], name


def test_the_guidance_loss_of_a_window_does_not_depend_on_padding() -> None:
    sampler = Sampler(pieces(), seed=2, repeating=0.5)
    windows = [sampler.window(n) for n in (80, 50, 20)]
    torch.manual_seed(0)
    model = TrainingModel(4, torch.ones(NOTE.size, dtype=torch.bool)).eval()

    @torch.no_grad()
    def loss(windows: list[Window]) -> torch.Tensor:
        return model.guidance_loss(*collate(windows, torch.device("cpu")), torch.zeros(len(windows), dtype=torch.int64))

    torch.testing.assert_close(loss(windows), torch.cat([loss([window]) for window in windows]))


def test_a_resumed_run_continues_where_it_stopped(tmp_path: Path) -> None:
    windows = Sampler(pieces(), seed=3, repeating=0.5).batch(360, 30)

    def begin(seed: int, rate: float = 1e-3) -> tuple[TrainingModel, Run]:
        torch.manual_seed(seed)
        model = narrow(2).eval()
        optims, checkpoint = optimizers(model, rate, torch.float32), tmp_path / "checkpoint.pt"
        return model, Run(model, optims, checkpoint, workers=1, guidance=0.5, only_heads=False, dtype=torch.float32)

    def learn(run: Run) -> None:
        torch.manual_seed(5)
        with ThreadPoolExecutor(1) as pool:
            run.learn(windows, 0.5, pool)

    (one, run), (other, resumed) = begin(seed=0), begin(seed=1)
    learn(run)
    run.save()
    resumed.resume()
    assert resumed.worked_seconds() > run.worked_seconds()
    learn(run)
    learn(resumed)
    for expected, found in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, expected)

    still, unmoved = begin(seed=2, rate=0.0)
    unmoved.resume()
    before = [parameter.clone() for parameter in still.parameters()]
    learn(unmoved)
    for expected, found in zip(before, still.parameters(), strict=True):
        torch.testing.assert_close(found, expected, msg="the rate is this run's")


@pytest.mark.slow
def test_the_recipe_makes_a_checkpoint_that_hugging_face_loads(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    for name in ("one", "two"):
        (corpus / name).mkdir(parents=True)
        for path in (GOLDEN / "midi").glob("[cdef]*.mid"):
            (corpus / name / path.name).symlink_to(path)
    command = [sys.executable, "-m", "training.train", str(corpus), str(tmp_path / "out")]
    command += ["--minutes", "0.5", "--stages", "20:0.5,40:0.5", "--layers", "3", "--tokens", "300"]
    subprocess.run(command, cwd=PROJECT, check=True, timeout=300)
    model = GPT2LMHeadModel.from_pretrained(tmp_path / "out/model")
    assert model.dtype == torch.bfloat16
