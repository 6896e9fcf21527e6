"""Define what can go wrong with the music and with the model.

AMTError
├── MidiError            the bytes cannot be read as MIDI
│   └── NoNotesError     they can, but there is no note where one is needed
├── ArrangementError     a piece cannot be continued, accompanied or filled in as asked
├── ExcerptError         a piece cannot be embedded as asked
├── RenderingError       a piece cannot be made into sound or an image as asked
├── SequenceError        a sequence cannot be decoded as asked
├── InstrumentError      there is no instrument of that name or number
├── HarmonyError         there is no such key or chord, or chords cannot be placed in time
├── ConstraintError      the constraints on new notes contradict one another
├── LayerError           the model has no such layer
├── TrainingError        a model cannot be trained as asked, or on these files
├── ControlsError        the task tells the model notes ahead, and it was trained without any
├── CheckpointError      the files of a model do not describe a model that can be run here
└── ModelUnavailableError  a model cannot be loaded now; a later try may succeed
"""


class AMTError(Exception):
    """Be the base of every error that this package raises on purpose."""


class MidiError(AMTError, ValueError):
    """Report that the bytes cannot be read as MIDI; the message says why."""


class NoNotesError(MidiError):
    """Report that the MIDI can be read, but there is no note where at least one is needed."""


class ArrangementError(AMTError, ValueError):
    """Report that a piece cannot be continued, accompanied or filled in as asked; the message says why."""


class ExcerptError(AMTError, ValueError):
    """Report that a piece cannot be embedded as asked; the message says why."""


class RenderingError(AMTError, ValueError):
    """Report that a piece cannot be made into sound or an image as asked; the message says why."""


class SequenceError(AMTError, ValueError):
    """Report that a sequence cannot be decoded as asked; the message says why."""


class InstrumentError(AMTError, ValueError):
    """Report that there is no instrument of that name or number; the message names the nearest."""


class HarmonyError(AMTError, ValueError):
    """Report that there is no such key or chord, or that chords cannot be placed in time; the message says why."""


class ConstraintError(AMTError, ValueError):
    """Report that the constraints on new notes contradict one another; the message says how."""


class LayerError(AMTError, ValueError):
    """Report that the model has no such layer; the message gives the range."""


class TrainingError(AMTError, ValueError):
    """Report that a model cannot be trained as asked, or on these files; the message says why."""


class ControlsError(AMTError, ValueError):
    """Report that a task tells the model notes ahead, as controls, and that the model was trained without controls."""

    def __init__(self, model: str, task: str) -> None:
        super().__init__(
            f"model {model} cannot do task {task}, which tells it notes ahead of their time: it was trained without "
            "such controls, and would make wrong music; choose another model_size, or task generate, continue or embed"
        )


class CheckpointError(AMTError, ValueError):
    """Report that the files of a checkpoint do not describe a model that can be run here."""


class ModelUnavailableError(AMTError):
    """Report that a model cannot be loaded now; the message says why and what to do instead."""
