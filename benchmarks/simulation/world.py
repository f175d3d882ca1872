"""Virtual time: what is planned happens in order, at once. One seed gives one course of events."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

SECOND = 1_000_000_000
_STANDSTILL = 200_000


class Stuck(Exception):
    """Something goes round without time passing."""


class Plan:
    """Something that will happen, unless it is cancelled."""

    __slots__ = ("do",)

    def __init__(self, do: Callable[[], object]) -> None:
        self.do: Callable[[], object] | None = do

    def cancel(self) -> None:
        """Let it not happen."""
        self.do = None


class World:
    """The clock (nanoseconds), the chance and the agenda that everybody in a scenario shares."""

    def __init__(self, seed: int) -> None:
        self.now = 0
        self.seed = seed
        self.random = random.Random(seed)  # noqa: S311 - to be repeatable is the point
        self._agenda: list[tuple[int, int, Plan]] = []
        self._count = 0
        self._still = 0

    @property
    def seconds(self) -> float:
        """The time since the beginning."""
        return self.now / SECOND

    def clock(self) -> int:
        """What ``time.monotonic_ns`` is elsewhere."""
        return self.now

    def at(self, when: int, do: Callable[[], object]) -> Plan:
        """Plan something for a time; what is planned for the same time happens
        in the order of planning.
        """
        self._count += 1
        plan = Plan(do)
        heapq.heappush(self._agenda, (max(when, self.now), self._count, plan))
        return plan

    def after(self, seconds: float, do: Callable[[], object]) -> Plan:
        """Plan something for later."""
        return self.at(self.now + int(seconds * SECOND), do)

    def run(self, until: float) -> None:
        """Let time pass until there is nothing left to happen, at most to ``until`` seconds."""
        end = int(until * SECOND)
        while self._agenda and self._agenda[0][0] <= end:
            when, _, plan = heapq.heappop(self._agenda)
            if plan.do is None:
                continue
            self._still = self._still + 1 if when == self.now else 0
            if self._still > _STANDSTILL:
                raise Stuck(
                    f"{self._still} things happened at {self.seconds:.3f} s, and time does not pass"
                )
            self.now = when
            plan.do()
