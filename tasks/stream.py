"""Tell the caller of a stream what has been decided so far."""

from collections.abc import Iterator
from typing import Any

from amt.midi.notes import TICKS_PER_SECOND
from amt.tokens import events as ev
from tasks.encoding import find_encoders
from tasks.requests import AnyMusicRequest
from worker.jobs import GenerateJob, Progress


class StreamEncoder:
    """Turn the progress of one job into events; remember what has been told of each variation."""

    def __init__(self, request: AnyMusicRequest, job: GenerateJob) -> None:
        self._job = job
        self._encoders = find_encoders(request, job)
        self._shapers = [
            encoder.new_shaper(sequence.seed) for encoder, sequence in zip(self._encoders, job.sequences, strict=True)
        ]

    def __call__(self, update: Progress) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (name, data): what is void as `discard` events, new notes as `note` events, and one `progress`."""
        for variation, flaw, seed in update.discarded:
            self._shapers[variation] = self._encoders[variation].new_shaper(seed)
            yield "discard", {"variation": variation, "reason": flaw}
        for variation, event in update.new:
            encoder = self._encoders[variation]
            for note in encoder.find_new(ev.from_tokens(event)):
                told = encoder.note(self._shapers[variation].shape(note))
                yield "note", {"variation": variation, **told.model_dump()}
        sequence = self._job.sequences[0]
        yield (
            "progress",
            {
                "seconds": round(update.decided_ticks - sequence.start_ticks) / TICKS_PER_SECOND,
                "total_seconds": (sequence.end_ticks - sequence.start_ticks) / TICKS_PER_SECOND,
                "events": update.n_events,
            },
        )
