"""Take the fields of requests: some are arguments of tools, with client.py's texts, and all others go together."""

import difflib
from collections.abc import Mapping
from inspect import Parameter
from typing import Annotated, Any, Final, get_args, get_type_hints

from pydantic import Field

from agents.errors import WishRefused
from client import EditOptions, EmbedOptions, Fields

OWN: Final = frozenset({"include", "num_variations", "time_unit", "client_job_id"})
"""Fields that this server decides itself."""

_HINTS: Final = get_type_hints(Fields, include_extras=True)
_OF_EMBED: Final = get_type_hints(EmbedOptions).keys() - get_type_hints(EditOptions).keys() | {"embed_layer"}
KNOWN: Final = _HINTS.keys() - _OF_EMBED - OWN
"""All that may be said of new music."""

MORE_TEXT: Final = (
    "other fields of the HTTP API by name: top_p, pitch_range, max_polyphony, velocity, time_signature, swing, "
    "length_seconds, model_size ..."
)


def parameter(name: str, default: Any = None, text: str | None = None) -> Parameter:
    """Return the parameter of a tool for a field of requests, with the text that describes it in client.py."""
    kind, described = get_args(_HINTS[name])
    return described_parameter(name, kind, text or described, default)


def described_parameter(name: str, kind: Any, text: str, default: Any = None) -> Parameter:
    """Return a parameter of a tool."""
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, Field(description=text)])


def gather(named: Mapping[str, Any], more: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a request: those that were named by themselves, and the others.

    Raises:
        WishRefused: a field is unknown, decided by this server, or said twice.
    """
    fields = {name: value for name, value in named.items() if value is not None}
    for name, value in (more or {}).items():
        if name in OWN:
            raise WishRefused(f"{name} is not taken here: a tool makes one piece at a time, and keeps it as MIDI")
        if name not in KNOWN:
            near = difflib.get_close_matches(name, KNOWN, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise WishRefused(f"there is no field {name[:40]!r}: {hint}There are {', '.join(sorted(KNOWN))}")
        if name in fields:
            raise WishRefused(f"{name} is said twice: by itself and in more")
        fields[name] = value
    return fields
