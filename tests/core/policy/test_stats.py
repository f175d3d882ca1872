"""Statistics: bounded, mergeable, and right to about 20 %."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opea_core.policy import SECOND
from opea_core.policy.stats import Histogram, Recent, Stats

DURATIONS = st.integers(100_000, 3600 * SECOND)
"""From 0.1 ms to an hour."""


def histogram(*durations: int) -> Histogram:
    found = Histogram()
    for duration in durations:
        found.add(duration)
    return found


def test_without_durations_there_is_no_percentile() -> None:
    assert Histogram().summary() == {"p50": None, "p90": None, "p99": None}


@pytest.mark.parametrize("duration", [0, 1, 999, 1_000, SECOND, 10**6 * SECOND])
def test_any_duration_is_counted(duration: int) -> None:
    found = histogram(duration)
    assert found.count == 1
    assert (found.percentile(0.5) or 0) > 0


@settings(derandomize=True, database=None, deadline=None)
@given(
    durations=st.lists(DURATIONS, min_size=1, max_size=60),
    share=st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]),
)
def test_percentiles_are_right_to_about_a_fifth(durations: list[int], share: float) -> None:
    exact = sorted(durations)[math.ceil(share * len(durations) - 1e-9) - 1] / SECOND
    assert histogram(*durations).percentile(share) == pytest.approx(exact, rel=0.2)


@settings(derandomize=True, database=None, deadline=None)
@given(left=st.lists(DURATIONS), right=st.lists(DURATIONS))
def test_merging_is_counting_together(left: list[int], right: list[int]) -> None:
    merged = histogram(*left)
    merged.merge(histogram(*right))
    together = histogram(*left, *right)
    assert merged.count == together.count
    assert merged.summary() == together.summary()


def test_percentiles_in_order() -> None:
    found = histogram(*[n * SECOND // 100 for n in range(1, 101)]).summary()
    assert found["p50"] == pytest.approx(0.5, rel=0.2)
    assert found["p90"] == pytest.approx(0.9, rel=0.2)
    assert found["p99"] == pytest.approx(0.99, rel=0.2)


def test_what_one_endpoint_counted_adds_to_another() -> None:
    total, one = Stats(), Stats()
    for stats, factor in ((total, 1), (one, 10)):
        stats.requests, stats.success, stats.retries = 3 * factor, 2 * factor, factor
        stats.prompt_tokens, stats.completion_tokens = 5 * factor, 7 * factor
        stats.errors["ServerError"] += factor
        stats.latency.add(SECOND)
        stats.first_content.add(SECOND)
    one.errors["RateLimited"] += 1
    total.merge(one)
    found = total.summary()
    assert {name: found[name] for name in found if name not in ("latency", "first_content")} == {
        "requests": 33,
        "success": 22,
        "errors": 12,
        "errors_by_class": {"ServerError": 11, "RateLimited": 1},
        "retries": 11,
        "prompt_tokens": 55,
        "completion_tokens": 77,
    }
    assert (total.latency.count, total.first_content.count) == (2, 2)
    assert one.requests == 30


def test_recent_requests_are_a_ring() -> None:
    stats = Stats()
    for n in range(1000):
        stats.recent.append(Recent(str(n), "a", 0.1, "ok", 1))
    assert len(stats.recent) == 256
    assert (stats.recent[0].request_id, stats.recent[-1].request_id) == ("744", "999")
