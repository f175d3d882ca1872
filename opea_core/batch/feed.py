"""Pulling requests out of whatever gives them, one at a time, without blocking an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from opea_core.errors import ConfigurationError

END: Any = object()


class Feed:
    """``await feed.next()`` gives the next request, or END. What the input raises comes out."""

    def __init__(self, requests: Any) -> None:
        self._later: AsyncIterator[Any] | None = None
        self._iterator: Iterator[Any] = iter(())
        self._at_once = isinstance(requests, Sequence)
        if isinstance(requests, AsyncIterable):
            self._later = aiter(requests)
        elif isinstance(requests, str | bytes | Mapping) or not isinstance(requests, Iterable):
            raise ConfigurationError(
                f"requests must be an iterable of requests, not a {type(requests).__name__}.", "Give a list, or a generator."
            )
        else:
            self._iterator = iter(requests)

    async def next(self) -> Any:
        """The next request; a sync iterator that may block is asked in a thread."""
        if self._later is not None:
            return await anext(self._later, END)
        if self._at_once:
            return next(self._iterator, END)
        return await asyncio.to_thread(next, self._iterator, END)
