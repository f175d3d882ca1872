"""One connection of an httpcore pool, used without the pool.

A slot has one call at a time, and the scheduler did the queueing: what the pool would do around
each request (its own queue, locks, looking through its connections, twice) is a tenth of a call.
The pool still makes the connections, also those through proxies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opea_core.transport.http.unread_bytes import behind_answer

if TYPE_CHECKING:
    import httpcore


class SingleConnection:
    """Stands where an ``httpx.HTTPTransport`` has its pool."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool
        self._connection: httpcore.ConnectionInterface | None = None

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send on the kept connection, or on a new one if it is broken or the server closed it."""
        connection = self._connection
        if (
            connection is None
            or not connection.is_idle()
            or connection.has_expired()
            or behind_answer(connection)
        ):
            self.close()
            connection = self._connection = self._pool.create_connection(request.url.origin)
        return connection.handle_request(request)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class AsyncSingleConnection:
    """The async twin of ``SingleConnection``."""

    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool
        self._connection: httpcore.AsyncConnectionInterface | None = None

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send on the kept connection, or on a new one if it is broken or the server closed it."""
        connection = self._connection
        if (
            connection is None
            or not connection.is_idle()
            or connection.has_expired()
            or behind_answer(connection)
        ):
            await self.aclose()
            connection = self._connection = self._pool.create_connection(request.url.origin)
        return await connection.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            await self._connection.aclose()
            self._connection = None
