"""What processes of the service have in common."""

import gc
from collections.abc import Iterator

import pytest

from serving.process import collect_seldom


@pytest.fixture
def usual_garbage_collection() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("usual_garbage_collection")
def test_a_request_that_makes_thousands_of_notes_is_not_held_up_by_a_search_for_garbage() -> None:
    collect_seldom()
    assert gc.get_freeze_count() > 10_000  # what has been imported
    gc.collect()
    before = [generation["collections"] for generation in gc.get_stats()]
    notes = [[number] for number in range(10_000)]
    assert [generation["collections"] for generation in gc.get_stats()] == before
    del notes
