"""A client on virtual time: the real gate and the real flow of calls,
driven as the async driver does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

from opea_core import events
from opea_core.calls import CallMaker
from opea_core.errors import OPEAError
from opea_core.flow.call import CallResult, call_flow
from opea_core.flow.effects import (
    Acquire,
    Effect,
    Emit,
    FetchKey,
    Reply,
    Send,
    Settle,
    TransportFailure,
)
from opea_core.flow.prepare import Context
from opea_core.policy.budget import Budget
from opea_core.policy.permit import Permit
from opea_core.policy.retry import Phase
from opea_core.policy.scheduler import Rejection
from opea_core.settings import resolve
from opea_core.transport.limiter import Limiter
from opea_core.wire.response_reader import ResponseReader

from .record import Called, Record, Sent
from .server import Cut, Said, Server
from .wire import Late, Result, Wire
from .world import SECOND, World

MESSAGE = [{"role": "user", "content": "Hello"}]
_LATER = object()

Done = Callable[[Called], None]
OnPlace = Callable[[bool], None]


class Endless(Budget):
    """A budget that never ends, to show what the real one is for."""

    def allows(self, now: int) -> bool:  # noqa: ARG002 - as the real one
        """Always."""
        return True

    def ready_at(self, now: int) -> int:
        """At once."""
        return now


class Client:
    """What an OPEA object is, with the servers of the simulation behind it.

    ``options`` are OPEA's.
    """

    def __init__(
        self,
        world: World,
        servers: Sequence[Server],
        record: Record,
        name: str = "client",
        *,
        budget: bool = True,
        chance: Callable[[], float] | None = None,
        **options: Any,
    ) -> None:
        self.world = world
        self.name = name
        self.record = record
        self.servers = {server.name: server for server in servers}
        self.wire = Wire(world)
        self.heard: list[events.Event] = []
        self._ids = 0
        chance = chance or world.random.random
        endpoints = [
            {"base_url": f"http://{server.name}:8000", "label": server.name} for server in servers
        ]
        self.settings = resolve(None, {"endpoints": endpoints, **options}, {})
        self.limiter = Limiter(self.settings, events.Emitter((self._hear,)), chance, world.clock)
        self.context = Context(self.settings, chance, self.new_id, "simulation/1")
        self.calls = CallMaker(self.settings, self.new_id, world.clock)
        if not budget:
            for endpoint in self.limiter.endpoints:
                endpoint.budget = Endless(None, world.now)

    def new_id(self) -> str:
        """Numbers, so that each run is the same."""
        self._ids += 1
        return f"{self.name}-{self._ids}"

    def call(
        self, done: Done | None = None, on_place: OnPlace | None = None, **options: Any
    ) -> Called:
        """Begin a call; ``done`` is told when it is over.

        ``on_place`` is told whether the call has a place or has to wait for one.
        """
        called = Called(self.world.seconds)
        self.record.calls.append(called)
        _Call(self, called, done, on_place, options).go(None)
        return called

    def moves(self, after: str) -> int:
        """How often a breaker moved to a state."""
        return sum(
            isinstance(event, events.BreakerStateChanged) and event.after == after
            for event in self.heard
        )

    def closed_at(self) -> list[float]:
        """When breakers closed, in seconds."""
        return [
            event.at / SECOND
            for event in self.heard
            if isinstance(event, events.BreakerStateChanged) and event.after == "closed"
        ]

    def _hear(self, event: events.Event) -> None:
        if isinstance(event, events.BreakerStateChanged | events.CooldownStarted):
            self.heard.append(event)


class _Call:
    """One call: performs the effects of its flow, and waits for what takes time."""

    def __init__(
        self,
        client: Client,
        called: Called,
        done: Done | None,
        on_place: OnPlace | None,
        options: Mapping[str, Any],
    ) -> None:
        self.client = client
        self.world = client.world
        self.called = called
        self.done = done
        call = client.calls.chat(MESSAGE, options, stream=False)
        self.spec = call.spec
        self.spec.on_place = on_place
        self.ticket = client.limiter.ticket(
            model=client.settings.model,
            priority=call.priority,
            deadline=call.spec.deadline,
            recovery_wait=call.spec.recovery_wait,
        )
        self.ticket.owner = client  # one event loop a client
        self.flow = call_flow(self.spec, client.context, self.world.now)
        self._granted = 0
        self._last: Sent | None = None

    def go(self, value: Any) -> None:
        """Perform effects until one takes time, or the call is over."""
        try:
            while value is not _LATER:
                value = self._perform(self.flow.send(value))
        except StopIteration as stop:
            self._over(stop.value, None)
        except OPEAError as error:
            self._over(None, error)

    def _over(self, answer: CallResult | None, error: OPEAError | None) -> None:
        assert answer is None or answer.reply.response_reader.problem is None
        self.client.limiter.leave(self.ticket)
        self.called.ended = self.world.seconds
        self.called.error = type(error).__name__ if error else ""
        if self.done is not None:
            self.done(self.called)

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Acquire():
                return self._acquire()
            case Send():
                return self._send(effect)
            case FetchKey():
                return None
            case Emit():
                return self.client.limiter.emitter(effect.event)
            case Settle():
                asked = (effect.effect, effect.again, effect.behind, effect.usage)
                return self.client.limiter.settle(self.ticket, effect.permit, *asked)
            case _:
                assert_never(effect)

    def _acquire(self) -> Permit | Rejection | object:
        woken = [False]

        def wake() -> None:  # as a future: only once, and the waiter resumes in a turn of its own
            if not woken[0]:
                woken[0] = True
                self.world.at(self.world.now, self._resume)

        self.ticket.wake = wake
        got, until = self.client.limiter.ask(self.ticket)
        if self.spec.on_place is not None:
            self.spec.on_place(isinstance(got, Permit))
        if got is not None:
            woken[0] = True
            return got
        if until is not None:
            self.world.at(until, wake)
        return _LATER

    def _resume(self) -> None:
        got = self._acquire()
        if got is not _LATER:
            self.go(got)

    def _send(self, send: Send) -> object:
        server = self.client.servers[send.permit.endpoint.label]
        self.called.sent += 1
        uses_retry_budget = send.permit.uses_retry_budget and self._granted != id(send.permit)
        self._granted = id(send.permit)
        sent = Sent(
            self.client.name,
            server.name,
            self.world.seconds,
            self.called.sent,
            uses_retry_budget=uses_retry_budget,
        )
        self.client.record.requests.append(sent)

        def then(result: Result) -> None:
            outcome = self._outcome(send, result)
            sent.ended, sent.wait = self.world.seconds, result.wait
            sent.status = outcome.status or (
                outcome.kind if isinstance(outcome, TransportFailure) else ""
            )
            self.go(outcome)

        self.client.wire.send(
            server, send.request.timeouts.first_event, send.request.deadline, then
        )
        return _LATER

    def _outcome(self, send: Send, result: Result) -> Reply | TransportFailure:
        heard, at, now = result.heard, result.sent_at, self.world.now
        if isinstance(heard, Said):
            response_reader = ResponseReader(heard.status, heard.headers, send.request.expected)
            response_reader.feed(heard.body)
            response_reader.end()
            return Reply(heard.status, heard.headers, response_reader, at, now, 0.0)
        if isinstance(heard, Late):
            return TransportFailure(
                Phase.MAYBE_SENT, "timeout", "a time limit passed", at, now, limit=heard.limit
            )
        assert isinstance(heard, Cut)
        return TransportFailure(heard.phase, heard.kind, "it broke", at, now, reused=result.reused)
