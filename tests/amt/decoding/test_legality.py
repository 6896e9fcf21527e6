import torch

from amt.decoding import legality
from amt.tokens.vocab import NOTE


def test_onsets_before_the_earliest_are_illegal() -> None:
    logits = torch.zeros(2, 10_000)
    legality.forbid_past(logits, torch.tensor([0, 9_999]))
    assert (logits > -torch.inf).sum(1).tolist() == [10_000, 1]


def test_a_bias_of_minus_infinity_makes_only_its_instrument_illegal() -> None:
    logits = torch.zeros(2, NOTE.size)
    biases = torch.full((2, 130), -torch.inf)
    biases[0, [5, 128]] = 0
    biases[:, -1] = 0
    legality.bias_notes(logits, biases)
    legal = [(row > -torch.inf).nonzero()[:, 0].tolist() for row in logits]
    assert legal == [[*range(5 * 128, 6 * 128), *range(128 * 128, 129 * 128), NOTE.size - 1], [NOTE.size - 1]]


def test_a_bias_is_added_to_every_note_of_its_instrument() -> None:
    logits = torch.randn(2, NOTE.size, generator=torch.Generator().manual_seed(0))
    before, biases = logits.clone(), torch.randn(2, 130, generator=torch.Generator().manual_seed(1))
    legality.bias_notes(logits, biases)
    added = torch.cat([biases[:, :-1].repeat_interleave(128, dim=1), biases[:, -1:]], dim=1)
    torch.testing.assert_close(logits, before + added)


def test_illegal_notes_cannot_be_chosen() -> None:
    logits = torch.zeros(2, NOTE.size)
    legal = torch.zeros(2, NOTE.size, dtype=torch.bool)
    legal[0, 7] = legal[1, 8] = True
    legality.forbid_notes(logits, legal)
    assert (logits > -torch.inf).nonzero().tolist() == [[0, 7], [1, 8]]


def test_onsets_outside_a_span_lose_half_the_square_of_their_distance() -> None:
    logits = torch.zeros(2, 10_000)
    legality.bias_onsets(logits, torch.tensor([100.0, -torch.inf]), torch.tensor([200.0, torch.inf]), 10)
    assert logits[0, [100, 150, 200]].tolist() == [0, 0, 0]
    torch.testing.assert_close(logits[0, [90, 210, 230]], torch.tensor([-0.5, -0.5, -4.5]))
    assert logits[1].abs().max() == 0
