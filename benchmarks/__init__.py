"""Measure every figure of docs/performance.md: `uv run python -m benchmarks.report` measures them all."""
