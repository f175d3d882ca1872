"""One call under way: its ticket, its events, and what its answer is told about it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, assert_never

from opea_core import errors
from opea_core.flow import explain
from opea_core.flow.call import CallResult, Flow, call_flow, failure_of, went_well
from opea_core.flow.effects import CallSpec, Emit, Reply, Send, Settle, TransportFailure
from opea_core.flow.prepare import Context
from opea_core.flow.telemetry import CallTelemetry
from opea_core.policy import SECOND
from opea_core.policy.permit import Permit
from opea_core.policy.retry import Phase, effect
from opea_core.policy.scheduler import Rejection, Ticket
from opea_core.policy.stats import Recent
from opea_core.types import CallMeta, ChatResponse, EmbeddingResponse, RerankResponse
from opea_core.wire.headers import request_id

if TYPE_CHECKING:
    from opea_core.transport.drivers.aio import AsyncConnection
    from opea_core.transport.drivers.sync import SyncConnection
    from opea_core.transport.limiter import Limiter


class CallSession:
    """What drivers and streams of both kinds share about a call. No I/O, and it never waits."""

    def __init__(
        self, spec: CallSpec, context: Context, limiter: Limiter, ticket: Ticket, traced: bool
    ) -> None:
        self.spec = spec
        self.context = context
        self.limiter = limiter
        self.ticket = ticket
        self.telemetry = CallTelemetry(spec, limiter.emitter, traced, time.monotonic_ns)
        self.started = time.monotonic_ns()
        self.granted_at = 0
        self._over_at = 0
        self.connection: SyncConnection | AsyncConnection | None = None
        """Of a stream that goes on, until somebody holds it."""

    def begin(self) -> None:
        """The call starts."""
        self.telemetry.started(self.started, self.context.settings.model)

    def flow(self) -> Flow:
        """The call's algorithm."""
        return call_flow(self.spec, self.context, self.started)

    # --- effects that never wait

    def perform(self, effect: Settle | Emit) -> Rejection | None:
        """Do what needs no waiting."""
        match effect:
            case Emit():
                self.limiter.emitter(replace(effect.event, at=time.monotonic_ns()))
                return None
            case Settle():
                return self.limiter.settle(
                    self.ticket,
                    effect.permit,
                    effect.effect,
                    effect.again,
                    effect.behind,
                    effect.usage,
                )
            case _:
                assert_never(effect)

    def queued(self) -> None:
        """No place was free at once."""
        if self.spec.on_place is not None:
            self.spec.on_place(False)
        self.telemetry.queued()

    def got(self, answer: Permit | Rejection) -> Permit | Rejection:
        """The wait for a place is over."""
        if isinstance(answer, Permit):
            if self.spec.on_place is not None:
                self.spec.on_place(True)
            self.granted_at = self.granted_at or time.monotonic_ns()
            self.limiter.note_wait(self.granted_at - self.started, answer)
            self.telemetry.granted(answer, self.ticket.enqueued)
        return answer

    def sending(self, send: Send) -> None:
        """A request goes out; ClientClosed if the object was closed since the place was granted."""
        if self.limiter.closed:
            raise errors.ClientClosed(
                "This OPEA object was closed during the call.", "Close it after its calls are done."
            )
        self.telemetry.attempt_started(send)

    def sent(self, send: Send, outcome: Reply | TransportFailure) -> Reply | TransportFailure:
        """A request was answered or failed.

        Raises ClientClosed if that is because the object was closed.
        """
        self.telemetry.outcome(send, outcome)
        if (
            self.spec.stream
            and not send.quiet
            and isinstance(outcome, Reply)
            and outcome.response_reader.problem is None
        ):
            self.limiter.prove(send.permit)
        elif isinstance(outcome, TransportFailure) and self.limiter.closed:
            raise errors.ClientClosed(
                "This OPEA object was closed during the call.", "Close it after its calls are done."
            )
        return outcome

    # --- how it ended

    def leave(self, error: BaseException | None) -> None:
        """The call is over without a stream: whatever it still holds comes back."""
        try:
            self._give_back()
        except BaseException as interruption:
            # Ctrl-C in the midst of it: what was done already does nothing again.
            error = error or interruption
            self._give_back()
            raise
        finally:
            permit = self.ticket.permit
            if permit is not None:
                self.telemetry.attempt_ended(permit, type(error).__name__ if error else "")
            if error is not None:
                self.ended(error, None)

    def _give_back(self) -> None:
        self.limiter.leave(self.ticket)
        if self.connection is not None:
            self.connection.discard()

    def finished(self, answer: CallResult) -> None:
        """A stream's whole answer is there."""
        response = answer.reply.response_reader.response
        self.limiter.settle(
            self.ticket,
            answer.permit,
            went_well(answer.reply),
            usage=response.usage if response else None,
        )
        self.telemetry.attempt_ended(answer.permit, "", answer.reply.status)
        self.ended(None, answer)

    def dropped(self, answer: CallResult) -> None:
        """A stream was lost to the garbage collector.

        The place comes back now, the events with the next call.
        """
        self.limiter.abandon(self.ticket, lambda: self._tell_abandoned(answer))

    def abandoned(self, answer: CallResult) -> None:
        """A stream was closed before its end."""
        self.limiter.leave(self.ticket)
        self._tell_abandoned(answer)

    def _tell_abandoned(self, answer: CallResult) -> None:
        self.telemetry.attempt_ended(answer.permit, "Abandoned", answer.reply.status)
        self.telemetry.abandoned(answer.permit)
        self.ended(None, answer)

    def broke(self, answer: CallResult, outcome: Reply | TransportFailure) -> errors.OPEAError:
        """A stream broke off after something was handed out: give the place back.

        Gives the error to raise.
        """
        failure = failure_of(outcome, answer.where)
        assert failure is not None
        failure.phase = Phase.DELIVERED
        partial = answer.where.partial(answer.reply.response_reader.partial())
        characters = len(partial.content) if partial else 0
        if self.limiter.closed:
            error: errors.OPEAError = errors.ClientClosed(
                "This OPEA object was closed while a stream was read.",
                "The text so far is in error.partial.",
            )
        elif failure.own_limit:
            error = failure.error
        else:
            error = explain.interrupted(answer.where, failure, characters)
        log = answer.log
        log.failed(
            explain.attempt_record(answer.where, failure, (outcome.at - outcome.sent_at) / SECOND)
        )
        failure.error.partial = self.dress(partial, answer) if partial else None
        error.with_details(
            partial=failure.error.partial,
            attempts=tuple(log.attempts),
            seconds=(outcome.at - log.started) / SECOND,
        )
        self.limiter.settle(self.ticket, answer.permit, effect(failure, log.history()))
        reason = type(failure.error).__name__
        self.telemetry.attempt_ended(answer.permit, reason, answer.reply.status)
        self.telemetry.broke(outcome.at, answer.permit, characters, reason)
        self.ended(error, answer)
        return error

    def ended(self, error: BaseException | None, answer: CallResult | None) -> None:
        """The call is over: remember it and tell, once."""
        now = time.monotonic_ns()
        self.ticket.wake = self.ticket.owner = (
            None  # its traces in the queue must not keep a loop alive
        )
        seconds = (now - self.started) / SECOND
        attempts = (
            answer.log.sent
            if answer
            else len(error.attempts)
            if isinstance(error, errors.OPEAError)
            else 0
        )
        label = (
            answer.permit.endpoint.label
            if answer
            else (error.endpoint or "")
            if isinstance(error, errors.OPEAError)
            else ""
        )
        name = type(error).__name__ if error is not None else ""
        recent = Recent(
            self.request_id(answer) if answer else self.spec.request_id,
            label,
            seconds,
            name or "ok",
            attempts,
        )
        event = self.telemetry.ended(now, label, name, attempts, seconds)
        if self._over_at:
            return
        self._over_at = now
        if event is not None:
            self.limiter.emitter(event)
        self.limiter.record_call(recent)

    # --- what an answer is told

    def request_id(self, answer: CallResult) -> str:
        """The server's id of the exchange, else the one we sent."""
        return answer.where.say(request_id(answer.reply.headers) or self.spec.request_id)

    def meta(self, answer: CallResult) -> CallMeta:
        """How the call went."""
        reply = answer.reply
        return CallMeta(
            attempts=answer.log.sent,
            queued=max(0, self.granted_at - self.started) / SECOND,
            elapsed=((self._over_at or reply.at) - self.started) / SECOND,
            first_content=None
            if reply.first_at is None
            else (reply.first_at - reply.sent_at) / SECOND,
            dropped=tuple(dict.fromkeys((*answer.log.changes, *answer.where.left_out))),
        )

    def dress(self, response: ChatResponse, answer: CallResult) -> ChatResponse:
        """Write onto a response where it came from; tells of what was odd about it."""
        response.endpoint = answer.permit.endpoint.label
        response.request_id = self.request_id(answer)
        response.headers = answer.where.shown(answer.reply.headers)
        response.meta = self.meta(answer)
        response.warnings = [answer.where.say(warning) for warning in response.warnings]
        response.origin = answer.permit.endpoint.server_id
        for warning in response.warnings:
            self.telemetry.odd(answer.reply.at, response.endpoint, warning)
        return response

    def result(self, answer: CallResult) -> Any:
        """What a plain call gives its caller."""
        try:
            self.ended(None, answer)
        except BaseException as interruption:
            self.ended(interruption, answer)
            raise
        if answer.reply.response_reader.response is not None:
            return self.dress(answer.reply.response_reader.response, answer)
        value = answer.reply.value if self.spec.decode else answer.reply.response_reader.document
        if isinstance(value, EmbeddingResponse | RerankResponse):
            value.endpoint = answer.permit.endpoint.label
            value.request_id = self.request_id(answer)
            value.meta = self.meta(answer)
        return value
