"""Keys that have come often lately are held back until others have come."""

from amt.decoding.variety import MIN_NOTES, Variety


def test_nothing_is_held_back_before_there_is_dwelling() -> None:
    variety = Variety(0.5)
    for number in range(100):
        variety.observe(10 * number, number)
    assert not variety.biases


def test_the_commonest_key_is_held_back_most() -> None:
    variety = Variety(0.5)
    for number in range(3 * MIN_NOTES):
        variety.observe(10 * number, number % 2 and 7)
    variety.observe(1_000, 8)
    biases = variety.biases
    assert biases[0] == min(biases.values()) < biases[8] < 0


def test_what_is_long_ago_is_forgotten() -> None:
    variety = Variety(0.1)
    for number in range(50):
        variety.observe(number, 1)
    for number in range(50):
        variety.observe(5_000 + number, number % 12 + 2)
    assert 1 not in variety.biases
