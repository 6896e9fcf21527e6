import pytest

from bulk.units import divide, seed_of


@pytest.mark.parametrize(("n_files", "task", "size"), [(3, "embed", 4), (1_000, "embed", 15), (10**5, "embed", 64)])
def test_units_have_all_files_in_order_and_are_small_where_there_are_few(n_files: int, task: str, size: int) -> None:
    names = [str(number) for number in range(n_files)]
    units = divide(names, task, 7)
    assert [name for unit in units for name in unit.names] == names
    assert len(units[0].names) == min(size, n_files)
    assert [unit.key for unit in units[:2]] == ["000007", "000008"][: len(units)]


def test_a_seed_is_that_of_the_name_and_the_jobs_seed_on_every_machine() -> None:
    assert seed_of(0, "a/b c.mid") == 187636742081874
    assert len({seed_of(0, "a.mid"), seed_of(1, "a.mid"), seed_of(0, "b.mid"), seed_of(0, "\udcff.mid")}) == 4
