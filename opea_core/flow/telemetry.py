"""Every event is made here: what is told of calls, of their attempts, and of endpoints.

Functions make what happens to endpoints, or once in a while; ``CallTelemetry`` tells the course of
one call, most of it only where a hook wants the events of every call. What the time is, in
nanoseconds, the caller says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from opea_core import errors, events
from opea_core.flow.effects import CallSpec, Reply, Send, TransportFailure
from opea_core.policy import SECOND
from opea_core.policy.breaker import State
from opea_core.policy.permit import Permit
from opea_core.policy.retry import EndpointImpact, Mark, Retry
from opea_core.policy.scheduler import Rejection

_LONGEST_REASON = 200


class CallTelemetry:
    """The events of one call. ``emit`` tells the hooks, ``traced`` whether they want them all."""

    __slots__ = ("_attempt", "_clock", "_emit", "_is_open", "_sent_at", "_spec", "_traced")

    def __init__(
        self,
        spec: CallSpec,
        emit: Callable[[events.Event], None],
        traced: bool,
        clock: Callable[[], int],
    ) -> None:
        self._spec = spec
        self._emit = emit
        self._traced = traced
        self._clock = clock
        self._is_open = False
        """Whether an attempt was told of, and not its end."""
        self._sent_at = 0
        self._attempt = 0

    def started(self, at: int, default_model: str) -> None:
        """The call begins."""
        if self._traced:
            spec = self._spec
            model = str(spec.body.get("model") or default_model)
            self._emit(
                events.CallStarted(
                    at=at, call_id=spec.call_id, kind=spec.kind, model=model, stream=spec.stream
                )
            )

    def queued(self) -> None:
        """No permit was free at once."""
        if self._traced:
            self._emit(events.CallQueued(at=self._clock(), call_id=self._spec.call_id))

    def granted(self, permit: Permit, enqueued: int) -> None:
        """It has a permit."""
        if self._traced:
            waited = (self._clock() - enqueued) / SECOND
            call, label = self._spec.call_id, permit.endpoint.label
            self._emit(
                events.CallGranted(at=permit.at, call_id=call, endpoint=label, waited=waited)
            )

    def attempt_started(self, send: Send) -> None:
        """A request goes out."""
        if self._traced and not send.quiet:
            at, label = self._clock(), send.permit.endpoint.label
            started = events.AttemptStarted(
                at=at, call_id=self._spec.call_id, endpoint=label, attempt=send.attempt
            )
            self._is_open, self._sent_at, self._attempt = True, at, send.attempt
            self._emit(started)

    def outcome(self, send: Send, outcome: Reply | TransportFailure) -> None:
        """It was answered, or failed; a stream that goes on is an attempt that is not over."""
        if not self._traced or send.quiet:
            return
        label, call, attempt = send.permit.endpoint.label, self._spec.call_id, send.attempt
        status = outcome.status
        if status:
            at = outcome.headers_at or outcome.at
            self._emit(
                events.HeadersReceived(
                    at=at, call_id=call, endpoint=label, attempt=attempt, status_code=status
                )
            )
        if isinstance(outcome, TransportFailure):
            timed_out = outcome.kind == "timeout"
            error = "EndpointTimeout" if timed_out else "EndpointConnectionError"
            self.attempt_ended(send.permit, error, status)
            return
        problem = outcome.response_reader.problem
        if outcome.first_at is not None and problem is None:
            at, seconds = outcome.first_at, (outcome.first_at - outcome.sent_at) / SECOND
            self._emit(
                events.FirstContent(
                    at=at, call_id=call, endpoint=label, attempt=attempt, seconds=seconds
                )
            )
        if outcome.connection is None:
            self.attempt_ended(send.permit, problem.cls.__name__ if problem else "", status)

    def attempt_ended(self, permit: Permit, error: str, status: int | None = None) -> None:
        """The attempt is over, if one is told of."""
        if self._is_open:
            now = self._clock()
            ended = events.AttemptEnded(
                at=now,
                call_id=self._spec.call_id,
                endpoint=permit.endpoint.label,
                attempt=self._attempt,
                error=error,
                status_code=status,
                seconds=(now - self._sent_at) / SECOND,
            )
            self._is_open = False
            self._emit(ended)

    def abandoned(self, permit: Permit) -> None:
        """A stream was left before its end."""
        now, label = self._clock(), permit.endpoint.label
        self._emit(events.StreamAbandoned(at=now, call_id=self._spec.call_id, endpoint=label))

    def broke(self, at: int, permit: Permit, characters: int, reason: str) -> None:
        """A stream broke off after so many characters had been handed out."""
        self._emit(
            events.StreamBroke(
                at=at,
                call_id=self._spec.call_id,
                endpoint=permit.endpoint.label,
                characters=characters,
                reason=reason,
            )
        )

    def odd(self, at: int, endpoint: str, warning: str) -> None:
        """Something about an answer was not as it should be."""
        call = self._spec.call_id
        self._emit(events.AnswerOdd(at=at, call_id=call, endpoint=endpoint, warning=warning))

    def ended(
        self, at: int, endpoint: str, error: str, attempts: int, seconds: float
    ) -> events.CallEnded | None:
        """The event of the call's end, for who makes sure that it is told once."""
        if not self._traced:
            return None
        return events.CallEnded(
            at=at,
            call_id=self._spec.call_id,
            endpoint=endpoint,
            error=error,
            attempts=attempts,
            seconds=seconds,
        )


