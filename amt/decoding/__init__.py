"""Decode events: what may come next, what should, and the batched loop."""
