"""Rules R1 to R17 and B5 to B9 of docs/contract.md:
what is tried again, at what price, and what that says of the endpoint.
"""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opea_core import errors
from opea_core.config import RetryPolicy
from opea_core.policy.breaker import Verdict
from opea_core.policy.retry import (
    EndpointImpact,
    Failure,
    History,
    Mark,
    Phase,
    Retry,
    backoff,
    effect,
    judge,
)
from opea_core.wire.error_body import read_error
from opea_core.wire.error_class import error_class

POLICY = RetryPolicy()
FIXED = settings(derandomize=True, database=None, deadline=None)

DISCONNECTED = errors.EndpointConnectionError
TIMED_OUT = errors.EndpointTimeout
BAD = errors.BadAnswerError


def status(code: int, body: dict[str, Any] | None = None, **known: Any) -> Failure:
    """An error status, of the class that the wire gives it."""
    read = read_error(json.dumps({"error": body or {"message": "no"}}).encode(), code)
    return Failure(
        Phase.STATUS, error_class(code, read)("no", status_code=code, code=read.code), **known
    )


def broken(
    phase: Phase, cls: type[errors.OPEAError], code: int | None = None, **known: Any
) -> Failure:
    """Anything that is no error status."""
    return Failure(phase, cls("no", status_code=code), **known)


def quota() -> Failure:
    return status(429, {"message": "no", "code": "insufficient_quota"})


def overflow(code: int) -> Failure:
    return status(code, {"message": "no", "code": "context_length_exceeded"})


# --- the table: same endpoint after how many seconds (None: never), another, cost

BACKOFF = 1.0
"""The first backoff when chance is 1."""

TABLE: list[tuple[str, Failure, float | None, int]] = [
    ("not sent", broken(Phase.NOT_SENT, DISCONNECTED), BACKOFF, 1),
    ("connect timeout", broken(Phase.NOT_SENT, TIMED_OUT), BACKOFF, 1),
    ("disconnected before headers", broken(Phase.MAYBE_SENT, DISCONNECTED), BACKOFF, 1),
    ("first-event timeout before headers", broken(Phase.MAYBE_SENT, TIMED_OUT), None, 1),
    *[
        (str(code), status(code), BACKOFF, 1)
        for code in (408, 409, 425, 498, 499, 502, 503, 504, 520, 521, 522, 523, 524, 529, 530)
    ],
    ("503 with a wait", status(503, wait=7.0), 7.0, 1),
    ("502 with a wait shorter than the backoff", status(502, wait=0.5), BACKOFF, 1),
    ("first 500", status(500), BACKOFF, 1),
    ("500 with a wait", status(500, wait=7.0), 7.0, 1),
    ("429 with a wait", status(429, wait=7.0), 7.0, 0),
    ("429 with a wait shorter than the backoff", status(429, wait=0.5), 0.5, 0),
    ("429 without a wait", status(429), BACKOFF, 1),
    ("429 quota", quota(), None, 0),
    ("402", status(402), None, 0),
    ("401", status(401), None, 0),
    ("403", status(403), None, 0),
    ("302", broken(Phase.STATUS, errors.ConfigurationError, 302), None, 0),
    ("404", status(404), None, 0),
    ("body broke off", broken(Phase.BODY, DISCONNECTED), BACKOFF, 1),
    ("body timed out", broken(Phase.BODY, TIMED_OUT), BACKOFF, 1),
    ("2xx with HTML, broken JSON or nothing", broken(Phase.BODY, BAD, 200), BACKOFF, 1),
    ("2xx with an error object", broken(Phase.BODY, errors.ServerError, 200), BACKOFF, 1),
    ("stream broke off before content", broken(Phase.FIRST, DISCONNECTED), BACKOFF, 1),
    ("stream without content", broken(Phase.FIRST, BAD, 200), BACKOFF, 1),
    ("timeout after the headers", broken(Phase.FIRST, TIMED_OUT), BACKOFF, 1),
]


@pytest.mark.parametrize(
    ("failure", "delay", "cost"), [pytest.param(*row[1:], id=row[0]) for row in TABLE]
)
def test_tried_again(failure: Failure, delay: float | None, cost: int) -> None:
    again = judge(failure, History(), POLICY)
    assert again is not None
    assert (again.delay, again.uses_retry_budget) == (delay, cost == 1)


