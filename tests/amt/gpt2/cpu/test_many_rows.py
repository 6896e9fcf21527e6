import pytest
import torch

from amt.gpt2.cpu import many_rows
from amt.gpt2.cpu.packing import Matrix
from amt.gpt2.cpu.products import HAS_WIDE_VNNI, STEPS

pytestmark = pytest.mark.skipif(not HAS_WIDE_VNNI, reason="oneDNN does so with VNNI of AVX-512, or AMX")


def random_matrix(n_inputs: int, n_outputs: int, generator: torch.Generator) -> Matrix:
    whole = torch.randint(-STEPS, STEPS + 1, (n_inputs, n_outputs), generator=generator)
    return Matrix.of_bytes(whole, torch.rand(n_outputs, generator=generator))


@pytest.mark.parametrize(("n_inputs", "n_outputs"), [(64, 48), (96, 70), (37, 16)])
def test_many_rows_get_what_few_get_to_the_bit(n_inputs: int, n_outputs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = random_matrix(n_inputs, n_outputs, generator)
    x = 2 * torch.rand(many_rows.MIN_ROWS, n_inputs, generator=generator) - 1
    x[:3] = torch.tensor([1.0, -1.0, 0.0])[:, None]
    assert torch.equal(many_rows.multiply(x, matrix), torch.from_numpy(matrix.multiply(x.numpy())))


def test_many_of_the_largest_products_do_not_overflow() -> None:
    matrix = Matrix.of_bytes(torch.full((3_072, 16), STEPS), torch.full((16,), float(STEPS)))
    x = torch.ones(many_rows.MIN_ROWS, 3_072)
    torch.testing.assert_close(many_rows.multiply(x, matrix), torch.full((len(x), 16), 3_072.0 * STEPS**2))
    torch.testing.assert_close(many_rows.multiply(-x, matrix), torch.full((len(x), 16), -3_072.0 * STEPS**2))
