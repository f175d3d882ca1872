"""One call, from the queue to the answer. The algorithm; no I/O, no clock, nothing held."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from opea_core import errors
from opea_core.flow import explain, explain_rejection, explain_transport, telemetry
from opea_core.flow.adapting import Learning, listed_models
from opea_core.flow.call_log import CallLog
from opea_core.flow.effects import (
    Acquire,
    CallSpec,
    Effect,
    Emit,
    FetchKey,
    Outcome,
    Reply,
    Request,
    Send,
    Settle,
    TransportFailure,
)
from opea_core.flow.error_context import ErrorContext
from opea_core.flow.prepare import Context, build_request, model_of, with_connect
from opea_core.policy import SECOND
from opea_core.policy.breaker import Verdict
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.permit import Permit
from opea_core.policy.retry import (
    EndpointImpact,
    Failure,
    Phase,
    Retry,
    effect,
    is_refused_as_too_much,
    judge,
)
from opea_core.policy.scheduler import Rejection
from opea_core.wire.headers import HEADER_LEFT, allowance

OK = EndpointImpact(Verdict.OK)
_DOUBTFUL_CONNECT, _USUAL_CONNECT = 0.25, 1.0
"""Seconds to connect while another endpoint could serve the call.

To one that never answered or failed lately, and to others.
"""

Flow: TypeAlias = Generator[Effect, Outcome, "CallResult"]
"""A call under way: it yields what it needs, and returns how it ended well."""


@dataclass(slots=True)
class CallResult:
    """How a call ended well: the reply, the permit it holds (streams), and how it went."""

    reply: Reply
    permit: Permit
    where: ErrorContext
    log: CallLog


class FailedAttempt(NamedTuple):
    """How the last request made with a permit failed, and what its error is told by."""

    failure: Failure
    where: ErrorContext


def call_flow(spec: CallSpec, context: Context, started: int) -> Flow:
    """Get a permit, send, judge, and go round until it is an answer or an error.

    Returns a CallResult; raises the error that is left when no further attempt is allowed.
    """
    log = CallLog(started, started, context.chance)
    refused: Rejection | None = None
    while True:
        # Between two attempts a call waits in the queue like any other, and holds nothing (W12).
        permit = refused or (yield from Acquire())
        log.at = permit.at
        if isinstance(permit, Rejection):
            yield Emit(telemetry.call_rejected(log.at, spec.call_id, permit))
            raise _final(explain_rejection.from_rejection(permit, spec, log.last, log.seconds), log)
        ended = yield from _attempts(spec, context, log, permit)
        if isinstance(ended, CallResult):
            return ended
        failure, where = ended
        retry, free = _next(failure, log, spec, permit)
        said = effect(failure, log.history(permit.endpoint.answered))
        # A refused list says nothing about the key or the model of chat calls.
        if spec.method == "GET":
            said = replace(said, mark=None, refused=said.refused and said.wait is not None)
        # Behind the others after a probe in vain: the same call would be the probe each time (B12).
        settle = Settle(permit, said, retry, behind=free or permit.is_probe)
        # All 500s of one call count as one failure (B8).
        log.server_errors += failure.error.status_code == 500 and not failure.away
        if retry is None:
            # Before the permit goes back, as the question is a request, too.
            if failure.model_missing and _may_ask_for_models(spec):
                models = yield from listed_models(where, permit, context)
                explain.with_models(failure.error, models or [], where)
            yield settle
            raise _final(failure.error, log)
        refused = yield from settle
        label = permit.endpoint.label
        yield Emit(telemetry.retry_decided(log.at, spec.call_id, label, log.sent, retry, refused))


def _attempts(
    spec: CallSpec, context: Context, log: CallLog, permit: Permit
) -> Generator[Effect, Outcome, CallResult | FailedAttempt]:
    """The requests made with one permit.

    One, and again at once where a small change is all that was asked for.
    """
    endpoint, model = permit.endpoint, model_of(spec, context, permit.endpoint)
    may_adapt = endpoint.config.adapt if spec.adapt is None else spec.adapt
    learning = Learning.begin(endpoint, model, may_adapt, log, permit.at)
    key: str | None = spec.key or (yield from FetchKey(endpoint, spec.deadline))
    while True:
        request, where = build_request(spec, context, endpoint, learning.learned, key)
        log.hasty = _limit_connecting(request, permit, spec)
        log.sent += 1
        outcome = yield from Send(permit, request, log.sent)
        log.at = outcome.at
        failure = failure_of(outcome, where)
        if failure is None:
            assert isinstance(outcome, Reply)
            # Only now: a request that fails for another reason proves nothing (A4).
            learning.keep(log, outcome.at)
            # A stream's permit belongs to its reader, until the stream's end (S3).
            if outcome.connection is None:
                response = outcome.response_reader.response
                yield Settle(permit, went_well(outcome), usage=response.usage if response else None)
            return CallResult(outcome, permit, where, log)
        if _goes_again_at_once(failure, log, permit):
            continue
        log.last = failure.error
        log.failed(explain.attempt_record(where, failure, (outcome.at - outcome.sent_at) / SECOND))
        # With the same permit: the refusal was no work, and the change is certain (A5).
        if (yield from learning.after(failure, request, where, log)):
            continue
        if _is_key_refused(failure, endpoint, spec, log):
            log.rekeyed = True
            # Keys expire between two calls; an unchanged key would be refused again (R21).
            fresh = yield from FetchKey(endpoint, spec.deadline)
            if fresh != key:
                key = fresh
                continue
        return FailedAttempt(failure, where)


def _may_ask_for_models(spec: CallSpec) -> bool:
    """Whether a further request may find out what to say of an unknown model (E10).

    Not for who wants one request, nor for an SDK that shows the server's own words.
    """
    return spec.names_models and spec.retry.max_retries > 0 and spec.raw is None


def _is_key_refused(
    failure: Failure, endpoint: EndpointState, spec: CallSpec, log: CallLog
) -> bool:
    """Whether a key that a function gave was refused for the first time."""
    is_from_function = callable(endpoint.config.api_key) and not spec.key
    return failure.error.status_code == 401 and is_from_function and not log.rekeyed


def went_well(reply: Reply) -> EndpointImpact:
    """What an answer says of its endpoint."""
    if HEADER_LEFT not in reply.headers:
        return OK
    return EndpointImpact(Verdict.OK, allowance=allowance(reply.headers, reply.wall))


def failure_of(outcome: Reply | TransportFailure, where: ErrorContext) -> Failure | None:
    """What is wrong with an outcome, or None."""
    if isinstance(outcome, TransportFailure):
        failure = explain_transport.from_broken(where, outcome)
        # What came before the break is kept for the caller (S7).
        if outcome.response_reader is not None:
            failure.error.partial = where.partial(outcome.response_reader.partial())
        return failure
    problem = outcome.response_reader.problem
    if problem is None:
        return _undecodable(outcome, where)
    failure = explain.from_reply(where, outcome, problem)
    failure.error.partial = where.partial(outcome.response_reader.partial())
    return failure


def _undecodable(outcome: Reply, where: ErrorContext) -> Failure | None:
    """Decode a document; what does not fit will not fit the next time either."""
    decode = where.spec.decode
    if decode is None:
        return None
    try:
        outcome.value = decode(outcome.response_reader.document)
    except errors.BadAnswerError as error:
        return Failure(Phase.BODY, explain.from_document(where, outcome, error), retryable=False)
    return None


def _goes_again_at_once(failure: Failure, log: CallLog, permit: Permit) -> bool:
    """Whether the server had closed a kept connection.

    The request goes out once more, on a new one, and is not counted as sent if it was not.
    """
    if not failure.reused or failure.error.is_timeout or log.resent:
        return False
    if failure.phase not in (Phase.MAYBE_SENT, Phase.NOT_SENT):
        return False
    # Once: a further break so early has another reason than a stale connection (R20).
    log.resent = True
    log.sent -= failure.phase is Phase.NOT_SENT
    permit.resent += failure.phase is Phase.MAYBE_SENT
    return True


def _next(
    failure: Failure, log: CallLog, spec: CallSpec, permit: Permit
) -> tuple[Retry | None, bool]:
    """The next attempt, and whether this one was a probe that cost nothing.

    None: this failure is the call's error.
    """
    log.counted += 1
    if _is_no_attempt(failure, spec, permit):
        log.counted -= 1
        return (
            Retry(0.0, uses_retry_budget=False, reason="no room there now")
            if _may_wait_on(log, spec, permit)
            else None
        ), False
    retry = judge(failure, log.history(permit.endpoint.answered), spec.retry)
    if retry is None or (retry.delay is None and len(permit.candidates) < 2):
        return None, False
    free = _costs_nothing(failure, permit, log, spec)
    if free:  # the breaker, not a backoff, says when the next one goes out
        log.counted -= 1
        retry = replace(retry, delay=0.0, uses_retry_budget=False)
    elif failure.away and permit.limits.answered_at is not None and log.counted > 2:
        # As many as open a breaker.
        if _may_wait_on(log, spec, permit):
            log.counted -= 1
            retry = replace(retry, uses_retry_budget=False)
    # It was our haste, and not the endpoint's failure (R25).
    elif log.hasty and failure.phase is Phase.NOT_SENT and failure.error.is_timeout:
        log.counted -= 1  # another endpoint is there
        retry = replace(retry, uses_retry_budget=False)
    return (retry if log.counted <= spec.retry.max_retries else None), free


def _is_no_attempt(failure: Failure, spec: CallSpec, permit: Permit) -> bool:
    """Whether it was only refused as too much while there are other calls: it waits for room.

    A lone call is what the server does not take at all: that is told after its attempts. Not for a
    caller who wants exactly one request, nor for a wait that is longer than anybody waits.
    """
    if (
        not is_refused_as_too_much(failure)
        or failure.should_retry is False
        or spec.retry.max_retries == 0
        or spec.recovery_wait <= 0
    ):
        return False
    if (
        # Alone, no answer could end the wait early (W27), and it is too long to be kept (R17).
        permit.limits.in_flight <= 1
        and failure.wait is not None
        and failure.wait > spec.retry.max_retry_after
    ):
        return False
    return not permit.is_alone


def _may_wait_on(log: CallLog, spec: CallSpec, permit: Permit) -> bool:
    """Whether ``recovery_wait`` is not over.

    It begins when this call was turned away first, or when anybody had an answer there.
    """
    log.turned_away_at = log.at if log.turned_away_at is None else log.turned_away_at
    # As long as others are served, this call may only not have had its turn (R14).
    since = max(log.turned_away_at, permit.limits.answered_at or 0)
    is_over = log.at - since >= max(spec.recovery_wait, permit.limits.patience) * SECOND
    # A wait that was asked for is kept once.
    return not is_over or (permit.limits.stated and not permit.limits.refusals)


def _limit_connecting(request: Request, permit: Permit, spec: CallSpec) -> bool:
    """While another endpoint could serve the call, connect only as long as nobody minds."""
    limit, patience = (
        request.timeouts.connect,
        _DOUBTFUL_CONNECT if permit.endpoint.is_doubtful else _USUAL_CONNECT,
    )
    if (
        not permit.has_alternative
        or spec.retry.max_retries == 0
        or (limit is not None and limit <= patience)
    ):
        return False
    request.timeouts = with_connect(request.timeouts, patience)
    return True


def _costs_nothing(failure: Failure, permit: Permit, log: CallLog, spec: CallSpec) -> bool:
    """Whether a failed attempt in an outage costs its call nothing.

    The call is held until a server is back.

    That is a probe that found its endpoint still down, or a gateway before it that says so; or the
    last attempt, when they were spread over endpoints that are all down (at one endpoint so many
    would have opened its breaker). Only where the endpoints have answered before: one that never
    did is reported, as the address is likely wrong. And not for a caller who wants exactly one
    request.
    """
    if not permit.endpoint.answered or spec.retry.max_retries == 0:
        return False
    connect_class = effect(failure, log.history()).connect_class
    # It found out for everybody that the outage goes on (B13).
    if permit.is_probe and (connect_class or failure.away):
        return True
    if not connect_class:
        return False
    others = [peer for peer in permit.candidates if peer is not permit.endpoint]
    return (
        bool(others)
        and log.counted > max(2, spec.retry.max_retries)
        and all(peer.is_down for peer in others)
    )


def _final(error: errors.OPEAError, log: CallLog) -> errors.OPEAError:
    """The error as it is raised: with every attempt."""
    # A caller must be able to see what was tried (R24).
    return error.with_details(attempts=tuple(log.attempts), seconds=log.seconds)
