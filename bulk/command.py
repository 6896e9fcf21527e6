"""Be the command line: `python -m bulk --help`."""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from bulk.errors import BulkError
from bulk.files import find_files
from bulk.job import BulkJob, Settings
from bulk.ledger import Ledger, Totals
from bulk.output import Output
from bulk.pipeline import Pipeline
from bulk.results import midi_name
from bulk.stages import Stages
from bulk.units import piece_names
from client import CAN_BE_OFF, OFF, Fields
from commands import MUSIC_HELP, add_fields
from server import Settings as ServiceSettings
from tasks.body import MODELS
from tasks.fields import Task

TASKS: Final[dict[str, Task]] = {
    "generate": "generate",
    "continue": "continue",
    "accompany": "accompany",
    "infill": "infill",
    "vary": "variation",
    "embed": "embed",
}
"""The task of each command."""

OPTIONS: Final = ("files", "count", "out", "request", "model", "device", "dtype", "address", "workers")
FLAGS: Final = frozenset(Fields.__annotations__) - {"model_size", "client_job_id"}
"""Fields that have a flag if their task knows them."""

EXAMPLE: Final = "'midis/**/*.mid'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Return the exit status: 1 if anything has failed, 130 after Ctrl-C. A call that is wrong exits with 2.
    """
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    command, options = given.pop("command"), {name: given.pop(name, None) for name in OPTIONS}
    start = time.monotonic()
    try:
        settings, job = _find_job(TASKS[command], options, given)
        output = Output.at(options["out"])
        # What earlier runs have written there is no input, though a pattern may match it.
        source = find_files(options["files"]).without(*output) if options["files"] else None
        names = source.names if source else piece_names(options["count"])
        if job.task != "embed":
            _check_names(job, names)
    except BulkError as error:
        parser.error(str(error))
    try:
        ledger = Ledger(output)
        asked = {"task": job.task, "fields": job.fields, "seed": job.seed, "model": settings.model}
        ledger.settle("job", {**asked, "root": source and source.root})
        ledger.plan(names, job.task)
        place = source and source._replace(names=[])  # each task of Ray takes it along
        stages = Stages(job, settings, {}, place, output)
        Pipeline(stages, ledger, options["address"], options["workers"]).run()
        totals = ledger.finish()
    except (BulkError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped: the same command goes on from here\n")
        return 130
    sys.stdout.write(f"{_summary(options['out'], totals, time.monotonic() - start)}\n")
    return 1 if totals.failed or totals.missing else 0


def _parser() -> argparse.ArgumentParser:
    """Return the parser; flags of fields that are absent are not sent, so that the service's defaults apply."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--out", required=True, metavar="FOLDER", help="where results go: a folder, or a URL of fsspec")
    request_help = "fields of the requests as a JSON object, or a file that holds one; flags win"
    common.add_argument("--request", metavar="JSON", help=request_help)
    model_help = "a model on offer (default: the service's, which is small if it can be had, else tiny)"
    common.add_argument("--model", metavar="NAME", help=model_help)
    common.add_argument("--device", help="of each worker: cpu, cuda or mps (default: cuda where Ray knows of GPUs)")
    common.add_argument("--dtype", help="precision of the weights (default: auto, as in the service)")
    address_help = "a cluster of Ray: host:port, or auto for the one of this machine (default: this machine alone)"
    common.add_argument("--address", help=address_help)
    workers_help = "at most this many (default: one on each GPU, or on each core)"
    common.add_argument("--workers", type=_positive, metavar="N", help=workers_help)
    parser = argparse.ArgumentParser(prog="python -m bulk", description="Run a task over many files.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, task in TASKS.items():
        summary = (MODELS[task].__doc__ or "").splitlines()[0]
        each = commands.add_parser(command, parents=[common], argument_default=argparse.SUPPRESS, help=summary)
        if task == "generate":
            each.add_argument("--count", type=_positive, required=True, metavar="N", help="how many pieces")
        else:
            files_help = f"paths or patterns, such as {EXAMPLE}, also s3:// and whatever else fsspec knows"
            each.add_argument("files", nargs="+", metavar="FILES", help=files_help)
        unused = {"bpm", "time_unit"} if task == "embed" else set()  # of notes that are sent
        add_fields(each, *(name for name in MODELS[task].model_fields if name in FLAGS - unused))
        each.epilog = None if task == "embed" else MUSIC_HELP
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} should be a whole number, 1 or more")
    return int(text)


def _fields(request: str | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are asked for: those of `--request`, then those of flags. `off` is null, as in client.py.

    Raises:
        BulkError: the request is no JSON object.
    """
    text = request or "{}"
    try:
        fields = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    except (OSError, ValueError) as error:
        raise BulkError(f"--request is no JSON, nor a file that holds it: {error}") from error
    if not isinstance(fields, dict):
        raise BulkError("--request must hold a JSON object")
    return {**fields, **{name: None if name in CAN_BE_OFF and value == OFF else value for name, value in flags.items()}}


def _find_job(task: Task, options: Mapping[str, Any], flags: Mapping[str, Any]) -> tuple[Settings, BulkJob]:
    """Return what is asked for; where options are silent the service's settings (`ANTICIPATORY_*`) apply.

    Raises:
        BulkError: something is wrong with it.
    """
    try:
        service = ServiceSettings(**{name: options[name] for name in ("device", "dtype") if options[name]})
    except ValidationError as error:
        raise BulkError("; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())) from error
    fields = _fields(options["request"], flags)
    seed, size = fields.pop("seed", None), fields.pop("model_size", None)
    model = options["model"] or size or service.default_model
    if model not in ("auto", *service.checkpoints):
        raise BulkError(f"model_size must be one of {', '.join(service.checkpoints)}, got {model!r}")
    max_file_bytes = 3 * service.max_payload_bytes // 4  # of as much base64
    job = BulkJob(task, fields, 0 if seed is None else seed, max_file_bytes, service.timeout)
    job.check()
    return Settings(service.checkpoints, model, service.device, service.dtype, service.step_timeout), job


def _check_names(job: BulkJob, names: Sequence[str]) -> None:
    """Raise BulkError if the results of two files would have one name."""
    n_variations = int(job.fields.get("num_variations") or 1)
    taken: dict[str, str] = {}
    for name in names:
        other = taken.setdefault(midi_name(name, 1, n_variations), name)
        if other != name:
            raise BulkError(f"{other} and {name} would both become {midi_name(name, 1, n_variations)}: rename one")


def _summary(out: str, totals: Totals, seconds: float) -> str:
    """Say how the files of a job have ended, and how long this run has taken."""
    parts = [f"{totals.done:,} files done"]
    if totals.failed:
        parts.append(f"{totals.failed:,} failed, see {out.rstrip('/')}/errors.parquet")
    if totals.missing:
        parts.append(f"{totals.missing:,} missing: the same command goes on")
    return f"{out}: {'; '.join(parts)}; {seconds:.0f} s"
