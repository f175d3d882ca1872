"""One call, from the queue to the answer. The algorithm; no I/O, no clock, nothing held."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

from opea_core import errors, events
from opea_core.config import Capabilities
from opea_core.flow import explain
from opea_core.flow.effects import Acquire, Broken, CallSpec, FetchKey, Reply, Request, Send, Settle, Tell
from opea_core.flow.prepare import Context, build_request, model_of, models_request, with_connect
from opea_core.policy import SECOND
from opea_core.policy.breaker import Verdict
from opea_core.policy.dispatcher import Rejection
from opea_core.policy.endpoint import EndpointState, Grant
from opea_core.policy.retry import Effect, Failure, History, Phase, Retry, effect, is_refusal, judge
from opea_core.wire import jsontext, refusal
from opea_core.wire.headers import HEADER_LEFT, allowance
from opea_core.wire.models import read_models

OK = Effect(Verdict.OK)
_MOST_ATTEMPTS = 40
_MOST_CHANGES = 16
_MAY_TELL = frozenset({400, 403, 404, 405, 409, 413, 415, 422, 424, 500, 501, 502})
"""Statuses under which servers say that they do not take something; whether they do is in their words."""
_DOUBTFUL_CONNECT, _USUAL_CONNECT = 0.25, 1.0
"""Seconds to connect while another endpoint could serve the call: to one that never answered or failed lately, and to others."""

Flow = Generator[Any, Any, "Answer"]


@dataclass(slots=True)
class Answer:
    """How a call ended well: the reply, the place it holds (streams), and how it went."""

    reply: Reply
    grant: Grant
    where: explain.Where
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
    """What an endpoint refused in this call; it is kept for others once the endpoint took the rest."""
    changed: dict[EndpointState, frozenset[str]] = field(default_factory=dict)
    resent: bool = False
    rekeyed: bool = False
    last: errors.OPEAError | None = None
    turned_away_at: int | None = None
    """When it was first refused by a server that has too much to do, or by a gateway whose server is gone."""
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


def call_flow(spec: CallSpec, context: Context, started: int) -> Flow:
    """Get a place, send, judge, and go round until it is an answer or an error.

    Returns an Answer; raises the error that is left when no further attempt is allowed.
    """
    log = CallLog(started, started, context.chance)
    refused: Rejection | None = None
    while True:
        grant = refused or (yield Acquire())
        log.at = grant.at
        if isinstance(grant, Rejection):
            yield Tell(events.CallRejected(at=log.at, call_id=spec.call_id, reason=grant.reason.value))
            raise _final(explain.from_rejection(grant, spec, log.last, log.seconds), log)
        failure, where, answer = yield from _attempts(spec, context, log, grant)
        if answer is not None:
            return answer
        assert failure is not None
        assert where is not None
        retry, free = _next(failure, log, spec, grant)
        said = effect(failure, log.history(grant.endpoint.answered))
        if spec.method == "GET":  # a refused list says nothing about the key or the model of chat calls
            said = replace(said, mark=None, refused=said.refused and said.wait is not None)
        settle = Settle(grant, said, retry, behind=free or grant.is_probe)
        log.server_errors += failure.error.status_code == 500 and not failure.away
        if retry is None:
            if failure.model_missing:
                yield from _name_models(spec, context, where, grant, failure.error)
            yield settle
            raise _final(failure.error, log)
        refused = yield settle
        at, call, label = log.at, spec.call_id, grant.endpoint.label
        if refused is None:
            yield Tell(events.RetryScheduled(at=at, call_id=call, endpoint=label, attempt=log.sent, delay=retry.delay, reason=retry.reason))
        else:
            yield Tell(events.RetrySuppressed(at=at, call_id=call, endpoint=label, reason=refused.reason.value))


def _attempts(
    spec: CallSpec, context: Context, log: CallLog, grant: Grant
) -> Generator[Any, Any, tuple[Failure | None, explain.Where | None, Answer | None]]:
    """The requests made with one grant: one, and again at once where a small change mends it."""
    endpoint, model = grant.endpoint, model_of(spec, context, grant.endpoint)
    may_adapt = endpoint.config.adapt if spec.adapt is None else spec.adapt
    known = endpoint.capabilities(model) if may_adapt else endpoint.config.capabilities.as_given()
    learned = log.learned.get(endpoint, known)
    key: str | None = spec.key or (yield FetchKey(endpoint, spec.deadline))
    while True:
        request, where = build_request(spec, context, endpoint, learned, key)
        log.hasty = _limit_connecting(request, grant, spec)
        log.sent += 1
        outcome: Reply | Broken = yield Send(grant, request, log.sent)
        log.at = outcome.at
        failure = failure_of(outcome, where)
        if failure is None:
            assert isinstance(outcome, Reply)
            if learned is not known:
                endpoint.learn(model, learned)
            if outcome.connection is None:
                response = outcome.intake.response
                yield Settle(grant, went_well(outcome), usage=response.usage if response else None)
            return None, where, Answer(outcome, grant, where, log)
        if _is_stale_connection(failure, log):
            log.resent = True
            log.sent -= failure.phase is Phase.NOT_SENT
            grant.resent += failure.phase is Phase.MAYBE_SENT
            continue
        log.last = failure.error
        log.failed(explain.attempt_record(where, failure, (outcome.at - outcome.sent_at) / SECOND))
        adapted = _adapted(failure, request, where, learned, log) if may_adapt else None
        if adapted is not None:
            learned = log.learned[endpoint] = adapted.capabilities
            log.changes.extend(adapted.reports)
            log.changed[endpoint] = log.changed.get(endpoint, frozenset()) | set(adapted.reports)
            for report in adapted.reports:
                yield Tell(events.ParameterDropped(at=outcome.at, call_id=spec.call_id, endpoint=endpoint.label, parameter=report))
            continue
        if failure.error.status_code == 401 and callable(endpoint.config.api_key) and not (spec.key or log.rekeyed):
            log.rekeyed = True
            fresh: str | None = yield FetchKey(endpoint, spec.deadline)
            if fresh != key:
                key = fresh
                continue
        return failure, where, None


def went_well(reply: Reply) -> Effect:
    """What an answer says of its endpoint."""
    if HEADER_LEFT not in reply.headers:
        return OK
    return Effect(Verdict.OK, allowance=allowance(reply.headers, reply.wall))


def failure_of(outcome: Reply | Broken, where: explain.Where) -> Failure | None:
    """What is wrong with an outcome, or None."""
    if isinstance(outcome, Broken):
        failure = explain.from_broken(where, outcome)
        if outcome.intake is not None:
            failure.error.partial = where.partial(outcome.intake.partial())
        return failure
    problem = outcome.intake.problem
    if problem is None:
        return _undecodable(outcome, where)
    failure = explain.from_reply(where, outcome, problem)
    failure.error.partial = where.partial(outcome.intake.partial())
    return failure


def _undecodable(outcome: Reply, where: explain.Where) -> Failure | None:
    """Decode a document; what does not fit will not fit the next time either."""
    decode = where.spec.decode
    if decode is None:
        return None
    try:
        outcome.value = decode(outcome.intake.document)
    except errors.BadAnswerError as error:
        return Failure(Phase.BODY, explain.from_document(where, outcome, error), retryable=False)
    return None


def _is_stale_connection(failure: Failure, log: CallLog) -> bool:
    """A kept connection that the server had closed: sent again at once, on a new one, and not counted."""
    return failure.reused and failure.phase in (Phase.MAYBE_SENT, Phase.NOT_SENT) and not failure.error.is_timeout and not log.resent


def _adapted(failure: Failure, request: Request, where: explain.Where, known: Capabilities, log: CallLog) -> refusal.Adapted | None:
    """What to change after a failure, if the server's words name something that was sent."""
    status, done = failure.error.status_code or 400, log.changed.get(where.endpoint, frozenset[str]())
    if where.spec.kind == "rerank" and status == 404 and not failure.model_missing:
        return refusal.elsewhere(where.endpoint.url.path, known)
    if request.content is None or len(done) >= _MOST_CHANGES or isinstance(failure.error, errors.ContextOverflowError):
        return None
    if failure.phase not in (Phase.STATUS, Phase.FIRST, Phase.BODY) or not (status < 400 or status in _MAY_TELL):
        return None
    any_form = where.spec.output_schema is not None
    reasoning_is_set = where.endpoint.config.capabilities.send_reasoning != "auto"
    return refusal.adapt(jsontext.decode(request.content), failure.error.body or "", known, any_form, reasoning_is_set, done)


