"""Say how a token is sampled."""

from typing import Final, NamedTuple

MIN_TEMPERATURE: Final = 1e-3
"""Lower temperatures are greedy: logits divided by them would leave the range of float32."""


class SamplingParams(NamedTuple):
    """Say how one token is sampled.

    Attributes:
        temperature: divides the logits; 0 is greedy.
        top_p: share of the probability that the nucleus keeps; 0 is greedy, 1 keeps everything.
        top_k: number of the most probable tokens that are kept; 0 keeps all.
        min_p: tokens less probable than this share of the most probable one's probability are dropped.
    """

    temperature: float = 1.0
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.0

    @property
    def is_greedy(self) -> bool:
        """Tell whether random numbers decide nothing."""
        return self.temperature < MIN_TEMPERATURE or self.top_p == 0 or self.top_k == 1

    def with_safe_temperature(self) -> "SamplingParams":
        """Return the same with a temperature to divide by: a nucleus of one token is greedy too."""
        return self if self.temperature >= MIN_TEMPERATURE else self._replace(temperature=1.0, top_p=0.0)
