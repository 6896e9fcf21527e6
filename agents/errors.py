"""Define what an agent may have asked wrongly, beside what the service and `amt` refuse.

AgentError
├── FileRefused     a file or a folder may not or cannot be read or written
├── PieceRefused    the music that was sent is none
└── WishRefused     a field is not known, or is said twice
"""
# ruff: noqa: N818 (names of errors that read as what happened)


class AgentError(ValueError):
    """Be the base of every error that this package raises on purpose; its text says what is allowed."""


class FileRefused(AgentError):
    """Report that a file or a folder may not or cannot be read or written."""


class PieceRefused(AgentError):
    """Report that the music that was sent cannot be read as such."""


class WishRefused(AgentError):
    """Report that a field is not known here, or is said twice."""
