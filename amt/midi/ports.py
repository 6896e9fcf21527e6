"""Find out on which port each message is heard: sixteen channels more for each."""

from itertools import pairwise
from typing import Final

import numpy as np

from amt.midi.kinds import DEVICE_NAME, NOTE_ON, PORT
from amt.midi.smf import Column, File

_FIRST_PORT: Final = b"\0"


def find_ports(file: File) -> Column:
    """Return a port for each message, counted from 0 in the order in which ports are met; shape = (n_messages,).

    A track that names no port is heard on the first, and one that names no device on the first that is named.
    """
    messages = file.messages
    named = np.flatnonzero(np.isin(messages.kind, (PORT, DEVICE_NAME)))
    ports = np.zeros(len(messages), np.int64)
    if not len(named):
        return ports
    columns = (named, messages.kind[named] == PORT, messages.begin[named], messages.end[named])
    names = [
        (index, is_port, file.data[begin:end])
        for index, is_port, begin, end in zip(*(column.tolist() for column in columns), strict=True)
    ]
    port = _first_port(file, {payload for _, is_port, payload in names if is_port}, named)
    device = next((payload for _, is_port, payload in names if not is_port), b"")
    numbers = {(port, device): 0}
    starts = np.cumsum([0, *file.track_lengths]).tolist()
    places = np.searchsorted(named, starts).tolist()
    for (start, stop), (first, last) in zip(pairwise(starts), pairwise(places), strict=True):
        own = names[first:last]
        # What stands before a track's first name is meant too.
        of_track = {is_port: payload for _, is_port, payload in reversed(own)}
        port_now, device_now = of_track.get(True, port), of_track.get(False, device)
        ports[start:stop] = numbers.setdefault((port_now, device_now), len(numbers))
        for index, is_port, payload in own:
            port_now, device_now = (payload, device_now) if is_port else (port_now, payload)
            ports[index:stop] = numbers.setdefault((port_now, device_now), len(numbers))
    return ports


def _first_port(file: File, payloads: set[bytes], named: Column) -> bytes:
    """Return the port of tracks that name none.

    If only one is named, and other tracks play no notes, they are meant for that one: their programs and controllers.
    """
    if len(payloads) != 1 or _FIRST_PORT in payloads:
        return _FIRST_PORT
    numbers = file.track_numbers()
    with_notes = np.unique(numbers[file.messages.kind == NOTE_ON])
    with_names = np.unique(numbers[named[file.messages.kind[named] == PORT]])
    return next(iter(payloads)) if np.isin(with_notes, with_names).all() else _FIRST_PORT
