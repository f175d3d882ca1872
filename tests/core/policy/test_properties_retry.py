"""Rules R1 to R17 of docs/contract.md, of any failure:
whether it is tried again, when, and what it does to its endpoint.

A failure is drawn as what a server or a connection does;
the words of the rules are written here anew.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from same_examples import fixed

from opea_core import errors
from opea_core.config import RetryPolicy
from opea_core.policy import SECOND
from opea_core.policy.breaker import Verdict
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.permit import Permit
from opea_core.policy.retry import EndpointImpact, Failure, History, Phase, backoff, effect, judge
from opea_core.settings import resolve
from opea_core.wire.error_body import read_error
from opea_core.wire.error_class import error_class

BODIES = st.sampled_from(
    [
        *[{"message": "no"}] * 5,
        {"message": "no", "code": "insufficient_quota"},
        {"message": "no", "code": "context_length_exceeded"},
        {},
    ]
)
STATUSES = st.integers(300, 599) | st.sampled_from(
    [
        400,
        401,
        402,
        403,
        404,
        408,
        409,
        422,
        425,
        *[429] * 5,
        498,
        *[500] * 5,
        501,
        502,
        *[503] * 5,
        504,
        529,
    ]
)
WAITS = st.none() | st.floats(1e-3, 4000, allow_nan=False)
CHANCES = st.floats(0, 1, exclude_max=True)
POLICIES = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 5),
    initial_delay=st.floats(0, 100),
    backoff_factor=st.floats(1, 1e6),
    max_delay=st.floats(0, 1000),
    jitter=st.sampled_from(["equal", "full", "none"]),
    max_retry_after=st.floats(0, 1000),
)
NEVER = {400, 413, 415, 422, 501, 505, 507, 525}
"""Neither here nor elsewhere."""
ELSEWHERE = {401, 402, 403, 404}


@st.composite
def said(draw: st.DrawFn, statuses: st.SearchStrategy[int] = STATUSES) -> Failure:
    """An error status."""
    status = draw(statuses)
    body = read_error(json.dumps({"error": draw(BODIES)}).encode(), status)
    failure = Failure(
        Phase.STATUS, error_class(status, body)("no", status_code=status, code=body.code)
    )
    failure.wait = draw(WAITS)
    return failure


LOSSES = [
    (phase, cls, retryable)
    for phase in Phase
    for cls in (
        errors.EndpointConnectionError,
        errors.EndpointTimeout,
        errors.BadAnswerError,
        errors.RateLimited,
        errors.InvalidRequestError,
    )
    for retryable in (True, True, False)
    if phase is not Phase.STATUS
    and (
        cls is not errors.InvalidRequestError or phase in (Phase.BODY, Phase.FIRST, Phase.DELIVERED)
    )
]


def lost_as(
    phase: Phase, cls: type[errors.OPEAError], retryable: bool, own_limit: bool = False
) -> Failure:
    """A connection that broke, was late, or gave nothing usable."""
    return Failure(
        phase, cls("no"), retryable=retryable, own_limit=own_limit and cls is errors.EndpointTimeout
    )


def lost() -> st.SearchStrategy[Failure]:
    return st.builds(
        lambda loss, own_limit: lost_as(*loss, own_limit), st.sampled_from(LOSSES), st.booleans()
    )


FAILURES = st.builds(
    lambda failure, should: replace(failure, should_retry=should),
    said() | lost(),
    st.sampled_from([None, None, True, False]),
)
HISTORIES = st.builds(
    lambda attempts, server_errors, chance: History(attempts, server_errors, chance=lambda: chance),
    st.integers(1, 2000),
    st.integers(0, 3),
    CHANCES,
)


# --- whether


@fixed(300, few=100)
@given(failure=FAILURES, history=HISTORIES, policy=POLICIES)
def test_what_may_not_be_tried_again_is_not(
    failure: Failure, history: History, policy: RetryPolicy
) -> None:
    final = (
        failure.phase is Phase.DELIVERED or not failure.retryable or failure.should_retry is False
    )
    if final or (
        failure.error.status_code in NEVER
        and not failure.should_retry
        and not isinstance(failure.error, errors.QuotaExceeded)
    ):
        assert judge(failure, history, policy) is None


@fixed(300, few=100)
@given(failure=said(st.sampled_from(sorted(ELSEWHERE))), history=HISTORIES, policy=POLICIES)
def test_what_another_key_or_model_may_mend_is_tried_elsewhere_only(
    failure: Failure, history: History, policy: RetryPolicy
) -> None:
    again = judge(failure, history, policy)
    assert again is not None
    assert (again.delay, again.uses_retry_budget) == (None, False)


@pytest.mark.parametrize(("phase", "cls"), list(dict.fromkeys(loss[:2] for loss in LOSSES)))
@fixed(10)
@given(history=HISTORIES, policy=POLICIES)
def test_what_may_still_be_computing_is_not_sent_there_again(
    phase: Phase, cls: type[errors.OPEAError], history: History, policy: RetryPolicy
) -> None:
    again = judge(lost_as(phase, cls, True), history, policy)
    assert (again is None) is (phase is Phase.DELIVERED or cls is errors.InvalidRequestError)
    if again is not None:
        assert (again.delay is None) is (
            phase is Phase.MAYBE_SENT and cls is errors.EndpointTimeout
        )
        assert again.uses_retry_budget


@fixed(300, few=100)
@given(failure=FAILURES, history=HISTORIES, policy=POLICIES)
def test_only_a_refusal_and_a_wait_that_the_server_asked_for_are_free(
    failure: Failure, history: History, policy: RetryPolicy
) -> None:
    again = judge(failure, history, policy)
    if again is not None and not again.uses_retry_budget:
        waits = isinstance(failure.error, errors.RateLimited) and failure.wait is not None
        assert waits or again.delay is None, "a refusal is never tried again there"


# --- when


@fixed(300, few=100)
@given(failure=FAILURES, history=HISTORIES, policy=POLICIES)
def test_a_delay_is_within_its_bounds(
    failure: Failure, history: History, policy: RetryPolicy
) -> None:
    again = judge(failure, history, policy)
    if again is None or again.delay is None:
        return
    assert math.isfinite(again.delay)
    assert 0 <= again.delay <= max(policy.max_delay, policy.max_retry_after)
    if failure.wait is not None:
        assert again.delay >= failure.wait, "never earlier than asked"
        assert failure.wait <= policy.max_retry_after, "longer than that is not waited there"


@fixed(300, few=100)
@given(retry=st.integers(0, 100_000), policy=POLICIES, chance=CHANCES)
def test_the_backoff_is_the_capped_power_whatever_its_size(
    retry: int, policy: RetryPolicy, chance: float
) -> None:
    seconds = backoff(retry, policy, lambda: chance)
    exact = Fraction(policy.max_delay)
    if retry < 2000:  # beyond, only the cap or a factor of 1 can be left
        exact = min(
            exact,
            Fraction(policy.initial_delay) * Fraction(policy.backoff_factor) ** min(retry, 200),
        )
    elif policy.initial_delay == 0:
        exact = Fraction(0)
    if policy.jitter == "none" and retry <= 200:
        assert seconds == pytest.approx(float(exact), rel=1e-6)
    assert 0 <= seconds <= policy.max_delay
    assert policy.initial_delay > 0 or seconds == 0
    share = {"none": 1.0, "full": chance, "equal": 0.5 + 0.5 * chance}[policy.jitter]
    assert seconds == pytest.approx(
        share * backoff(retry, policy.replace(jitter="none"), lambda: 0.5)
    )


@fixed(300, few=100)
@given(failure=said(), history=HISTORIES)
def test_an_endpoint_rests_as_long_as_it_asked_and_a_little_more(
    failure: Failure, history: History
) -> None:
    found = effect(failure, history)
    limited = isinstance(failure.error, errors.RateLimited) and not isinstance(
        failure.error, errors.QuotaExceeded
    )
    quota = isinstance(failure.error, errors.QuotaExceeded)
    refused = limited or (failure.error.status_code in (498, 503, 529) and not quota)
    if failure.wait is None or not refused:
        assert found.wait is None
    else:
        assert found.wait is not None
        assert failure.wait <= found.wait <= failure.wait + min(0.2 * failure.wait, 5.0)
        assert found.wait == pytest.approx(
            failure.wait + history.chance() * min(0.2 * failure.wait, 5.0)
        ), "not in lockstep"
    assert found.refused is refused


# --- what it says of the endpoint

FAIL_STATUSES = {500, 502, 503, 504, 507, *range(520, 531)}


@fixed(300, few=100)
@given(failure=FAILURES, history=HISTORIES)
def test_only_the_servers_own_failures_count_against_it(failure: Failure, history: History) -> None:
    verdict = effect(failure, history).verdict
    status = failure.error.status_code
    assert verdict is not Verdict.OK
    if (
        failure.own_limit
        or not failure.retryable
        or isinstance(failure.error, errors.RateLimited | errors.RequestError)
        or (status is not None and 300 <= status < 500)
    ):
        assert verdict is Verdict.NEUTRAL
    elif status in FAIL_STATUSES and not isinstance(failure.error, errors.RequestError):
        assert verdict is (
            Verdict.NEUTRAL if status == 500 and history.server_errors else Verdict.FAIL
        )
    elif status is None:
        assert verdict is Verdict.FAIL


@fixed(60)
@given(failures=st.lists(said(st.sampled_from([500, 500, 500, 502])), max_size=5))
def test_the_500s_of_one_call_count_once(failures: list[Failure]) -> None:
    history, counted = History(), 0
    for failure in failures:
        if not isinstance(failure.error, errors.RequestError):
            verdict = effect(failure, history).verdict
            counted += failure.error.status_code == 500 and verdict is Verdict.FAIL
            assert failure.error.status_code == 500 or verdict is Verdict.FAIL
            history.server_errors += failure.error.status_code == 500
    assert counted == min(1, history.server_errors)


@fixed(300, few=100)
@given(failure=FAILURES, history=HISTORIES)
def test_a_failed_connection_is_one_that_gave_no_answer(failure: Failure, history: History) -> None:
    found = effect(failure, history)
    late = isinstance(failure.error, errors.EndpointTimeout)
    no_answer = failure.phase is Phase.NOT_SENT or (failure.phase is Phase.MAYBE_SENT and not late)
    assert found.connect_class is (no_answer and found.verdict is Verdict.FAIL)


# --- one call at one endpoint, by a clock that moves by hand


DAY = 24 * 3600


class RestMachine(RuleBasedStateMachine):
    """An endpoint and what servers said to it: it is used no sooner than any of them asked,
    but for one call that tries.
    """

    @initialize(chance=CHANCES)
    def begin(self, chance: float) -> None:
        settings = resolve(
            None, {"base_url": "http://one", "max_concurrent": 8, "breaker": False}, {}
        )
        self.endpoint = EndpointState(settings.endpoints[0], settings.breaker, lambda: chance, 0)
        self.limits = self.endpoint.limits("m")
        self.history = History(chance=lambda: chance)
        self.now = 0
        self.permits: list[Permit] = []
        self.asked: list[tuple[int, float]] = []
        """When, and for how many seconds."""
        self.backoffs: list[int] = []
        self.was_refused = False
        self.may_try = False
        """Something was answered since the wait began, and no trial was refused."""
        self.spent = False

    @rule(pause=st.integers(0, 40 * SECOND))
    def pass_time(self, pause: int) -> None:
        self.now += pause

    @property
    def is_open(self) -> bool:
        return (
            self.endpoint.has_room(self.limits, self.now)
            and self.endpoint.opens_at(self.limits, self.now) is None
        )

    @precondition(lambda self: self.is_open)
    @rule(count=st.integers(1, 6))
    def send(self, count: int) -> None:
        for _ in range(count):
            if not self.is_open:
                return
            early = any(
                self.now < at + int(min(seconds, DAY) * SECOND) - 1 for at, seconds in self.asked
            )
            trying = any(permit.trial for permit in self.permits)
            permit = self.endpoint.issue_permit(self.limits, self.now, uses_retry_budget=False)
            self.permits.append(permit)
            if early:
                assert permit.trial is not trying, (
                    "before the time one call tries; if it is not refused soon, more follow"
                )
            if early and permit.trial:
                asked_last = max(at for at, _ in self.asked)
                assert self.may_try or self.now - asked_last >= 60 * SECOND

    @precondition(lambda self: self.permits)
    @rule(
        which=st.integers(0, 9),
        wait=st.sampled_from([None, None, 0.2, 3.0, 30.0, 3000.0, 1e6]),
        status=st.sampled_from([429, 429, 503, 500, 0, 0, 0]),
    )
    def answer(self, which: int, wait: float | None, status: int) -> None:
        permit = self.permits.pop(which % len(self.permits))
        cools, until = self.limits.cooldown_until > self.now, self.limits.cooldown_until
        if not status:
            self.endpoint.settle(permit, EndpointImpact(), "m", self.now)
            self.may_try = cools and not self.spent
            if permit.trial:
                assert self.limits.cooldown_until == 0
                self.asked.clear()
            return
        body = read_error(b"{}", status)
        failure = Failure(Phase.STATUS, error_class(status, body)("no", status_code=status), wait)
        self.endpoint.settle(permit, effect(failure, self.history), "m", self.now)
        if status == 500:
            assert self.limits.cooldown_until == until, "that is no refusal"
            return
        if not cools:
            self.may_try = self.spent = False
        if permit.trial:
            self.may_try, self.spent = False, True
        self.refused(wait, until)

    def refused(self, wait: float | None, until: int) -> None:
        alone, must = not self.permits, not (self.permits and self.was_refused)
        self.was_refused = True
        asks = wait is not None and (must or self.limits.cooldown_until != until)
        if wait is not None and asks:
            self.asked.append((self.now, wait))
            assert self.limits.cooldown_until >= self.now + int(min(wait, DAY) * SECOND) - 1
            in_lockstep = (
                self.history.chance() > 0.1
                and self.limits.cooldown_until <= self.now + int(wait * SECOND)
            )
            assert not in_lockstep or wait > DAY, "not at the very moment that it named"
        elif wait is None and alone:
            self.backoffs.append(self.now)
        else:
            assert self.limits.cooldown_until == until, (
                "beside others, it only says how many the server takes"
            )
        latest = [
            at + int(min(seconds + min(0.2 * seconds, 5), DAY) * SECOND)
            for at, seconds in self.asked
        ]
        latest += [at + 4 * SECOND for at in self.backoffs]
        assert self.limits.cooldown_until <= max([*latest, until]) + 1, (
            "at most 20 % or 5 s more than asked"
        )

    def teardown(self) -> None:
        for permit in self.permits:
            self.endpoint.settle(permit, EndpointImpact(Verdict.NEUTRAL), "m", self.now)
        assert (self.endpoint.in_flight, self.limits.in_flight) == (0, 0)


TestRest = RestMachine.TestCase
TestRest.settings = fixed(100, 30, few=60)
