"""How a limit is divided among processes: for any demands."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from same_examples import fixed

from opea_core.shared.shares import Demand, alone, target

WAITING = st.dictionaries(st.integers(0, 9), st.integers(0, 50), max_size=3)
DEMANDS = st.lists(st.tuples(st.integers(0, 50), WAITING), min_size=1, max_size=8).map(
    lambda found: [Demand(f"m{n}", used, waiting) for n, (used, waiting) in enumerate(found)]
)


def divided(limit: int, demands: list[Demand], **more: int) -> dict[str, int]:
    return {demand.member: target(limit, demands, demand.member, **more) for demand in demands}


@fixed(100)
@given(limit=st.integers(1, 200), demands=DEMANDS, turn=st.integers(0, 20), unit=st.integers(1, 9))
def test_the_parts_are_the_whole(limit: int, demands: list[Demand], turn: int, unit: int) -> None:
    assert sum(divided(limit, demands, turn=turn, unit=unit).values()) == limit


@fixed(100)
@given(limit=st.integers(1, 200), demands=DEMANDS)
def test_nobody_wants_in_vain_while_another_has_more_than_it_wants(
    limit: int, demands: list[Demand]
) -> None:
    wants = {demand.member: demand.used + sum(demand.waiting.values()) for demand in demands}
    parts = divided(limit, demands)
    lacking = [member for member in parts if parts[member] < wants[member]]
    ample = [member for member in parts if parts[member] > wants[member]]
    assert not (lacking and ample)


def test_equal_demands_get_equal_parts() -> None:
    demands = [Demand(name, 0, {5: 100}) for name in "abcd"]
    assert divided(64, demands) == dict.fromkeys("abcd", 16)


def test_the_urgent_goes_before_the_nightly_batch() -> None:
    demands = [Demand("batch", 20, {9: 100}), Demand("people", 0, {5: 12})]
    assert divided(20, demands) == {"people": 12, "batch": 8}


def test_what_is_left_goes_to_all_so_that_a_burst_finds_room() -> None:
    assert divided(10, [Demand("idle"), Demand("busy", 4)]) == {"busy": 7, "idle": 3}


def test_less_than_one_for_each_goes_round() -> None:
    demands = [Demand(name, 0, {5: 1}) for name in "abc"]
    had = {next(m for m, n in divided(1, demands, turn=turn).items() if n) for turn in range(3)}
    assert had == set("abc")


def test_no_part_is_too_small_for_a_call() -> None:
    demands = [Demand(name, 0, {5: 800}) for name in "ab"]
    assert sorted(divided(1000, demands, unit=800).values()) == [200, 800]


def test_without_the_store_each_keeps_to_an_equal_part() -> None:
    assert [alone(10, members) for members in (0, 1, 3, 20)] == [10, 10, 3, 1]
