"""Define what a run of fine-tuning depends on, beside its pieces and its length."""

import math
from dataclasses import dataclass, fields
from typing import Any, Self

from amt.errors import TrainingError
from amt.tokens.vocab import EVENT_TOKENS, MAX_WINDOW_EVENTS

TOKENS = 4 * EVENT_TOKENS * MAX_WINDOW_EVENTS

FULL_RATE, LORA_RATE = 2e-4, 3e-4
"""Peaks of the learning rate for models as wide as tiny; for wider ones they fall with the root of the width."""

RATED_WIDTH = 256


@dataclass(frozen=True)
class Recipe:
    """Hold what `--resume` goes on with unchanged."""

    base: str
    lora: int | None
    """The rank of the adapter; None: everything is trained."""
    tokens: int
    """Of a step, up to a window more."""
    rate: float
    """The peak of the learning rate."""
    seed: int
    bfloat16: bool

    @classmethod
    def complete(cls, asked: dict[str, Any], width: int, *, can_bfloat16: bool) -> Self:
        """Fill in what is not asked for, which is None.

        Args:
            asked: by the names of the fields.
            width: of the model.
            can_bfloat16: whether the device multiplies fast in bfloat16.
        """
        rate = (LORA_RATE if asked["lora"] else FULL_RATE) * math.sqrt(RATED_WIDTH / width)
        usual = {"base": "tiny", "lora": None, "tokens": TOKENS, "rate": rate, "seed": 0, "bfloat16": can_bfloat16}
        return cls(**{name: value if asked[name] is None else asked[name] for name, value in usual.items()})

    def check(self, asked: dict[str, Any]) -> None:
        """Raise TrainingError if what is asked for, None where nothing is, differs from this."""
        for field in fields(self):
            own, other = getattr(self, field.name), asked[field.name]
            if other not in (None, own):
                raise TrainingError(f"this run was started with {field.name} {own}, and cannot go on with {other}")
