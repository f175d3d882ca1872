"""What a failure means for the next attempt, how long to pause before it, and for the endpoint.

Try again or not, where, when, and at what price.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from opea_core import errors
from opea_core.config import RetryPolicy
from opea_core.policy.breaker import Verdict


class Phase(Enum):
    """How far a call had come when it failed."""

    NOT_SENT = "not_sent"
    """DNS, refused, connect, TLS: no byte of the request left."""
    MAYBE_SENT = "maybe_sent"
    """Write error, disconnect or timeout before the headers."""
    STATUS = "status"
    """The server answered with an error status."""
    BODY = "body"
    """In the body of a plain answer."""
    FIRST = "first"
    """In a stream of which nothing was handed out."""
    DELIVERED = "delivered"
    """In a stream of which something was handed out."""


@dataclass(slots=True)
class Failure:
    """One failed attempt, as values."""

    phase: Phase
    error: errors.OPEAError
    wait: float | None = None
    """Seconds the server asked to wait."""
    reused: bool = False
    """The connection was re-used and broke without any response byte."""
    should_retry: bool | None = None
    """The server's ``x-should-retry``."""
    retryable: bool = True
    """False for what cannot differ the next time: certificates, oversized bodies."""
    own_limit: bool = False
    """The caller's deadline was shorter than the endpoint's own limits."""
    brief: str = ""
    """What happened, without where."""
    away: bool = False
    """A gateway says that the server behind it is gone, with whatever status."""
    model_missing: bool = False
    """The server says that it does not know the model, with whatever status."""


@dataclass(slots=True)
class History:
    """What the call went through before this failure."""

    attempts: int = 1
    server_errors: int = 0
    """500s so far."""
    known: bool = True
    """Whether the endpoint has answered anybody."""
    chance: Callable[[], float] = lambda: 1.0


class Mark(Enum):
    """Why an endpoint is chosen last for a while."""

    KEY = "key"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class EndpointImpact:
    """What an outcome does to its endpoint."""

    verdict: Verdict = Verdict.OK
    connect_class: bool = False
    refused: bool = False
    """The server has too much to do for this request, which made it no work."""
    late: bool = False
    """It did not answer in time."""
    chance: float = 1.0
    """For the jitter of a wait that is ours."""
    wait: float | None = None
    """Seconds until the endpoint is used again, jitter included; None for no stated wait."""
    jitter: float = 0.0
    """How many of them are ours."""
    allowance: tuple[int, float] | None = None
    """Requests the server says are left, and for how many seconds that holds."""
    mark: Mark | None = None
    reason: errors.OPEAError | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again: on the same endpoint after ``delay`` seconds (None: never there).

    Elsewhere at once.
    """

    delay: float | None
    uses_retry_budget: bool = True
    """Whether the budget of the endpoint that takes it pays."""
    reason: str = ""


_SAME_AND_OTHER = frozenset(
    {408, 409, 421, 425, 498, 499, 502, 503, 504, 520, 521, 522, 523, 524, 529, 530}
)
AWAY = frozenset({502, 503, 520, 521, 522, 523, 525, 526, 527, 530})
"""What gateways answer while the server behind them is away.

