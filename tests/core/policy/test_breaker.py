"""The breaker of one endpoint, as rules B1 to B7 of docs/contract.md state it."""

from __future__ import annotations

import pytest

from opea_core.config import BreakerPolicy
from opea_core.policy import SECOND
from opea_core.policy.breaker import Admission, Breaker, State, Verdict

OK, FAIL, NEUTRAL = Verdict.OK, Verdict.FAIL, Verdict.NEUTRAL


def breaker(chance: float = 0.0, **options: float) -> Breaker:
    return Breaker(BreakerPolicy(**options), lambda: chance)


def results(b: Breaker, verdicts: str, now: int = 0) -> None:
    """Admit and record one call per letter: ``o`` OK, ``f`` FAIL,
    ``c`` FAIL of connect class, ``n`` NEUTRAL.
    """
    for letter in verdicts:
        b.record(
            b.admit(now),
            {"o": OK, "n": NEUTRAL}.get(letter, FAIL),
            now,
            connect_class=letter == "c",
        )


def opened(**options: float) -> Breaker:
    """A breaker that opened at time 0."""
    b = breaker(**options)
    results(b, "ccc")
    assert b.state is State.OPEN
    return b


# --- closed: what opens it


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [
        ("f" * 9, State.CLOSED),  # fewer than min_calls
        ("f" * 10, State.OPEN),
        ("ooooo" + "f" * 5, State.OPEN),  # the rate is reached: 5 of 10
        ("oooooo" + "f" * 5, State.CLOSED),  # 5 of 11
        ("o" * 20 + "f" * 9, State.CLOSED),  # the last 20: 9 of 20
        ("o" * 20 + "f" * 10, State.OPEN),
        ("o" * 500 + "f" * 10, State.OPEN),  # only the window counts
        ("n" * 50 + "f" * 9, State.CLOSED),  # neutral is no result
        ("nf" * 10, State.OPEN),
        ("cc", State.CLOSED),
        ("ccc", State.OPEN),  # consecutive, whatever min_calls says
        ("ccocc", State.CLOSED),  # a success stands between
        ("ccnc", State.OPEN),  # neutral is no success
        ("ccfc", State.OPEN),  # another failure is no success either
        ("ffff", State.CLOSED),  # a run counts connect-class failures only
    ],
)
def test_what_opens_it(verdicts: str, state: State) -> None:
    b = breaker()
    results(b, verdicts)
    assert b.state is state


@pytest.mark.parametrize(
    ("verdicts", "failing"),
    [
        ("", False),
        ("o", False),
        ("c", True),
        ("cc", True),
        ("cn", True),
        ("co", False),
        ("f", False),
        ("ccc", False),
    ],
)
def test_whether_its_last_connections_failed(verdicts: str, failing: bool) -> None:
    b = breaker()
    results(b, verdicts)
    assert b.failing is failing


def test_the_thresholds_are_the_policys() -> None:
    b = breaker(window=4, min_calls=4, failure_rate=0.75, connect_failure_threshold=2)
    results(b, "ooff")
    assert b.state is State.CLOSED
    results(b, "f")  # o f f f
    assert b.state is State.OPEN


def test_closed_admits_everybody() -> None:
    b = breaker()
    assert [b.admits_at(n) for n in range(100)] == [None] * 100
    assert all(b.admit(n).probe == 0 for n in range(100))
    assert not b.probing


def test_switched_off_it_never_opens() -> None:
    b = breaker(enabled=False)
    results(b, "c" * 100)
    assert b.state is State.CLOSED
    assert b.admits_at(0) is None


# --- open


def test_open_admits_nobody_before_its_time() -> None:
    b = opened()
    assert b.admits_at(0) == SECOND
    assert b.admits_at(SECOND - 1) == SECOND
    assert b.admits_at(SECOND) is None


@pytest.mark.parametrize(
    ("opening", "seconds"),
    [
        (1, 1),
        (2, 1),
        (5, 1),
        (6, 2),
        (7, 4),
        (8, 8),
        (10, 32),
        (11, 60 / 1.1),
        (12, 60 / 1.1),
        (2000, 60 / 1.1),
    ],
)
def test_how_long_it_stays_open(opening: int, seconds: float) -> None:
    b, start = opened(steady=5), 0
    for _ in range(opening - 1):
        start = b.open_until
        results(b, "f", start)
        assert b.state is State.OPEN
    assert (b.open_until - start) / SECOND == pytest.approx(seconds)


def test_its_longest_time_is_not_exceeded_by_chance_either() -> None:
    b = breaker(0.999, break_duration=7, max_break_duration=7)
    results(b, "ccc")
    assert 6.9 * SECOND < b.open_until <= 7 * SECOND


