"""Driving a call by hand: no loop, no thread, no clock, no socket; outcomes are values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from opea_core.flow.call import CallResult, call_flow
from opea_core.flow.effects import (
    Acquire,
    CallSpec,
    Emit,
    FetchKey,
    Reply,
    Send,
    Settle,
    TransportFailure,
)
from opea_core.flow.prepare import Context
from opea_core.policy import SECOND
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.permit import Permit
from opea_core.policy.retry import Phase
from opea_core.policy.scheduler import Reason, Rejection
from opea_core.settings import resolve
from opea_core.wire.response_reader import ResponseReader

MESSAGES = [{"role": "user", "content": "Hello"}]
ANSWER = {
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    ]
}
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'


def context_of(**options: Any) -> Context:
    settings = resolve(None, {"base_url": "http://gpu1:8000", "label": "one", **options}, {})
    return Context(settings, chance=lambda: 1.0, new_id=lambda: "call_1", user_agent="test/1")


def endpoint_of(context: Context, number: int = 0) -> EndpointState:
    return EndpointState(
        context.settings.endpoints[number], context.settings.breaker, lambda: 0.0, 0
    )


def spec_of(context: Context, **changes: Any) -> CallSpec:
    given: dict[str, Any] = {
        "kind": "chat", "body": {"messages": MESSAGES}, "stream": False, "timeouts": None,
        "retry": context.settings.retry, "call_id": "c1", "request_id": "r1",
    }  # fmt: skip
    return CallSpec(**given | changes)


class Says:
    """An answer of the server, as what comes back from ``Send``."""

    def __init__(
        self, status: int, body: Any, headers: Mapping[str, str] | None = None, open_: bool = False
    ) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}
        self.open = open_

    def outcome(self, send: Send, now: int) -> Reply:
        response_reader = ResponseReader(self.status, self.headers, send.request.expected)
        response_reader.feed(self.body)
        if not self.open:
            response_reader.end()
        return Reply(
            self.status,
            self.headers,
            response_reader,
            now,
            now + SECOND,
            0.0,
            connection="open" if self.open else None,
        )


class Breaks:
    """A connection that breaks or is late, as what comes back from ``Send``."""

    def __init__(self, phase: Phase, kind: str = "disconnected", **details: Any) -> None:
        self.phase, self.kind, self.details = phase, kind, details

    def outcome(self, send: Send, now: int) -> TransportFailure:
        return TransportFailure(
            self.phase, self.kind, "it broke", now, now + SECOND, **self.details
        )  # type: ignore[arg-type]


OK = Says(200, ANSWER)


def failing(
    status: int, message: str = "no", headers: Mapping[str, str] | None = None, **error: Any
) -> Says:
    return Says(status, {"error": {"message": message, **error}}, headers)


class Cancelled(BaseException):
    """Thrown in where a driver is cancelled."""


class Play:
    """Performs a call's effects from prepared outcomes, and writes down what it asked for.

    A ``Reason`` among the outcomes refuses a place to the next ``Acquire``, a tuple of one to the
    next attempt that a ``Settle`` wants; ``cancelled_at`` cancels the call at its n-th effect.
    """

    def __init__(
        self,
        *outcomes: Any,
        context: Context | None = None,
        endpoint: EndpointState | None = None,
        keys: Iterable[str | None] = (),
        cancelled_at: int | None = None,
        **spec: Any,
    ) -> None:
        self.context = context or context_of()
        self.endpoint = endpoint or endpoint_of(self.context)
        self.outcomes = list(outcomes)
        self.keys = list(keys)
        self.effects: list[Any] = []
        self.spec = spec_of(self.context, **spec)
        self.now = 0
        self.flow = call_flow(self.spec, self.context, 0)
        self.answer: CallResult | None = None
        self.error: BaseException | None = None
        self._cancelled_at = cancelled_at
        self._run()

    @property
    def script(self) -> str:
        """The effects by name; events by theirs."""
        return " ".join(
            type(e.event).__name__ if isinstance(e, Emit) else type(e).__name__
            for e in self.effects
        )

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The bodies of the requests."""
        return [
            json.loads(e.request.content)
            for e in self.effects
            if isinstance(e, Send) and e.request.content
        ]

    @property
    def settled(self) -> list[Settle]:
        return [effect for effect in self.effects if isinstance(effect, Settle)]

    def _run(self) -> None:
        answer: Any = None
        try:
            while True:
                effect = self.flow.send(answer)
                self.effects.append(effect)
                if len(self.effects) == self._cancelled_at:
                    self.effects.append(self.flow.throw(Cancelled()))
                answer = self._perform(effect)
        except StopIteration as stop:
            self.answer = stop.value
        except BaseException as error:  # noqa: BLE001 - it is what the test looks at
            self.error = error

    def _perform(self, effect: Any) -> Any:
        self.now += SECOND
        if isinstance(effect, Acquire):
            if self.outcomes and isinstance(self.outcomes[0], Reason):
                return Rejection(
                    self.outcomes.pop(0), self.now, retry_after=3.0, endpoints=("one: busy",)
                )
            return Permit(
                self.endpoint,
                self.endpoint.limits("m"),
                self.endpoint.breaker.admit(self.now),
                0,
                False,
                self.now,
            )
        if isinstance(effect, Send):
            return self.outcomes.pop(0).outcome(effect, self.now)
        if isinstance(effect, FetchKey):
            return self.keys.pop(0) if self.keys else None
        if (
            isinstance(effect, Settle)
            and effect.again is not None
            and self.outcomes
            and isinstance(self.outcomes[0], tuple)
        ):
            return Rejection(self.outcomes.pop(0)[0], self.now)
        return None
