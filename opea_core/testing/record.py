"""What a scripted server saw, kept safely for the threads that ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Seen:
    """A request that came, and how its answer went."""

    method: str
    path: str
    """Without the query, as it was sent."""
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    raw_body: bytes = field(repr=False)
    """Decoded if it came in chunks."""
    body: Any
    """The body as JSON, or None if it is none."""
    connection: int
    """1 for the first connection; equal numbers mean that the connection was used again."""
    at: int = field(default_factory=time.monotonic_ns)
    """When the request was complete: monotonic time in nanoseconds."""
    answer: str = ""
    """What it was answered with: a status, or the name of a fault."""
    ended_at: int = 0
    """When the answer was over, however it ended; 0 before that."""
    disconnected: bool = False
    """The client went away (or half-closed) before the answer was complete."""
    finished: bool = False
    """Everything that the answer says was done."""


class Record:
    """The requests, connections and counts of a server.

    Every change wakes those who wait for one.
    """

    def __init__(self, on_end: Callable[[Seen], None] | None = None) -> None:
        self.seen: list[Seen] = []
        self._on_end = on_end
        self.connections = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self._changed = threading.Condition()

    def connect(self) -> int:
        """Count a connection; gives its number."""
        with self._changed:
            self.connections += 1
            self._changed.notify_all()
            return self.connections

    def begin(self, seen: Seen) -> None:
        """A request is complete and will be answered."""
        with self._changed:
            self.seen.append(seen)
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
            self._changed.notify_all()

    def end(self, seen: Seen, *, finished: bool, disconnected: bool) -> None:
        """The answer to a request is over."""
        with self._changed:
            seen.finished, seen.disconnected, seen.ended_at = (
                finished,
                disconnected,
                time.monotonic_ns(),
            )
            self.in_flight -= 1
            self._changed.notify_all()
        if self._on_end is not None:
            self._on_end(seen)

    def wait(self, predicate: Callable[[], bool], timeout: float, what: str) -> None:
        """Block until the predicate holds; TimeoutError otherwise.

        It is looked at after every change.
        """
        with self._changed:
            if not self._changed.wait_for(predicate, timeout):
                counts = (
                    f"{len(self.seen)} requests, {self.in_flight} in flight,"
                    f" {self.connections} connections"
                )
                raise TimeoutError(
                    f"The scripted server waited {timeout:g} s for {what} in vain ({counts})."
                )
