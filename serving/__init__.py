"""LitServe, HTTP, telemetry and settings. Knows nothing of music."""