@pytest.mark.parametrize(
    "failure",
    [
        *[pytest.param(status(code), id=str(code)) for code in (400, 405, 413, 415, 422, 424, 501)],
        pytest.param(overflow(400), id="context overflow"),
        pytest.param(overflow(413), id="context overflow as 413"),
        pytest.param(overflow(500), id="context overflow as 500"),
        pytest.param(broken(Phase.DELIVERED, DISCONNECTED), id="handed out"),
        pytest.param(broken(Phase.DELIVERED, TIMED_OUT), id="handed out, then silence"),
        pytest.param(
            broken(Phase.DELIVERED, errors.RateLimited, 429, wait=1.0), id="handed out, then 429"
        ),
        pytest.param(
            broken(Phase.DELIVERED, errors.ServerError, 503, should_retry=True),
            id="handed out, whatever the server says",
        ),
        pytest.param(
            broken(Phase.NOT_SENT, errors.CertificateError, retryable=False), id="certificate"
        ),
        pytest.param(
            broken(Phase.NOT_SENT, errors.ConfigurationError, retryable=False), id="illegal header"
        ),
        pytest.param(broken(Phase.BODY, BAD, 200, retryable=False), id="oversized body"),
    ],
)
def test_not_tried_again(failure: Failure) -> None:
    assert judge(failure, History(), POLICY) is None


@pytest.mark.parametrize("failure", [pytest.param(row[1], id=row[0]) for row in TABLE])
def test_x_should_retry_false_is_obeyed(failure: Failure) -> None:
    forbidden = Failure(failure.phase, failure.error, failure.wait, should_retry=False)
    assert judge(forbidden, History(), POLICY) is None


def test_a_second_500_goes_elsewhere_only() -> None:
    again = judge(status(500), History(attempts=2, server_errors=1), POLICY)
    assert again == Retry(None, uses_retry_budget=True, reason="500")


@pytest.mark.parametrize(
    "cls", [errors.AuthenticationError, errors.PermissionDeniedError, errors.NotFoundError]
)
def test_a_refusal_inside_a_200_goes_elsewhere_like_its_status(cls: type[errors.OPEAError]) -> None:
    again = judge(broken(Phase.BODY, cls, 200), History(), POLICY)
    assert again is not None
    assert again.delay is None


def test_an_unknown_model_goes_elsewhere_whatever_its_status() -> None:
    failure = status(400, model_missing=True)
    again = judge(failure, History(), POLICY)
    assert again is not None
    assert again.delay is None
    assert effect(failure, History()).mark is Mark.MODEL


# --- R16, R17, W26: the server's wait


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504, 529])
def test_a_wait_beyond_max_retry_after_is_not_waited_for(code: int) -> None:
    again = judge(status(code, wait=60.1), History(), POLICY)
    assert again is not None
    assert again.delay is None


@pytest.mark.parametrize("code", [429, 502, 503])
def test_a_wait_up_to_max_retry_after_is_kept(code: int) -> None:
    again = judge(status(code, wait=60.0), History(), POLICY)
    assert again is not None
    assert again.delay == 60.0


@FIXED
@given(
    code=st.sampled_from([408, 409, 425, 429, 498, 499, 500, 502, 503, 504, 520, 529]),
    wait=st.floats(0.001, 1e6),
    chance=st.floats(0, 1, exclude_max=True),
    attempts=st.integers(1, 50),
)
def test_never_earlier_on_the_same_endpoint_than_the_server_asked(
    code: int, wait: float, chance: float, attempts: int
) -> None:
    again = judge(status(code, wait=wait), History(attempts, chance=lambda: chance), POLICY)
    assert again is not None
    assert again.delay is None or again.delay >= wait


@FIXED
@given(
    code=st.sampled_from([429, 498, 503]),
    wait=st.floats(1e-6, 1e9),
    chance=st.floats(0, 1, exclude_max=True),
)
@example(code=429, wait=60.0, chance=0.999)
def test_the_gate_is_the_servers_wait_and_up_to_a_fifth_more(
    code: int, wait: float, chance: float
) -> None:
    result = effect(status(code, wait=wait), History(chance=lambda: chance))
    assert result.wait is not None
    assert wait <= result.wait <= wait + min(0.2 * wait, 5.0)