Not 504, 524 and 529: then it still works, or has too much to do.
"""
_UNKNOWN_PAUSE = 0.5
"""Seconds between two tries at an endpoint that never answered."""
_TOO_MUCH = frozenset({429, 498, 503, 529})
_FAIL_STATUS = AWAY | {500, 504, 507, 524, 528, 529}


def effect(failure: Failure, history: History) -> EndpointImpact:
    """What a failure says of its endpoint."""
    error, status = failure.error, failure.error.status_code
    refused = is_refused_as_too_much(failure)
    wait, jitter = None, 0.0
    if failure.wait is not None and refused:
        jitter = most_jitter(failure.wait) * history.chance()
        wait = failure.wait + jitter
    mark = None
    if isinstance(
        error, errors.AuthenticationError | errors.PermissionDeniedError | errors.QuotaExceeded
    ):
        mark = Mark.KEY
    elif failure.model_missing or isinstance(error, errors.NotFoundError):
        mark = Mark.MODEL
    elif _is_redirect(failure):
        mark = Mark.KEY
    connect = failure.phase is Phase.NOT_SENT or (
        failure.phase is Phase.MAYBE_SENT and not error.is_timeout
    )
    verdict = _verdict(failure, history)
    late = not refused and (
        status in (408, 504, 524)
        or (failure.phase is not Phase.NOT_SENT and error.is_timeout and not failure.own_limit)
    )
    connect = connect and verdict is Verdict.FAIL
    return EndpointImpact(
        verdict,
        connect_class=connect,
        refused=refused,
        late=late,
        chance=history.chance() if refused else 1.0,
        wait=wait,
        jitter=jitter,
        mark=mark,
        reason=error,
    )


def is_refused_as_too_much(failure: Failure) -> bool:
    """Whether the server says that it has too much to do."""
    error = failure.error
    if isinstance(error, errors.RateLimited):
        return not isinstance(error, errors.QuotaExceeded)
    return error.status_code in _TOO_MUCH and failure.phase is not Phase.DELIVERED


def most_jitter(wait: float) -> float:
    """Seconds that may be added to a wait a server asks for, so that not all come back at once."""
    return min(0.2 * wait, 5.0)


def _verdict(failure: Failure, history: History) -> Verdict:
    error, status = failure.error, failure.error.status_code
    if (
        failure.own_limit
        or not failure.retryable
        or isinstance(error, errors.RequestError | errors.RateLimited | errors.CertificateError)
    ):
        return Verdict.NEUTRAL
    if status is not None and status >= 300:
        if failure.away:
            return Verdict.FAIL
        if status == 500 and history.server_errors:
            return Verdict.NEUTRAL  # all 500s of one call count once
        return Verdict.FAIL if status in _FAIL_STATUS else Verdict.NEUTRAL
    return Verdict.FAIL


def judge(failure: Failure, history: History, policy: RetryPolicy) -> Retry | None:
    """Whether and how to try again; None to raise the failure's error.

    The number of attempts is not looked at here: the caller knows what counts as one.
    """
    if failure.phase is Phase.DELIVERED or not failure.retryable or failure.should_retry is False:
        return None
    delay: float | None = backoff(history.attempts - 1, policy, history.chance)
    if failure.wait is not None:  # never earlier than asked, and not at all when that is too long
        delay = None if failure.wait > policy.max_retry_after else max(delay or 0.0, failure.wait)
    if failure.phase is Phase.NOT_SENT:
        # Likely the wrong address: its caller hears of it soon.
        if delay is not None and not history.known:
            delay = min(delay, _UNKNOWN_PAUSE * (0.8 + 0.4 * history.chance()))
        return Retry(delay, reason="not sent")
    if failure.phase is Phase.MAYBE_SENT:
        return Retry(None if failure.error.is_timeout else delay, reason="no answer")
    again = _by_error(failure, history, delay)
    if again is None and failure.should_retry:
        return Retry(delay, reason="the server asked for it")
    return again


def _by_error(failure: Failure, history: History, delay: float | None) -> Retry | None:
    """Rules R8 to R11, which look at the status or the class.

    A refusal made no work: going elsewhere is no retry there.
    """
    error, status = failure.error, failure.error.status_code
    if isinstance(error, errors.QuotaExceeded):
        return Retry(None, uses_retry_budget=False, reason="quota exceeded")
    if isinstance(error, errors.RateLimited):
        if failure.wait is None:
            return Retry(delay, reason="rate limited")
        return Retry(
            None if delay is None else failure.wait, uses_retry_budget=False, reason="rate limited"
        )
    if isinstance(
        error, errors.AuthenticationError | errors.PermissionDeniedError | errors.NotFoundError
    ):
        return Retry(None, uses_retry_budget=False, reason=f"{status or type(error).__name__}")
    if failure.model_missing:
        return Retry(None, uses_retry_budget=False, reason="unknown model")
    if _is_redirect(failure):
        return Retry(None, uses_retry_budget=False, reason="redirected")
    if isinstance(error, errors.RequestError | errors.ConfigurationError):
        return None
    if failure.away:
        return Retry(delay, reason=f"{status}, its upstream is gone")
    if status == 500:
        return Retry(None if history.server_errors else delay, reason="500")
    if status is not None and status >= 300:
        return Retry(delay, reason=str(status)) if status in _SAME_AND_OTHER else None
    return Retry(delay, reason="unusable answer")


def _is_redirect(failure: Failure) -> bool:
    """The endpoint's address is wrong; another endpoint's may be right."""
    status = failure.error.status_code
    return status is not None and 300 <= status < 400


def backoff(retry: int, policy: RetryPolicy, chance: Callable[[], float]) -> float:
    """Seconds before retry number ``retry`` (from 0) on the same endpoint."""
    try:
        ceiling = min(policy.max_delay, policy.initial_delay * policy.backoff_factor**retry)
    except OverflowError:
        ceiling = policy.max_delay if policy.initial_delay else 0.0
    if policy.jitter == "none":
        return ceiling
    return ceiling * (chance() if policy.jitter == "full" else 0.5 + 0.5 * chance())
