"""Write a training checkpoint as a Hugging Face model: `python -m training.export CHECKPOINT FOLDER`."""

import sys
from pathlib import Path

import torch

from amt.tokens.vocab import NOTE
from training.model import TrainingModel


def main() -> None:
    """Fold the structured embeddings and save in bfloat16."""
    checkpoint, folder = sys.argv[1:]
    state = torch.load(checkpoint, map_location="cpu")["model"]
    n_layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    model = TrainingModel(n_layers, torch.ones(NOTE.size, dtype=torch.bool), state["mode"].shape[1])
    model.load_state_dict(state)
    model.export().to(torch.bfloat16).save_pretrained(Path(folder))


if __name__ == "__main__":
    main()
