import numpy as np

from amt.midi.notes import Note
from amt.pooling import combine, normalized
from amt.tokens import events as ev
from amt.tokens.windows import Window


def windows_of(*lengths: int) -> list[Window]:
    return [Window(ev.from_notes([Note(10 * index, 5, 60, 0) for index in range(length)]), 0, 0) for length in lengths]


def test_combined_vectors_equal_pooling_over_all_tokens() -> None:
    vectors = np.array([[0, 8], [4, 0]], np.float32)
    windows = windows_of(1, 3)
    assert combine(vectors, windows, "mean").tolist() == [[3, 2]]
    assert combine(vectors, windows, "max").tolist() == [[4, 8]]
    assert combine(vectors, windows, "last").tolist() == [[4, 0]]


def test_normalized_vectors_have_length_1_and_the_same_direction() -> None:
    vectors = normalized(np.array([[3, 4], [0, -1e-3], [0, 0]], np.float32))
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, -1], [0, 0]], atol=1e-7)