def test_those_who_waited_do_not_return_in_lockstep() -> None:
    waits = {
        effect(status(429, wait=10.0), History(chance=lambda c=c: c / 10)).wait for c in range(10)
    }
    assert len(waits) == 10


# --- effect: what it says of the endpoint

FAILS: list[tuple[str, Failure, bool]] = [
    ("not sent", broken(Phase.NOT_SENT, DISCONNECTED), True),
    ("connect timeout", broken(Phase.NOT_SENT, TIMED_OUT), True),
    ("reset before an answer", broken(Phase.MAYBE_SENT, DISCONNECTED), True),
    ("first-event timeout", broken(Phase.MAYBE_SENT, TIMED_OUT), False),
    ("reset in the body", broken(Phase.BODY, DISCONNECTED), False),
    ("idle timeout", broken(Phase.BODY, TIMED_OUT), False),
    ("HTML", broken(Phase.BODY, BAD, 200), False),
    ("no end mark", broken(Phase.DELIVERED, errors.StreamInterrupted, 200), False),
    ("an error object of server class", broken(Phase.FIRST, errors.ServerError, 200), False),
    *[
        (str(code), status(code), False)
        for code in (500, 502, 503, 504, 507, 520, 521, 522, 523, 524, 525, 526, 529, 530)
    ],
]


@pytest.mark.parametrize(
    ("failure", "connect_class"), [pytest.param(*row[1:], id=row[0]) for row in FAILS]
)
def test_counts_against_the_endpoint(failure: Failure, connect_class: bool) -> None:
    result = effect(failure, History())
    assert (result.verdict, result.connect_class) == (Verdict.FAIL, connect_class)
    assert result.reason is failure.error


NEUTRALS: list[tuple[str, Failure]] = [
    *[
        (str(code), status(code))
        for code in (400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 422, 425, 429, 498, 499, 501)
    ],
    ("quota", quota()),
    ("context overflow", overflow(400)),
    ("context overflow as 500", overflow(500)),
    ("certificate", broken(Phase.NOT_SENT, errors.CertificateError, retryable=False)),
    (
        "the caller's own deadline",
        broken(Phase.MAYBE_SENT, errors.DeadlineExceeded, own_limit=True),
    ),
    ("a body larger than allowed", broken(Phase.BODY, BAD, 200, retryable=False)),
    ("a rate limit inside a 200", broken(Phase.FIRST, errors.RateLimited, 200)),
    ("redirect", broken(Phase.STATUS, errors.ConfigurationError, 302)),
    ("a bad request inside a 200", broken(Phase.FIRST, errors.InvalidRequestError, 200)),
]


@pytest.mark.parametrize("failure", [pytest.param(row[1], id=row[0]) for row in NEUTRALS])
def test_says_nothing_of_the_endpoints_health(failure: Failure) -> None:
    result = effect(failure, History())
    assert (result.verdict, result.connect_class) == (Verdict.NEUTRAL, False)


def test_all_500s_of_one_call_count_once() -> None:
    verdicts = [effect(status(500), History(server_errors=n)).verdict for n in range(4)]
    assert verdicts == [Verdict.FAIL, Verdict.NEUTRAL, Verdict.NEUTRAL, Verdict.NEUTRAL]


def test_a_502_counts_each_time() -> None:
    assert effect(status(502), History(attempts=3, server_errors=2)).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("failure", "refused", "waits"),
    [
        pytest.param(status(429), True, False, id="429: a backoff"),
        pytest.param(status(429, wait=10.0), True, True, id="429 with a wait"),
        pytest.param(status(498, wait=10.0), True, True, id="498 with a wait"),
        pytest.param(
            broken(Phase.FIRST, errors.RateLimited, 200, wait=10.0),
            True,
            True,
            id="a rate limit inside a 200",
        ),
        pytest.param(status(503, wait=10.0), True, True, id="503 with a wait"),
        pytest.param(status(503), True, False, id="503: a backoff"),
        pytest.param(status(529, wait=10.0), True, True, id="529 with a wait"),
        pytest.param(
            broken(Phase.DELIVERED, errors.ServerError, 503),
            False,
            False,
            id="503 in a stream of which something was handed out",
        ),
        pytest.param(
            status(502, wait=10.0), False, False, id="502 with a wait: only this call waits"
        ),
        pytest.param(quota(), False, False, id="quota"),
        pytest.param(status(402), False, False, id="402"),
        pytest.param(status(500), False, False, id="500"),
        pytest.param(status(401), False, False, id="401"),
    ],
)
def test_what_is_a_refusal_as_too_much(failure: Failure, refused: bool, waits: bool) -> None:
    result = effect(failure, History())
    assert (result.refused, result.wait is not None) == (refused, waits)