def _next(failure: Failure, log: CallLog, spec: CallSpec, grant: Grant) -> tuple[Retry | None, bool]:
    """The next attempt (None if this failure is the call's error), and whether this one was a probe that cost nothing."""
    log.counted += 1
    if _is_no_attempt(failure, spec, grant):
        log.counted -= 1
        return (Retry(0.0, charged=False, reason="no room there now") if _may_wait_on(log, spec, grant) else None), False
    retry = judge(failure, log.history(grant.endpoint.answered), spec.retry)
    if retry is None or (retry.delay is None and len(grant.peers) < 2):
        return None, False
    free = _costs_nothing(failure, grant, log, spec)
    if free:  # the breaker, not a backoff, says when the next one goes out
        log.counted -= 1
        retry = replace(retry, delay=0.0, charged=False)
    elif failure.away and grant.limits.answered_at is not None and log.counted > 2:  # as many as open a breaker
        if _may_wait_on(log, spec, grant):
            log.counted -= 1
            retry = replace(retry, charged=False)
    elif log.hasty and failure.phase is Phase.NOT_SENT and failure.error.is_timeout:
        log.counted -= 1  # another endpoint is there
        retry = replace(retry, charged=False)
    return (retry if log.counted <= spec.retry.max_retries else None), free


def _is_no_attempt(failure: Failure, spec: CallSpec, grant: Grant) -> bool:
    """Whether it was only refused as too much while there are other calls: it waits for room.

    A lone call is what the server does not take at all: that is told after its attempts. Not for a caller who wants
    exactly one request, nor for a wait that is longer than anybody waits.
    """
    if not is_refusal(failure) or failure.should_retry is False or spec.retry.max_retries == 0 or spec.recovery_wait <= 0:
        return False
    if grant.limits.in_flight <= 1 and failure.wait is not None and failure.wait > spec.retry.max_retry_after:
        return False
    return not grant.is_alone


