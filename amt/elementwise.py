"""What is done to single numbers, on a CPU, compiled by numba."""

from typing import Final

import numpy as np
import torch
from numba import prange
from numpy.typing import NDArray
from torch import Tensor

from amt.compiled import alone, compiled, use_threads

_TWO_TO: Final = tuple(
    np.polynomial.Chebyshev.interpolate(np.exp2, 6, (0, 1)).convert(kind=np.polynomial.Polynomial).coef[::-1].tolist()
)
"""A polynomial that is 2**x from 0 to 1, highest power first."""


@compiled()
def exponential(x: np.float32) -> np.float32:
    """Of a number that is not positive, to 4e-6 of the result; unlike NumPy's, for several numbers at once.

    It is 2**(x * log2 e): two to the whole part, by its bits, times two to the rest, by a polynomial; at least 2**-126.
    """
    power = max(np.float32(x) * np.float32(1.44269504), np.float32(-126))
    whole = np.floor(power)
    rest = power - whole
    two = np.float32(_TWO_TO[0])
    for coefficient in _TWO_TO[1:]:
        two = two * rest + np.float32(coefficient)
    return np.int32((np.int32(whole) + 127) << 23).view(np.float32) * two


def gelu(x: Tensor) -> Tensor:
    """The Gaussian error linear unit by its approximation with tanh, in place; four times as fast as PyTorch's.

    Source: Hendrycks and Gimpel 2016 (arXiv:1606.08415).
    """
    with alone:
        use_threads(torch.get_num_threads())
        _gelu(x.numpy())
    return x


@compiled(parallel=True)
def _gelu(x: NDArray[np.float32]) -> None:
    for row in prange(len(x)):
        for i in range(x.shape[1]):
            number = x[row, i]
            # x / 2 * (1 + tanh(y / 2)) is x / (1 + e**-y); of e**y and e**-y the one that cannot overflow.
            y = number * (np.float32(1.5957691216) + np.float32(0.0713548163) * number * number)
            power = exponential(-abs(y))
            x[row, i] = number * (np.float32(1) if y >= 0 else power) / (np.float32(1) + power)