@pytest.mark.parametrize(
    ("failure", "late"),
    [
        pytest.param(broken(Phase.MAYBE_SENT, TIMED_OUT), True, id="first-event timeout"),
        pytest.param(broken(Phase.BODY, TIMED_OUT), True, id="idle timeout"),
        pytest.param(status(408), True, id="408"),
        pytest.param(status(504), True, id="504"),
        pytest.param(status(524), True, id="524"),
        pytest.param(
            broken(Phase.MAYBE_SENT, TIMED_OUT, own_limit=True),
            False,
            id="the caller's own deadline",
        ),
        pytest.param(broken(Phase.NOT_SENT, TIMED_OUT), False, id="connect timeout"),
        pytest.param(broken(Phase.NOT_SENT, DISCONNECTED), False, id="refused connection"),
        pytest.param(status(429), False, id="429"),
        pytest.param(status(500), False, id="500"),
    ],
)
def test_what_came_too_late(failure: Failure, late: bool) -> None:
    assert effect(failure, History()).late is late


@pytest.mark.parametrize("code", [400, 500, 502])
def test_a_gateway_whose_upstream_is_gone_is_down_whatever_its_status(code: int) -> None:
    failure = broken(Phase.STATUS, errors.ServerError, code, away=True)
    for history in (History(), History(attempts=3, server_errors=2)):
        again = judge(failure, history, POLICY)
        assert again is not None
        assert again.delay is not None
        assert again.uses_retry_budget
        assert effect(failure, history).verdict is Verdict.FAIL


@pytest.mark.parametrize(("chance", "delay"), [(0.0, 0.4), (0.5, 0.5), (1.0, 0.6)])
def test_an_address_that_never_answered_is_tried_again_soon(chance: float, delay: float) -> None:
    failure = broken(Phase.NOT_SENT, DISCONNECTED)
    for attempts in (2, 9):
        again = judge(failure, History(attempts, known=False, chance=lambda: chance), POLICY)
        assert again is not None
        assert again.delay == pytest.approx(delay)
    known = judge(failure, History(9, chance=lambda: chance), POLICY)
    assert known is not None
    assert known.delay == pytest.approx(20 * (0.5 + 0.5 * chance))


@pytest.mark.parametrize("code", [402, 429])
def test_quota_is_no_gate_even_with_a_wait(code: int) -> None:
    failure = status(code, {"message": "no", "code": "insufficient_quota"}, wait=10.0)
    result = effect(failure, History())
    assert (result.mark, result.wait) == (Mark.KEY, None)


@pytest.mark.parametrize(
    ("failure", "mark"),
    [
        pytest.param(status(401), Mark.KEY, id="401"),
        pytest.param(status(403), Mark.KEY, id="403"),
        pytest.param(status(402), Mark.KEY, id="402"),
        pytest.param(quota(), Mark.KEY, id="quota"),
        pytest.param(status(404), Mark.MODEL, id="404"),
        pytest.param(broken(Phase.STATUS, errors.ConfigurationError, 302), Mark.KEY, id="302"),
        pytest.param(status(400), None, id="400"),
        pytest.param(status(429), None, id="429"),
        pytest.param(status(503), None, id="503"),
        pytest.param(broken(Phase.NOT_SENT, DISCONNECTED), None, id="not sent"),
    ],
)
def test_what_moves_the_endpoint_to_the_end(failure: Failure, mark: Mark | None) -> None:
    assert effect(failure, History()).mark is mark


