"""One request under way: what came so far, and which time limit holds.

Shared by both drivers; no I/O.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opea_core.flow.effects import Reply, Request, TransportFailure
from opea_core.policy import SECOND
from opea_core.policy.retry import Phase
from opea_core.transport.deadline import SocketState
from opea_core.transport.http.failures import describe
from opea_core.transport.http.transports import response_headers
from opea_core.transport.http.user_clients import borrowed_socket
from opea_core.wire.response_reader import ResponseReader

if TYPE_CHECKING:
    import httpx

_MISDIRECTED = 421
DRAIN = SECOND // 10
"""So long the rest of a body after ``[DONE]`` is waited for, to keep the connection."""


class Exchange:
    """Moves the line's deadline along.

    First connect, then first_event, then idle; total bounds them all.
    """

    __slots__ = (
        "_heard_at",
        "_progress",
        "_started",
        "first_at",
        "headers",
        "headers_at",
        "line",
        "over",
        "request",
        "response_reader",
        "sent_at",
        "status",
        "wall",
    )  # fmt: skip

    def __init__(self, request: Request, line: SocketState) -> None:
        self.request = request
        self.line = line
        self.sent_at = time.monotonic_ns()
        self.first_at: int | None = None
        self.wall = 0.0
        self.headers_at = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.response_reader: ResponseReader | None = None
        self._progress = 0
        self._started = False
        self.over = False
        """Whether the body was read to its end."""
        self._heard_at = 0
        limits = request.timeouts
        line.begin(self._at(limits.connect), self._at(limits.first_event))

    def timeouts(self) -> dict[str, float | None]:
        """The limits for httpx's own timeouts, where the line does not bound them."""
        if self.line.own:
            return {}
        limits, left = self.request.timeouts, self._left()
        read = (
            None
            if limits.idle is None or limits.first_event is None
            else max(limits.idle, limits.first_event)
        )
        bounded = {"connect": limits.connect, "read": read, "write": read, "pool": limits.connect}
        return {
            name: left if value is None else value if left is None else min(value, left)
            for name, value in bounded.items()
        }

    def opened(self, response: httpx.Response) -> ResponseReader:
        """Status and headers came."""
        self.wall = time.time()
        self.headers_at = time.monotonic_ns()
        self.status = response.status_code
        self.headers = response_headers(response)
        if not self.line.own:
            self.line.socket = borrowed_socket(response)
        expected = self.request.expected
        if expected.raw is None:
            self.response_reader = ResponseReader(self.status, self.headers, expected)
        else:
            raw = response.headers.raw
            self.response_reader = expected.raw.opened(self.status, raw, self.headers, expected)
        return self.response_reader

    def take(self, data: bytes) -> Reply | None:
        """Take bytes of the body; gives the outcome when no more are needed."""
        response_reader = self.response_reader
        assert response_reader is not None
        response_reader.feed(data)
        if (
            response_reader.progress != self._progress
            or response_reader.started is not self._started
        ):
            self._moved(response_reader)
        return self._whole() if response_reader.done else None

    @property
    def holds_back(self) -> bool:
        """Whether more of the body has come than was looked at: take nothing, and it goes on."""
        return self.response_reader is not None and self.response_reader.holds_back

    @property
    def hands_over(self) -> bool:
        """Whether a stream's first content is there: from here it is its reader's."""
        return self.request.expected.stream and self._started and self.status < 300

    def can_keep(self, outcome: Reply | TransportFailure) -> bool:
        """Whether the connection may serve another call once the body is over."""
        # The server does not answer for this name on this connection.
        if self.status == _MISDIRECTED:
            return False
        return isinstance(outcome, Reply) and (self.over or outcome.response_reader.problem is None)

    def _moved(self, response_reader: ResponseReader) -> None:
        now = time.monotonic_ns()
        self._progress = response_reader.progress
        if response_reader.started:
            if self.first_at is None:
                self.first_at = now
            self._started = True
            self._heard_at = now
            self.line.at = self._at(self.request.timeouts.idle, now)

    def resume(self) -> None:
        """The next read begins.

        What passed since there was content was the reader's time, not the server's silence.
        """
        if self._heard_at:
            if self.line.at is not None:
                at = self.line.at + time.monotonic_ns() - self._heard_at
                self.line.at = (
                    at if self.request.deadline is None else min(at, self.request.deadline)
                )
            self._heard_at = 0

    def drain(self) -> None:
        """The answer is whole: wait for the rest of the body only briefly."""
        self.line.at = time.monotonic_ns() + DRAIN

    def ended(self) -> Reply | TransportFailure:
        """The body is over: an answer, unless a time limit cut it."""
        now = time.monotonic_ns()
        if self._expired(now) and not (self.response_reader and self.response_reader.complete):
            return self._timeout(now)
        self.over = True
        return self._whole()

    def failed(self, error: Exception) -> Reply | TransportFailure:
        """The connection broke: an answer all the same if it was whole already."""
        now = time.monotonic_ns()
        if self.response_reader is not None and self.response_reader.complete and self.status < 300:
            return self._whole(cut=True)
        if self._expired(now):
            return self._timeout(now)
        broken = describe(error, self.line, self.sent_at, now)
        if broken.kind == "timeout" and not broken.limit:
            broken.limit = "idle" if self._started else "first_event"
        return self._in_body(broken)

    def reply(self, connection: object = None) -> Reply:
        """What came, as an outcome."""
        assert self.response_reader is not None
        at = time.monotonic_ns()
        return Reply(
            self.status,
            self.headers,
            self.response_reader,
            self.sent_at,
            at,
            self.wall,
            connection,
            first_at=self.first_at,
            headers_at=self.headers_at,
        )

    def _whole(self, cut: bool = False) -> Reply:
        reply = self.reply()
        reply.response_reader.end(cut)
        if reply.first_at is None and reply.response_reader.started:
            reply.first_at = reply.at
        return reply

    def _timeout(self, now: int) -> TransportFailure:
        phase = Phase.MAYBE_SENT if self.line.wrote else Phase.NOT_SENT
        deadline = self.request.deadline
        broken = TransportFailure(phase, "timeout", "a time limit passed", self.sent_at, now)
        if deadline is not None and now >= deadline:
            broken.limit = "total"
        else:
            broken.limit = (
                "connect" if phase is Phase.NOT_SENT else "idle" if self._started else "first_event"
            )
        return self._in_body(broken)

    def _in_body(self, broken: TransportFailure) -> TransportFailure:
        """Past the headers the phase is another, and nothing is silently sent again."""
        if self.response_reader is not None:
            broken.phase = Phase.FIRST if self.request.expected.stream else Phase.BODY
            broken.reused = False
            broken.response_reader, broken.status, broken.headers, broken.headers_at = (
                self.response_reader,
                self.status,
                self.headers,
                self.headers_at,
            )
        return broken

    def _expired(self, now: int) -> bool:
        at = (
            self.line.at
            if self.line.wrote or self.line.connect_at is None
            else self.line.connect_at
        )
        return at is not None and now >= at

    def _at(self, seconds: float | None, now: int | None = None) -> int | None:
        deadline = self.request.deadline
        if seconds is None:
            return deadline
        at = (self.sent_at if now is None else now) + int(seconds * SECOND)
        return at if deadline is None else min(at, deadline)

    def _left(self) -> float | None:
        deadline = self.request.deadline
        return None if deadline is None else max(0.001, (deadline - self.sent_at) / SECOND)
