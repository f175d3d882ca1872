"""The engine of an OPEA object: one set of limits, its drivers, and the start of every call."""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import random
import threading
import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from opea_core import errors, events, log
from opea_core.calls import Call, CallMaker
from opea_core.flow import telemetry
from opea_core.flow.discover import Discovery, Together
from opea_core.flow.prepare import Context, redactor_of
from opea_core.flow.token_estimate import need_of
from opea_core.lazy_imports import importing
from opea_core.model_question import ModelQuestion
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.rate_limit import NOTHING
from opea_core.settings import Settings
from opea_core.transport.call_session import CallSession
from opea_core.transport.drivers.pair import Drivers
from opea_core.transport.http.proxy import choose_proxy
from opea_core.transport.limiter import Limiter
from opea_core.transport.permit_holders import Caller
from opea_core.transport.stream import AsyncChatStream, ChatStream, OpenStream, opened
from opea_core.version import __version__
from opea_core.wire.redact import say

if TYPE_CHECKING:
    from opea_core.config import Endpoint


ResultT = TypeVar("ResultT")
_LONGEST_NAME = 200
_GRACE = 0.3
"""Seconds that the others have once one endpoint has said what it serves."""


def new_id() -> str:
    """A random id of 32 hex digits."""
    return os.urandom(16).hex()


