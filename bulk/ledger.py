"""Remember in the output what a job is, what belongs to it, and what has been done: whatever runs next goes on there.

OUT/_job/job.json              what the job is
OUT/_job/model.json            the model that it has met
OUT/_job/plan/0000.parquet     the files of each unit; 0001 has those that came later
OUT/_job/ledger/000012.parquet how each file of unit 12 ended; it is written last, so all else of the unit is there
OUT/rows/000012.parquet        its results
OUT/errors.parquet             what the ledger says of files that failed
"""

import json
import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from bulk.errors import BulkError
from bulk.files import reaching
from bulk.output import Output
from bulk.units import Unit, divide

OK: Final = 200
READERS: Final = 16
"""Tables that are read at the same time: of an object store each takes a while to come."""

_PLAN: Final = "_job/plan"
_LEDGER: Final = "_job/ledger"
_ROWS: Final = "rows"

_PLAN_SCHEMA: Final = pa.schema([("unit", pa.string()), ("path_bytes", pa.binary())])
_ENTRY_SCHEMA: Final = pa.schema(
    [("path", pa.string()), ("path_bytes", pa.binary()), ("status", pa.int32()), ("error", pa.string())]
)


class Entry(NamedTuple):
    """Say how a file ended.

    Attributes:
        name: of the file.
        status: 200, or what the service would answer.
        error: the service's sentence; None if there is none.
    """

    name: str
    status: int = OK
    error: str | None = None


class Totals(NamedTuple):
    """Count how the files of a job ended; together they are all files."""

    done: int
    failed: int
    missing: int


def both_names(names: Sequence[str]) -> dict[str, pa.Array]:
    """Return names as text for people, and as the bytes that they are."""
    exact = [os.fsencode(name) for name in names]
    readable = [name.decode(errors="replace") for name in exact]
    return {"path": pa.array(readable, pa.string()), "path_bytes": pa.array(exact, pa.binary())}


class Ledger:
    """Keep the records of one job in its output."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._plan: list[Unit] = []

    def settle(self, what: str, record: Mapping[str, Any]) -> None:
        """Keep a record of the job, or compare it with the one that is kept.

        Raises:
            BulkError: the output belongs to another job, or cannot be reached.
        """
        path = f"_job/{what}.json"
        with reaching(self._output.folder):
            known = self._output.read(path)
            if known is None:
                self._output.write(path, json.dumps(record, indent=2).encode())
                return
        old, new = json.loads(known), json.loads(json.dumps(record))
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                raise BulkError(
                    f"{self._output.folder} holds a job whose {name} is {json.dumps(old.get(name))}, and this is one "
                    f"with {json.dumps(new.get(name))}: choose another --out, or the same {name}"
                )

    def plan(self, names: Sequence[str], task: str) -> None:
        """Go on with the plan that is kept; files that are not in it yet are added to it."""
        tables = self._output.tables(_PLAN)
        units: dict[str, list[str]] = {}
        for table in tables:
            for row in self._output.read_table(table).to_pylist():
                units.setdefault(row["unit"], []).append(os.fsdecode(row["path_bytes"]))
        planned = {name for unit in units.values() for name in unit}
        added = divide([name for name in names if name not in planned], task, len(units))
        if added:
            pairs = [(unit.key, os.fsencode(name)) for unit in added for name in unit.names]
            columns = [list(column) for column in zip(*pairs, strict=True)]
            self._output.write_table(f"{_PLAN}/{len(tables):04}.parquet", pa.table(columns, schema=_PLAN_SCHEMA))
        self._plan = [*(Unit(key, unit) for key, unit in units.items()), *added]

    @property
    def total(self) -> int:
        """The number of files of the job."""
        return sum(len(unit.names) for unit in self._plan)

    def done(self) -> set[str]:
        """Return the keys of the units that have ended."""
        return {posixpath.basename(path).removesuffix(".parquet") for path in self._output.tables(_LEDGER)}

    def missing(self) -> list[Unit]:
        """Return what has not been done: whole units, or single files of those that have been tried one by one."""
        done = self.done()
        begun = {key.partition("-")[0] for key in done}
        missing: list[Unit] = []
        for unit in self._plan:
            if unit.key not in begun:
                missing.append(unit)
            elif unit.key not in done:
                missing += [alone for alone in unit.alone() if alone.key not in done]
        return missing

    def commit(self, unit: Unit, entries: Sequence[Entry], rows: pa.Table | None) -> None:
        """Record how the files of a unit ended, after their results, of which there may be none."""
        if rows is None:
            self.discard(unit)
        else:
            self._output.write_table(f"{_ROWS}/{unit.key}.parquet", rows)
        names, statuses, errors = zip(*entries, strict=True)
        table = pa.table({**both_names(names), "status": statuses, "error": errors}, schema=_ENTRY_SCHEMA)
        self._output.write_table(f"{_LEDGER}/{unit.key}.parquet", table)

    def discard(self, unit: Unit) -> None:
        """Remove results that a process may have written before it died."""
        self._output.remove(f"{_ROWS}/{unit.key}.parquet")

    def finish(self) -> Totals:
        """Write what failed as one table, check that nothing is lost, there twice or not of the plan, and count.

        Raises:
            BulkError: the results are not those that the ledger says.
        """
        ledger = pa.concat_tables(self._read(_LEDGER)) if self._output.tables(_LEDGER) else _ENTRY_SCHEMA.empty_table()
        failures = ledger.filter(pc.not_equal(ledger["status"], OK))
        self._output.write_table("errors.parquet", failures)
        names, failed = ledger["path_bytes"].to_pylist(), failures["path_bytes"].to_pylist()
        # A file may have several rows, all of them in one table.
        with_rows = [name for table in self._read(_ROWS, ["path_bytes"]) for name in _distinct(table)]
        planned = {os.fsencode(name) for unit in self._plan for name in unit.names}.intersection(names)
        if sorted(with_rows + failed) != sorted(names) or len(planned) < len(names):
            raise BulkError(
                f"{self._output.folder} has results of {len(with_rows)} files and errors of {len(failed)}, and the "
                f"ledger has {len(names)} files, {len(planned)} different ones of the plan: "
                "something else has changed it, or has run there at the same time"
            )
        self._output.remove_temporary()
        return Totals(len(with_rows), len(failed), self.total - len(names))

    def _read(self, folder: str, columns: list[str] | None = None) -> Iterable[pa.Table]:
        with ThreadPoolExecutor(READERS) as readers:
            return list(readers.map(lambda path: self._output.read_table(path, columns), self._output.tables(folder)))


def _distinct(table: pa.Table) -> list[bytes]:
    distinct: list[bytes] = table["path_bytes"].unique().to_pylist()
    return distinct
