"""A window keeps its extremes; here they are found by looking at every event."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amt.decoding.window import EXACT_HOP_EVENTS, HOP_EVENTS, MAX_HISTORY_EVENTS, Window
from amt.tokens.vocab import AUTOREGRESS, MAX_ONSET_TICKS, REST_INTERVAL_TICKS

STEPS = st.lists(
    st.tuples(
        st.integers(0, 3_000),  # ticks to the next onset
        st.integers(0, 600),  # how far behind the latest onset this one lies, as controls may
        st.none() | st.integers(0, 500),  # how far ahead the next control lies
    ),
    max_size=400,
)


def test_a_new_window_needs_no_refill() -> None:
    window = Window(AUTOREGRESS, [], [], HOP_EVENTS)
    window.slide(0, 0, None)
    assert (window.needs_refill, window.offset, window.tokens()) == (False, 0, [])


@pytest.mark.parametrize("hop_events", [HOP_EVENTS, EXACT_HOP_EVENTS])
@settings(max_examples=50, deadline=None)
@given(steps=STEPS)
def test_the_window_holds_the_last_events_and_room_for_the_next_onset(
    hop_events: int, steps: list[tuple[int, int, int | None]]
) -> None:
    window, onsets, now = Window(AUTOREGRESS, [], [], hop_events), [], 0
    for ahead, behind, control in steps:
        now += ahead
        onset = max(now - behind, 0)
        window.append((onset, 10_000, 11_000), onset)
        onsets.append(onset)
        control_ticks = None if control is None else now + control
        window.slide(now, now, control_ticks)
        n_events = window.n_tokens // 3
        seen = onsets[len(onsets) - n_events :]
        coming = seen if control_ticks is None else [*seen, control_ticks]
        assert n_events <= MAX_HISTORY_EVENTS
        assert window.offset == min([*coming, *([] if window.is_exact else [now])], default=0)
        room = 0 if window.is_exact else REST_INTERVAL_TICKS
        assert max([now, *coming]) - window.offset < MAX_ONSET_TICKS - room
