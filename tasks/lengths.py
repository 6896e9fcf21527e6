"""Find how long what a request asks for is in ticks, whether it says so in seconds or in bars."""

from collections.abc import Sequence
from typing import Final

from amt.errors import ArrangementError
from amt.midi.bars import Bars
from amt.midi.notes import TICKS_PER_SECOND, Note
from amt.midi.timing import MILLISECONDS_PER_TICK
from tasks.edit_requests import MAX_SPAN_SECONDS, MIN_SPAN_SECONDS, SpanRequest
from tasks.fields import MAX_LENGTH_SECONDS, MAX_PRIME_SECONDS, MIN_LENGTH_SECONDS, MIN_PRIME_SECONDS
from tasks.requests import AccompanyRequest, AnyMusicRequest, ContinueRequest, GenerateRequest

_LENGTH_RANGE: Final = (MIN_LENGTH_SECONDS, MAX_LENGTH_SECONDS)


def length_ticks(
    request: GenerateRequest | ContinueRequest | AccompanyRequest, bars: Bars, start_ticks: int
) -> int | None:
    """Return how long the new music is that begins at a time; None: as long as the part that is accompanied.

    Raises:
        ArrangementError: the bars are too short or too long.
    """
    if request.length_bars is None:
        return None if request.length_seconds is None else ticks_of(request.length_seconds)
    end = bars.start_ticks(bars.number_from(start_ticks) + request.length_bars)
    _check(f"length_bars {request.length_bars}", end - start_ticks, _LENGTH_RANGE)
    return end - start_ticks


def prime_ticks(request: ContinueRequest | AccompanyRequest, bars: Bars, notes: Sequence[Note]) -> int:
    """Return how much of a piece goes before the new music, from its start or back from the end of its last note.

    Raises:
        ArrangementError: the bars are too short or too long.
    """
    if request.prime_bars is None:
        return ticks_of(request.prime_seconds)
    minimum = 0.0
    prime = bars.start_ticks(1 + request.prime_bars)
    if isinstance(request, ContinueRequest):
        minimum = MIN_PRIME_SECONDS
        if request.prime_from == "end" and notes:
            end = last_end(notes)
            prime = end - bars.start_ticks(max(bars.number_at(max(end - 1, 0)) + 1 - request.prime_bars, 1))
    _check(f"prime_bars {request.prime_bars}", prime, (minimum, MAX_PRIME_SECONDS))
    return prime


def span_ticks(request: SpanRequest, bars: Bars, notes: Sequence[Note]) -> tuple[int, int]:
    """Return where a span begins and ends; of bars, with the last note if that is within the last one.

    Raises:
        ArrangementError: the music ends before the last bar, or the span is too short or too long.
    """
    last = last_end(notes)
    start = (
        bars.start_ticks(request.start_bar or 1) if request.start_seconds is None else ticks_of(request.start_seconds)
    )
    if request.end_seconds is not None:
        end = ticks_of(request.end_seconds)
    elif request.end_bar is None:
        end = min(last, start + ticks_of(MAX_SPAN_SECONDS))
    elif notes:
        end = min(_end_of_bars(request.end_bar, bars, last), last)
    else:
        end = bars.start_ticks(request.end_bar)
    if notes and (request.start_seconds is None or request.end_seconds is None):  # else they were checked as sent
        _check_span(request, end - start)
    return start, end


def _end_of_bars(end_bar: int, bars: Bars, last: int) -> int:
    n_bars = bars.number_at(max(last - 1, 0))
    if end_bar > n_bars + 1:
        raise ArrangementError(
            f"end_bar must be in range 2..{n_bars + 1}, for the last note of the input ends in bar {n_bars}, "
            f"got {end_bar}"
        )
    return bars.start_ticks(end_bar)


def _check_span(request: SpanRequest, ticks: int) -> None:
    start = _told(request, "start_seconds", "start_bar") or "the start"
    end = _told(request, "end_seconds", "end_bar") or "the end of the last note"
    _check(f"{start} to {end}", ticks, (MIN_SPAN_SECONDS, MAX_SPAN_SECONDS))


def _told(request: SpanRequest, *names: str) -> str:
    """Return the field of these that was sent, with its value."""
    return next((f"{name} {getattr(request, name):g}" for name in names if getattr(request, name) is not None), "")


def file_ticks(request: AnyMusicRequest, bars: Bars, length_ticks: int) -> float:
    """Return where the file of a result ends, in ticks: what is asked for in bars ends exactly on its bar line."""
    number = bars.number_at(length_ticks)
    is_in_bars = not isinstance(request, SpanRequest) and request.length_bars is not None
    if not is_in_bars or bars.start_ticks(number) != length_ticks:
        return length_ticks
    return float(bars.start_milliseconds(number) / MILLISECONDS_PER_TICK)


def ticks_of(seconds: float) -> int:
    """Return seconds in ticks."""
    return round(seconds * TICKS_PER_SECOND)


def last_end(notes: Sequence[Note]) -> int:
    """Return when the last note ends, in ticks; 0 if there is none."""
    return max((note.onset + note.duration for note in notes), default=0)


def _check(asked: str, ticks: int, allowed: tuple[float, float]) -> None:
    """Raise ArrangementError if a time is out of range."""
    minimum, maximum = allowed
    if not minimum <= ticks / TICKS_PER_SECOND <= maximum:
        raise ArrangementError(
            f"{asked} lasts {ticks / TICKS_PER_SECOND:g} s by the tempo and the time signatures of the music: it must "
            f"be {minimum:g} to {maximum:g} s"
        )
