"""Keep new notes from copying the input, if a request asks for that."""

from collections.abc import Sequence
from dataclasses import replace

from amt.decoding.constraints import Constraints
from amt.decoding.copying import keys_in_order
from amt.midi.notes import Note
from tasks.edit_requests import EditRequest


def without_copies(
    request: EditRequest, constraints: Constraints, notes: Sequence[Note], comparable: Sequence[Note]
) -> Constraints:
    """Return the constraints with the input's notes as those that may not be copied at length, if that is asked for.

    Args:
        request: what is asked for.
        constraints: of the request.
        notes: of the input.
        comparable: those in whose place, or in whose parts, new ones stand. They are compared by themselves too, for
            other notes may sound between them that no copy of them would have.
    """
    return replace(constraints, copied=keys_in_order(notes, comparable)) if request.avoid_copy else constraints
