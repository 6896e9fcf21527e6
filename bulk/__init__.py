"""Run a task over many files, on one machine or a cluster, with Ray Data: `python -m bulk --help`."""
