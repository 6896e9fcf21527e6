"""Decode on a CPU, compiled by numba."""
