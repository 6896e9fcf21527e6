from amt.decoding.constraints import Constraints
from amt.gpt2.sampling_params import SamplingParams
from tasks.control import find_constraints, find_sampling_params
from tasks.requests import GenerateRequest

STRINGS = frozenset(range(40, 48))


def test_a_request_that_says_nothing_samples_by_default_and_constrains_nothing() -> None:
    assert (
        find_sampling_params(GenerateRequest())
        == (SamplingParams(temperature=1.0, top_p=0.95, top_k=0, min_p=0.0),) * 3
    )
    assert find_constraints(GenerateRequest()).legal_notes is None


def test_slots_that_are_not_named_keep_their_defaults() -> None:
    request = GenerateRequest(temperature={"note": 0.5}, top_k=7, top_p={"onset": 0.8})
    assert find_sampling_params(request) == (
        SamplingParams(1.0, 0.8, 7),
        SamplingParams(1.0, 0.95, 7),
        SamplingParams(0.5, 0.95, 7),
    )


def test_names_numbers_and_families_become_groups() -> None:
    request = GenerateRequest(instruments=[0, "Acoustic Bass", "strings"], exclude_instruments=["cello", 43])
    constraints = find_constraints(request)
    assert constraints.groups == (frozenset({0}), frozenset({32}), STRINGS)
    assert constraints.excluded == {42, 43}


def test_instruments_that_are_named_twice_count_once() -> None:
    names = [0, "Acoustic Grand Piano", "acoustic  grand piano", 0, "strings", "Strings", "cello"]
    groups = find_constraints(GenerateRequest(instruments=names)).groups
    assert groups == (frozenset({0}), STRINGS, frozenset({42}))


def test_pitch_ranges_may_be_named_by_number_name_or_family() -> None:
    request = GenerateRequest(pitch_range={"128": (35, 50), "Acoustic Bass": (28, 55), "strings": (55, 90)})
    assert find_constraints(request).pitch_ranges == {128: (35, 50), 32: (28, 55), **dict.fromkeys(STRINGS, (55, 90))}


def test_one_pitch_range_is_that_of_all() -> None:
    assert find_constraints(GenerateRequest(pitch_range=(48, 60))) == Constraints(
        balance=3.0, pitch_range=(48, 60), allow_repetition=False, variety="auto"
    )


def test_a_single_instruments_pitch_range_goes_before_its_familys() -> None:
    for order in ({"Cello": (36, 50), "strings": (60, 90)}, {"strings": (60, 90), "Cello": (36, 50)}):
        ranges = find_constraints(GenerateRequest(pitch_range=order)).pitch_ranges
        assert (ranges[42], ranges[40]) == ((36, 50), (60, 90))


def test_keeping_degenerate_results_allows_repetition() -> None:
    assert find_constraints(GenerateRequest(on_degenerate="keep")).allow_repetition
