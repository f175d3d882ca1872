"""One endpoint: places, gates, the ramp after a rate limit, preference marks (section 5), budget and breaker."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opea_core.config import BreakerPolicy, Endpoint
from opea_core.errors import RateLimited, ServerError
from opea_core.policy import SECOND
from opea_core.policy.breaker import State, Verdict
from opea_core.policy.endpoint import EndpointState, Grant
from opea_core.policy.retry import Effect, Mark

OK = Effect()
CANCELLED = Effect(Verdict.NEUTRAL)
BUSY = Effect(Verdict.NEUTRAL, limited=True)
"""429 without a wait."""
DOWN = Effect(Verdict.FAIL, connect_class=True)


def endpoint(places: int = 32, **breaker: float) -> EndpointState:
    return EndpointState(Endpoint(base_url="http://a/v1", max_concurrent=places), BreakerPolicy(**breaker), lambda: 0.0, 0)


def wait(seconds: float) -> Effect:
    """429 with a wait."""
    return Effect(Verdict.NEUTRAL, limited=True, wait=seconds)


def grants(e: EndpointState, count: int, now: int = 0) -> list[Grant]:
    return [e.grant(now, charged=False) for _ in range(count)]


def send(e: EndpointState, effect: Effect, now: int = 0) -> None:
    e.settle(e.grant(now, charged=False), effect, "m", now)


def room(e: EndpointState) -> int:
    """How many more calls it takes."""
    taken: list[Grant] = []
    while e.has_room:
        taken.append(e.grant(0, charged=False))
    for grant in taken:
        e.take_back(grant)
    return len(taken)


def gated_for(e: EndpointState, now: int) -> float:
    opens = e.opens_at(now)
    return 0.0 if opens is None else (opens - now) / SECOND


# --- places


def test_it_takes_as_many_calls_as_it_has_places() -> None:
    e = endpoint(3)
    assert room(e) == 3
    grants(e, 2)
    assert room(e) == 1


@pytest.mark.parametrize("effect", [OK, CANCELLED, BUSY, DOWN, wait(3)])
def test_each_outcome_gives_the_place_back(effect: Effect) -> None:
    e = endpoint(3)
    send(e, effect)
    assert e.in_flight == 0


def test_giving_back_twice_is_once() -> None:
    e = endpoint(3)
    first, _ = grants(e, 2)
    e.settle(first, OK, "m", 0)
    e.settle(first, OK, "m", 0)
    e.take_back(first)
    assert e.in_flight == 1


def test_a_second_outcome_says_nothing() -> None:
    e = endpoint()
    grant = e.grant(0, charged=False)
    e.settle(grant, CANCELLED, "m", 0)
    e.settle(grant, wait(10), "m", 0)
    assert e.opens_at(0) is None


def test_an_offer_nobody_took_leaves_no_trace() -> None:
    e = endpoint()
    grant = e.grant(0, charged=True)
    e.take_back(grant)
    e.take_back(grant)
    assert (e.in_flight, e.budget.tokens(0), e.stats.retries) == (0, 64, 0)


def test_a_probe_nobody_took_comes_back() -> None:
    e = endpoint()
    for _ in range(3):
        send(e, DOWN)
    e.take_back(e.grant(SECOND, charged=False))
    assert not e.breaker.probing
    assert e.opens_at(SECOND) is None


# --- gates


def test_a_rate_limit_rests_for_the_servers_wait() -> None:
    e = endpoint()
    send(e, wait(7), SECOND)
    assert e.opens_at(SECOND) == 8 * SECOND
    assert e.opens_at(8 * SECOND - 1) == 8 * SECOND
    assert e.opens_at(8 * SECOND) is None


def test_a_503_with_a_wait_rests_as_well() -> None:
    e = endpoint()
    send(e, Effect(Verdict.FAIL, wait=7))
    assert gated_for(e, 0) == 7
    assert room(e) == 32, "only a rate limit lets it begin with one call"


def test_an_absurd_wait_is_capped_at_an_hour() -> None:
    e = endpoint()
    send(e, wait(1e9))
    assert gated_for(e, 0) == 3600


def test_rate_limits_without_a_wait_rest_longer_each_time() -> None:
    e, now, rests = endpoint(), 0, []
    for _ in range(7):
        send(e, BUSY, now)
        rests.append(gated_for(e, now))
        now += int(rests[-1] * SECOND)
    assert rests == [1, 2, 4, 8, 16, 20, 20]


def test_a_success_starts_the_rests_again() -> None:
    e, now = endpoint(), 0
    for _ in range(4):
        send(e, BUSY, now)
        now = e.gate_until
    send(e, OK, now)
    send(e, BUSY, now)
    assert gated_for(e, now) == 1


def test_a_burst_of_rate_limits_counts_once() -> None:
    e = endpoint()
    burst = grants(e, 20)
    for grant in burst:
        e.settle(grant, BUSY, "m", 0)
    assert gated_for(e, 0) == 1
    send(e, BUSY, SECOND)
    assert gated_for(e, SECOND) == 2


def test_a_late_success_of_before_the_rate_limit_proves_nothing() -> None:
    e = endpoint()
    early = e.grant(0, charged=False)
    send(e, BUSY)
    e.settle(early, OK, "m", 0)
    assert room(e) == 1
    send(e, BUSY, SECOND)
    assert gated_for(e, SECOND) == 2


def test_the_longest_wait_of_a_burst_counts() -> None:
    e = endpoint()
    effects = [wait(3), wait(9), wait(5), BUSY]
    for grant, effect in zip(grants(e, 4), effects, strict=True):
        e.settle(grant, effect, "m", 0)
    assert gated_for(e, 0) == 9


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([OK, BUSY, DOWN, CANCELLED, wait(0.5), wait(5), wait(500)]), st.integers(0, 3 * SECOND))))
def test_gates_only_grow(steps: list[tuple[Effect, int]]) -> None:
    e, now, earlier = endpoint(), 0, list[Grant]()
    for effect, pause in steps:
        earlier += grants(e, 2, now)
        now += pause
        until = e.gate_until
        e.settle(earlier.pop(0), effect, "m", now)
        assert e.gate_until >= until
        if effect.wait is not None:
            assert e.gate_until >= now + effect.wait * SECOND


def test_the_later_of_breaker_and_rate_limit_holds() -> None:
    e = endpoint()
    early = e.grant(0, charged=False)
    for _ in range(3):
        send(e, DOWN)
    assert e.opens_at(0) == SECOND
    e.settle(early, wait(5), "m", 0)
    assert e.opens_at(0) == 5 * SECOND
    f = endpoint()
    late = f.grant(0, charged=False)
    send(f, wait(0.5))
    for _ in range(3):
        send(f, DOWN)
    assert not late.settled
    assert f.opens_at(0) == SECOND


# --- the ramp after a rate limit


def test_after_a_rate_limit_it_opens_with_one_call_and_doubles_per_success() -> None:
    e = endpoint(10)
    send(e, wait(1))
    sizes = []
    for _ in range(6):
        sizes.append(room(e))
        send(e, OK, SECOND)
    assert sizes == [1, 2, 4, 8, 10, 10]


def test_a_rate_limit_within_the_ramp_begins_it_again() -> None:
    e = endpoint(10)
    send(e, wait(1))
    send(e, OK, SECOND)
    send(e, OK, SECOND)
    assert room(e) == 4
    send(e, wait(1), SECOND)
    assert room(e) == 1


def test_the_ramp_never_exceeds_the_places() -> None:
    e = endpoint(1)
    send(e, wait(1))
    send(e, OK, SECOND)
    assert room(e) == 1


@pytest.mark.parametrize("effect", [CANCELLED, DOWN])
def test_only_a_success_widens_the_ramp(effect: Effect) -> None:
    e = endpoint(10)
    send(e, wait(1))
    send(e, effect, SECOND)
    assert room(e) == 1


# --- preferences


@pytest.mark.parametrize("mark", [Mark.KEY, Mark.MODEL])
def test_a_mark_ends_after_300_seconds(mark: Mark) -> None:
    e = endpoint()
    send(e, Effect(Verdict.NEUTRAL, mark=mark))
    assert e.is_marked(300 * SECOND - 1, "m")
    assert not e.is_marked(300 * SECOND, "m")


@pytest.mark.parametrize("mark", [Mark.KEY, Mark.MODEL])
def test_a_mark_ends_with_a_success(mark: Mark) -> None:
    e = endpoint()
    send(e, Effect(Verdict.NEUTRAL, mark=mark))
    send(e, OK)
    assert not e.is_marked(0, "m")


def test_a_missing_model_is_marked_for_that_model_only() -> None:
    e = endpoint()
    send(e, Effect(Verdict.NEUTRAL, mark=Mark.MODEL))
    assert e.is_marked(0, "m")
    assert not e.is_marked(0, "another")


def test_another_models_success_does_not_end_a_models_mark() -> None:
    e = endpoint()
    send(e, Effect(Verdict.NEUTRAL, mark=Mark.MODEL))
    e.settle(e.grant(0, charged=False), OK, "another", 0)
    assert e.is_marked(0, "m")


def test_a_refused_key_is_marked_for_every_model() -> None:
    e = endpoint()
    send(e, Effect(Verdict.NEUTRAL, mark=Mark.KEY))
    assert e.is_marked(0, "another")


def test_a_mark_is_no_gate() -> None:
    e = endpoint()
    send(e, Effect(Verdict.NEUTRAL, mark=Mark.KEY))
    assert e.opens_at(0) is None
    assert room(e) == 32


# --- budget


def test_a_charged_grant_pays_and_counts_as_a_retry() -> None:
    e = endpoint()
    e.settle(e.grant(0, charged=True), DOWN, "m", 0)
    assert (e.budget.tokens(0), e.stats.retries) == (63, 1)


def test_an_uncharged_grant_is_free() -> None:
    e = endpoint()
    send(e, DOWN)
    assert (e.budget.tokens(0), e.stats.retries) == (64, 0)


def test_only_a_success_refills_the_budget() -> None:
    e = endpoint()
    for _ in range(2):
        e.settle(e.grant(0, charged=True), OK, "m", 0)
    for effect in (DOWN, CANCELLED, BUSY):
        send(e, effect)
    assert e.budget.tokens(0) == pytest.approx(62.2)


# --- breaker


def test_connect_failures_open_the_breaker_and_gate_it() -> None:
    e = endpoint()
    for _ in range(3):
        send(e, DOWN)
    assert e.breaker.state is State.OPEN
    assert e.opens_at(0) == SECOND


def test_a_429_storm_leaves_the_breaker_closed() -> None:
    e = endpoint()
    for _ in range(50):
        send(e, wait(1))
    assert e.breaker.state is State.CLOSED


def test_a_probing_stream_gives_its_verdict_at_its_first_content() -> None:
    e = endpoint()
    for _ in range(3):
        send(e, DOWN)
    probe = e.grant(SECOND, charged=False)
    assert probe.is_probe
    e.prove(probe, 2 * SECOND)
    assert e.breaker.state is State.CLOSED
    assert e.in_flight == 1


def test_one_verdict_per_lease() -> None:
    e = endpoint(consecutive=1)
    send(e, DOWN)
    probe = e.grant(SECOND, charged=False)
    e.prove(probe, SECOND)
    e.settle(probe, DOWN, "m", 2 * SECOND)
    assert e.breaker.state is State.CLOSED
    assert e.in_flight == 0


def test_another_stream_gives_its_verdict_at_its_end_only() -> None:
    e = endpoint()
    stream = e.grant(0, charged=False)
    send(e, DOWN)
    send(e, DOWN)
    e.prove(stream, 0)
    send(e, DOWN)
    assert e.breaker.state is State.OPEN


@pytest.mark.parametrize(
    ("effect", "answered"),
    [
        (OK, True),
        (Effect(Verdict.FAIL, reason=ServerError("no", status_code=503)), True),
        (Effect(Verdict.NEUTRAL, reason=RateLimited("no", status_code=429)), True),
        (Effect(Verdict.FAIL, connect_class=True, reason=ServerError("no")), False),
        (CANCELLED, False),
    ],
)
def test_it_remembers_whether_it_ever_answered(effect: Effect, answered: bool) -> None:
    e = endpoint()
    send(e, effect)
    assert e.answered is answered


def test_first_content_is_an_answer() -> None:
    e = endpoint()
    e.prove(e.grant(0, charged=False), 0)
    assert e.answered


@pytest.mark.parametrize(
    ("effects", "down"),
    [
        ([], False),
        ([DOWN], False),  # it never answered: its address may be wrong
        ([OK], False),
        ([OK, DOWN], True),
        ([OK, DOWN, DOWN, DOWN], True),  # the breaker is open
        ([OK, DOWN, OK], False),
        ([OK, Effect(Verdict.FAIL)], False),  # it answers, if badly
    ],
)
def test_it_is_down_when_it_answered_before_and_connections_fail(effects: list[Effect], down: bool) -> None:
    e = endpoint()
    for effect in effects:
        send(e, effect)
    assert e.is_down is down


# --- words


def test_it_says_why_it_is_not_used() -> None:
    e = endpoint()
    send(e, Effect(Verdict.NEUTRAL, limited=True, wait=2.5, reason=RateLimited("429 from a", status_code=429)))
    assert e.describe(0) == "a: 429 from a (next try in 2.5 s)"
    assert e.describe(3 * SECOND) == "a: 429 from a"


def test_its_summary_has_the_figures_of_now() -> None:
    e = endpoint()
    early = e.grant(0, charged=False)
    for _ in range(3):
        send(e, DOWN)
    open_now = e.summary(0)
    assert {name: open_now[name] for name in ("in_flight", "breaker", "gated_for", "max_concurrent")} == {
        "in_flight": 1,
        "breaker": "open",
        "gated_for": 1.0,
        "max_concurrent": 32,
    }
    e.take_back(early)
    e.grant(SECOND, charged=False)
    assert e.summary(SECOND)["breaker"] == "half_open"
