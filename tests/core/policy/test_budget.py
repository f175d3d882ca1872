"""The retry budget of one endpoint: max(20, 2 x places), +0.1 per success, +1 per 10 s."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opea_core.policy import SECOND
from opea_core.policy.budget import Budget


def spent(now: int = 0) -> Budget:
    """A budget of 20 of which nothing is left."""
    budget = Budget(1, now)
    for _ in range(20):
        budget.charge(now)
    return budget


@pytest.mark.parametrize(
    ("places", "capacity"), [(1, 20), (10, 20), (11, 22), (32, 64), (1000, 2000), (None, 64)]
)
def test_its_capacity_grows_with_the_places(places: int | None, capacity: int) -> None:
    budget = Budget(places, 0)
    assert budget.tokens(0) == capacity
    for _ in range(capacity):
        assert budget.allows(0)
        budget.charge(0)
    assert not budget.allows(0)


def test_when_more_requests_at_once_are_found_to_fit_it_grows_by_what_they_add() -> None:
    budget = Budget(None, 0)
    for _ in range(60):
        budget.charge(0)
    budget.rise(32)
    assert (budget.capacity, budget.tokens(0)) == (64, 4)
    budget.rise(50)
    assert (budget.capacity, budget.tokens(0)) == (100, 40)
    budget.rise(10)
    assert (budget.capacity, budget.tokens(0)) == (100, 40)


def test_ten_seconds_pay_one_retry() -> None:
    budget = spent()
    assert not budget.allows(10 * SECOND - 1)
    assert budget.allows(10 * SECOND)
    budget.charge(10 * SECOND)
    assert not budget.allows(10 * SECOND)


def test_time_is_counted_once() -> None:
    budget = spent()
    for second in range(1, 10):
        assert not budget.allows(second * SECOND)
    assert budget.tokens(20 * SECOND) == pytest.approx(2)


def test_ten_successes_pay_one_retry() -> None:
    budget = spent()
    for _ in range(10):
        assert not budget.allows(0)
        budget.success(0)
    assert budget.tokens(0) == pytest.approx(1)


def test_it_never_holds_more_than_its_capacity() -> None:
    budget = Budget(1, 0)
    for _ in range(100):
        budget.success(0)
    budget.refund()
    assert budget.tokens(10_000 * SECOND) == 20


def test_a_retry_that_was_not_sent_is_given_back() -> None:
    budget = spent()
    budget.refund()
    assert budget.allows(0)


def test_time_before_it_began_pays_nothing() -> None:
    budget = spent(now=100 * SECOND)
    assert not budget.allows(100 * SECOND)
    assert not budget.allows(109 * SECOND)


@settings(derandomize=True, database=None, deadline=None)
@given(
    places=st.integers(1, 40),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["retry", "retry", "retry", "success", "wait"]),
            st.integers(0, 30 * SECOND),
        ),
        max_size=200,
    ),
)
def test_retries_stay_within_the_bound_of_r4(places: int, steps: list[tuple[str, int]]) -> None:
    budget, now, retries, successes = Budget(places, 0), 0, 0, 0
    for step, pause in steps:
        if step == "wait":
            now += pause
        elif step == "success":
            budget.success(now)
            successes += 1
        else:
            for _ in range(100):
                if budget.allows(now):
                    budget.charge(now)
                    retries += 1
        assert 0 <= budget.tokens(now) <= budget.capacity
        assert retries <= max(20, 2 * places) + 0.1 * successes + now / (10 * SECOND) + 1e-6
