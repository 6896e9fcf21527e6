"""Hold where the service listens, and how much of whom it takes on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bound what the service takes on; `server.py` has the operator's settings for the same things.

    Attributes:
        host: address to listen on.
        port: port to listen on.
        timeout_seconds: that a request may take, waiting included.
        max_payload_bytes: of a request's body.
        max_batch: rows that each worker runs together.
        max_waiting: requests that may wait to run.
        max_loaded: groups that each worker keeps loaded; None for any number.
        encoders: processes that encode results besides the service's own.
        step_timeout_seconds: without a sign of life after which a worker is replaced.
        drain_seconds: that running requests get when the service is stopped.
        public_metrics: whether /metrics needs no key.
        cors_origins: of the web pages that may call the service, or "*" for all.
    """

    host: str
    port: int
    timeout_seconds: float
    max_payload_bytes: int
    max_batch: int
    max_waiting: int
    max_loaded: int | None
    encoders: int
    step_timeout_seconds: float
    drain_seconds: float
    public_metrics: bool
    cors_origins: tuple[str, ...]
