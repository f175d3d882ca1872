"""One request under way: what came so far, and which time limit holds. Shared by both drivers; no I/O."""

from __future__ import annotations

import time

import httpx

from opea_core.flow.effects import Broken, Reply, Request
from opea_core.policy import SECOND
from opea_core.policy.retry import Phase
from opea_core.transport.borrowed import borrowed_socket
from opea_core.transport.deadline import Line
from opea_core.transport.http import describe, response_headers
from opea_core.wire.intake import Intake

_MISDIRECTED = 421
DRAIN = SECOND // 10
"""How long the rest of a body after ``[DONE]`` is waited for, so that the connection can be kept."""


class Exchange:
    """Moves the line's deadline along: connect, then first_event, then idle; total bounds them all."""

    __slots__ = (
        "_heard_at",
        "_progress",
        "_started",
        "first_at",
        "headers",
        "headers_at",
        "intake",
        "line",
        "over",
        "request",
        "sent_at",
        "status",
        "wall",
    )  # fmt: skip

    def __init__(self, request: Request, line: Line) -> None:
        self.request = request
        self.line = line
        self.sent_at = time.monotonic_ns()
        self.first_at: int | None = None
        self.wall = 0.0
        self.headers_at = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.intake: Intake | None = None
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
        read = None if limits.idle is None or limits.first_event is None else max(limits.idle, limits.first_event)
        bounded = {"connect": limits.connect, "read": read, "write": read, "pool": limits.connect}
        return {name: left if value is None else value if left is None else min(value, left) for name, value in bounded.items()}

    def opened(self, response: httpx.Response) -> Intake:
        """Status and headers came."""
        self.wall = time.time()
        self.headers_at = time.monotonic_ns()
        self.status = response.status_code
        self.headers = response_headers(response)
        if not self.line.own:
            self.line.socket = borrowed_socket(response)
        self.intake = Intake(self.status, self.headers, self.request.expected)
        return self.intake

    def take(self, data: bytes) -> Reply | None:
        """Take bytes of the body; gives the outcome when no more are needed."""
        intake = self.intake
        assert intake is not None
        intake.feed(data)
        if intake.progress != self._progress or intake.started is not self._started:
            self._moved(intake)
        return self._whole() if intake.done else None

    @property
    def holds_back(self) -> bool:
        """Whether more of the body has come than was looked at: take nothing, and it goes on."""
        return self.intake is not None and self.intake.holds_back

    @property
    def hands_over(self) -> bool:
        """Whether a stream's first content is there: from here it is its reader's."""
        return self.request.expected.stream and self._started and self.status < 300

    def can_keep(self, outcome: Reply | Broken) -> bool:
        """Whether the connection may serve another call once the body is over."""
        if self.status == _MISDIRECTED:  # the server does not answer for this name on this connection
            return False
        return isinstance(outcome, Reply) and (self.over or outcome.intake.problem is None)

    def _moved(self, intake: Intake) -> None:
        now = time.monotonic_ns()
        self._progress = intake.progress
        if intake.started:
            if self.first_at is None:
                self.first_at = now
            self._started = True
            self._heard_at = now
            self.line.at = self._at(self.request.timeouts.idle, now)

    def resume(self) -> None:
        """The next read begins: what passed since there was content was the reader's time, not the server's silence."""
        if self._heard_at:
            if self.line.at is not None:
                at = self.line.at + time.monotonic_ns() - self._heard_at
                self.line.at = at if self.request.deadline is None else min(at, self.request.deadline)
            self._heard_at = 0

    def drain(self) -> None:
        """The answer is whole: wait for the rest of the body only briefly."""
        self.line.at = time.monotonic_ns() + DRAIN

    def ended(self) -> Reply | Broken:
        """The body is over: an answer, unless a time limit cut it."""
        now = time.monotonic_ns()
        if self._expired(now) and not (self.intake and self.intake.complete):
            return self._timeout(now)
        self.over = True
        return self._whole()

    def failed(self, error: Exception) -> Reply | Broken:
        """The connection broke: an answer all the same if it was whole already."""
        now = time.monotonic_ns()
        if self.intake is not None and self.intake.complete and self.status < 300:
            return self._whole(cut=True)
        if self._expired(now):
            return self._timeout(now)
        broken = describe(error, self.line, self.sent_at, now)
        if broken.kind == "timeout" and not broken.limit:
            broken.limit = "idle" if self._started else "first_event"
        return self._in_body(broken)

    def reply(self, connection: object = None) -> Reply:
        """What came, as an outcome."""
        assert self.intake is not None
        at = time.monotonic_ns()
        return Reply(
            self.status,
            self.headers,
            self.intake,
            self.sent_at,
            at,
            self.wall,
            connection,
            first_at=self.first_at,
            headers_at=self.headers_at,
        )

    def _whole(self, cut: bool = False) -> Reply:
        reply = self.reply()
        reply.intake.end(cut)
        if reply.first_at is None and reply.intake.started:
            reply.first_at = reply.at
        return reply

    def _timeout(self, now: int) -> Broken:
        phase = Phase.MAYBE_SENT if self.line.wrote else Phase.NOT_SENT
        deadline = self.request.deadline
        broken = Broken(phase, "timeout", "a time limit passed", self.sent_at, now)
        if deadline is not None and now >= deadline:
            broken.limit = "total"
        else:
            broken.limit = "connect" if phase is Phase.NOT_SENT else "idle" if self._started else "first_event"
        return self._in_body(broken)

    def _in_body(self, broken: Broken) -> Broken:
        """Past the headers the phase is another, and nothing is silently sent again."""
        if self.intake is not None:
            broken.phase = Phase.FIRST if self.request.expected.stream else Phase.BODY
            broken.reused = False
            broken.intake, broken.status, broken.headers, broken.headers_at = self.intake, self.status, self.headers, self.headers_at
        return broken

    def _expired(self, now: int) -> bool:
        at = self.line.at if self.line.wrote or self.line.connect_at is None else self.line.connect_at
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
