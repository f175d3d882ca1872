"""What one model at one endpoint may be asked after refusals:
waits, trials before the time, allowances, the breaker.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import pytest

from opea_core import errors
from opea_core.config import BreakerPolicy, Endpoint
from opea_core.policy import SECOND
from opea_core.policy.breaker import State
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.model_limits import ModelLimits
from opea_core.policy.permit import Permit
from opea_core.policy.retry import EndpointImpact, Failure, History, Phase, effect

OK = EndpointImpact()
DAY = 24 * 3600.0
CLASSES = {429: errors.RateLimited, 503: errors.ServerError, 529: errors.ServerError}


def endpoint(places: int | None = None, **breaker: float) -> EndpointState:
    return EndpointState(
        Endpoint(base_url="http://a", max_concurrent=places),
        BreakerPolicy(**breaker),
        lambda: 0.0,
        0,
    )


def refusal(status: int = 429, wait: float | None = None, chance: float = 0.0) -> EndpointImpact:
    """What a refusal means."""
    return effect(
        Failure(Phase.STATUS, CLASSES[status]("no", status_code=status), wait),
        History(chance=lambda: chance),
    )


def ns(seconds: float) -> int:
    return round(seconds * SECOND)


class Asked:
    """One model of an endpoint; times are seconds."""

    def __init__(self, e: EndpointState | None = None, model: str = "m") -> None:
        self.e = e or endpoint()
        self.model = model
        self.limits: ModelLimits = self.e.limits(model)

    def send(self, at: float = 0.0) -> Permit:
        """A request goes out."""
        assert self.may_send(at)
        return self.e.issue_permit(self.limits, ns(at), uses_retry_budget=False)

    def send_anyway(self, at: float) -> Permit:
        """The same, whether there is room or not."""
        assert self.opens(at) == 0
        return self.e.issue_permit(self.limits, ns(at), uses_retry_budget=False)

    def may_send(self, at: float) -> bool:
        """Whether one may."""
        return self.opens(at) == 0 and self.e.has_room(self.limits, ns(at))

    def hear(self, permit: Permit, what: EndpointImpact, at: float = 0.0) -> None:
        """What came of one."""
        self.e.settle(permit, what, self.model, ns(at))

    def alone(self, what: EndpointImpact, at: float = 0.0, took: float = 0.0) -> None:
        """One with nothing else in flight."""
        self.hear(self.send(at - took), what, at)

    def opens(self, at: float) -> float:
        """Seconds until one may go out."""
        opens = self.e.opens_at(self.limits, ns(at))
        return 0.0 if opens is None else opens / SECOND - at


def known(level: int = 3) -> tuple[Asked, list[Permit]]:
    """A model whose level was found by a refusal at 1 s, and is used up;
    what it is asked takes a second.
    """
    asked = Asked(endpoint(level + 1))
    asked.alone(OK, 1.0, 1.0)
    permits = [asked.send(1.0) for _ in range(level + 1)]
    asked.hear(permits.pop(), refusal(), 1.0)
    assert asked.limits.concurrency.level == level
    assert asked.opens(1.0) == 0
    return asked, permits


def cooling(wait: float = 10.0, status: int = 429) -> tuple[Asked, list[Permit]]:
    """The same when the server asked to wait at 1 s: two are in flight still."""
    asked, permits = known()
    asked.hear(permits.pop(), refusal(status, wait), 1.0)
    assert asked.opens(1.0) == pytest.approx(wait)
    return asked, permits


# --- refused while others are in flight


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize("wait", [None, 10.0, 3600.0])
def test_what_is_too_much_while_the_level_is_sought_costs_no_wait(
    status: int, wait: float | None
) -> None:
    asked = Asked()
    asked.alone(OK, 1.0, 1.0)
    permits = [asked.send(1.0) for _ in range(4)]
    asked.hear(permits[3], refusal(status, wait), 1.0)
    assert asked.opens(1.0) == 0
    assert not asked.may_send(1.0)
    asked.hear(permits[0], OK, 2.0)
    assert asked.may_send(2.0)


@pytest.mark.parametrize(("wait", "opens"), [(None, 0.0), (10.0, 10.0)])
def test_at_a_level_that_was_good_only_a_stated_wait_is_kept(
    wait: float | None, opens: float
) -> None:
    asked, permits = known()
    asked.hear(permits.pop(), refusal(429, wait), 1.0)
    assert asked.opens(1.0) == opens


def test_one_beyond_the_level_that_was_good_may_be_refused() -> None:
    asked, permits = known()
    asked.limits.pass_time(ns(7.0))
    permits.append(asked.send(7.0))
    assert len(permits) == 4
    asked.hear(permits.pop(), refusal(429, 10.0), 7.0)
    assert asked.opens(7.0) == 0


# --- a trial before the time


def test_after_another_answer_one_is_tried_before_the_time() -> None:
    asked, permits = cooling()
    assert asked.opens(2.0) == 9.0
    asked.hear(permits.pop(), OK, 2.0)
    trial = asked.send(2.0)
    assert trial.trial
    assert not asked.may_send(2.0)
    assert 0 < asked.opens(2.0) < 1


def test_first_content_of_a_stream_is_such_an_answer() -> None:
    asked, permits = cooling()
    asked.e.prove(permits[0], ns(2.0))
    assert asked.opens(2.0) == 0


def test_a_trial_that_is_refused_keeps_the_wait() -> None:
    asked, permits = cooling()
    asked.hear(permits.pop(), OK, 2.0)
    asked.hear(asked.send(2.0), refusal(429, 5.0), 2.01)
    asked.hear(permits.pop(), OK, 3.0)
    assert asked.opens(3.0) == pytest.approx(8.0)
    assert asked.opens(11.0) == 0


def test_a_trial_that_is_answered_ends_the_wait() -> None:
    asked, permits = cooling()
    asked.hear(permits.pop(), OK, 2.0)
    asked.hear(asked.send(2.0), OK, 2.5)
    assert asked.opens(2.5) == 0
    assert not asked.send(2.5).trial


def test_a_trial_that_nobody_took_leaves_the_next_one() -> None:
    asked, permits = cooling()
    asked.hear(permits.pop(), OK, 2.0)
    asked.e.withdraw_permit(asked.send(2.0))
    assert asked.send(2.0).trial


def passed() -> tuple[Asked, Permit, Permit, float]:
    """A trial, and one that passed as the trial was not refused in the time of a refusal;
    and when that was.
    """
    asked, permits = cooling()
    for permit in permits:
        asked.hear(permit, OK, 2.0)
    trial = asked.send(2.0)
    passes = 2.0 + asked.opens(2.0)
    return asked, trial, asked.send(passes), passes


def test_a_new_wait_ends_an_older_trial() -> None:
    asked, older, second, at = passed()
    asked.hear(second, refusal(429, 70.0), at)
    newer = asked.send_anyway(at + 60.0)
    assert newer.trial, "as nobody passes because of the older one"
    assert newer.trial != older.trial
    assert asked.opens(at + 60.0) > 0, "by one at a time"


def test_an_older_trial_that_comes_back_leaves_the_newer_one() -> None:
    asked, older, second, at = passed()
    asked.hear(second, refusal(429, 70.0), at)
    asked.send_anyway(at + 60.0)
    asked.e.withdraw_permit(older)
    assert asked.opens(at + 60.0) > 0, "by one at a time"


def test_those_that_nobody_took_are_no_part_of_what_is_measured() -> None:
    asked = Asked()
    for _ in range(50):
        asked.e.withdraw_permit(asked.send())
    assert asked.send().cohort is not None


def test_a_trial_that_is_not_refused_in_the_time_of_a_refusal_lets_others_pass() -> None:
    asked, permits = cooling()
    for permit in permits:
        asked.hear(permit, OK, 2.0)
    asked.send(2.0)
    passes = 2.0 + asked.opens(2.0)
    assert not asked.may_send(passes - 0.001)
    second = asked.send(passes)
    assert not second.trial


def test_without_an_answer_nothing_is_tried_before_a_short_wait_is_over() -> None:
    asked, _ = cooling(60.0)
    assert [asked.opens(at) for at in (1.0, 31.0, 60.0)] == pytest.approx([60.0, 30.0, 1.0])


def test_a_long_wait_is_tried_each_minute_by_one() -> None:
    asked = Asked()
    asked.alone(refusal(429, DAY))
    for minute in range(1, 6):
        assert asked.opens(60.0 * (minute - 1)) == pytest.approx(60.0)
        trial = asked.send(60.0 * minute)
        assert trial.trial
        assert not asked.may_send(60.0 * minute)
        asked.hear(trial, refusal(429, DAY), 60.0 * minute)
    assert asked.e.free_at(asked.limits, ns(300)) == ns(300 + DAY)


# --- refused with nothing else in flight


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("wait", "jitter"), [(1.0, 0.2), (10.0, 2.0), (50.0, 5.0)])
def test_a_stated_wait_is_kept_and_a_little_more(wait: float, jitter: float, chance: float) -> None:
    asked = Asked()
    asked.alone(refusal(429, wait, chance))
    assert asked.opens(0) == pytest.approx(wait + chance * jitter)
    assert asked.limits.asked_until == pytest.approx(ns(wait), abs=2)
    assert asked.limits.stated


def test_no_wait_is_believed_beyond_a_day() -> None:
    asked = Asked()
    asked.alone(refusal(429, 365 * DAY, 1.0))
    assert asked.limits.cooldown_until == ns(DAY)


def test_refusals_of_one_burst_have_one_jitter_and_the_longest_wait_counts() -> None:
    asked, permits = known()
    for permit, wait, chance, opens in zip(
        permits, (10.0, 4.0, 20.0), (0.5, 1.0, 0.0), (11.0, 11.0, 22.0), strict=True
    ):
        asked.hear(permit, refusal(429, wait, chance), 1.0)
        assert asked.opens(1.0) == pytest.approx(opens)


def backoffs(status: int, count: int, chance: float, took: float = 0.0) -> list[float]:
    """The waits after refusals without one, each as soon as the one before is over."""
    asked, at, waits = Asked(endpoint(min_calls=1000)), 100.0, list[float]()
    if took:
        asked.alone(OK, 90.0, took)
    for _ in range(count):
        asked.alone(refusal(status, None, chance), at)
        waits.append(round(asked.opens(at), 6))
        at += waits[-1]
    return waits


@pytest.mark.parametrize(
    ("status", "took", "waits"),
    [
        (503, 0.0, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0]),
        (503, 0.5, [0.25, 0.5, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]),
        (503, 60.0, [1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]),
        (429, 0.5, [0.25, 0.5, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]),
        (429, 0.0, [1.5, 3.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]),
    ],
)
def test_without_a_stated_wait_it_grows_to_a_bound(
    status: int, took: float, waits: list[float]
) -> None:
    assert backoffs(status, 8, 1.0, took) == waits


@pytest.mark.parametrize(
    ("status", "took", "most", "least"),
    [(503, 0.0, 0.1, 0.05), (503, 1.0, 0.5, 0.25), (429, 0.0, 1.5, 1.0)],
)
def test_its_chance_spreads_it(status: int, took: float, most: float, least: float) -> None:
    assert backoffs(status, 1, 1.0, took) + backoffs(status, 1, 0.0, took) == [most, least]


def test_an_answer_makes_the_next_wait_the_first_again() -> None:
    asked, at = Asked(endpoint(min_calls=1000)), 0.0
    for _ in range(5):
        asked.alone(refusal(503, None, 1.0), at)
        at += asked.opens(at)
    asked.alone(OK, at + 0.2, 0.2)
    asked.alone(refusal(503, None, 1.0), at + 5)
    assert asked.opens(at + 5) == pytest.approx(0.1)


def test_after_such_a_wait_it_starts_small() -> None:
    asked = Asked(endpoint(8))
    asked.alone(refusal(503))
    assert asked.limits.concurrency.level == 8
    asked.send(1.0)
    assert asked.limits.concurrency.level == 1
    assert not asked.may_send(1.0)


# --- several models


def test_the_wait_of_one_model_is_not_that_of_another() -> None:
    asked = Asked()
    other = Asked(asked.e, "other")
    asked.alone(refusal(429, 50.0))
    assert (asked.opens(1.0), other.opens(1.0)) == (49.0, 0.0)
    other.alone(OK, 1.0)
    other.send(1.0)
    other.hear(other.send(1.0), refusal(), 1.0)
    assert asked.opens(1.0) == 49.0
    assert (asked.limits.concurrency.level, other.limits.concurrency.level) == (4, 1)


def test_models_that_are_kept_are_bounded() -> None:
    e = endpoint()
    for number in range(2_000):
        e.limits(f"m{number}")
        assert e.level <= 256 * 4  # each of them starts with four


def test_models_that_are_asked_are_never_forgotten() -> None:
    e = endpoint()
    busy = [Asked(e, f"busy{number}") for number in range(3)]
    idle = Asked(e, "idle")
    for asked in busy:
        asked.send()
    for number in range(2_000):
        e.limits(f"m{number}")
    assert [e.limits(asked.model) is asked.limits for asked in busy] == [True] * 3
    assert e.limits("idle") is not idle.limits


# --- the breaker


@pytest.mark.parametrize("status", [429, 503, 529])
def test_refusals_beside_others_in_flight_do_not_open_the_breaker(status: int) -> None:
    asked = Asked(endpoint(min_calls=1))
    asked.send()
    for _ in range(50):
        asked.hear(asked.e.issue_permit(asked.limits, 0, uses_retry_budget=False), refusal(status))
    assert asked.e.breaker.state is State.CLOSED


@pytest.mark.parametrize(
    ("status", "after", "state"),
    [
        (503, 0.5, State.CLOSED),
        (529, 0.5, State.CLOSED),
        (503, 1.5, State.OPEN),
        (529, 1.5, State.OPEN),
        (429, 1.5, State.CLOSED),
    ],
)
def test_alone_it_is_a_failure_unless_one_was_answered_just_now(
    status: int, after: float, state: State
) -> None:
    asked = Asked(endpoint(min_calls=1))
    asked.alone(OK, 10.0)
    asked.alone(refusal(status), 10.0 + after)
    assert asked.e.breaker.state is state


@pytest.mark.parametrize(
    ("took", "after", "state"),
    [
        (0.01, 0.9, State.CLOSED),  # a second at least
        (0.01, 1.1, State.OPEN),
        (1.0, 39.0, State.CLOSED),  # forty times what a request takes
        (1.0, 41.0, State.OPEN),
        (10.0, 119.0, State.CLOSED),  # two minutes at most
        (10.0, 121.0, State.OPEN),
    ],
)
def test_the_longer_a_request_takes_the_longer_ago_that_answer_may_be(
    took: float, after: float, state: State
) -> None:
    asked = Asked(endpoint(min_calls=1))
    asked.alone(OK, 10.0, took)
    asked.alone(refusal(503), 10.0 + after)
    assert asked.e.breaker.state is state


@pytest.mark.parametrize(
    ("took", "patience"), [(0.0, 0.0), (0.5, 20.0), (3.0, 120.0), (60.0, 120.0)]
)
def test_one_may_be_refused_for_forty_request_times_and_two_minutes_at_most(
    took: float, patience: float
) -> None:
    asked = Asked()
    asked.alone(OK, 100.0, took)
    assert asked.limits.patience == patience


def test_one_that_was_answered_since_it_went_out_makes_it_no_failure() -> None:
    asked = Asked(endpoint(min_calls=1))
    first, second = asked.send(10.0), asked.send(10.0)
    asked.hear(first, OK, 11.0)
    asked.hear(second, refusal(503), 20.0)
    assert asked.e.breaker.state is State.CLOSED


def test_when_the_breaker_closes_each_model_starts_small_and_rises_to_what_was_good() -> None:
    asked = Asked(endpoint(8, min_calls=1))
    other = Asked(asked.e, "other")
    asked.alone(
        EndpointImpact(
            effect(
                Failure(Phase.STATUS, errors.ServerError("no", status_code=502)), History()
            ).verdict
        )
    )
    assert asked.e.breaker.state is State.OPEN
    asked.alone(OK, 10.0)
    assert asked.e.breaker.state is State.CLOSED
    assert other.limits.concurrency.level == 1
    levels = []
    for number in range(10):
        permits = []
        while asked.may_send(11.0 + number):
            permits.append(asked.send(11.0 + number))
        levels.append(len(permits))
        for permit in reversed(permits):
            asked.hear(permit, OK, 11.5 + number)
    assert levels[0] <= 2
    assert levels == sorted(levels)
    assert levels[-1] == 8


# --- what the server says is left


@pytest.mark.parametrize(("left", "room"), [(0, 1), (1, 1), (2, 2), (-5, 1)])
def test_an_allowance_is_a_ceiling_until_its_time(left: int, room: int) -> None:
    asked = Asked()
    asked.alone(EndpointImpact(allowance=(left, 10.0)), 1.0)
    for _ in range(room):
        asked.send(2.0)
    assert not asked.may_send(2.0)
    assert asked.limits.room_at(ns(2.0)) == ns(11.0)
    assert not asked.may_send(10.9)
    assert asked.may_send(11.0)


# --- a limited rate


@pytest.mark.parametrize(
    ("each", "seconds"),
    [
        (20, 60.0),
        (10, 30.0),
        (4, 12.0),
        (1, 3.0),
    ],
)
def test_where_the_rate_is_limited_requests_are_spread(each: int, seconds: float) -> None:
    asked, at, sent = Asked(endpoint(min_calls=1000)), 0.0, list[float]()
    window, taken = -1, 0  # a server that takes so many in each window
    while at < 600.0:
        at += max(asked.opens(at), 0.01)
        if asked.may_send(at):
            sent.append(at)
            window, taken = (window, taken) if at // seconds == window else (int(at // seconds), 0)
            taken += 1
            asked.hear(asked.send(at), OK if taken <= each else refusal(429), at + 0.001)
    late = [after - before for before, after in pairwise(sent) if before > 300.0]
    assert 1.5 <= median(late) <= 4.5


def test_the_only_place_rests_for_as_long_as_a_request_takes() -> None:
    asked, at, rests = Asked(), 2.0, list[float]()
    asked.alone(OK, 2.0, 2.0)
    for _ in range(40):
        first = asked.send(at)
        if asked.may_send(at):
            asked.hear(asked.send(at), refusal(503), at)
        asked.hear(first, OK, at + 2.0)
        at += 2.0
        room = asked.limits.room_at(ns(at))
        if not asked.may_send(at):
            assert room is not None
            rests.append(room / SECOND - at)
            at = room / SECOND
    assert 2 <= len(rests) <= 6
    assert rests == pytest.approx([2.0] * len(rests), abs=0.1)
