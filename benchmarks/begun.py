"""Begin sequences in an engine, so that decoding them is what is timed."""

from dataclasses import dataclass
from typing import Self

from amt.decoding.engine import Engine
from amt.decoding.request import DecodeRequest
from amt.decoding.sequence import Sequence
from amt.gpt2.network import GPT2
from benchmarks.yardsticks import history


@dataclass(frozen=True)
class Begun:
    """Hold an engine and its sequences, which are at their beginning or past their prompts."""

    engine: Engine
    sequences: list[Sequence]

    @classmethod
    def of(cls, model: GPT2, n_rows: int, n_prompt: int) -> Self:
        """Begin `n_rows` sequences, each with a prompt of its own; all kinds of steps have been recorded."""
        engine, sequences = Engine(model, max_rows=n_rows), []
        while engine.record_next():
            pass
        for row in range(n_rows):
            prompt = history(n_prompt, row)
            start = int(prompt[-1, 0]) if n_prompt else 0
            sequences.append(engine.add(DecodeRequest(10**9, start_ticks=start, prompt=prompt, seed=row)))
        return cls(engine, sequences)

    def decode(self, n_events: int) -> None:
        """Decode until each sequence has `n_events` more; filling windows again may take steps of its own."""
        wanted = [sequence.n_decoded + n_events for sequence in self.sequences]
        while any(sequence.n_decoded < n for sequence, n in zip(self.sequences, wanted, strict=True)):
            self.engine.step()
