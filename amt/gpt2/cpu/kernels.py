"""Compute on CPUs, compiled by numba, what PyTorch does slowly: what lies between matrices.

Compiled code is kept for the next start until its file changes; numba looks at no other, so all of this is here.
"""

from typing import Final

import numpy as np
from numba import prange
from numpy.typing import NDArray

from amt.gpt2.cpu.compiling import compiled

_SMALLEST: Final = np.finfo(np.float32).tiny.view(np.uint32)
"""The bits of the smallest normal number, by which one may divide."""

_NEAR: Final = np.polynomial.Chebyshev.interpolate(np.exp2, 5, (-0.5, 0.5)).convert(kind=np.polynomial.Polynomial)

_TWO_TO: Final = (*_NEAR.coef[:0:-1].tolist(), 1.0)
"""A polynomial that is 2**x from -0.5 to 0.5, highest power first, and 1 at 0."""

_MAGIC: Final = np.float32(3 << 22)
"""Added to a small number it leaves that, rounded to the nearest whole one, in the last bits."""

_FUSED: Final = frozenset({"contract"})
"""A product and a sum may be rounded once."""

REORDERED: Final = _FUSED | {"reassoc"}
"""And sums may be taken in whatever order suits vectors: it depends on a row's length and nothing else."""


@compiled(_FUSED)
def power_of_two(x: np.float32) -> np.float32:
    """Return 2**x of a number that is not positive, to 3e-7 of the result; unlike NumPy's it can be vectorised.

    It is two to the whole part, by its bits, times two to the rest, by a polynomial; at least 2**-126.
    """
    power = max(np.float32(x), np.float32(-126))
    shifted = power + _MAGIC
    rest = power - (shifted - _MAGIC)
    two = np.float32(_TWO_TO[0])
    for coefficient in _TWO_TO[1:]:
        two = two * rest + np.float32(coefficient)
    return np.int32((np.float32(shifted).view(np.int32) << np.int32(23)) + np.float32(two).view(np.int32)).view(
        np.float32
    )


@compiled()
def exponential(x: np.float32) -> np.float32:
    """Return e**x of a number that is not positive, to 4e-6 of the result, likewise."""
    result: np.float32 = power_of_two(np.float32(x) * np.float32(1.44269504))
    return result


@compiled(REORDERED)
def powers_of_two(scores: NDArray[np.float32], factor: np.float32) -> np.float32:
    """Write 2**(factor * (score - largest)) in the place of each score, and return the sum; the factor is positive."""
    bits, most, total = scores.view(np.int32), np.int32(-(1 << 31)), np.float32(0)
    for i in range(len(scores)):  # whole numbers are compared side by side, floats are not: one might be NaN
        most = max(most, _ordered(bits[i]))
    largest = _from_bits(np.int32(_ordered(most)).view(np.uint32))
    for i in range(len(scores)):
        scores[i] = power_of_two((scores[i] - largest) * factor)
        total += scores[i]
    return total


@compiled()
def divide_by_absmax(numbers: NDArray[np.float32]) -> np.float32:
    """Divide a row by its absolute maximum (but not by zero), and return that; NaN if any number is."""
    bits, largest = numbers.view(np.uint32), _SMALLEST
    for i in range(len(bits)):  # those of magnitudes have the same order, with NaN behind all
        largest = max(largest, np.uint32(bits[i] & np.uint32(0x7FFFFFFF)))
    absmax: np.float32 = _from_bits(largest)
    factor = np.float32(1) / absmax  # one division takes as long as ten products
    for i in range(len(numbers)):
        numbers[i] *= factor
    return absmax


@compiled(REORDERED)
def add(
    hidden: NDArray[np.float32],
    product: NDArray[np.float32],
    absmax: NDArray[np.float32],
    bias: NDArray[np.float32],
    norm: tuple[NDArray[np.float32], NDArray[np.float32]],
    epsilon: np.float32,
    normalised: NDArray[np.float32],
) -> None:
    """Add what a layer gives to the hidden states, in place, and normalise them for the next.

    Args:
        hidden: shape = (n_rows, width).
        product: shape = (n_rows, width).
        absmax: shape = (n_rows,); gets those of the result.
        bias: shape = (width,).
        norm: scale and shift, shape = (width,) each.
        epsilon: as layer normalisation has it.
        normalised: gets the result over its absmax; shape = (n_rows, width).
    """
    for row in range(len(hidden)):
        absmax[row] = _add_row(hidden[row], product[row], absmax[row], bias, norm, epsilon, normalised[row])


