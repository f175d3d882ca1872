"""One call, from the queue to the answer. The algorithm; no I/O, no clock, nothing held."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from opea_core import errors, events
from opea_core.config import Capabilities
from opea_core.flow import explain
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
from opea_core.flow.prepare import Context, build_request, model_of, models_request, with_connect
from opea_core.policy import SECOND
from opea_core.policy.breaker import Verdict
from opea_core.policy.endpoint import EndpointState, Permit
from opea_core.policy.retry import (
    EndpointImpact,
    Failure,
    History,
    Phase,
    Retry,
    effect,
    is_refused_as_too_much,
    judge,
)
from opea_core.policy.scheduler import Rejection
from opea_core.wire import jsontext, refusal
from opea_core.wire.headers import HEADER_LEFT, allowance
from opea_core.wire.models import read_models

OK = EndpointImpact(Verdict.OK)
_MOST_ATTEMPTS = 40
_MOST_CHANGES = 16
_MAY_TELL = frozenset({400, 403, 404, 405, 409, 413, 415, 422, 424, 500, 501, 502})
"""Statuses under which servers say that they do not take something.

Whether they do is in their words.
"""
_DOUBTFUL_CONNECT, _USUAL_CONNECT = 0.25, 1.0
"""Seconds to connect while another endpoint could serve the call.

