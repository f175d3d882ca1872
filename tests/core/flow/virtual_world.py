"""Whole calls on a clock that moves by hand:
a third driver, over the real gate, that reaches no server.

A server is a function of (now, how many requests it had before); it says how many seconds it takes
and what then comes of the request. Everything else (queue, gates, breakers, retries, events) is the
real thing.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from by_hand import MESSAGES, Breaks, Says, failing

from opea_core import errors, events
from opea_core.config import Endpoint
from opea_core.flow.call import CallResult, call_flow
from opea_core.flow.effects import Acquire, CallSpec, FetchKey, Reply, Send, TransportFailure
from opea_core.flow.prepare import Context
from opea_core.policy import SECOND
from opea_core.policy.permit import Permit
from opea_core.policy.retry import Phase
from opea_core.policy.scheduler import Rejection
from opea_core.settings import resolve
from opea_core.transport.call_session import CallSession
from opea_core.transport.keys import plain_key
from opea_core.transport.limiter import Limiter

Server = Callable[[int, int], tuple[float, Says | Breaks]]


@dataclass(eq=False)
class Sent:
    """One request, and what came of it."""

    endpoint: str
    at: int
    key: str
    uses_retry_budget: bool
    probe: bool
    granted: int
    said: Says | Breaks
    ended: int = 0
    outcome: Reply | TransportFailure | None = None


@dataclass(eq=False)
class VirtualCall:
    """A call, and all that happened to it."""

    running: CallSession
    flow: Any
    number: int
    started: int
    sent: list[Sent] = field(default_factory=list)
    permit: Permit | None = None
    answer: CallResult | None = None
    error: BaseException | None = None
    ended: int | None = None
    asked: int = 0
    """Counts the times it asked for a place; a wake-up for an earlier one comes too late."""

    @property
    def text(self) -> str | None:
        """What its caller got."""
        response = self.answer.reply.response_reader.response if self.answer else None
        return response.content if response else None


class Left(BaseException):
    """The caller is gone."""


class World:
    """A gate, servers, a clock, and calls."""

    def __init__(
        self,
        servers: dict[str, Server],
        seed: int = 0,
        limits: dict[str, int] | None = None,
        **options: Any,
    ) -> None:
        self.servers = servers
        self.chance = random.Random(seed).random
        found = [
            Endpoint(
                base_url=f"http://{label}",
                label=label,
                api_key=f"key-of-{label}",
                max_concurrent=(limits or {}).get(label, 32),
            )
            for label in servers
        ]
        self.settings = resolve(None, {"endpoints": found, "model": "m", **options}, {})
        self.now = 0
        self.heard: list[events.Event] = []
        self.limiter = Limiter(
            self.settings, events.Emitter([self.heard.append]), self.chance, lambda: self.now
        )
        self.context = Context(self.settings, self.chance, lambda: "call_1", "test/1")
        self.calls: list[VirtualCall] = []
        self.sent: list[Sent] = []
        self._agenda: list[tuple[int, int, Callable[[], object]]] = []
        self._count = 0

    # --- the clock

    def at(self, when: int, action: Callable[[], object]) -> None:
        """Do something later."""
        self._count += 1
        heapq.heappush(self._agenda, (max(when, self.now), self._count, action))

    def run(self, until: float | None = None) -> None:
        """Let time pass: up to so many seconds on the clock, or until nothing is left to happen."""
        end = None if until is None else int(until * SECOND)
        for _ in range(200_000):
            if not self._agenda or (end is not None and self._agenda[0][0] > end):
                break
            self.now, _, action = heapq.heappop(self._agenda)
            action()
        else:
            raise AssertionError("it never ends")
        self.now = max(self.now, end or 0)

    # --- calls

    def call(
        self, at: float = 0.0, deadline: float | None = None, stream: bool = False, **options: Any
    ) -> None:
        """A call that comes in at this second."""
        self.at(int(at * SECOND), lambda: self._begin(deadline, stream, **options))

    def _begin(
        self,
        deadline: float | None,
        stream: bool,
        priority: int = 5,
        leaves_after: float | None = None,
    ) -> None:
        number = len(self.calls)
        until = None if deadline is None else self.now + int(deadline * SECOND)
        spec = CallSpec(
            kind="chat", body={"messages": MESSAGES}, stream=stream, timeouts=None,
            retry=self.settings.retry, call_id=f"c{number}", request_id=f"r{number}",
            deadline=until, deadline_seconds=deadline,
            recovery_wait=self.settings.queue.recovery_wait,
        )  # fmt: skip
        ticket = self.limiter.ticket(
            model="m", priority=priority, deadline=until, recovery_wait=spec.recovery_wait
        )
        running = CallSession(spec, self.context, self.limiter, ticket, traced=True)
        running.begin()
        call = VirtualCall(running, call_flow(spec, self.context, self.now), number, self.now)
        self.calls.append(call)
        if leaves_after is not None:
            self.at(self.now + int(leaves_after * SECOND), lambda: self.leave(call))
        self._go_on(call, None)

    def leave(self, call: VirtualCall) -> None:
        """Its caller gives up, wherever it is."""
        if call.ended is not None:
            return
        if call.answer is not None:
            call.running.abandoned(call.answer)
        else:
            call.flow.close()
            call.running.leave(Left())
        call.error, call.ended, call.asked = Left(), self.now, call.asked + 1

    def _go_on(self, call: VirtualCall, result: Any) -> None:
        try:
            effect = call.flow.send(result)
            while True:
                if isinstance(effect, Acquire):
                    return self._ask(call)
                if isinstance(effect, Send):
                    return self._send(call, effect)
                key = isinstance(effect, FetchKey)
                effect = call.flow.send(
                    plain_key(effect.endpoint.config.api_key)
                    if key
                    else call.running.perform(effect)
                )
        except StopIteration as stop:
            self._answered(call, stop.value)
        except errors.OPEAError as error:
            call.running.leave(error)
            call.error, call.ended = error, self.now

    def _ask(self, call: VirtualCall) -> None:
        call.asked += 1
        asked = call.asked

        def again() -> None:
            if call.asked == asked:
                self._ask(call)

        call.running.ticket.wake = lambda: self.at(self.now, again)
        got, until = self.limiter.ask(call.running.ticket)
        if got is None:
            if asked == 1:
                call.running.queued()
            if until is not None:
                self.at(until, again)
            return
        call.asked += 1
        call.permit = got if isinstance(got, Permit) else None
        assert isinstance(got, Permit | Rejection)
        self._go_on(call, call.running.got(got))

    # --- requests

    def _send(self, call: VirtualCall, send: Send) -> None:
        call.running.sending(send)
        if send.quiet:  # which models there are: nobody knows
            unknown = failing(404).outcome(send, self.now)
            return self.at(
                self.now + SECOND // 100,
                lambda: call.ended is None and self._go_on(call, call.running.sent(send, unknown)),
            )
        label = send.permit.endpoint.label
        seconds, said = self.servers[label](self.now, sum(s.endpoint == label for s in self.sent))
        sent = Sent(
            label,
            self.now,
            dict(send.request.headers).get("authorization", ""),
            send.permit.uses_retry_budget,
            send.permit.is_probe,
            send.permit.at,
            said,
        )
        call.sent.append(sent)
        self.sent.append(sent)
        patience = send.request.timeouts.first_event
        limits = {
            "first_event": None if patience is None else self.now + int(patience * SECOND),
            "total": send.request.deadline,
        }
        end = self.now + int(seconds * SECOND)
        late = min(
            ((at, name) for name, at in limits.items() if at is not None and at <= end),
            default=None,
        )
        at = late[0] if late else end

        def come() -> None:
            if call.ended is not None:
                return
            if late is not None:
                outcome: Any = TransportFailure(
                    Phase.MAYBE_SENT,
                    "timeout",
                    "a time limit passed",
                    sent.at,
                    self.now,
                    limit=late[1],
                )  # type: ignore[arg-type]
            else:
                outcome = said.outcome(send, sent.at)
                outcome.at = self.now
            sent.ended, sent.outcome = self.now, outcome
            self._go_on(call, call.running.sent(send, outcome))

        self.at(at, come)

    def _answered(self, call: VirtualCall, answer: CallResult) -> None:
        call.answer = answer
        if answer.reply.connection is None:
            call.running.leave(None)
            call.running.ended(None, answer)
            call.ended = self.now
            return
        self.at(self.now + SECOND, lambda: self._end_stream(call, answer))

    def _end_stream(self, call: VirtualCall, answer: CallResult) -> None:
        """A stream ends a second after its first content, well or not."""
        if call.ended is not None:
            return
        response_reader, well = answer.reply.response_reader, self.chance() < 0.7
        if well:
            response_reader.feed(
                b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
                b"data: [DONE]\n\n"
            )
            response_reader.end()
            call.running.finished(answer)
        else:
            broken = TransportFailure(
                Phase.FIRST,
                "disconnected",
                "it broke",
                answer.reply.sent_at,
                self.now,
                response_reader=response_reader,
            )
            call.error = call.running.broke(answer, broken)
        call.ended = self.now


@contextmanager
def everything_comes_back(world: World) -> Iterator[None]:
    """Each call ends, every place is free again, starts and ends balance."""
    yield
    world.run()
    assert [c.number for c in world.calls if c.ended is None] == [], (
        "it waits, and nothing will wake it"
    )
    stats = world.limiter.stats()
    assert (stats["in_flight"], stats["queued"]) == (0, 0)
    for call in world.calls:
        mine = [type(e) for e in world.heard if e.call_id == f"c{call.number}"]
        assert mine.count(events.CallStarted) == mine.count(events.CallEnded) == 1
        assert (
            mine.count(events.AttemptStarted) == mine.count(events.AttemptEnded) == len(call.sent)
        )
        assert mine[-1] is events.CallEnded or events.StreamAbandoned in mine
        attempts = [kind for kind in mine if kind in (events.AttemptStarted, events.AttemptEnded)]
        assert attempts == [events.AttemptStarted, events.AttemptEnded] * len(call.sent), (
            "one attempt at a time"
        )
