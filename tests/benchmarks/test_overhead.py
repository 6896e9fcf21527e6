import pytest

from benchmarks import overhead


@pytest.mark.slow
def test_every_request_of_a_scripted_model_is_answered_with_all_its_events() -> None:
    figures = overhead.measure(40, 4)
    assert figures.requests_per_second > 0
    assert figures.events_per_second == pytest.approx(overhead.N_EVENTS * figures.requests_per_second)
    assert all(each >= 0 for each in (*figures.cpu_ms.values(), *figures.part_ms.values()))
