"""Keys that have come often lately are held back until others have come."""

import pytest

from amt.decoding.variety import MAX_KEYS, MIN_NOTES, MIN_PHRASE_TICKS, PHRASE_NOTES, Variety


def biases(variety: Variety) -> dict[int, float]:
    """The keys that are held back, with their biases."""
    found = variety.biases
    return {} if found is None else {int(variety.keys[place]): float(found[place]) for place in found.nonzero()[0]}


def test_nothing_is_held_back_before_there_is_dwelling() -> None:
    variety = Variety(0.5)
    for number in range(100):
        variety.observe(10 * number, number)
    assert variety.biases is None


def test_the_commonest_key_is_held_back_most() -> None:
    variety = Variety(0.5)
    for number in range(3 * MIN_NOTES):
        variety.observe(10 * number, 1 + number % 2)
    variety.observe(1_000, 1)
    variety.observe(1_010, 3)
    found = biases(variety)
    assert found[1] == min(found.values()) < found[3] < 0


def test_what_is_long_ago_is_forgotten() -> None:
    variety = Variety(0.1)
    for number in range(50):
        variety.observe(number, 1)
    for number in range(50):
        variety.observe(5_000 + number, number % 12 + 2)
    assert 1 not in biases(variety)


@pytest.mark.parametrize("later", [MIN_PHRASE_TICKS, MIN_PHRASE_TICKS - 1])
def test_what_goes_on_with_a_phrase_of_some_time_ago_is_not_held_back(later: int) -> None:
    variety = Variety(0.1)
    phrase, others = [1, 2, 3, 4], [9, 9, 8, 9, 9, 9, 9, 9, 9, 4, 8]
    for key in [*phrase, *others]:
        variety.observe(0, key)
    for key in phrase[:PHRASE_NOTES]:
        variety.observe(later, key)
    assert (4 in biases(variety)) == (later < MIN_PHRASE_TICKS)
    assert {9, 8} <= biases(variety).keys()


def test_more_keys_than_are_taken_note_of_do_no_harm() -> None:
    variety = Variety(0.0)
    for number in range(3 * MAX_KEYS):
        variety.observe(number // 4, number % (2 * MAX_KEYS))
    variety.observe(10_000, 5)
    assert variety.biases is None
    for number in range(MIN_NOTES):
        variety.observe(10_000, 5 + number % 2)
    assert biases(variety).keys() == {5, 6}
