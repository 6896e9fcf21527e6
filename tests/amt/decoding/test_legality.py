import torch

from amt.decoding import legality
from amt.tokens.vocab import NOTE


def test_onsets_before_the_earliest_are_illegal() -> None:
    logits = torch.zeros(2, 10_000)
    legality.forbid_past(logits, torch.tensor([0, 9_999]))
    assert (logits > -torch.inf).sum(1).tolist() == [10_000, 1]


def test_illegal_notes_cannot_be_chosen() -> None:
    logits = torch.zeros(2, NOTE.size)
    legal = torch.zeros(2, NOTE.size, dtype=torch.bool)
    legal[0, 7] = legal[1, 8] = True
    legality.forbid_notes(logits, legal)
    assert (logits > -torch.inf).nonzero().tolist() == [[0, 7], [1, 8]]
