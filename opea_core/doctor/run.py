"""Performing a diagnosis: each step by one request, blocking or awaited."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opea_core.config import BreakerPolicy, Endpoint, RetryPolicy
from opea_core.doctor.known import Known
from opea_core.doctor.outcome import Ask, AtOnce, Outcome
from opea_core.doctor.plan import Steps
from opea_core.engine import Engine
from opea_core.errors import OPEAError
from opea_core.events import Emitter
from opea_core.flow.discover import Together
from opea_core.types import ChatChunk, ChatResponse
from opea_core.wire.models import read_models

if TYPE_CHECKING:
    from opea_core.calls import Call

Progress = Callable[[int, str], None]
"""Is told before each request how many were sent, and what it is about."""
_WRONG_KEY = "opea-doctor-wrong-key"
_PATIENCE = 180.0
"""Seconds for one answer: a slow computer may need minutes for a few hundred tokens."""
_AT_ONCE = 16
"""Requests that may be in flight: more than are ever sent."""


class Prober:
    """Sends what a diagnosis asks for, with limits and a breaker of its own."""

    def __init__(self, engine: Engine, endpoint: Endpoint) -> None:
        settings = engine.settings.replace(
            endpoints=(endpoint.replace(max_concurrent=_AT_ONCE),),
            retry=RetryPolicy(max_retries=0),
            breaker=BreakerPolicy(enabled=False),
        )
        self._engine = Engine(settings, Emitter(), engine.drivers)  # nobody is told of its errors
        self.shown = self._engine.shown
        self._sent = 0

    def run(self, steps: Steps, progress: Progress | None) -> Known:
        """The whole diagnosis in this thread."""
        result: Any = None
        try:
            while True:
                name, ask = steps.send(result)
                self._tell(progress, name, ask)
                result = self._ask(ask)
        except StopIteration as stop:
            known: Known = stop.value
            return known

    async def arun(self, steps: Steps, progress: Progress | None) -> Known:
        """The whole diagnosis in the running loop."""
        result: Any = None
        try:
            while True:
                name, ask = steps.send(result)
                self._tell(progress, name, ask)
                result = await self._aask(ask)
        except StopIteration as stop:
            known: Known = stop.value
            return known

    def _tell(self, progress: Progress | None, name: str, ask: Ask | AtOnce) -> None:
        if progress is not None:
            progress(self._sent, name)
        self._sent += len(ask.asks) if isinstance(ask, AtOnce) else 1

    def _ask(self, ask: Ask | AtOnce) -> Any:
        if isinstance(ask, AtOnce):
            results = self._engine.attempt(self._together(ask))
            return [_outcome(one, result) for one, result in zip(ask.asks, results, strict=True)]
        if not ask.stream:
            return _outcome(ask, self._engine.attempt(self._call(ask)))
        pieces = _Pieces(ask)
        stream = self._engine.stream(self._call(ask))
        try:
            with stream:
                for chunk in stream:
                    pieces.take(chunk)
        except OPEAError as error:
            return pieces.outcome(error)
        return pieces.outcome(stream.response)

    async def _aask(self, ask: Ask | AtOnce) -> Any:
        if isinstance(ask, AtOnce):
            results = await self._engine.aattempt(self._together(ask))
            return [_outcome(one, result) for one, result in zip(ask.asks, results, strict=True)]
        if not ask.stream:
            return _outcome(ask, await self._engine.aattempt(self._call(ask)))
        pieces = _Pieces(ask)
        stream = self._engine.astream(self._call(ask))
        try:
            async with stream:
                async for chunk in stream:
                    pieces.take(chunk)
        except OPEAError as error:
            return pieces.outcome(error)
        return pieces.outcome(stream.response)

    def _together(self, ask: AtOnce) -> Together:
        return Together([self._call(one) for one in ask.asks], waits_for_all=True)

    def _call(self, ask: Ask) -> Call:
        """The request as it is, without anything that is learned or tried again."""
        options = {"adapt": False, "timeout": _PATIENCE}
        call = self._engine.calls.make(ask.kind, ask.body, options, ask.stream)
        call.spec.method, call.spec.path = ask.method, ask.path
        call.spec.names_models = False
        if ask.kind == "models":
            call.spec.decode = read_models
        if ask.wrong_key:
            call.spec.key = _WRONG_KEY
        return call


class _Pieces:
    """What comes of a stream, and when."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._began = time.monotonic()
        self._first: float | None = None
        self._count = 0

    def take(self, chunk: ChatChunk) -> None:
        """Count a chunk that holds something of the answer."""
        if chunk.content or chunk.reasoning or chunk.tool_calls:
            self._count += 1
            self._first = self._first or time.monotonic() - self._began

    def outcome(self, result: ChatResponse | OPEAError | None) -> Outcome:
        """What came of it all."""
        seconds = time.monotonic() - self._began
        error = result if isinstance(result, OPEAError) else None
        answer = None if error is not None else result
        return Outcome(self._ask, answer, error, self._count, self._first, seconds)


def _outcome(ask: Ask, result: Any) -> Outcome:
    if isinstance(result, OPEAError):
        return Outcome(ask, error=result)
    seconds = result.meta.elapsed if isinstance(result, ChatResponse) else 0.0
    return Outcome(ask, result, seconds=seconds)
