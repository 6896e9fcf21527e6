"""Serve an API over HTTP with LitServe: requests, scheduling, telemetry. Knows nothing of music."""
