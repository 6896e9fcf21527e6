"""Fine-tune a model on your own MIDI files.

    uv run --group training python -m training.finetune MY_MIDIS --from tiny --out my-model --minutes 10

MY_MIDIS is a folder tree of MIDI files; a tenth of the pieces is held out to measure by. OUT gets a model that the
service loads by `--model mine=my-model`, its card, and the folder `training/`, from which `--resume` goes on.
"""

import argparse
import math
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from amt.errors import AMTError
from training import run_file
from training.library import read_library, summarise
from training.recipe import TOKENS, Recipe

MAX_RANK = 256

COMMAND = "uv run --group training python -m training.finetune"


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; None stands for what is not said there."""
    parser = argparse.ArgumentParser(
        prog="training.finetune", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="MY_MIDIS")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model; a new one, but for --resume")
    parser.add_argument(
        "--from",
        dest="base",
        help="what to begin with: a name that the service offers, a folder or a hub repository (tiny)",
    )
    parser.add_argument("--lora", type=_number(int, 1, MAX_RANK), metavar="RANK", help="train an adapter of this rank")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=_number(float, 0.01), help="of training")
    length.add_argument("--steps", type=_number(int, 1))
    length.add_argument("--passes", type=_number(float, 0.01), help="times that the pieces are seen (4)")
    parser.add_argument("--tokens", type=_number(int, 3, 2**20), help=f"of a step ({TOKENS})")
    parser.add_argument("--rate", type=_number(float, 1e-9, 1.0), help="peak of the learning rate (by size and kind)")
    parser.add_argument("--seed", type=_number(int, 0, 2**32 - 1))
    parser.add_argument(
        "--bfloat16", action=argparse.BooleanOptionalAction, help="multiply so (where the device is fast at it)"
    )
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, exactly as it would have")
    return parser.parse_args(words)


def _number(kind: type, least: float, most: float = math.inf) -> Any:
    """Return a reader of numbers within limits, whose refusal says them."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            upper = "" if most == math.inf else f" and at most {most:g}"
            raise argparse.ArgumentTypeError(f"{text} is not a number that is at least {least:g}{upper}")
        return value

    return read


def finetune(args: argparse.Namespace) -> None:
    """Read, plan, train, measure and write.

    Raises:
        AMTError: it cannot be done; the message says why.
    """
    if args.resume:
        run_file.read_run(args.out)
    else:
        run_file.check_new(args.out)
    library = read_library(args.folder)
    trained, held_out = library.split()
    print(f"to train on: {summarise(trained)}\nheld out to measure by: {summarise(held_out)}")
    if library.unusable:
        print("not used:", *library.unusable_lines(), sep="\n  ")

    from training import session  # takes ten seconds to import: a wrong folder is refused sooner

    asked = {field.name: getattr(args, field.name) for field in fields(Recipe)}
    length = {name: getattr(args, name) for name in ("minutes", "steps", "passes")}
    start = session.resume if args.resume else session.begin
    start(library, args.out, asked, length, on_cpu=args.cpu).run(f"{COMMAND} {shlex.join(sys.argv[1:])}")


def main() -> None:
    """Fine-tune, or say in a sentence why not."""
    try:
        finetune(parse_arguments())
    except (AMTError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped")


if __name__ == "__main__":
    main()
