"""Build the network for training: a Hugging Face GPT-2 body under embeddings that know what their rows mean.

Onsets, durations and pitches are numbers; 55,028 independent rows would have to discover that. While training, a row
is a sum of parts that it shares with its neighbours (Fourier features of the value, an instrument, a pitch, an octave
of an instrument) and a remainder of its own; a control is its event plus one vector per slot. The sum is an ordinary
embedding matrix, and `export` writes it as one.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers import GPT2Config, GPT2LMHeadModel

from amt.midi.notes import DRUMS, N_INSTRUMENTS, N_PITCHES
from amt.tokens.vocab import (
    AUTOREGRESS,
    CONTEXT_TOKENS,
    CONTROL_OFFSET,
    DURATION,
    EVENT_TOKENS,
    ONSET,
    SLOTS,
    VOCAB_SIZE,
)
from training import guidance

WIDTH = 256
HEAD_WIDTH = 32
RIDGE = 1e-3
"""Penalty on features when exported rows are split: the larger, the more of a row becomes its remainder."""
OCTAVES = N_PITCHES // 12 + 1
GUIDED_SHARE = 0.25
"""Share of guided queries that count in a step of training: all would take a fifth of its time."""
RARE_STRIDE = 16
"""Of the rows that a batch can hardly need, every 16th takes part in its softmax, with 16 times the weight."""


def fourier_features(n: int, n_frequencies: int, shortest: float, longest: float) -> Tensor:
    """Return sines and cosines of 0..n-1 at periods in geometric progression; shape = (n, 2 * n_frequencies)."""
    periods = torch.logspace(math.log10(shortest), math.log10(longest), n_frequencies)
    angles = 2 * math.pi * torch.arange(n)[:, None] / periods
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Ordered(nn.Module):
    """Embed 0..n-1: a projection of Fourier features and a remainder; shape = (n, width)."""

    features: Tensor

    def __init__(self, n: int, width: int, n_frequencies: int, periods: tuple[float, float], scale: float) -> None:
        """`periods`: the shortest and the longest."""
        super().__init__()
        self.register_buffer("features", fourier_features(n, n_frequencies, *periods), persistent=False)
        self.projection = nn.Parameter(torch.empty(2 * n_frequencies, width))
        nn.init.orthogonal_(self.projection, gain=scale * math.sqrt(width / n_frequencies))
        self.remainder = nn.Parameter(torch.zeros(n, width))

    def forward(self) -> Tensor:
        """Return the rows."""
        return self.features @ self.projection + self.remainder

    @torch.no_grad()
    def fit(self, rows: Tensor) -> None:
        """Become these rows: features as far as they explain them (ridge regression), else remainders."""
        count, n_features = self.features.shape
        gram = self.features.T @ self.features + RIDGE * count * torch.eye(n_features)
        self.projection.copy_(torch.linalg.solve(gram, self.features.T @ rows))
        self.remainder.copy_(rows - self.features @ self.projection)


class Notes(nn.Module):
    """Embed the note slot: instrument, pitch, their octave, drum, and a remainder; shape = (16,513, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pitch = Ordered(N_PITCHES, width, 24, (3, 256), scale=0.03)
        self.instrument = nn.Parameter(0.04 * torch.randn(N_INSTRUMENTS - 1, 1, width))
        self.octave = nn.Parameter(0.01 * torch.randn(N_INSTRUMENTS - 1, OCTAVES, width))
        self.drum = nn.Parameter(0.04 * torch.randn(N_PITCHES, width))
        self.rest = nn.Parameter(0.04 * torch.randn(1, width))
        self.remainder = nn.Parameter(torch.zeros(DRUMS * N_PITCHES, width))

    def forward(self) -> Tensor:
        """Return the rows."""
        return torch.cat([self._shared().flatten(0, 1) + self.remainder, self.drum, self.rest])

    def _shared(self) -> Tensor:
        """Return the sum of what notes share; shape = (128, 128, width)."""
        octaves = self.octave.repeat_interleave(12, dim=1)[:, :N_PITCHES]
        return self.instrument + octaves + self.pitch()

    @torch.no_grad()
    def fit(self, rows: Tensor) -> None:
        """Become these rows: means over the rows that share a part, and remainders."""
        melodic, drum, rest = rows.split([DRUMS * N_PITCHES, N_PITCHES, 1])
        grid = melodic.unflatten(0, (DRUMS, N_PITCHES))
        self.pitch.fit(grid.mean(0))
        apart = grid - grid.mean(0)
        self.instrument.copy_(apart.mean(1, keepdim=True))
        apart = apart - self.instrument
        self.octave.copy_(torch.stack([pitches.mean(1) for pitches in apart.split(12, dim=1)], dim=1))
        self.remainder.copy_(melodic - self._shared().flatten(0, 1))
        self.drum.copy_(drum)
        self.rest.copy_(rest)


class TrainingModel(nn.Module):
    """Hold a GPT-2 with structured embeddings; its loss is per slot, over that slot's tokens only."""

    common_notes: Tensor

    def __init__(self, n_layers: int, common_notes: Tensor, width: int = WIDTH) -> None:
        """`common_notes`: which rows of the note slot the training pieces use, shape = (16,513,)."""
        super().__init__()
        if width % HEAD_WIDTH:
            raise ValueError(f"width is {width}, not a multiple of {HEAD_WIDTH}")
        self.config = GPT2Config(
            vocab_size=VOCAB_SIZE,
            n_positions=CONTEXT_TOKENS,
            n_embd=width,
            n_layer=n_layers,
            n_head=width // HEAD_WIDTH,
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
        )
        self.onset = Ordered(ONSET.size, width, 56, (2.5, 40_000), scale=0.04)
        self.duration = Ordered(DURATION.size, width, 40, (2.5, 4_000), scale=0.04)
        self.note = Notes(width)
        self.mode = nn.Parameter(0.02 * torch.randn(2, width))
        self.control = nn.Parameter(0.04 * torch.randn(EVENT_TOKENS, width))
        self.position = Ordered(CONTEXT_TOKENS, width, 16, (6, 4_096), scale=0.005)
        self.slot = nn.Parameter(0.02 * torch.randn(EVENT_TOKENS, width))
        body = GPT2LMHeadModel(self.config).transformer
        del body.wte, body.wpe
        self.blocks, self.final_norm = body.h, body.ln_f
        self.register_buffer("common_notes", common_notes, persistent=False)

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Return (the tied token matrix, shape = (55,028, width); the position matrix, shape = (1,024, width))."""
        slots = [self.onset(), self.duration(), self.note()]
        controls = [rows + self.control[index] for index, rows in enumerate(slots)]
        return torch.cat([*slots, *controls, self.mode]), self._positions()

    def _positions(self) -> Tensor:
        """Return the position matrix."""
        return self.position() + self._slots()

    def _slots(self) -> Tensor:
        """Return the part of each position that its slot shares."""
        # Position 0 is the mode token's; position p predicts slot p % 3.
        return self.slot.repeat(CONTEXT_TOKENS // EVENT_TOKENS + 1, 1)[:CONTEXT_TOKENS]

    def forward(self, modes: Tensor, events: Tensor, targets: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor]:
        """Return (mean loss in nats of each slot, shape = (3,); mean guidance loss of each window, shape = (batch,)).

        Args:
            modes: mode tokens, shape = (batch,).
            events: event and control tokens, those of zeros where the window has ended, shape = (batch, n_events, 3).
            targets: which events count, shape = (batch, n_events).
            shifts: how many events further back in the context each window stands, shape = (batch,).
        """
        tables = [self.onset(), self.duration(), self.note()]
        hidden, guidance_losses = self._body(modes, events, targets, shifts, tables)
        hidden = self.final_norm(hidden).unflatten(1, (-1, EVENT_TOKENS))[targets]
        wanted = events[targets]
        wanted = wanted - torch.tensor([slot.offset for slot in SLOTS], device=wanted.device)
        losses = [self._loss(hidden[:, index], table, wanted[:, index], index) for index, table in enumerate(tables)]
        return torch.stack(losses), guidance_losses

    def guidance_loss(self, modes: Tensor, events: Tensor, targets: Tensor, shifts: Tensor) -> Tensor:
        """Return the second result of `forward`, with gradients for queries and keys of guided heads alone."""
        tables = [self.onset(), self.duration(), self.note()]
        return self._body(modes, events, targets, shifts, tables, is_detached=True)[1]

    def _body(
        self,
        modes: Tensor,
        events: Tensor,
        targets: Tensor,
        shifts: Tensor,
        tables: Sequence[Tensor],
        *,
        is_detached: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Return (the output of the last block, the mean guidance loss of each window).

        `tables`: the rows of each slot; `is_detached`: the input of each block has no gradient.
        """
        embedded = []
        for index, (slot, table) in enumerate(zip(SLOTS, tables, strict=True)):
            is_control = (events[..., index] >= CONTROL_OFFSET) & (events[..., 2] >= CONTROL_OFFSET)
            rows = F.embedding(events[..., index] - slot.offset - CONTROL_OFFSET * is_control, table)
            embedded.append(rows + is_control[..., None] * self.control[index])
        tokens = torch.stack(embedded, dim=2).flatten(1, 2)
        hidden = torch.cat([self.mode[modes - AUTOREGRESS][:, None], tokens[:, :-1]], dim=1)
        steps = torch.arange(hidden.shape[1], device=hidden.device)
        positions = steps + EVENT_TOKENS * shifts[:, None] * (steps > 0)
        hidden = hidden + F.embedding(positions, self._positions())
        guides = guidance.guides(events, targets)
        losses = []
        for index, block in enumerate(self.blocks):
            hidden = hidden.detach() if is_detached else hidden
            losses += [
                guidance.guidance_loss(block, head, hidden, guide, GUIDED_SHARE if self.training else 1.0)
                for (at, head), guide in guides.items()
                if at == index and head < self.config.n_head
            ]
            hidden = block(hidden)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return hidden, torch.stack(losses).mean(0)

    def _loss(self, hidden: Tensor, table: Tensor, wanted: Tensor, slot: int) -> Tensor:
        """Return cross-entropy over a slot's rows: in training all near or common ones, and a sample of the rest."""
        if not self.training or SLOTS[slot] is DURATION:
            return F.cross_entropy(hidden @ table.T, wanted)
        if SLOTS[slot] is ONSET:
            common = torch.arange(len(table), device=table.device) <= wanted.max()
        else:
            common = self.common_notes
        rare = (~common).nonzero()[:, 0]
        sampled = rare[torch.randint(RARE_STRIDE, (1,)) :: RARE_STRIDE]
        rows = torch.cat([common.nonzero()[:, 0], sampled])
        place = torch.empty_like(common, dtype=torch.int64).fill_(-1)
        place[rows] = torch.arange(len(rows), device=rows.device)
        bias = torch.zeros(len(rows), device=rows.device)
        bias[len(rows) - len(sampled) :] = math.log(max(len(rare), 1) / max(len(sampled), 1))
        targets = place[wanted]
        return F.cross_entropy(torch.addmm(bias, hidden, table[rows].T), targets)

    @torch.no_grad()
    def export(self) -> GPT2LMHeadModel:
        """Return the same network as an ordinary GPT-2 with tied embeddings."""
        model = GPT2LMHeadModel(self.config)
        tokens, positions = self.embeddings()
        model.transformer.wte.weight.copy_(tokens)
        model.transformer.wpe.weight.copy_(positions)
        model.transformer.h.load_state_dict(self.blocks.state_dict())
        model.transformer.ln_f.load_state_dict(self.final_norm.state_dict())
        return model.eval()

    @torch.no_grad()
    def adopt(self, model: GPT2LMHeadModel) -> None:
        """Take over the weights of an exported network; blocks beyond its own change nothing at first.

        Raises:
            ValueError: it is not of this kind, or has more blocks.
        """
        ours, theirs = self.config, model.config
        for name in ("n_embd", "n_head", "activation_function", "layer_norm_epsilon"):
            if getattr(theirs, name) != getattr(ours, name):
                raise ValueError(f"{name} is {getattr(theirs, name)}, not {getattr(ours, name)}")
        if theirs.n_layer > ours.n_layer:
            raise ValueError(f"it has {theirs.n_layer} blocks, more than {ours.n_layer}")
        sizes = [slot.size for slot in SLOTS]
        *rows, mode = model.transformer.wte.weight.float().split([*sizes, *sizes, len(self.mode)])
        for index, (table, events) in enumerate(zip((self.onset, self.duration, self.note), rows, strict=False)):
            table.fit(events)
            self.control[index] = (rows[EVENT_TOKENS + index] - events).mean(0)
        self.mode.copy_(mode)
        positions = model.transformer.wpe.weight.float()
        self.slot.copy_(torch.stack([positions[slot::EVENT_TOKENS].mean(0) for slot in range(EVENT_TOKENS)]))
        self.position.fit(positions - self._slots())
        self.blocks[: theirs.n_layer].load_state_dict(model.transformer.h.state_dict())
        for block in self.blocks[theirs.n_layer :]:
            for last in (block.attn.c_proj, block.mlp.c_proj):
                nn.init.zeros_(last.weight)
        self.final_norm.load_state_dict(model.transformer.ln_f.state_dict())
