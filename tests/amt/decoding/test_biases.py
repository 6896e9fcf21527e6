import torch

from amt.decoding import biases
from amt.tokens.vocab import NOTE


def test_a_bias_of_minus_infinity_makes_only_its_instrument_illegal() -> None:
    logits = torch.zeros(2, NOTE.size)
    nats = torch.full((2, 130), -torch.inf)
    nats[0, [5, 128]] = 0
    nats[:, -1] = 0
    biases.bias_notes(logits, nats)
    legal = [(row > -torch.inf).nonzero()[:, 0].tolist() for row in logits]
    assert legal == [[*range(5 * 128, 6 * 128), *range(128 * 128, 129 * 128), NOTE.size - 1], [NOTE.size - 1]]


def test_a_bias_is_added_to_every_note_of_its_instrument() -> None:
    logits = torch.randn(2, NOTE.size, generator=torch.Generator().manual_seed(0))
    before, nats = logits.clone(), torch.randn(2, 130, generator=torch.Generator().manual_seed(1))
    biases.bias_notes(logits, nats)
    added = torch.cat([nats[:, :-1].repeat_interleave(128, dim=1), nats[:, -1:]], dim=1)
    torch.testing.assert_close(logits, before + added)


def test_onsets_outside_a_span_lose_half_the_square_of_their_distance() -> None:
    logits = torch.zeros(2, 10_000)
    biases.bias_onsets(logits, torch.tensor([100.0, -torch.inf]), torch.tensor([200.0, torch.inf]), 10)
    assert logits[0, [100, 150, 200]].tolist() == [0, 0, 0]
    torch.testing.assert_close(logits[0, [90, 210, 230]], torch.tensor([-0.5, -0.5, -4.5]))
    assert logits[1].abs().max() == 0
