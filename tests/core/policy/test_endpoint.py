"""One endpoint: places, cooldowns, the slow start after a refusal, marks (E4 to E6),
budget and breaker.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opea_core.config import BreakerPolicy, Endpoint
from opea_core.errors import RateLimited, ServerError
from opea_core.policy import SECOND
from opea_core.policy.breaker import State, Verdict
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.permit import Permit
from opea_core.policy.retry import EndpointImpact, Mark

OK = EndpointImpact()
CANCELLED = EndpointImpact(Verdict.NEUTRAL)
BUSY = EndpointImpact(
    Verdict.NEUTRAL, refused=True, chance=0.0, reason=RateLimited("no", status_code=429)
)
"""429 without a wait."""
DOWN = EndpointImpact(Verdict.FAIL, connect_class=True)


def endpoint(places: int | None = 32, answered: bool = True, **breaker: float) -> EndpointState:
    """One that has answered before."""
    e = EndpointState(
        Endpoint(base_url="http://a/v1", max_concurrent=places),
        BreakerPolicy(**breaker),
        lambda: 0.0,
        0,
    )
    e.answered = answered
    return e


def wait(seconds: float) -> EndpointImpact:
    """429 with a wait."""
    return EndpointImpact(Verdict.NEUTRAL, refused=True, wait=seconds)


def overloaded(seconds: float | None = None) -> EndpointImpact:
    """503, maybe with a wait."""
    return EndpointImpact(Verdict.FAIL, refused=True, wait=seconds, chance=0.0)


def permit(
    e: EndpointState, now: int = 0, uses_retry_budget: bool = False, model: str = "m"
) -> Permit:
    return e.issue_permit(e.limits(model), now, uses_retry_budget)


def permits(e: EndpointState, count: int, now: int = 0) -> list[Permit]:
    return [permit(e, now) for _ in range(count)]


def send(e: EndpointState, effect: EndpointImpact, now: int = 0, took: int = 0) -> None:
    """A call that ends at ``now``."""
    e.settle(permit(e, now - took), effect, "m", now)


def fill(e: EndpointState, now: int = 0) -> list[Permit]:
    """As many calls as it takes."""
    taken: list[Permit] = []
    while e.has_room(e.limits("m"), now):
        taken.append(permit(e, now))
    return taken


def room(e: EndpointState, now: int = 0) -> int:
    """How many more calls it takes."""
    taken = fill(e, now)
    for one in taken:
        e.withdraw_permit(one)
    return len(taken)


def opens_at(e: EndpointState, now: int = 0) -> int | None:
    return e.opens_at(e.limits("m"), now)


def gated_for(e: EndpointState, now: int = 0) -> float:
    opens = opens_at(e, now)
    return 0.0 if opens is None else (opens - now) / SECOND


# --- places


def test_it_takes_as_many_calls_as_it_has_places() -> None:
    e = endpoint(3)
    assert room(e) == 3
    permits(e, 2)
    assert room(e) == 1


@pytest.mark.parametrize("effect", [OK, CANCELLED, BUSY, DOWN, wait(3)])
def test_each_outcome_gives_the_place_back(effect: EndpointImpact) -> None:
    e = endpoint(3)
    send(e, effect)
    assert e.in_flight == 0


def test_giving_back_twice_is_once() -> None:
    e = endpoint(3)
    first, _ = permits(e, 2)
    e.settle(first, OK, "m", 0)
    e.settle(first, OK, "m", 0)
    e.withdraw_permit(first)
    assert e.in_flight == 1


def test_a_second_outcome_says_nothing() -> None:
    e = endpoint()
    one = permit(e)
    e.settle(one, CANCELLED, "m", 0)
    e.settle(one, wait(10), "m", 0)
    assert opens_at(e) is None


def test_an_offer_nobody_took_leaves_no_trace() -> None:
    e = endpoint()
    one = permit(e, uses_retry_budget=True)
    e.withdraw_permit(one)
    e.withdraw_permit(one)
    assert (e.in_flight, e.limits("m").in_flight, e.budget.tokens(0), e.stats.retries) == (
        0,
        0,
        64,
        0,
    )


def test_a_probe_nobody_took_comes_back() -> None:
    e = endpoint()
    for _ in range(3):
        send(e, DOWN)
    e.withdraw_permit(permit(e, SECOND))
    assert not e.breaker.probing
    assert opens_at(e, SECOND) is None


# --- refused with nothing else in flight: a cooldown


def test_a_rate_limit_rests_for_the_servers_wait() -> None:
    e = endpoint()
    send(e, wait(7), SECOND)
    assert opens_at(e, SECOND) == 8 * SECOND
    assert opens_at(e, 8 * SECOND - 1) == 8 * SECOND
    assert opens_at(e, 8 * SECOND) is None


def test_a_503_with_a_wait_rests_as_well() -> None:
    e = endpoint()
    send(e, overloaded(7))
    assert gated_for(e) == 7


def test_an_absurd_wait_is_capped_at_a_day() -> None:
    e = endpoint()
    send(e, wait(1e9))
    assert e.limits("m").cooldown_until == 24 * 3600 * SECOND


def test_a_wait_longer_than_a_minute_is_tried_each_minute_by_one_call() -> None:
    e, tried = endpoint(), []
    send(e, wait(200))
    while opens := opens_at(e, now := tried[-1] if tried else 0):
        assert e.free_at(e.limits("m"), now) >= 200 * SECOND, (
            "and yet it is known to be closed until then"
        )
        tried.append(opens)
        trial = permit(e, opens)
        assert bool(trial.trial) is (opens < 200 * SECOND)
        if trial.trial:
            assert opens_at(e, opens) is not None, "by one call at a time"
            e.settle(trial, wait(200 - opens / SECOND), "m", opens)
    assert [at / SECOND for at in tried] == [60, 120, 180, 200]


@pytest.mark.parametrize(("chance", "rests"), [(0.0, [1, 2, 4, 4]), (1.0, [1.5, 3, 4, 4])])
def test_rate_limits_without_a_wait_rest_longer_each_time(
    chance: float, rests: list[float]
) -> None:
    e, now, found = endpoint(), 0, []
    for _ in rests:
        send(e, replace(BUSY, chance=chance), now)
        found.append(gated_for(e, now))
        now += int(found[-1] * SECOND)
    assert found == rests


@pytest.mark.parametrize(("took", "rests"), [(1.0, [0.5, 1, 2, 2]), (30.0, [1, 2, 4, 4])])
@pytest.mark.parametrize("effect", [replace(BUSY, chance=1.0), replace(overloaded(), chance=1.0)])
def test_where_a_requests_time_is_known_the_rests_are_parts_of_it(
    effect: EndpointImpact, took: float, rests: list[float]
) -> None:
    e, now, found = endpoint(), 100 * SECOND, []
    send(e, OK, now, took=int(took * SECOND))
    for _ in rests:
        send(e, effect, now)
        found.append(gated_for(e, now))
        now += int(found[-1] * SECOND)
    assert found == rests


def test_a_success_starts_the_rests_again() -> None:
    e, now = endpoint(), 0
    for _ in range(4):
        send(e, BUSY, now)
        now = e.limits("m").cooldown_until
    send(e, OK, now)
    send(e, BUSY, now)
    assert gated_for(e, now) == 1


def test_a_burst_of_rate_limits_counts_once() -> None:
    e = endpoint()
    burst = permits(e, 20)
    for one in burst:
        e.settle(one, BUSY, "m", 0)
    assert (gated_for(e), e.limits("m").refusals) == (1, 1)
    send(e, BUSY, SECOND)
    assert (gated_for(e, SECOND), e.limits("m").refusals) == (2, 2)


def test_the_longest_wait_of_a_burst_counts() -> None:
    e = endpoint()
    effects = [wait(3), wait(9), wait(5), BUSY]
    for one, effect in zip(permits(e, 4), effects, strict=True):
        e.settle(one, effect, "m", 0)
    assert gated_for(e) == 9


def test_a_burst_has_one_jitter() -> None:
    e = endpoint()
    for one, jitter in zip(permits(e, 3), (0.5, 2.0, 1.0), strict=True):
        e.settle(one, replace(wait(10 + jitter), jitter=jitter), "m", 0)
    assert gated_for(e) == 10.5


@settings(derandomize=True, database=None, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([OK, BUSY, DOWN, CANCELLED, wait(0.5), wait(5), wait(500)]),
            st.integers(0, 3 * SECOND),
        )
    )
)
def test_a_cooldown_only_grows_unless_a_trial_is_answered(
    steps: list[tuple[EndpointImpact, int]],
) -> None:
    e, now, earlier = endpoint(), 0, list[Permit]()
    limits = e.limits("m")
    for effect, pause in steps:
        now = now + pause if earlier else max(now + pause, opens_at(e, now) or 0)
        for _ in range(2):
            if e.has_room(limits, now) and opens_at(e, now) is None:
                earlier.append(permit(e, now))
        if not earlier:
            continue
        until = limits.cooldown_until
        one = earlier.pop(0)
        e.settle(one, effect, "m", now)
        if effect is OK and one.trial:
            assert limits.cooldown_until == 0
        else:
            assert limits.cooldown_until >= until
        if effect.wait is not None and not limits.in_flight:
            assert limits.cooldown_until >= now + effect.wait * SECOND


def test_the_later_of_breaker_and_rate_limit_holds() -> None:
    e = endpoint()
    early, *broken = permits(e, 4)
    for one in broken:
        e.settle(one, DOWN, "m", 0)
    assert opens_at(e) == SECOND
    e.settle(early, wait(5), "m", 0)
    assert opens_at(e) == 5 * SECOND
    f = endpoint()
    first, *broken = permits(f, 5)
    f.settle(first, wait(0.5), "m", 0)
    assert opens_at(f) == SECOND // 2
    for one in broken[:3]:
        f.settle(one, DOWN, "m", 0)
    assert opens_at(f) == SECOND


def test_one_models_refusal_says_nothing_of_the_others() -> None:
    e = endpoint(3)
    send(e, wait(7))
    other = e.limits("another")
    assert (e.opens_at(other, 0), other.concurrency.level) == (None, 3)
    assert not permit(e, model="another").trial


def test_all_models_together_have_the_places_that_the_user_set() -> None:
    e = endpoint(3)
    permit(e, model="another")
    assert room(e) == 2


# --- the slow start after a lone refusal, and after an outage


def rounds(e: EndpointState, count: int, now: int) -> list[int]:
    """How many calls it takes, so many times, each time answered."""
    sizes = []
    for _ in range(count):
        taken = fill(e, now)
        sizes.append(len(taken))
        for one in taken:
            e.settle(one, OK, "m", now)
    return sizes


@pytest.mark.parametrize("refusal", [wait(5), overloaded(5)])
def test_after_a_lone_refusal_it_opens_with_one_call_and_rises_to_what_was_good(
    refusal: EndpointImpact,
) -> None:
    e = endpoint(10)
    send(e, refusal)
    assert rounds(e, 7, 5 * SECOND) == [1, 2, 3, 5, 8, 10, 10]


def test_after_an_outage_it_opens_with_one_call_and_rises_to_what_was_good() -> None:
    e = endpoint(10)
    for _ in range(3):
        send(e, DOWN)
    probe = permit(e, SECOND)
    e.prove(probe, SECOND)
    assert room(e, SECOND) == 0, "the probe is the one"
    e.settle(probe, OK, "m", SECOND)
    assert rounds(e, 5, SECOND) == [2, 3, 5, 8, 10]


def test_a_refusal_within_the_slow_start_begins_it_again() -> None:
    e = endpoint(10)
    send(e, wait(5))
    assert rounds(e, 3, 5 * SECOND) == [1, 2, 3]
    send(e, wait(5), 5 * SECOND)
    assert rounds(e, 6, 10 * SECOND) == [1, 2, 3, 5, 8, 10]


def test_the_slow_start_never_exceeds_the_places() -> None:
    e = endpoint(1)
    send(e, wait(5))
    assert rounds(e, 3, 5 * SECOND) == [1, 1, 1]


@pytest.mark.parametrize("effect", [CANCELLED, DOWN])
def test_only_a_success_widens_the_slow_start(effect: EndpointImpact) -> None:
    e = endpoint(10)
    send(e, wait(5))
    send(e, effect, 5 * SECOND)
    assert room(e, 5 * SECOND) == 1


# --- refused while others are in flight: it only says how many it takes


@pytest.mark.parametrize("refusal", [BUSY, overloaded()])
def test_a_refusal_beside_others_lowers_the_level_to_what_is_in_flight(
    refusal: EndpointImpact,
) -> None:
    e = endpoint(10)
    send(e, OK, SECOND, took=SECOND)
    *running, refused = permits(e, 4, SECOND)
    e.settle(refused, refusal, "m", SECOND)
    assert (e.limits("m").concurrency.level, opens_at(e, SECOND), room(e, SECOND)) == (3, None, 0)
    e.settle(running[0], OK, "m", 2 * SECOND)
    assert room(e, 2 * SECOND) == 1


def test_only_a_refusal_with_nothing_else_in_flight_counts_against_the_endpoint() -> None:
    e = endpoint(connect_failure_threshold=1, min_calls=1)
    other, refused = permits(e, 2)
    e.settle(refused, overloaded(), "m", 0)
    assert e.breaker.state is State.CLOSED
    e.settle(other, overloaded(), "m", 0)
    assert e.breaker.state is State.OPEN


@pytest.mark.parametrize(
    ("sent", "refused_at", "state"),
    [
        (0, 50.0, State.CLOSED),
        (1.5, 1.9, State.CLOSED),
        (1.5, 40.9, State.CLOSED),
        (1.5, 41.1, State.OPEN),
    ],
)
def test_an_answer_since_it_was_sent_or_within_forty_request_times_shows_that_the_server_works(
    sent: float, refused_at: float, state: State
) -> None:
    e = endpoint(connect_failure_threshold=1, min_calls=1)
    e.settle(one := permit(e, int(sent * SECOND)), CANCELLED, "m", 0)
    assert one.settled
    refused = permit(e, int(sent * SECOND))
    answered = permit(e, 0)
    e.settle(answered, OK, "m", SECOND)
    e.settle(refused, overloaded(), "m", int(refused_at * SECOND))
    assert e.breaker.state is state


def waiting(e: EndpointState, seconds: float = 9) -> Permit:
    """One call is in flight, and another was refused with a wait."""
    running, refused = permits(e, 2)
    e.settle(refused, wait(seconds), "m", 0)
    assert gated_for(e) == seconds
    return running


def test_a_wait_is_tried_by_one_call_as_soon_as_another_was_answered() -> None:
    e = endpoint()
    running = waiting(e)
    assert opens_at(e, SECOND) == 9 * SECOND
    e.settle(running, OK, "m", SECOND)
    assert opens_at(e, SECOND) is None
    assert permit(e, SECOND).trial
    assert opens_at(e, SECOND) is not None, "one call at a time"


def test_a_wait_whose_trial_is_refused_is_kept() -> None:
    e = endpoint()
    e.settle(waiting(e), OK, "m", SECOND)
    e.settle(permit(e, SECOND), wait(5), "m", SECOND)
    assert gated_for(e, SECOND) == 8
    f = endpoint()
    running = waiting(f)
    f.settle(running, OK, "m", SECOND)
    trial = permit(f, SECOND)
    f.settle(trial, BUSY, "m", SECOND)
    f.limits("m").heard(False, 2 * SECOND)
    assert opens_at(f, 2 * SECOND) == 9 * SECOND, "it is tried once"


@pytest.mark.parametrize("how", ["answered", "first content"])
def test_a_wait_whose_trial_is_not_refused_is_over(how: str) -> None:
    e = endpoint()
    e.settle(waiting(e), OK, "m", SECOND)
    trial = permit(e, SECOND)
    e.settle(trial, OK, "m", 2 * SECOND) if how == "answered" else e.prove(trial, 2 * SECOND)
    assert opens_at(e, 2 * SECOND) is None
    assert not permit(e, 2 * SECOND).trial


def test_a_trial_that_says_nothing_is_made_again() -> None:
    e = endpoint()
    e.settle(waiting(e), OK, "m", SECOND)
    e.withdraw_permit(permit(e, SECOND))
    e.settle(permit(e, SECOND), CANCELLED, "m", SECOND)
    assert opens_at(e, SECOND) is None
    assert permit(e, SECOND).trial


def test_a_refusal_of_one_more_than_is_known_to_be_good_asks_for_no_wait() -> None:
    e = endpoint(None)
    *_, refused = permits(e, 3)
    e.settle(refused, wait(9), "m", 0)
    assert (opens_at(e), e.limits("m").concurrency.level) == (None, 2)


# --- what else an outcome says of how much it takes


def test_what_the_server_says_is_left_is_not_exceeded_for_as_long_as_it_says() -> None:
    e = endpoint(10)
    send(e, EndpointImpact(allowance=(2, 30.0)))
    assert (room(e), room(e, 30 * SECOND - 1), room(e, 30 * SECOND)) == (2, 2, 10)


def test_one_call_finds_out_even_if_the_server_says_that_nothing_is_left() -> None:
    e = endpoint(10)
    send(e, EndpointImpact(allowance=(0, 30.0)))
    assert room(e) == 1


def test_no_answer_in_time_halves_what_is_in_flight() -> None:
    e = endpoint(None)
    send(e, EndpointImpact(Verdict.FAIL, late=True))
    assert e.limits("m").concurrency.level == 2


# --- preferences


@pytest.mark.parametrize("mark", [Mark.KEY, Mark.MODEL])
def test_a_mark_ends_after_300_seconds(mark: Mark) -> None:
    e = endpoint()
    send(e, EndpointImpact(Verdict.NEUTRAL, mark=mark))
    assert e.is_deprioritized(300 * SECOND - 1, "m")
    assert not e.is_deprioritized(300 * SECOND, "m")


@pytest.mark.parametrize("mark", [Mark.KEY, Mark.MODEL])
def test_a_mark_ends_with_a_success(mark: Mark) -> None:
    e = endpoint()
    send(e, EndpointImpact(Verdict.NEUTRAL, mark=mark))
    send(e, OK)
    assert not e.is_deprioritized(0, "m")


def test_a_missing_model_is_marked_for_that_model_only() -> None:
    e = endpoint()
    send(e, EndpointImpact(Verdict.NEUTRAL, mark=Mark.MODEL))
    assert e.is_deprioritized(0, "m")
    assert not e.is_deprioritized(0, "another")


def test_another_models_success_does_not_end_a_models_mark() -> None:
    e = endpoint()
    send(e, EndpointImpact(Verdict.NEUTRAL, mark=Mark.MODEL))
    e.settle(permit(e, model="another"), OK, "another", 0)
    assert e.is_deprioritized(0, "m")


def test_a_refused_key_is_marked_for_every_model() -> None:
    e = endpoint()
    send(e, EndpointImpact(Verdict.NEUTRAL, mark=Mark.KEY))
    assert e.is_deprioritized(0, "another")


def test_a_mark_is_no_gate() -> None:
    e = endpoint()
    send(e, EndpointImpact(Verdict.NEUTRAL, mark=Mark.KEY))
    assert opens_at(e) is None
    assert room(e) == 32


# --- budget


def test_a_charged_grant_pays_and_counts_as_a_retry() -> None:
    e = endpoint()
    e.settle(permit(e, uses_retry_budget=True), DOWN, "m", 0)
    assert (e.budget.tokens(0), e.stats.retries) == (63, 1)


def test_an_uncharged_grant_is_free() -> None:
    e = endpoint()
    send(e, DOWN)
    assert (e.budget.tokens(0), e.stats.retries) == (64, 0)


def test_only_a_success_refills_the_budget() -> None:
    e = endpoint()
    for _ in range(2):
        e.settle(permit(e, uses_retry_budget=True), OK, "m", 0)
    for effect in (DOWN, CANCELLED, BUSY):
        send(e, effect)
    assert e.budget.tokens(0) == pytest.approx(62.2)


# --- breaker


def test_connect_failures_open_the_breaker_and_gate_it() -> None:
    e = endpoint()
    for _ in range(3):
        send(e, DOWN)
    assert e.breaker.state is State.OPEN
    assert opens_at(e) == SECOND


def test_a_429_storm_leaves_the_breaker_closed() -> None:
    e = endpoint()
    for second in range(0, 100, 2):
        send(e, wait(1), second * SECOND)
    assert e.breaker.state is State.CLOSED


def test_a_probing_stream_gives_its_verdict_at_its_first_content() -> None:
    e = endpoint()
    for _ in range(3):
        send(e, DOWN)
    probe = permit(e, SECOND)
    assert probe.is_probe
    e.prove(probe, 2 * SECOND)
    assert e.breaker.state is State.CLOSED
    assert e.in_flight == 1


def test_one_verdict_per_lease() -> None:
    e = endpoint(connect_failure_threshold=1)
    send(e, DOWN)
    probe = permit(e, SECOND)
    e.prove(probe, SECOND)
    e.settle(probe, DOWN, "m", 2 * SECOND)
    assert e.breaker.state is State.CLOSED
    assert e.in_flight == 0


def test_another_stream_gives_its_verdict_at_its_end_only() -> None:
    e = endpoint()
    stream = permit(e)
    send(e, DOWN)
    send(e, DOWN)
    e.prove(stream, 0)
    send(e, DOWN)
    assert e.breaker.state is State.OPEN


@pytest.mark.parametrize(
    ("effect", "answered"),
    [
        (OK, True),
        (EndpointImpact(Verdict.FAIL, reason=ServerError("no", status_code=503)), True),
        (BUSY, True),
        (EndpointImpact(Verdict.FAIL, connect_class=True, reason=ServerError("no")), False),
        (CANCELLED, False),
    ],
)
def test_it_remembers_whether_it_ever_answered(effect: EndpointImpact, answered: bool) -> None:
    e = endpoint(answered=False)
    send(e, effect)
    assert e.answered is answered


def test_first_content_is_an_answer() -> None:
    e = endpoint(answered=False)
    e.prove(permit(e), 0)
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
        ([OK, EndpointImpact(Verdict.FAIL)], False),  # it answers, if badly
    ],
)
def test_it_is_down_when_it_answered_before_and_connections_fail(
    effects: list[EndpointImpact], down: bool
) -> None:
    e = endpoint(answered=False)
    for effect in effects:
        send(e, effect)
    assert e.is_down is down


# --- words


def test_it_says_why_it_is_not_used_and_what_helps_while_the_servers_wait_lasts() -> None:
    e = endpoint()
    error = RateLimited("429 from a", "Send less.", status_code=429)
    send(e, EndpointImpact(Verdict.NEUTRAL, refused=True, wait=2.5, reason=error))
    assert e.describe(e.limits("m"), 0) == "a: 429 from a Send less (next try in 2.5 s)"
    assert e.describe(e.limits("m"), 3 * SECOND) == "a: 429 from a"


def test_its_summary_has_the_figures_of_now() -> None:
    e = endpoint()
    early = permit(e)
    for _ in range(3):
        send(e, DOWN)
    open_now = e.summary(0)
    assert {
        name: open_now[name]
        for name in ("in_flight", "breaker", "closed_for", "max_concurrent", "concurrency_limit")
    } == {
        "in_flight": 1,
        "breaker": "open",
        "closed_for": 1.0,
        "max_concurrent": 32,
        "concurrency_limit": 32,
    }
    e.withdraw_permit(early)
    permit(e, SECOND)
    assert e.summary(SECOND)["breaker"] == "half_open"
