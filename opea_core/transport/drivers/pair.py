"""The two drivers of an OPEA object, and what both share: borrowed clients, closing, forks."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from opea_core import errors
from opea_core.lazy_imports import importing
from opea_core.transport.drivers.sync import SyncDriver
from opea_core.transport.http.library import AIOHTTP, LibraryName, load_library
from opea_core.transport.http.user_clients import Lent, borrowed_async, borrowed_sync
from opea_core.transport.limiter import Limiter

if TYPE_CHECKING:
    import httpx
    import httpx2

    from opea_core.transport.drivers.aio import AsyncDriver


class Drivers:
    """The connections: one driver for threads, one for event loops.

    Or the caller's own transports.
    """

    def __init__(
        self,
        http_client: httpx.Client | httpx2.Client | None = None,
        async_http_client: httpx.AsyncClient | httpx2.AsyncClient | None = None,
        transport: httpx.BaseTransport | httpx2.BaseTransport | None = None,
        async_transport: httpx.AsyncBaseTransport | httpx2.AsyncBaseTransport | None = None,
        http_library: LibraryName | None = None,
        origins: Iterable[str] = (),
    ) -> None:
        self.lent = Lent(origins, http_client, async_http_client)
        """Where the headers and credentials of the caller's HTTP client go."""
        self.async_lent = Lent(origins)
        handle, library = borrowed_sync(http_client, transport, self.lent) or (None, None)
        self.sync = SyncDriver(handle, library or load_library(http_library))
        self.only_sync = bool(http_client or transport) and not (
            async_http_client or async_transport or http_library
        )
        """Whether the caller lent a way to sync servers, and none for async code."""
        self.limiters: weakref.WeakSet[Limiter] = weakref.WeakSet()
        """Every set of limits over these connections."""
        self.closed = False
        self.at_close: list[Callable[[], None]] = []
        self._library = http_library
        self._async_borrowed = borrowed_async(async_http_client, async_transport, self.async_lent)
        self._aio: AsyncDriver | None = None
        self._lock = threading.Lock()
        _living.add(self)

    @property
    def aio(self) -> AsyncDriver:
        """Made at the first async call: importing asyncio costs as much as httpx."""
        with self._lock:
            if self._aio is None:
                try:
                    self._aio = self._driver()
                except OSError as error:
                    # A file that cannot be opened is a module that cannot be imported.
                    raise errors.EndpointConnectionError(
                        "Nothing was sent: the code for async calls cannot be read"
                        f" ({type(error).__name__}).",
                        "Is a file descriptor left? Raise the limit (ulimit -n),"
                        " or close what is not used any more.",
                    ) from error
            return self._aio

    def _driver(self) -> AsyncDriver:
        with importing:
            from opea_core.transport.drivers.aio import AsyncDriver

            if self._async_borrowed is not None:
                return AsyncDriver(*self._async_borrowed)
            library = load_library(self._library)
            if self._library != AIOHTTP:
                return AsyncDriver(library=library)
            from opea_core.transport.http.aiohttp_connections import aiohttp_transport

        return AsyncDriver(library=library, make=aiohttp_transport)

    def close(self) -> None:
        """Refuse further calls, break what is in use and close what is idle.

        Waits for no event loop.
        """
        self.closed = True
        for end in self.at_close:
            end()
        for limiter in list(self.limiters):
            limiter.close()
        self.sync.close()
        if self._aio is not None:
            self._aio.close()

    async def aclose(self) -> None:
        """The same, and closes the connections of the running loop gracefully."""
        if self._aio is not None:
            self._aio.check_loop()
        self.closed = True
        for limiter in list(self.limiters):
            limiter.close()
        if self._aio is not None:
            await self._aio.aclose()
        self.close()

    def reset(self) -> None:
        """In a forked child: the parent's calls and connections are not ours."""
        self._lock = threading.Lock()
        self.at_close.clear()  # they are of threads of the parent, which may have held their locks
        aio, self._aio = self._aio, None
        if aio is not None:
            aio.let_go()
        self.sync.reset()
        for limiter in list(self.limiters):
            limiter.reset()


_living: weakref.WeakSet[Drivers] = weakref.WeakSet()


def _after_fork() -> None:
    for drivers in list(_living):
        drivers.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
