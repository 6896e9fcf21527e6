"""Decode on a GPU, compiled by Triton."""
