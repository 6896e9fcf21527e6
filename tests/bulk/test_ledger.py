import re

import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa

from bulk.errors import BulkError
from bulk.ledger import Entry, Ledger, both_names
from bulk.output import Output
from bulk.units import Unit

pytestmark = pytest.mark.bulk

NAMES = [f"{letter}.mid" for letter in "abcdefg"] + ["\udcff.mid"]


@pytest.fixture(params=["file", "memory"])
def output(request: pytest.FixtureRequest, tmp_path: object) -> Output:
    return Output.at(f"{request.param}://{tmp_path}/out")


def opened(output: Output, names: list[str] = NAMES) -> Ledger:
    ledger = Ledger(output)
    ledger.plan(names, "embed")
    return ledger


def rows_of(unit: Unit) -> pa.Table:
    return pa.table(both_names(unit.names))


def commit(ledger: Ledger, unit: Unit) -> None:
    ledger.commit(unit, [Entry(name) for name in unit.names], rows_of(unit))


def test_whoever_comes_next_goes_on_with_what_is_missing(output: Output) -> None:
    first, second = opened(output).missing()
    commit(opened(output), first)
    assert opened(output).missing() == [second]
    alone = list(second.alone())
    commit(opened(output), alone[2])
    assert opened(output).missing() == [alone[0], alone[1], alone[3]]


def test_files_that_come_later_become_units_of_their_own(output: Output) -> None:
    before = opened(output, NAMES[:5]).missing()
    after = opened(output).missing()
    assert after[: len(before)] == before
    assert [name for unit in after for name in unit.names] == NAMES
    assert opened(output, NAMES[:1]).missing() == after  # and those that are gone stay in the plan


def test_the_totals_are_all_files_and_the_errors_are_one_table(output: Output) -> None:
    ledger = opened(output)
    first, second = ledger.missing()
    ledger.commit(first, [Entry(first.names[0]), *(Entry(name, 422, "bad") for name in first.names[1:])], None)
    with pytest.raises(BulkError, match="has results of 0 files and errors of 3, and the ledger has 4 files"):
        ledger.finish()
    ledger.commit(first, [Entry(name, 422, "bad") for name in first.names], None)
    assert ledger.finish() == (0, 4, 4)
    commit(ledger, second)
    assert ledger.finish() == (4, 4, 0)
    errors = output.read_table("errors.parquet").to_pylist()
    assert errors[0] == {"path": "a.mid", "path_bytes": b"a.mid", "status": 422, "error": "bad"}
    assert ledger.missing() == []


def test_a_unit_that_is_done_twice_is_there_once(output: Output) -> None:
    ledger = opened(output)
    for unit in [*ledger.missing(), *ledger.missing()]:
        commit(ledger, unit)
    assert ledger.finish() == (len(NAMES), 0, 0)
    assert not output.fs.exists(f"{output.folder}/_job/tmp")


def test_results_of_a_process_that_died_before_its_record_do_not_count(output: Output) -> None:
    ledger = opened(output)
    first, second = ledger.missing()
    output.write_table(f"rows/{first.key}.parquet", rows_of(first))
    ledger.discard(first)
    for unit in [*first.alone(), second]:
        commit(ledger, unit)
    assert ledger.finish() == (len(NAMES), 0, 0)


def test_two_commands_that_add_files_at_the_same_time_do_not_lose_any_in_silence(output: Output) -> None:
    one, other = opened(output, NAMES[:4]), opened(output, NAMES[:4])
    one.plan(NAMES[:6], "embed")
    output.remove("_job/plan/0001.parquet")  # the other has not seen it
    other.plan(NAMES[:4] + NAMES[6:], "embed")
    for unit in one.missing():
        commit(one, unit)
    assert not other.missing()
    with pytest.raises(BulkError, match=r"6 files, 4 different ones of the plan: .* at the same time"):
        other.finish()


def test_an_output_belongs_to_one_job(output: Output) -> None:
    Ledger(output).settle("job", {"task": "embed", "fields": {"windows": "all"}})
    Ledger(output).settle("job", {"task": "embed", "fields": {"windows": "all"}})
    with pytest.raises(BulkError, match=re.escape('whose fields is {"windows": "all"}, and this is one with {}')):
        Ledger(output).settle("job", {"task": "embed", "fields": {}})