To one that never answered or failed lately, and to others.
"""

Flow: TypeAlias = Generator[Effect, Outcome, "CallResult"]
"""A call under way: it yields what it needs, and returns how it ended well."""


@dataclass(slots=True)
class CallResult:
    """How a call ended well: the reply, the place it holds (streams), and how it went."""

    reply: Reply
    permit: Permit
    where: explain.ErrorContext
    log: CallLog


@dataclass(slots=True)
class CallLog:
    """What a call went through."""

    started: int
    at: int
    """When the last outcome came."""
    chance: Callable[[], float]
    attempts: list[errors.Attempt] = field(default_factory=list)
    sent: int = 0
    """Requests made, whether they counted as attempts or not."""
    counted: int = 0
    server_errors: int = 0
    changes: list[str] = field(default_factory=list)
    """What was sent in another form than the call gave it, as servers refused that."""
    learned: dict[EndpointState, Capabilities] = field(default_factory=dict)
    """What an endpoint refused in this call.

    It is kept for others once the endpoint took the rest.
    """
    changed: dict[EndpointState, frozenset[str]] = field(default_factory=dict)
    passing: frozenset[str] = frozenset()
    """What was changed for this call only."""
    resent: bool = False
    rekeyed: bool = False
    last: errors.OPEAError | None = None
    turned_away_at: int | None = None
    """When it was first refused by a server with too much to do.

    Or by a gateway whose server is gone.
    """
    hasty: bool = False
    """Whether the last request had less time to connect than it could have."""

    @property
    def seconds(self) -> float:
        """From the start of the call to the last outcome."""
        return (self.at - self.started) / SECOND

    def history(self, known: bool = True) -> History:
        """What the retry rules look at; ``known``: the endpoint has answered somebody."""
        return History(max(1, self.counted), self.server_errors, known, self.chance)

    def failed(self, attempt: errors.Attempt) -> None:
        """Keep it: the first ones and the last ones."""
        self.attempts.append(attempt)
        if len(self.attempts) > _MOST_ATTEMPTS:
            del self.attempts[_MOST_ATTEMPTS // 2]


class FailedAttempt(NamedTuple):
    """How the last request made with a permit failed, and what its error is told by."""

    failure: Failure
    where: explain.ErrorContext


def call_flow(spec: CallSpec, context: Context, started: int) -> Flow:
    """Get a place, send, judge, and go round until it is an answer or an error.

    Returns a CallResult; raises the error that is left when no further attempt is allowed.
    """
    log = CallLog(started, started, context.chance)
    refused: Rejection | None = None
    while True:
        permit = refused or (yield from Acquire())
        log.at = permit.at
        if isinstance(permit, Rejection):
            yield Emit(
                events.CallRejected(at=log.at, call_id=spec.call_id, reason=permit.reason.value)
            )
            raise _final(explain.from_rejection(permit, spec, log.last, log.seconds), log)
        ended = yield from _attempts(spec, context, log, permit)
        if isinstance(ended, CallResult):
            return ended
        failure, where = ended
        retry, free = _next(failure, log, spec, permit)
        said = effect(failure, log.history(permit.endpoint.answered))
        # A refused list says nothing about the key or the model of chat calls.
        if spec.method == "GET":
            said = replace(said, mark=None, refused=said.refused and said.wait is not None)
        settle = Settle(permit, said, retry, behind=free or permit.is_probe)
        log.server_errors += failure.error.status_code == 500 and not failure.away
        if retry is None:
            if failure.model_missing and spec.names_models:
                yield from _name_models(spec, context, where, permit, failure.error)
            yield settle
            raise _final(failure.error, log)
        refused = yield from settle
        at, call, label = log.at, spec.call_id, permit.endpoint.label
        if refused is None:
            yield Emit(
                events.RetryScheduled(
                    at=at,
                    call_id=call,
                    endpoint=label,
                    attempt=log.sent,
                    delay=retry.delay,
                    reason=retry.reason,
                )
            )
        else:
            yield Emit(
                events.RetrySuppressed(
                    at=at, call_id=call, endpoint=label, reason=refused.reason.value
                )
            )


def _attempts(
    spec: CallSpec, context: Context, log: CallLog, permit: Permit
) -> Generator[Effect, Outcome, CallResult | FailedAttempt]:
    """The requests made with one permit.

    One, and again at once where a small change is all that was asked for.
    """
    endpoint, model = permit.endpoint, model_of(spec, context, permit.endpoint)
    may_adapt = endpoint.config.adapt if spec.adapt is None else spec.adapt
    known = (
        endpoint.capabilities(model, permit.at)
        if may_adapt
        else endpoint.config.capabilities.as_given()
    )
    learned = log.learned.get(endpoint, known)
    key: str | None = spec.key or (yield from FetchKey(endpoint, spec.deadline))
    while True:
        request, where = build_request(spec, context, endpoint, learned, key)
        log.hasty = _limit_connecting(request, permit, spec)
        log.sent += 1
        outcome = yield from Send(permit, request, log.sent)
        log.at = outcome.at
        failure = failure_of(outcome, where)
        if failure is None:
            assert isinstance(outcome, Reply)
            if learned is not known:
                endpoint.learn(model, _to_remember(learned, known, log.passing), outcome.at)
            if outcome.connection is None:
                response = outcome.response_reader.response
                yield Settle(permit, went_well(outcome), usage=response.usage if response else None)
            return CallResult(outcome, permit, where, log)
        if _is_stale_connection(failure, log):
            log.resent = True
            log.sent -= failure.phase is Phase.NOT_SENT
            permit.resent += failure.phase is Phase.MAYBE_SENT
            continue
        log.last = failure.error
        log.failed(explain.attempt_record(where, failure, (outcome.at - outcome.sent_at) / SECOND))
        adapted = _adapted(failure, request, where, learned, log) if may_adapt else None
        if adapted is not None:
            learned = log.learned[endpoint] = adapted.capabilities
            log.passing |= adapted.passing
            log.changes.extend(adapted.reports)
            log.changed[endpoint] = log.changed.get(endpoint, frozenset()) | set(adapted.reports)
            for report in adapted.reports:
                yield Emit(
                    events.ParameterDropped(
                        at=outcome.at,
                        call_id=spec.call_id,
                        endpoint=endpoint.label,
                        parameter=report,
                    )
                )
            continue
        if (
            failure.error.status_code == 401
            and callable(endpoint.config.api_key)
            and not (spec.key or log.rekeyed)
        ):
            log.rekeyed = True
            fresh = yield from FetchKey(endpoint, spec.deadline)
            if fresh != key:
                key = fresh
                continue
        return FailedAttempt(failure, where)


def _to_remember(
    learned: Capabilities, known: Capabilities, passing: frozenset[str]
) -> Capabilities:
    """What the next calls are sent by."""
    kept: Capabilities = learned.replace(**{name: getattr(known, name) for name in passing})
    return kept


def went_well(reply: Reply) -> EndpointImpact:
    """What an answer says of its endpoint."""
    if HEADER_LEFT not in reply.headers:
        return OK
    return EndpointImpact(Verdict.OK, allowance=allowance(reply.headers, reply.wall))


def failure_of(outcome: Reply | TransportFailure, where: explain.ErrorContext) -> Failure | None:
    """What is wrong with an outcome, or None."""
    if isinstance(outcome, TransportFailure):
        failure = explain.from_broken(where, outcome)
        if outcome.response_reader is not None:
            failure.error.partial = where.partial(outcome.response_reader.partial())
        return failure
    problem = outcome.response_reader.problem
    if problem is None:
        return _undecodable(outcome, where)
    failure = explain.from_reply(where, outcome, problem)
    failure.error.partial = where.partial(outcome.response_reader.partial())
    return failure


def _undecodable(outcome: Reply, where: explain.ErrorContext) -> Failure | None:
    """Decode a document; what does not fit will not fit the next time either."""
    decode = where.spec.decode
    if decode is None:
        return None
    try:
        outcome.value = decode(outcome.response_reader.document)
    except errors.BadAnswerError as error:
        return Failure(Phase.BODY, explain.from_document(where, outcome, error), retryable=False)
    return None


def _is_stale_connection(failure: Failure, log: CallLog) -> bool:
    """A kept connection that the server had closed.

    It is sent again at once, on a new one, and not counted.
    """
    return (
        failure.reused
        and failure.phase in (Phase.MAYBE_SENT, Phase.NOT_SENT)
        and not failure.error.is_timeout
        and not log.resent
    )


def _adapted(
    failure: Failure,
    request: Request,
    where: explain.ErrorContext,
    known: Capabilities,
    log: CallLog,
) -> refusal.Adapted | None:
    """What to change after a failure, if the server's words name something that was sent."""
    status, done = (
        failure.error.status_code or 400,
        log.changed.get(where.endpoint, frozenset[str]()),
    )
    if where.spec.kind == "rerank" and status == 404 and not failure.model_missing:
        return refusal.elsewhere(where.endpoint.url.path, known)
    if (
        request.content is None
        or len(done) >= _MOST_CHANGES
        or isinstance(failure.error, errors.ContextOverflowError)
    ):
        return None
    if failure.phase not in (Phase.STATUS, Phase.FIRST, Phase.BODY) or not (
        status < 400 or status in _MAY_TELL
    ):
        return None
    any_form = where.spec.output_schema is not None
    reasoning_is_set = where.endpoint.config.capabilities.send_reasoning != "auto"
    return refusal.adapt(
        request.fields or jsontext.decode(request.content),
        failure.error.body or "",
        known,
        any_form,
        reasoning_is_set,
        done,
    )


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


def _name_models(
    spec: CallSpec,
    context: Context,
    where: explain.ErrorContext,
    permit: Permit,
    error: errors.OPEAError,
) -> Generator[Effect, Outcome, None]:
    """Ask once what the server has, so that the error can name it."""
    request = models_request(spec, context, where)
    outcome = yield from Send(permit, request, 0, quiet=True)
    if isinstance(outcome, Reply) and outcome.response_reader.problem is None:
        try:
            explain.with_models(
                error, [model.id for model in read_models(outcome.response_reader.document)], where
            )
        except errors.BadAnswerError:
            return


def _final(error: errors.OPEAError, log: CallLog) -> errors.OPEAError:
    """The error as it is raised: with every attempt."""
    return error.with_details(attempts=tuple(log.attempts), seconds=log.seconds)