class Engine:
    """Settings, limiter and drivers together. What is shared is what is passed around."""

    def __init__(self, settings: Settings, emitter: events.Emitter, drivers: Drivers) -> None:
        self.settings = settings
        self.emitter = emitter
        self.drivers = drivers
        self.limiter = Limiter(settings, emitter, random.random)
        drivers.limiters.add(self.limiter)
        self.calls = CallMaker(settings, new_id, time.monotonic_ns)
        self.question = ModelQuestion(self)
        self._counts_tokens = any(
            e.tpm or any(own.tpm for own in e.models.values()) for e in settings.endpoints
        )
        self._context = Context(
            settings=settings,
            chance=random.random,
            new_id=lambda: f"call_{new_id()}",
            user_agent=f"opea-core/{__version__}",
            foreign_key=bool(os.environ.get("OPENAI_API_KEY")),
            lent=drivers.lent.values,
            proxy_of=choose_proxy,
        )

    def _keep_shared_limits(self) -> None:
        """Begin to share limits with other processes: at the first call, and again after a fork."""
        if self.limiter.renewal is not None:
            return
        with importing:
            from opea_core.shared.renewal import Renewal

        with self.limiter.renewal_lock:
            if self.limiter.renewal is None:
                self.limiter.renewal = Renewal(self.settings.shared_limits, self.limiter)
                self.drivers.at_close.append(self.limiter.renewal.close)

    # --- calls

    def run(self, call: Call) -> Any:
        """One plain call in this thread."""
        if self.question.is_open(call):
            self.question.ask(call)
        running = self._start(call)
        return running.result(self.drivers.sync.run(running))

    async def arun(self, call: Call) -> Any:
        """One plain call in the running loop."""
        if self.question.is_open(call):
            await self.question.aask(call)
        running = self._start(call)
        return running.result(await self.drivers.aio.run(running))

    def run_all(self, flow: Generator[Call | Together, Any, ResultT]) -> ResultT:
        """A flow of several calls; it takes each one's result or error."""
        result: Any = None
        try:
            while True:
                call = flow.send(result)
                result = self.attempt(call)
        except StopIteration as stop:
            returned: ResultT = stop.value
            return returned

    def attempt(self, call: Call | Together) -> Any:
        """A call's result or error, or those of several calls at once."""
        return self._try_together(call) if isinstance(call, Together) else self._try(call)

    async def aattempt(self, call: Call | Together) -> Any:
        """The async twin of ``attempt``."""
        return await (self._atry_together(call) if isinstance(call, Together) else self._atry(call))

    def _try(self, call: Call) -> Any:
        try:
            return self.run(call)
        except errors.OPEAError as error:
            return error

    def _try_together(self, together: Together) -> list[Any]:
        """Each in a thread of its own.

        The last ones may go on when nobody waits for them any more.
        """
        calls, grace = together.calls, None if together.waits_for_all else _GRACE
        if len(calls) == 1:
            return [self._try(calls[0])]
        box: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        results: list[Any] = [None] * len(calls)

        def work(number: int) -> None:
            try:
                box.put((number, self._try(calls[number])))
            except BaseException as error:  # noqa: BLE001
                # It is raised where somebody waits for it.
                box.put((number, error))

        answered = False
        with Caller().blocks(), contextlib.suppress(queue.Empty):
            for number in range(len(calls)):
                context = contextvars.copy_context()
                threading.Thread(target=context.run, args=(work, number), daemon=True).start()
            for _ in calls:
                number, results[number] = box.get(timeout=grace if answered else None)
                if isinstance(results[number], BaseException) and not isinstance(
                    results[number], errors.OPEAError
                ):
                    raise results[number]
                answered = answered or not isinstance(results[number], errors.OPEAError)
        return results

    async def _atry(self, call: Call) -> Any:
        try:
            return await self.arun(call)
        except errors.OPEAError as error:
            return error

    async def _atry_together(self, together: Together) -> list[Any]:
        """The async twin of ``_try_together``."""
        calls, grace = together.calls, None if together.waits_for_all else _GRACE
        if len(calls) == 1:
            return [await self._atry(calls[0])]
        with Caller().awaits():
            return await self._atried(calls, grace)

    async def _atried(self, calls: Sequence[Call], grace: float | None) -> list[Any]:
        import asyncio

        tasks = [asyncio.ensure_future(self._atry(call)) for call in calls]
        pending, answered = set(tasks), False
        try:
            while pending:
                done, pending = await asyncio.wait(
                    pending,
                    timeout=grace if answered else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    break
                answered = answered or any(
                    not isinstance(task.result(), errors.OPEAError) for task in done
                )
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return [None if task in pending else task.result() for task in tasks]

    async def arun_all(self, flow: Generator[Call | Together, Any, ResultT]) -> ResultT:
        """The async twin of ``run_all``."""
        result: Any = None
        try:
            while True:
                call = flow.send(result)
                result = await self.aattempt(call)
        except StopIteration as stop:
            returned: ResultT = stop.value
            return returned

    def stream(self, call: Call) -> ChatStream:
        """A stream; the request goes out at its first use."""

        self.pinned(call)  # input is checked now, not at the first chunk

        def start() -> OpenStream[Any]:
            if self.question.is_open(call):
                self.question.ask(call)
            running = self._start(call)
            return opened(running, self.drivers.sync.run(running))

        return ChatStream(start)

    def astream(self, call: Call) -> AsyncChatStream:
        """The async twin of ``stream``."""

        self.pinned(call)

        async def start() -> OpenStream[Any]:
            if self.question.is_open(call):
                await self.question.aask(call)
            running = self._start(call)
            return opened(running, await self.drivers.aio.run(running))

        return AsyncChatStream(start)

    def _start(self, call: Call) -> CallSession:
        if self.drivers.closed:
            self.limiter.close()
            raise errors.ClientClosed(
                "This OPEA object is closed.", "Make a new one, or close it later."
            )
        if self.settings.shared_limits is not None:
            self._keep_shared_limits()
        spec = call.spec
        ticket = self.limiter.ticket(
            model=str(spec.body.get("model") or self.settings.model),
            endpoints=self.pinned(call),
            priority=call.priority,
            deadline=spec.deadline,
            recovery_wait=spec.recovery_wait,
            need=need_of(spec.body) if self._counts_tokens else NOTHING,
        )
        return CallSession(
            spec,
            self._context,
            self.limiter,
            ticket,
            traced=bool(self.emitter.hooks) or log.wants_attempts(),
        )

    def pinned(self, call: Call) -> tuple[EndpointState, ...] | None:
        """The endpoints that a call names; None for all.

        Raises ConfigurationError if there are none of that name.
        """
        if call.endpoint is None:
            return None
        labels = (call.endpoint,) if isinstance(call.endpoint, str) else tuple(call.endpoint)
        found = tuple(e for e in self.limiter.endpoints if e.label in labels)
        if not found:
            known = [e.label for e in self.limiter.endpoints]
            raise errors.ConfigurationError(
                f"There is no endpoint {call.endpoint!r}."
                f"{errors.nearest(str(call.endpoint), known)}",
                f"There are: {', '.join(known)}.",
            )
        return found

    def shown(self, endpoint: Endpoint, name: str) -> str:
        """A name that a server gave, as it may be shown: it may echo what was sent."""
        redact = redactor_of(self.state_of(endpoint), self._context)
        return say(name, redact, _LONGEST_NAME)

    def state_of(self, endpoint: Endpoint) -> EndpointState:
        """What is known of an endpoint of this object."""
        return next(e for e in self.limiter.endpoints if e.label == endpoint.label)

    # --- the same with other endpoints

    def found(self, discovery: Discovery) -> None:
        """Take what was discovered about the endpoints; limits and statistics go on."""
        endpoints, answered = discovery
        for before, after in zip(self.settings.endpoints, endpoints, strict=True):
            if after.model is not None and after.model != before.model and after.label in answered:
                shown = self.shown(after, after.model)
                self.emitter(telemetry.model_discovered(time.monotonic_ns(), after.label, shown))
        self.settings = self.settings.replace(endpoints=endpoints)
        self.limiter.configure(endpoints)

    def derived(self, settings: Settings) -> Engine:
        """Other endpoints with limits and statistics of their own.

        The connections and hooks are the same.
        """
        return Engine(settings, self.emitter, self.drivers)
