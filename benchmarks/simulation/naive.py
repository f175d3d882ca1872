"""A client as today's SDKs are: three retries with backoff,
and nothing that knows of other calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .record import Called, Record, Sent
from .server import Said, Server
from .wire import Late, Result, Wire
from .world import SECOND, World

_AGAIN = frozenset({408, 409, 429})
_FIRST, _LONGEST, _LONGEST_ASKED = 0.5, 8.0, 60.0


class NaiveClient:
    """No queue, no breaker, no budget; with several servers each request goes to any of them."""

    def __init__(
        self,
        world: World,
        servers: Sequence[Server],
        record: Record,
        name: str = "naive",
        timeout: float = 600.0,
        retries: int = 3,
    ) -> None:
        self.world = world
        self.servers = servers
        self.record = record
        self.name = name
        self.timeout = timeout
        self.retries = retries
        self.wire = Wire(world)

    def call(
        self, done: Callable[[Called], None] | None = None, deadline: float | None = None
    ) -> Called:
        """Begin a call; ``deadline`` is when its caller gives up."""
        called = Called(self.world.seconds)
        self.record.calls.append(called)
        self._send(
            called, done, None if deadline is None else self.world.now + int(deadline * SECOND)
        )
        return called

    def _send(
        self, called: Called, done: Callable[[Called], None] | None, deadline: int | None
    ) -> None:
        server = self.world.random.choice(self.servers)
        called.sent += 1
        sent = Sent(
            self.name,
            server.name,
            self.world.seconds,
            called.sent,
            uses_retry_budget=called.sent > 1,
        )
        self.record.requests.append(sent)

        def then(result: Result) -> None:
            heard = result.heard
            sent.ended, sent.wait = self.world.seconds, result.wait
            sent.status = (
                heard.status
                if isinstance(heard, Said)
                else "timeout"
                if isinstance(heard, Late)
                else heard.kind
            )
            wait = self._wait(result, called.sent)
            if (
                sent.status == 200
                or wait is None
                or (deadline is not None and self.world.now + wait * SECOND >= deadline)
            ):
                called.ended = self.world.seconds
                called.error = "" if sent.status == 200 else str(sent.status)
                if done is not None:
                    done(called)
            else:
                self.world.after(wait, lambda: self._send(called, done, deadline))

        self.wire.send(server, self.timeout, deadline, then)

    def _wait(self, result: Result, sent: int) -> float | None:
        """Seconds before the next try, None for no next try."""
        heard = result.heard
        final = isinstance(heard, Late) and heard.limit == "total"
        if sent > self.retries or final:
            return None
        if isinstance(heard, Said):
            if heard.status < 500 and heard.status not in _AGAIN:
                return None
            if 0 < result.wait <= _LONGEST_ASKED:
                return result.wait
        backoff = min(_LONGEST, _FIRST * 2.0 ** (sent - 1))
        return backoff * (1 - 0.25 * self.world.random.random())
