"""Put windows together for a device: as many in a pass as its memory has room for, padded as little as possible."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from amt.tokens.vocab import EVENT_TOKENS, MAX_WINDOW_EVENTS, SLOTS
from training.windows import Window


def collate(windows: list[Window], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return (modes, events, targets) as `TrainingModel.forward` takes them, as long as the longest window."""
    n_events = max(len(window.events) for window in windows)
    events = np.zeros((len(windows), n_events, EVENT_TOKENS), dtype=np.int64)
    events[:] = [slot.offset for slot in SLOTS]
    targets = np.zeros((len(windows), n_events), dtype=bool)
    for row, window in enumerate(windows):
        events[row, : len(window.events)] = window.events
        targets[row, : len(window.events)] = window.targets
    modes = torch.tensor([window.mode for window in windows], device=device)
    return modes, torch.from_numpy(events).to(device), torch.from_numpy(targets).to(device)


def parts(windows: list[Window], max_events: int = MAX_WINDOW_EVENTS) -> Iterator[list[Window]]:
    """Yield the windows in parts of at most that many events, padding included; those of about one length together.

    A single window is never split: by default a part is at most a full context.
    """
    part: list[Window] = []
    for window in sorted(windows, key=lambda window: -len(window.events)):
        if part and (len(part) + 1) * len(part[0].events) > max_events:
            yield part
            part = []
        part.append(window)
    yield part
