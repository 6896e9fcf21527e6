"""Say how much is measured."""

from dataclasses import dataclass, field
from typing import Final

from benchmarks import control, decode, length, steering, throughput


@dataclass(frozen=True)
class Sizes:
    """Say how much is measured; the defaults take less than an hour on two cores."""

    with_small: bool = True
    service_starts: int = 3
    service_repeats: int = 5
    service_long_seconds: float = 120
    page_clicks: int = 15
    page_seconds: float = 15
    load: throughput.Load = field(default_factory=throughput.Load)
    decode_rows: tuple[int, ...] = decode.ROWS
    decode_events: int = decode.PIECE_EVENTS
    peers_events: int = 100
    length_seconds: int = length.SECONDS
    windows: int = 4
    hops: int = 4
    control_rows: tuple[int, ...] = control.ROWS
    control_steps: int = 100
    steering_seeds: int = steering.SEEDS
    steering_seconds: int | None = None
    harmony_pieces: int = 60
    variation_pieces: int = 30
    embed_files: int = 60
    overhead_requests: int = 4_000
    users: int = 32
    users_seconds: float = 60
    fault_requests: int = 200
    fault_clients: int = 16
    fault_kills: int = 2
    soak_minutes: float = 2
    soak_samples: int = 4
    soak_clients: int = 16


QUICK: Final = Sizes(
    with_small=False,
    service_starts=1,
    service_repeats=1,
    service_long_seconds=5,
    page_clicks=1,
    page_seconds=1,
    load=throughput.Load(seconds=1, at_a_time=3, repeats=2, long_seconds=10),
    decode_rows=(1, 2),
    decode_events=10,
    peers_events=2,
    length_seconds=20,
    windows=1,
    hops=1,
    control_rows=(1,),
    control_steps=5,
    steering_seeds=1,
    steering_seconds=2,
    harmony_pieces=2,
    variation_pieces=2,
    embed_files=4,
    overhead_requests=100,
    users=4,
    users_seconds=5,
    fault_requests=16,
    fault_clients=4,
    fault_kills=1,
    soak_minutes=0.05,
    soak_samples=2,
    soak_clients=2,
)
"""Shows that everything runs."""
