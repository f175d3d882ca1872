"""Asking the same in sync and async: one call through a method or its twin,
and what its caller was told.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from opea_core import OPEA, BreakerPolicy, RetryPolicy

PATIENCE = 10.0
"""Seconds after which a call that hangs fails its test."""
FAST = RetryPolicy(initial_delay=0.005, max_delay=0.01, jitter="none")
BRISK = BreakerPolicy(break_duration=0.02)


@dataclass
class Told:
    """What a caller was told: a value, or the pieces of a stream,
    or an error (after some pieces).
    """

    value: Any = None
    chunks: list[Any] = field(default_factory=list)
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def response(self) -> Any:
        """The answer, however it was asked for."""
        if self.error is not None:
            raise self.error
        return self.chunks[-1].response if self.chunks else self.value

    @property
    def text(self) -> str:
        """The texts of the chunks, or of the answer."""
        return (
            "".join(chunk.content for chunk in self.chunks) if self.chunks else self.value.content
        )


class Sync:
    """Calls in threads."""

    name = "sync"

    def start(self, opea: Any, method: str, *args: Any, **options: Any) -> Future[Told]:
        """Begin a call; the future has what its caller is told."""
        return self.run(lambda: _tell(getattr(opea, method), args, options))

    def run(self, work: Callable[[], Any]) -> Future[Any]:
        """Do something in a thread of its own."""
        future: Future[Any] = Future()

        def fulfil() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - the future hands it on
                future.set_exception(error)

        threading.Thread(target=fulfil, daemon=True).start()
        return future

    def ask(self, opea: Any, method: str, *args: Any, **options: Any) -> Told:
        """Make a call and wait for its end."""
        return self.start(opea, method, *args, **options).result(PATIENCE)

    def close(self) -> None:
        """Nothing is left over."""


class Async:
    """Calls in one event loop, which runs in a thread of its own."""

    name = "async"

    def __init__(self) -> None:
        ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(ready)), daemon=True)
        self._thread.start()
        self.loop = ready.result(PATIENCE)

    async def _main(self, ready: Future[asyncio.AbstractEventLoop]) -> None:
        self._over = asyncio.Event()
        ready.set_result(asyncio.get_running_loop())
        await self._over.wait()

    def start(self, opea: Any, method: str, *args: Any, **options: Any) -> Future[Told]:
        """Begin a call of the method's async twin."""
        return asyncio.run_coroutine_threadsafe(
            _atell(getattr(opea, f"a{method}"), args, options), self.loop
        )

    def run(self, work: Callable[[], Any]) -> Future[Any]:
        """Do something (a function that gives an awaitable) in the loop."""

        async def wait() -> Any:
            return await work()

        return asyncio.run_coroutine_threadsafe(wait(), self.loop)

    def ask(self, opea: Any, method: str, *args: Any, **options: Any) -> Told:
        """Make a call and wait for its end."""
        return self.start(opea, method, *args, **options).result(PATIENCE)

    def close(self) -> None:
        """End the loop as ``asyncio.run`` does."""
        self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)


class Aiohttp(Async):
    """Calls in one event loop, over connections that aiohttp makes:
    of every object that is ``made`` meanwhile.
    """

    name = "aiohttp"

    def __init__(self) -> None:
        super().__init__()
        _HTTP.append("aiohttp")

    def close(self) -> None:
        """End the loop, and make objects as before."""
        _HTTP.pop()
        super().close()


Way = Sync | Async
WAYS = {"sync": Sync, "async": Async}
_HTTP: list[str] = []


def _tell(method: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Told:
    told = Told()
    started = time.monotonic()
    try:
        value = method(*args, **options)
        if hasattr(value, "__next__"):
            told.chunks.extend(value)
        else:
            told.value = value
    except Exception as error:  # noqa: BLE001 - it is what the test looks at
        told.error = error
    told.seconds = time.monotonic() - started
    return told


async def _atell(
    method: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> Told:
    told = Told()
    started = time.monotonic()
    try:
        value = method(*args, **options)
        if hasattr(value, "__anext__"):
            async for chunk in value:
                told.chunks.append(chunk)
        else:
            told.value = await value
    except Exception as error:  # noqa: BLE001 - it is what the test looks at
        told.error = error
    told.seconds = time.monotonic() - started
    return told


def made(*servers: Any, **options: Any) -> OPEA:
    """An OPEA at one server, or at several called one, two ... in the order of their tiers;
    quick to try again.
    """
    names = ("one", "two", "three", "four")
    if len(servers) == 1:
        options = {"base_url": servers[0].url, "label": "one"} | options
    else:
        options = {
            "endpoints": [
                {"base_url": s.url, "label": n, "tier": i}
                for i, (s, n) in enumerate(zip(servers, names, strict=False))
            ]
        } | options
    if _HTTP and not {"async_http_client", "http_library", "async_transport"} & set(options):
        options["http_library"] = _HTTP[-1]
    return OPEA(**{"retry": FAST, "breaker": BRISK, "model": "scripted-model"} | options)


def idle(opea: OPEA) -> bool:
    """Whether everything came back: no place held, nobody waiting, no connection in use."""
    stats = opea.get_stats()
    drivers = opea._engine.drivers
    busy = len(drivers.sync.slots.busy) + sum(
        len(place.slots.busy) for place in (drivers._aio._places.values() if drivers._aio else ())
    )
    return (stats["in_flight"], stats["queued"], busy) == (0, 0, 0)
