"""Run jobs in the worker process."""
