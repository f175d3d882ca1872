"""What requests at one level have shown.

How many were in flight, how long they took, and how sure that is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from opea_core.policy import SECOND

_FEW, _USUAL_SPREAD = 3, 0.15
"""What a few answers show of the spread is taken together with what is usual.

It is the spread of times, as a share of their square.
"""
_ENOUGH = 0.8
"""The share of a cohort that must be answered: nobody waits for the longest."""
_WORTH = 0.15
"""The share of a rise of the level that must come back as a rise of the answers a second."""


def size_for(level: int) -> int:
    """How many requests tell something about a level: at least a round of answers."""
    return max(min(8, 2 * level - 1), level)


class Cohort:
    """The requests that were sent first at one level, and what they have shown."""

    __slots__ = (
        "_busy",
        "_places",
        "_seconds",
        "_since",
        "_size",
        "_squares",
        "_used_from",
        "_work",
        "answered",
        "full",
        "sent",
    )

    def __init__(self, size: int, used_from: int) -> None:
        self.answered = 0
        self.full = 0
        """How many of them made use of the level."""
        self._used_from = used_from
        self._size = size
        self.sent = 0
        """How many of them went out."""
        self._since = 0  # when those went out that are not answered, all added up
        self._seconds = 0.0
        self._squares = 0.0
        self._work = 0.0
        self._busy = 0.0
        self._places = 0

    def join(self, now: int) -> bool:
        """Whether a request that goes out now belongs to it."""
        if self.sent >= self._size:
            return False
        self.sent += 1
        self._since += now
        return True

    def add(self, seconds: float, work: float, place: int, left: int, now: int) -> None:
        """One answer: how long it took, and how much it was.

        ``place`` and ``left``: how many requests were in flight when it went out, and after it.
        """
        self.answered += 1
        self._since -= now - int(seconds * SECOND)
        self._seconds += seconds
        self._squares += seconds * seconds
        self._work += work
        self._busy += (place + left + 1) / 2
        self._places += place
        self.full += place >= self._used_from

    def lose(self, sent_at: int) -> None:
        """One of them got no answer that counts: another one takes its part."""
        self.sent -= 1
        self._since -= sent_at

    def prolong(self, most: int) -> bool:
        """Let more requests join, as what was seen does not tell enough; not more than ``most``."""
        if self._size >= most:
            return False
        self._size = min(most, self._size + max(1, self._size // 2))
        return True

    def close(self) -> None:
        """No more join it."""
        self._size = self.sent

    @property
    def is_sent(self) -> bool:
        """Whether all of them went out."""
        return 0 < self._size <= self.sent

    @property
    def is_done(self) -> bool:
        """Whether enough of them were answered."""
        return self.sent >= self._size and self.answered >= max(1, _ENOUGH * self._size)

    def at_most(self, now: int, in_flight: float, before: Seen) -> Seen:
        """What they can show at most, before all are answered.

        Those that are not answered take at least as long as they have taken so far.
        """
        waiting = self.sent - self.answered
        seconds = self._seconds + (waiting * now - self._since) / SECOND
        mean = max(seconds / self.sent, 1e-9)
        return Seen(in_flight, in_flight * before.work / mean, before.variance, before.work)

    @property
    def middle(self) -> float:
        """How many requests were in flight when the middle one of them went out."""
        return self._used_from + (self.sent - 1) / 2

    @property
    def seen(self) -> Seen:
        """What they have shown."""
        return self._seen(self._busy / self.answered)

    @property
    def rank(self) -> Seen:
        """The same, but only those count as in flight that went out before.

        For a queue, where the others only wait.
        """
        return self._seen(self._places / self.answered)

    def _seen(self, in_flight: float) -> Seen:
        count, mean = self.answered, max(self._seconds / self.answered, 1e-9)
        spread = max(0.0, self._squares / count / mean**2 - 1)
        variance = (count * spread + _FEW * _USUAL_SPREAD) / (count + _FEW) / count
        work = self._work / count
        return Seen(in_flight, in_flight * work / mean, variance, work)


class Seen(NamedTuple):
    """What a level has shown."""

    in_flight: float
    """Requests on average."""
    throughput: float
    """Work a second."""
    variance: float
    """Of the throughput, as a share of its square."""
    work: float
    """For each answer."""

    @property
    def pace(self) -> float:
        """Seconds for a piece of work."""
        return self.in_flight / max(self.throughput, 1e-9)

    def updated(self, newer: Seen) -> Seen:
        """Both together."""
        in_flight, throughput = (
            (self.in_flight + newer.in_flight) / 2,
            (self.throughput + newer.throughput) / 2,
        )
        work = (self.work + newer.work) / 2
        return Seen(in_flight, throughput, (self.variance + newer.variance) / 4, work)

    def gain_over(self, other: Seen) -> tuple[float, float]:
        """The throughput as a multiple of another's, and by how much chance may move that."""
        gain = self.throughput / max(other.throughput, 1e-9)
        return gain, gain * math.sqrt(self.variance + other.variance)

    def step(self, least: float) -> float:
        """The share by which a level must change, so that not chance decides which is better."""
        return min(0.5, max(least, 1.5 * math.sqrt(2 * self.variance)))

    def worth(self, other: Seen) -> float:
        """The gain that having more in flight than ``other`` should bring at least."""
        return 1 + _WORTH * (self.in_flight / other.in_flight - 1)
