"""Arrange a piece: what a task keeps of it, what the model sees, and how new notes sound."""