def _may_wait_on(log: CallLog, spec: CallSpec, grant: Grant) -> bool:
    """Whether ``recovery_wait`` is not over: since this call was turned away first, or since anybody had an answer there."""
    log.turned_away_at = log.at if log.turned_away_at is None else log.turned_away_at
    since = max(log.turned_away_at, grant.limits.answered_at or 0)
    is_over = log.at - since >= max(spec.recovery_wait, grant.limits.patience) * SECOND
    return not is_over or (grant.limits.stated and not grant.limits.refusals)  # a wait that was asked for is kept once


def _limit_connecting(request: Request, grant: Grant, spec: CallSpec) -> bool:
    """While another endpoint could serve the call, a connection gets only as long as nobody minds."""
    limit, patience = request.timeouts.connect, _DOUBTFUL_CONNECT if grant.endpoint.is_doubtful else _USUAL_CONNECT
    if not grant.replaceable or spec.retry.max_retries == 0 or (limit is not None and limit <= patience):
        return False
    request.timeouts = with_connect(request.timeouts, patience)
    return True


def _costs_nothing(failure: Failure, grant: Grant, log: CallLog, spec: CallSpec) -> bool:
    """A failed attempt in an outage costs its call nothing: the call is held until a server is back.

    That is a probe that found its endpoint still down, or a gateway before it that says so; or the last
    attempt, when they were spread over endpoints that are all down (at one endpoint so many would have opened
    its breaker). Only where the endpoints have answered before: one that never did is reported, as the
    address is likely wrong. And not for a caller who wants exactly one request.
    """
    if not grant.endpoint.answered or spec.retry.max_retries == 0:
        return False
    connect_class = effect(failure, log.history()).connect_class
    if grant.is_probe and (connect_class or failure.away):
        return True
    if not connect_class:
        return False
    others = [peer for peer in grant.peers if peer is not grant.endpoint]
    return bool(others) and log.counted > max(2, spec.retry.max_retries) and all(peer.is_down for peer in others)


def _name_models(
    spec: CallSpec, context: Context, where: explain.Where, grant: Grant, error: errors.OPEAError
) -> Generator[Any, Any, None]:
    """Ask once what the server has, so that the error can name it."""
    request = models_request(spec, context, where)
    outcome = yield Send(grant, request, 0, quiet=True)
    if isinstance(outcome, Reply) and outcome.intake.problem is None:
        try:
            explain.with_models(error, [model.id for model in read_models(outcome.intake.document)], where)
        except errors.BadAnswerError:
            return


def _final(error: errors.OPEAError, log: CallLog) -> errors.OPEAError:
    """The error as it is raised: with every attempt."""
    return error.with_details(attempts=tuple(log.attempts), seconds=log.seconds)
