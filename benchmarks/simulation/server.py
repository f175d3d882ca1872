"""A server as plain data: places, a queue, and what goes wrong with it and when."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from opea_core.policy.retry import Phase

from .world import SECOND, Plan, World

GOOD = json.dumps(
    {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
        ]
    }
).encode()
_TRIP = 0.0005
"""Seconds a packet travels."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, as bytes."""

    status: int = 200
    body: bytes = GOOD
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cut:
    """No answer: the connection was refused, or broke."""

    phase: Phase
    kind: Literal["connect", "disconnected"]


REFUSED = Cut(Phase.NOT_SENT, "connect")
BROKEN = Cut(Phase.MAYBE_SENT, "disconnected")
Heard = Said | Cut


def failing(status: int, wait: float | None = None) -> Said:
    """An answer that is none; ``wait`` is what it asks for, in seconds."""
    body = json.dumps({"error": {"message": "no", "type": "server_error"}}).encode()
    return Said(status, body, {} if wait is None else {"retry-after": str(wait)})


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a server from ``start`` to ``end``, in seconds."""

    kind: Literal["down", "failing", "slow"]
    start: float = 0.0
    end: float = float("inf")
    status: int = 503
    """What a failing server answers, at once."""
    factor: float = 1.0
    """By how much a slow server's work takes longer."""

    def runs(self, now: int) -> bool:
        """Whether it is wrong now."""
        return self.start * SECOND <= now < self.end * SECOND


@dataclass(frozen=True, slots=True)
class Model:
    """How a server behaves."""

    places: int = 8
    """Requests it works on at once."""
    service: float = 0.05
    """Seconds a request takes."""
    spread: float = 0.0
    """The share of that by which requests differ, evenly to both sides."""
    queue: int | None = None
    """Requests that may wait at the server, None for any number; the others are turned away."""
    refusal: tuple[int, int | None] = (503, None)
    """What those hear: the status, and the seconds they are asked to wait."""
    batching: float = 0.0
    """By which share requests take longer when all places are taken:
    an engine that works on a batch.
    """
    cache: tuple[int, float] | None = None
    """(requests, factor): beyond so many at once the key-value cache is full,
    and work is thrown away and done again.
    """
    changes: tuple[tuple[float, float], ...] = ()
    """(seconds, factor): from then on it has so many times its places."""
    notices: bool = True
    """Whether it stops working for a client that is gone."""
    rate: tuple[int, int] | None = None
    """(requests, seconds) of a rate limit; beyond it 429."""
    rate_is_stated: bool = True
    """Whether such a 429 asks to wait for the next window."""
    bucket: tuple[float, int] | None = None
    """(requests a second, most at once) of a token bucket;
    beyond it 429, which asks to wait for the next token.
    """
    fails_first: tuple[int, int] = (0, 500)
    """(requests, status): the first ones fail."""
    troubles: tuple[Trouble, ...] = ()

    @property
    def capacity(self) -> float:
        """Requests a second, when all is well."""
        return self.places / self.service


class Visit:
    """One request at a server."""

    __slots__ = ("at", "hear", "work")

    def __init__(self, at: int, hear: Callable[[Heard], None]) -> None:
        self.at = at
        self.hear = hear
        self.work: Plan | None = None


