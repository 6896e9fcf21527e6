import pytest
import torch

from amt.gpt2.threads import TRIALS_SHARE, ThreadTuner


class Machine:
    """Where a step takes as long as `seconds` says of the number of threads that PyTorch is told to use."""

    def __init__(self, most: int, seconds: dict[int, float]) -> None:
        self.seconds, self.now = seconds, 0.0
        self.threads = ThreadTuner(most, clock=lambda: self.now)

    def run(self, seconds: float, n_rows: int = 1) -> int:
        """How many steps that were."""
        n_steps, end = 0, self.now + seconds
        while self.now < end:
            with self.threads.measured(n_rows):
                self.now += self.seconds[torch.get_num_threads()]
            n_steps += 1
        return n_steps


@pytest.mark.parametrize("best", [1, 2, 4, 6])
def test_the_fastest_number_of_threads_is_chosen(best: int) -> None:
    machine = Machine(6, {n: 0.01 * (1 + abs(n - best)) for n in (1, 2, 4, 6)})
    machine.run(10)
    assert machine.threads.chosen == best


def test_a_number_of_threads_that_becomes_faster_is_chosen_later() -> None:
    machine = Machine(2, {1: 0.01, 2: 0.2})
    machine.run(20)
    assert machine.threads.chosen == 1
    machine.seconds = {1: 0.01, 2: 0.006}
    machine.run(20)
    assert machine.threads.chosen == 2


def test_slow_trials_take_a_small_share_of_the_time() -> None:
    machine = Machine(2, {1: 0.01, 2: 0.3})
    machine.run(5)
    n_steps = machine.run(600)
    assert n_steps > (1 - 1.1 * TRIALS_SHARE) * 600 / 0.01


def test_steps_of_different_batch_sizes_are_not_compared() -> None:
    machine = Machine(2, {1: 0.02, 2: 0.01})
    for n_rows in range(200):
        machine.run(0.04, n_rows)
    assert machine.threads.chosen == 1


def test_the_number_of_threads_is_restored_after_a_step() -> None:
    before = torch.get_num_threads()
    Machine(8, {1: 0.01, 2: 0.02, 4: 0.03, 8: 0.04}).run(1)
    assert torch.get_num_threads() == before