@compiled(REORDERED, parallel=True)
def add_many(
    hidden: NDArray[np.float32],
    product: NDArray[np.float32],
    absmax: NDArray[np.float32],
    bias: NDArray[np.float32],
    norm: tuple[NDArray[np.float32], NDArray[np.float32]],
    epsilon: np.float32,
    normalised: NDArray[np.float32],
) -> None:
    """Do what `add` does, for so many rows that threads are worth calling."""
    for row in prange(len(hidden)):
        absmax[row] = _add_row(hidden[row], product[row], absmax[row], bias, norm, epsilon, normalised[row])


@compiled(REORDERED)
def _add_row(
    states: NDArray[np.float32],
    product: NDArray[np.float32],
    absmax: np.float32,
    bias: NDArray[np.float32],
    norm: tuple[NDArray[np.float32], NDArray[np.float32]],
    epsilon: np.float32,
    normalised: NDArray[np.float32],
) -> np.float32:
    """Do it for one row, and return the absmax of the result."""
    (scale, shift), width, total = norm, np.float32(len(states)), np.float32(0)
    for i in range(len(states)):
        states[i] += product[i] * absmax + bias[i]
        total += states[i]
    mean, squares = total / width, np.float32(0)
    for i in range(len(states)):
        squares += (states[i] - mean) * (states[i] - mean)
    factor = np.float32(1) / np.sqrt(squares / width + epsilon)
    for i in range(len(states)):
        normalised[i] = (states[i] - mean) * factor * scale[i] + shift[i]
    result: np.float32 = divide_by_absmax(normalised)
    return result


@compiled(REORDERED, parallel=True)
def complete(product: NDArray[np.float32], absmax: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """Turn products into a layer's results, in place; shape = (n_rows, width), (n_rows,), (width,)."""
    for row in prange(len(product)):
        for i in range(product.shape[1]):
            product[row, i] = product[row, i] * absmax[row] + bias[i]


@compiled(parallel=True)
def divide(numbers: NDArray[np.float32], absmax: NDArray[np.float32], normalised: NDArray[np.float32]) -> None:
    """Divide rows by their absmax, and write both; shape = (n_rows, width), (n_rows,), (n_rows, width)."""
    for row in prange(len(numbers)):
        normalised[row] = numbers[row]
        absmax[row] = divide_by_absmax(normalised[row])


@compiled(parallel=True)
def activate(inner: NDArray[np.float32], absmax: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """Apply GELU to a layer's result, in place and over its absmax; shape = (n_rows, width), (n_rows,), (width,)."""
    for row in prange(len(inner)):
        for i in range(inner.shape[1]):
            inner[row, i] = _gelu_of(inner[row, i] * absmax[row] + bias[i])
        absmax[row] = divide_by_absmax(inner[row])


@compiled()
def _ordered(bits: np.int32) -> np.int32:
    """Return the bits of a float as a number of the same order, and the bits of such a number; NaN lies at the ends."""
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@compiled()
def _from_bits(bits: np.uint32) -> np.float32:
    """Return the float of these bits."""
    return np.uint32(bits).view(np.float32)


@compiled()
def _gelu_of(x: np.float32) -> np.float32:
    """Apply the Gaussian error linear unit, by its approximation with tanh; PyTorch takes thrice as long.

    Source: Hendrycks and Gimpel 2016 (arXiv:1606.08415).
    """
    # x / 2 * (1 + tanh(y / 2)) is x / (1 + e**-y); of e**y and e**-y the one that cannot overflow.
    y = x * (np.float32(1.5957691216) + np.float32(0.0713548163) * x * x)
    power: np.float32 = exponential(-abs(y))
    return x * (np.float32(1) if y >= 0 else power) / (np.float32(1) + power)
