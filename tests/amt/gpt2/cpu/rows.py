"""Put rows into the parts that compiled code on CPUs takes, see `cpu.decoder`, and together again."""

import numpy as np
import torch


def as_product(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a product, factors of its rows and a bias that together give x; shapes = (n_rows, n), (n_rows,), (n,)."""
    absmax, bias = torch.linspace(0.25, 4, len(x)), torch.linspace(-1, 1, x.shape[1])
    return ((x - bias) / absmax[:, None]).numpy(), absmax.numpy(), bias.numpy()


def scaled(normalised_rows: np.ndarray, absmax: np.ndarray) -> torch.Tensor:
    """Return the input of the next multiplication; each row of `normalised_rows` has an absolute maximum of 1."""
    np.testing.assert_allclose(np.abs(normalised_rows).max(axis=1), 1)
    return torch.from_numpy(normalised_rows * absmax[:, None])
