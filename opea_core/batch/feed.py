"""Pulling requests out of whatever yields them, one at a time, without blocking an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from opea_core.errors import ConfigurationError

END: Any = object()


class Raised(NamedTuple):
    """What the input raised instead of a request."""

    error: BaseException


_Asked: TypeAlias = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Feed:
    """``await feed.next()`` returns the next request, END, or what the input raised."""

    def __init__(self, requests: Any) -> None:
        self._later: AsyncIterator[Any] | None = None
        self._iterator: Iterator[Any] = iter(())
        self._asked: queue.SimpleQueue[_Asked | None] | None = None
        # A list never blocks, so it needs no thread.
        self._at_once = isinstance(requests, Sequence)
        if isinstance(requests, AsyncIterable):
            self._later = aiter(requests)
        elif isinstance(requests, str | bytes | Mapping) or not isinstance(requests, Iterable):
            raise ConfigurationError(
                f"requests must be an iterable of requests, not a {type(requests).__name__}.",
                "Give a list, or a generator.",
            )
        else:
            self._iterator = iter(requests)

    async def next(self) -> Any:
        """The next request; a sync iterator that may block is asked in a thread of its own."""
        try:
            if self._later is not None:
                return await anext(self._later, END)
            if self._at_once:
                return next(self._iterator, END)
        except Exception as error:  # noqa: BLE001
            # It is the caller's, and is raised where results are asked for.
            return Raised(error)
        if self._asked is None:
            self._asked = queue.SimpleQueue()
            # What the caller set in context variables holds for the caller's own generator, too.
            context = contextvars.copy_context()
            # A daemon of its own: a pool's thread would be waited for at the end of the program.
            threading.Thread(
                target=context.run,
                args=(_read, self._iterator, self._asked),
                name="opea-requests",
                daemon=True,
            ).start()
        loop = asyncio.get_running_loop()
        found = loop.create_future()
        self._asked.put((loop, found))
        return await found

    def close(self) -> None:
        """No more is wanted.

        A thread that waits for the input is left to it: nobody waits for that thread.
        """
        if self._asked is not None:
            self._asked.put(None)


def _read(iterator: Iterator[Any], asked: queue.SimpleQueue[_Asked | None]) -> None:
    """Ask the input each time that one is wanted.

    A pool's thread would be waited for at the end, this one is not.
    """
    while (wanted := asked.get()) is not None:
        loop, found = wanted
        value: Any
        try:
            value = next(iterator, END)
        except BaseException as error:  # noqa: BLE001
            # It is the caller's, and is raised in his thread.
            value = Raised(error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, found, value)


def _settle(found: asyncio.Future[Any], value: Any) -> None:
    if not found.done():
        found.set_result(value)
