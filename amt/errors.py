"""What can go wrong in the music and in the model.

AMTError
├── MidiError            the bytes cannot be read as MIDI
│   └── NoNotesError     they can, but hold no note where one is needed
├── ArrangementError     a piece cannot be continued, accompanied or filled in as asked
├── ExcerptError         a piece cannot be embedded as asked
├── SequenceError        a sequence cannot be decoded as asked
├── InstrumentError      there is no instrument of that name or number
├── ConstraintError            what is wished of the music contradicts itself
├── LayerError           the model has no such layer
├── CheckpointError      a model's files do not describe a model we can run
└── ModelUnavailableError  a model cannot be loaded now; a later try may succeed
"""


class AMTError(Exception):
    """Base of every error that this package raises on purpose."""


class MidiError(AMTError, ValueError):
    """The bytes cannot be read as MIDI; the message says why."""


class NoNotesError(MidiError):
    """The MIDI can be read, but there is no note where at least one is needed."""


class ArrangementError(AMTError, ValueError):
    """A piece cannot be continued, accompanied or filled in as asked; the message says why."""


class ExcerptError(AMTError, ValueError):
    """A piece cannot be embedded as asked; the message says why."""


class SequenceError(AMTError, ValueError):
    """A sequence cannot be decoded as asked."""


class InstrumentError(AMTError, ValueError):
    """There is no instrument of that name or number; the message names the nearest."""


class ConstraintError(AMTError, ValueError):
    """What is wished of the music contradicts itself; the message says how."""


class LayerError(AMTError, ValueError):
    """The model has no such layer; the message gives the range."""


class CheckpointError(AMTError, ValueError):
    """A checkpoint's files do not describe a model that this vocabulary and decoder can run."""


class ModelUnavailableError(AMTError):
    """A model cannot be loaded now; the message says why and what to do instead."""
