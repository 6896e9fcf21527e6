"""Run a task over many files, on one machine or a cluster, with Ray Data: `python -m bulk --help`."""

import os

# Read when Ray is imported. By the first each worker of a driver under `uv run` would make an environment of its own;
# by the second Ray would tell its makers that it is used.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