def test_open_times_double_after_as_many_openings_as_the_policy_says() -> None:
    policy = BreakerPolicy()
    b, start = opened(), 0
    for _ in range(policy.steady):
        assert b.open_until - start == policy.break_duration * SECOND
        start = b.open_until
        results(b, "f", start)
    assert b.open_until - start == 2 * policy.break_duration * SECOND


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 1.0), (0.5, 1.05), (0.999, 1.0999)])
def test_up_to_a_tenth_is_added_at_random(chance: float, seconds: float) -> None:
    b = breaker(chance)
    results(b, "ccc")
    assert b.open_until / SECOND == pytest.approx(seconds)


def test_a_success_starts_the_open_times_again() -> None:
    b = opened(steady=2)
    for _ in range(7):
        results(b, "f", b.open_until)
    results(b, "o", b.open_until)
    start = b.open_until
    results(b, "ccc", start)
    assert b.open_until - start == SECOND


def test_it_is_left_alone_for_less_when_somebody_waits_for_it() -> None:
    b = opened(break_duration=9)
    b.shorten_break(12)
    assert b.open_until == 9 * SECOND
    b.shorten_break(3)
    assert (b.admits_at(3 * SECOND - 1), b.admits_at(3 * SECOND)) == (3 * SECOND, None)


# --- half open


def test_one_probe_and_nobody_else() -> None:
    b = opened()
    probe = b.admit(SECOND)
    assert probe.probe > 0
    assert b.state is State.HALF_OPEN
    assert b.probing
    assert b.admits_at(SECOND) == 3 * SECOND


def test_one_success_closes() -> None:
    b = opened()
    b.record(b.admit(SECOND), OK, SECOND)
    assert b.state is State.CLOSED
    assert b.admits_at(SECOND) is None


def test_one_failure_opens_again() -> None:
    b = opened()
    b.record(b.admit(SECOND), FAIL, 2 * SECOND)
    assert b.state is State.OPEN
    assert b.open_until == 3 * SECOND


def test_nothing_of_the_time_before_is_left_when_it_closes() -> None:
    b = breaker()
    results(b, "fffffffcc")
    results(b, "c")
    results(b, "o", b.open_until)
    results(b, "fffffffcc")
    assert b.state is State.CLOSED


def test_neutral_returns_the_probes_place() -> None:
    b = opened()
    b.record(b.admit(SECOND), NEUTRAL, SECOND)
    assert b.state is not State.CLOSED
    assert not b.probing
    assert b.admits_at(SECOND) is None


def test_neutral_leaves_the_open_time_as_it_was() -> None:
    b = opened()
    for _ in range(20):
        b.record(b.admit(SECOND), NEUTRAL, SECOND)
    b.record(b.admit(SECOND), FAIL, SECOND)
    assert b.open_until == 2 * SECOND


def test_another_probe_each_probe_ttl() -> None:
    b = opened()
    b.admit(SECOND)
    assert b.admits_at(3 * SECOND - 1) == 3 * SECOND
    assert b.admits_at(3 * SECOND) is None
    b.admit(3 * SECOND)
    assert b.admits_at(3 * SECOND) == 5 * SECOND


def test_the_probe_ttl_is_the_policys() -> None:
    b = opened(probe_interval=0.5)
    b.admit(SECOND)
    assert b.admits_at(SECOND) == 1.5 * SECOND


def test_a_late_result_of_the_same_generation_still_counts() -> None:
    b = opened()
    slow = b.admit(SECOND)
    b.admit(3 * SECOND)
    b.record(slow, OK, 4 * SECOND)
    assert b.state is State.CLOSED


def test_the_second_probe_is_stale_once_the_first_has_decided() -> None:
    b = opened()
    first, second = b.admit(SECOND), b.admit(3 * SECOND)
    b.record(first, OK, 4 * SECOND)
    b.record(second, FAIL, 5 * SECOND)
    assert b.state is State.CLOSED


# --- generations


def test_results_of_the_time_before_it_opened_change_nothing() -> None:
    b = breaker()
    old = [b.admit(0) for _ in range(20)]
    results(b, "ccc")
    for admission in old:
        b.record(admission, FAIL, 5 * SECOND)
    assert b.open_until == SECOND
    b.record(old[0], OK, 5 * SECOND)
    assert b.state is State.OPEN


def test_a_stale_result_does_not_decide_a_probe() -> None:
    b = breaker()
    old = b.admit(0)
    results(b, "ccc")
    b.admit(SECOND)
    b.record(old, OK, SECOND)
    assert b.state is State.HALF_OPEN
    b.record(old, FAIL, SECOND)
    assert b.state is State.HALF_OPEN
    assert b.probing


def test_stale_results_do_not_enter_the_window() -> None:
    b = breaker()
    old = [b.admit(0) for _ in range(20)]
    results(b, "ccc")
    results(b, "o", b.open_until)
    for admission in old:
        b.record(admission, FAIL, SECOND, connect_class=True)
    assert b.state is State.CLOSED
    results(b, "f" * 9)
    assert b.state is State.CLOSED


def test_a_lease_is_a_value() -> None:
    assert breaker().admit(0) == Admission(generation=0, probe=0)