def test_an_answer_is_the_default_effect() -> None:
    nothing = {
        "connect_class": False,
        "refused": False,
        "late": False,
        "wait": None,
        "mark": None,
        "reason": None,
    }
    assert EndpointImpact() == EndpointImpact(Verdict.OK, allowance=None, jitter=0.0, **nothing)


# --- R3: backoff


def test_backoff_doubles_up_to_max_delay() -> None:
    assert [backoff(n, POLICY, lambda: 1.0) for n in range(7)] == [1, 2, 4, 8, 16, 20, 20]


def test_backoff_is_drawn_from_half_of_its_ceiling_to_all_of_it() -> None:
    assert [backoff(3, POLICY, lambda c=c: c) for c in (0.0, 0.25, 0.5, 1.0)] == [4, 5, 6, 8]


def test_backoff_with_full_jitter_is_drawn_from_0_to_its_ceiling() -> None:
    assert [
        backoff(3, RetryPolicy(jitter="full"), lambda c=c: c) for c in (0.0, 0.25, 0.5, 1.0)
    ] == [0, 2, 4, 8]


def test_backoff_without_jitter_is_its_ceiling() -> None:
    assert backoff(3, RetryPolicy(jitter="none"), lambda: 0.0) == 8


@pytest.mark.parametrize("attempts", [1, 2, 3, 4])
def test_the_nth_failure_waits_the_nth_backoff(attempts: int) -> None:
    again = judge(status(503), History(attempts), POLICY)
    assert again is not None
    assert again.delay == 2 ** (attempts - 1)


@FIXED
@given(
    retry=st.integers(0, 1500),
    initial=st.floats(0, 1e6),
    factor=st.floats(1, 1e9),
    longest=st.floats(0, 1e6),
    chance=st.floats(0, 1, exclude_max=True),
    jitter=st.sampled_from(["equal", "full", "none"]),
)
@example(retry=1025, initial=1.0, factor=2.0, longest=20.0, chance=0.5, jitter="full")
@example(retry=1025, initial=0.0, factor=2.0, longest=20.0, chance=0.5, jitter="full")
def test_backoff_is_within_its_bounds(
    retry: int, initial: float, factor: float, longest: float, chance: float, jitter: str
) -> None:
    policy = RetryPolicy(
        initial_delay=initial, backoff_factor=factor, max_delay=longest, jitter=jitter
    )
    ceiling = float(min(Fraction(longest), Fraction(initial) * Fraction(factor) ** retry))
    seconds = backoff(retry, policy, lambda: chance)
    assert 0 <= seconds <= ceiling * (1 + 1e-9)
    if jitter == "none":
        assert seconds == pytest.approx(ceiling)
    if jitter == "equal":
        assert seconds >= 0.5 * ceiling * (1 - 1e-9)


# --- R1


def test_the_defaults_are_those_of_the_contract() -> None:
    assert (
        RetryPolicy(
            max_retries=3,
            initial_delay=1,
            backoff_factor=2,
            max_delay=20,
            jitter="equal",
            max_retry_after=60,
        )
        == POLICY
    )


@FIXED
@given(
    phase=st.sampled_from([p for p in Phase if p is not Phase.DELIVERED]),
    cls=st.sampled_from(
        [
            errors.ServerError,
            errors.RateLimited,
            errors.EndpointTimeout,
            errors.NotFoundError,
            errors.QuotaExceeded,
        ]
    ),
    code=st.sampled_from([None, 200, 404, 429, 500, 503]),
    wait=st.none() | st.floats(1e-6, 1e5),
    attempts=st.integers(1, 2000),
    server_errors=st.integers(0, 3),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_every_decision_is_finite_and_not_negative(
    phase: Phase,
    cls: type[errors.OPEAError],
    code: int | None,
    wait: float | None,
    attempts: int,
    server_errors: int,
    chance: float,
) -> None:
    failure, history = (
        Failure(phase, cls("no", status_code=code), wait),
        History(attempts, server_errors, chance=lambda: chance),
    )
    again, result = judge(failure, history, POLICY), effect(failure, history)
    if again is not None and again.delay is not None:
        assert 0 <= again.delay <= max(POLICY.max_delay, POLICY.max_retry_after)
    assert result.wait is None or result.wait > 0
    assert not (result.connect_class and result.verdict is not Verdict.FAIL)
