"""Do what takes a processor but no model: files -> jobs before the workers, results -> files after them.

What travels between the stages is a row for each unit: plain bytes, which Ray moves without a look at them.
"""

import errno
import os
import pickle
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from api import AnticipatoryAPI
from bulk.files import Source
from bulk.job import BulkJob, Failure, Settings, explain
from bulk.ledger import Entry, Ledger
from bulk.output import Output
from bulk.results import embedding_rows, midi_name, piece_rows
from bulk.units import Unit
from bulk.watchdog import limited
from serving.batching import Report
from tasks.base import TaskRequest
from tasks.responses import EmbedResponse
from worker.jobs import EmbedJob, GenerateJob

Row = dict[str, Any]

NO_REPORT = Report(trace_id="", span_id="", queue_seconds=0.0, load_seconds=0.0, compute_seconds=0.0)
"""Times are not written: the same job gives the same rows."""

NAME_ERRORS = frozenset({errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR})
"""What is wrong with a name, and not with all that is written."""

UNSAFE_PARTS = frozenset({"", ".", ".."})
"""Of a path, that lead to where another file is, or out of the folder."""


class Prepared(NamedTuple):
    """Hold what a file's answer is made from, beside the worker's result."""

    request: TaskRequest
    job: GenerateJob | EmbedJob


@dataclass(frozen=True)
class Stages:
    """Hold what the stages need to know.

    Attributes:
        job: what is done to each file.
        settings: of the models.
        info: how a worker describes what it offers.
        source: where the files are, with names or without; None if there are none.
        output: where results go.
    """

    job: BulkJob
    settings: Settings
    info: dict[str, Any]
    source: Source | None
    output: Output

    def prepare(self, row: Row) -> Row:
        """Read the files of a unit, and turn each into a job, or into a `Failure`."""
        api = self.settings.new_api()
        jobs: list[Any] = []
        kept: list[Prepared | Failure] = []
        for name in map(os.fsdecode, row["names"]):
            try:
                with limited(self.job.file_seconds):
                    data = self.source.read(name, self.job.max_file_bytes) if self.source else None
                    request = self.job.request(name, data)
                    job = api.decode_request(request, self.info, {}, streams=False)  # type: ignore[arg-type]
            except Exception as error:  # whatever a file, a disk or a network may come up with
                jobs.append(None)
                kept.append(explain(api, error))
            else:
                jobs.append(job.for_worker())
                kept.append(Prepared(request, job))
        return {"key": row["key"], "names": row["names"], "jobs": pickle.dumps(jobs), "kept": pickle.dumps(kept)}

    def finish(self, row: Row) -> Row:
        """Write the results of a unit, then how each of its files ended; say how many failed.

        `failure` is the reason why nothing can be written, if that is so: it is not the fault of any file.
        """
        api = self.settings.new_api()
        unit = Unit(row["key"], [os.fsdecode(name) for name in row["names"]])
        kept, outcomes = pickle.loads(row["kept"]), pickle.loads(row["outcomes"])
        entries: list[Entry] = []
        tables: list[pa.Table] = []
        said = {"n_done": len(unit.names), "n_failed": 0, "failure": ""}
        try:
            for name, prepared, outcome in zip(unit.names, kept, outcomes, strict=True):
                failure = next((each for each in (prepared, outcome) if isinstance(each, Failure)), None)
                if failure is None:
                    with limited(self.job.file_seconds):
                        failure = self._encode(api, name, prepared, outcome, tables)
                entries.append(Entry(name, *failure) if failure else Entry(name))
            Ledger(self.output).commit(unit, entries, pa.concat_tables(tables) if tables else None)
        except Exception as error:
            return {**said, "n_done": 0, "failure": f"{type(error).__name__}: {error}"}
        return {**said, "n_failed": sum(entry.error is not None for entry in entries)}

    def _encode(
        self, api: AnticipatoryAPI, name: str, prepared: Prepared, result: Any, tables: list[pa.Table]
    ) -> Failure | None:
        """Add the rows of a file, and write its MIDI files. Return why if the result cannot be encoded."""
        try:
            response = api.encode_response(prepared.request, prepared.job, result, self.info, NO_REPORT)  # type: ignore[arg-type]
        except Exception as error:
            return explain(api, error)
        if isinstance(response, EmbedResponse):
            tables.append(embedding_rows(name, response))
            return None
        table, midis = piece_rows(name, response)
        if midis and not UNSAFE_PARTS.isdisjoint(name.split("/")):  # as keys of object stores may have
            return Failure(500, f"no file can have the name {midi_name(name, 1, len(midis))!a}")
        for file, data in midis.items():
            try:
                self.output.write(f"midi/{file}", data)
            except (UnicodeError, OSError) as error:
                if isinstance(error, OSError) and error.errno not in NAME_ERRORS:
                    raise
                return Failure(500, f"no file can have the name {midi_name(name, 1, len(midis))!a}: {error}")
        tables.append(table)
        return None