class Server:
    """The server at work."""

    def __init__(self, world: World, name: str, model: Model) -> None:
        self.world = world
        self.name = name
        self.model = model
        self.epoch = 0
        """Grows when it dies: connections of an older one are dead."""
        self.asked = 0
        self.most = 0
        """The most requests that were here at once."""
        self.busy: dict[Visit, None] = {}
        self._waiting: deque[Visit] = deque()
        self._window: tuple[int, int] = (-1, 0)
        self._tokens: tuple[int, float] = (0, float(model.bucket[1]) if model.bucket else 0.0)
        for trouble in model.troubles:
            if trouble.kind == "down":
                world.at(int(trouble.start * SECOND), self._die)

    def connect(self, epoch: int | None, hear: Callable[[Heard], None]) -> Visit:
        """A request, on a new connection or on a kept one (its ``epoch``)."""
        visit = Visit(self.world.now, hear)
        self.world.after(_TRIP, lambda: self._arrive(visit, epoch))
        return visit

    def leave(self, visit: Visit) -> None:
        """The client is gone."""
        visit.hear = _nobody
        if visit in self._waiting and self.model.notices:
            self._waiting.remove(visit)
        elif visit in self.busy and self.model.notices:
            self._done(visit, BROKEN)

    @property
    def down(self) -> bool:
        """Whether nothing listens now."""
        return self._trouble("down") is not None

    def _trouble(self, kind: str) -> Trouble | None:
        return next(
            (t for t in self.model.troubles if t.kind == kind and t.runs(self.world.now)), None
        )

    def _arrive(self, visit: Visit, epoch: int | None) -> None:
        if epoch is not None and epoch != self.epoch:
            return self._say(visit, BROKEN)
        if self.down:
            return self._say(visit, REFUSED)
        self.asked += 1
        trouble = self._trouble("failing")
        first, status = self.model.fails_first
        if trouble is not None or self.asked <= first:
            return self._say(visit, failing(trouble.status if trouble else status))
        if self.model.rate is not None and (wait := self._over_rate(*self.model.rate)):
            return self._say(visit, failing(429, wait if self.model.rate_is_stated else None))
        if self.model.bucket is not None and (seconds := self._over_bucket(*self.model.bucket)):
            return self._say(
                visit, failing(429, -(-seconds // 1) if self.model.rate_is_stated else None)
            )
        self.most = max(self.most, len(self.busy) + len(self._waiting) + 1)
        if len(self.busy) < self.places:
            return self._begin(visit)
        if self.model.queue is not None and len(self._waiting) >= self.model.queue:
            return self._say(visit, failing(*self.model.refusal))
        self._waiting.append(visit)

    @property
    def places(self) -> int:
        """How many it works on at once now."""
        factor = next(
            (f for at, f in reversed(self.model.changes) if self.world.now >= at * SECOND), 1.0
        )
        return max(1, int(self.model.places * factor))

    def _over_rate(self, most: int, seconds: int) -> int:
        """Seconds to the next window when this one is used up, else 0."""
        number = self.world.now // (seconds * SECOND)
        count = self._window[1] if self._window[0] == number else 0
        if count >= most:
            return -(-((number + 1) * seconds * SECOND - self.world.now) // SECOND)
        self._window = (number, count + 1)
        return 0

    def _over_bucket(self, rate: float, most: int) -> float:
        """Seconds to the next token when there is none, else 0."""
        at, tokens = self._tokens
        tokens = min(most, tokens + (self.world.now - at) / SECOND * rate)
        self._tokens = (self.world.now, tokens - 1 if tokens >= 1 else tokens)
        return 0 if tokens >= 1 else (1 - tokens) / rate

    def _begin(self, visit: Visit) -> None:
        self.busy[visit] = None
        slow = self._trouble("slow")
        chance = 2 * self.world.random.random() - 1
        seconds = (
            self.model.service
            * (slow.factor if slow else 1.0)
            * (1 + self.model.spread * chance)
            * self._crowded()
        )
        visit.work = self.world.after(seconds, lambda: self._done(visit, Said()))

    def _crowded(self) -> float:
        """By how much work takes longer for all that is worked on now."""
        busy = len(self.busy)
        factor = 1 + self.model.batching * (busy - 1) / max(1, self.places - 1)
        if self.model.cache is not None and busy > self.model.cache[0]:
            factor *= 1 + self.model.cache[1] * (busy / self.model.cache[0] - 1)
        return factor

    def _done(self, visit: Visit, heard: Heard) -> None:
        self.busy.pop(visit)
        if visit.work is not None:
            visit.work.cancel()
        self._say(visit, heard)
        while self._waiting and len(self.busy) < self.places:
            self._begin(self._waiting.popleft())

    def _die(self) -> None:
        self.epoch += 1
        cut, self.busy = [*self.busy, *self._waiting], {}
        self._waiting.clear()
        for visit in cut:
            if visit.work is not None:
                visit.work.cancel()
            self._say(visit, BROKEN)

    def _say(self, visit: Visit, heard: Heard) -> None:
        self.world.after(_TRIP, lambda: visit.hear(heard))


def _nobody(_: Heard) -> None:
    return None