# --- in the course of a call, as effects of its flow


def call_rejected(at: int, call_id: str, rejection: Rejection) -> events.Event:
    """There is no permit for a call."""
    return events.CallRejected(at=at, call_id=call_id, reason=rejection.reason.value)


def retry_decided(
    at: int, call_id: str, endpoint: str, attempt: int, retry: Retry, refused: Rejection | None
) -> events.Event:
    """A further attempt: when it is made, or why it is not."""
    if refused is not None:
        reason = refused.reason.value
        return events.RetrySuppressed(at=at, call_id=call_id, endpoint=endpoint, reason=reason)
    return events.RetryScheduled(
        at=at,
        call_id=call_id,
        endpoint=endpoint,
        attempt=attempt,
        delay=retry.delay,
        reason=retry.reason,
    )


def parameter_dropped(at: int, call_id: str, endpoint: str, report: str) -> events.Event:
    """A request was changed because the server asked for it."""
    return events.ParameterDropped(at=at, call_id=call_id, endpoint=endpoint, parameter=report)


# --- of endpoints, and of those that wait


def endpoint_changes(
    permit: Permit, effect: EndpointImpact, state: State, cooldown_until: int, now: int, alone: bool
) -> Iterator[events.Event]:
    """What an outcome changed, by what the breaker and the cooldown were before.

    ``alone``: there is no other endpoint.
    """
    endpoint, until, label = permit.endpoint, permit.limits.cooldown_until, permit.endpoint.label
    after = endpoint.breaker.state
    if after is not state:
        seconds = max(0, endpoint.breaker.open_until - now) / SECOND if after is State.OPEN else 0.0
        yield events.BreakerStateChanged(
            at=now, endpoint=label, before=state.value, after=after.value, seconds=seconds
        )
    if until > max(cooldown_until, now) and (
        permit.limits.stated or isinstance(effect.reason, errors.RateLimited)
    ):
        yield events.CooldownStarted(at=now, endpoint=label, seconds=(until - now) / SECOND)
    if effect.mark is not None and effect.reason is not None and not alone:
        what = "its key was refused" if effect.mark is Mark.KEY else "it does not have the model"
        why = effect.reason.status_code or type(effect.reason).__name__
        yield events.EndpointDeprioritized(at=now, endpoint=label, reason=f"{what} ({why})")


def calls_wait(at: int, endpoint: str, waited: int, places: int) -> events.Event:
    """Half of the last calls waited this long (in nanoseconds) for nothing but room."""
    return events.CallsWait(at=at, endpoint=endpoint, seconds=waited / SECOND, places=places)


def calls_held(at: int, endpoints: str, waited: int, waiting: int, reason: str) -> events.Event:
    """Calls wait because no endpoint may be asked."""
    return events.CallsHeld(
        at=at, endpoint=endpoints, seconds=waited / SECOND, waiting=waiting, reason=reason
    )


def model_discovered(at: int, endpoint: str, model: str) -> events.Event:
    """A server said which model it serves."""
    return events.ModelDiscovered(at=at, endpoint=endpoint, model=model)


def model_not_listed(at: int, endpoint: str, model: str, status: int | None) -> events.Event:
    """A server has no list of models; the default one is asked for."""
    return events.ModelNotListed(at=at, endpoint=endpoint, model=model, status=status)


def shared_limits_lost(at: int, members: int, error: Exception) -> events.Event:
    """The store of shared limits is away; everybody keeps to a share of the last members."""
    reason = str(error)[:_LONGEST_REASON]
    return events.SharedLimitsLost(at=at, members=members, reason=reason)


def shared_limits_back(at: int) -> events.Event:
    """The store is back."""
    return events.SharedLimitsBack(at=at)


def connection_test_failed(at: int, reason: str) -> events.Event:
    """``test`` found that nothing works."""
    return events.TestFailed(at=at, reason=reason)
