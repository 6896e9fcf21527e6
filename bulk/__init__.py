"""Run a task over many files, on one machine or a cluster, with Ray Data: `python -m bulk --help`."""

import os

# Read when Ray is imported.
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else a thread left by a node's death starts a cluster of its own
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # under `uv run` each worker would make an environment
os.environ.setdefault("RAY_task_oom_retries", "2")  # else without end, of what takes all memory
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told
