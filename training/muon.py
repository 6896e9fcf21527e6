"""Optimise matrices with Muon: momentum whose update is made orthogonal.

Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon.
"""

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Update matrices only. `torch.optim.Muon` iterates in bfloat16: 100 times slower on a CPU that emulates it."""

    def __init__(
        self,
        params: list[Tensor],
        lr: float,
        dtype: torch.dtype,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        """`dtype`: the precision in which updates are made orthogonal."""
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update every matrix; the scale is AdamW's, so that learning rates compare."""
        for group in self.param_groups:
            for param in group["params"]:
                buffer = self.state[param].setdefault("momentum", torch.zeros_like(param))
                buffer.lerp_(param.grad, 1 - group["momentum"])
                update = _orthogonal(param.grad.lerp(buffer, group["momentum"]), self._dtype)
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.add_(update, alpha=-group["lr"] * 0.2 * max(param.shape) ** 0.5)


def _orthogonal(matrix: Tensor, dtype: torch.dtype, steps: int = 5) -> Tensor:
    """Return roughly the nearest semi-orthogonal matrix, by a quintic Newton-Schulz iteration."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = (x / (x.norm() + 1e-7)).to(dtype)
    a, b, c = _COEFFICIENTS
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
