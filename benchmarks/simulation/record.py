"""What happened in a scenario: every request and every call,
and the figures that follow from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sent:
    """One request, as its client saw it."""

    client: str
    server: str
    at: float
    number: int
    """Which one of its call, from 1."""
    status: int | str = ""
    ended: float = 0.0
    wait: float = 0.0
    """What the answer asked for, in seconds."""
    uses_retry_budget: bool = False
    """Whether a retry budget paid for it."""


@dataclass(slots=True)
class Called:
    """One call of a caller, over when ``ended`` is set."""

    started: float
    ended: float | None = None
    error: str = ""
    sent: int = 0


@dataclass(slots=True)
class Record:
    """Everything that was sent and called, in order."""

    requests: list[Sent] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)

    @property
    def answers(self) -> list[Called]:
        """The calls that were answered."""
        return [call for call in self.calls if call.ended is not None and not call.error]

    @property
    def errors(self) -> Counter[str]:
        """The calls that failed, by the error's class."""
        return Counter(call.error for call in self.calls if call.error)

    @property
    def unfinished(self) -> int:
        """Calls that are not over."""
        return sum(call.ended is None for call in self.calls)

    @property
    def finished(self) -> float:
        """When the last call was over."""
        return max(call.ended or 0.0 for call in self.calls)

    @property
    def amplification(self) -> float:
        """Requests per answer."""
        return len(self.requests) / max(1, len(self.answers))

    @property
    def slowest(self) -> float:
        """Seconds of the answer that took longest."""
        return max(call.ended - call.started for call in self.answers if call.ended is not None)

    def wasted(self, server: str) -> int:
        """Requests to a server that gave no answer."""
        return sum(sent.status != 200 for sent in self.to(server))

    def share(self, server: str, start: float, end: float) -> float:
        """Which part of the requests of a time went to a server."""
        then = [sent.server for sent in self.requests if start <= sent.at < end]
        return then.count(server) / max(1, len(then))

    def offered(self, start: float, end: float) -> float:
        """Calls a second that were begun between two times."""
        return sum(start <= call.started < end for call in self.calls) / (end - start)

    @property
    def too_early(self) -> int:
        """Requests that went out before the time
        that an earlier answer to the same client had stated.
        """
        count, until = 0, dict[str, list[tuple[float, float]]]()
        for sent in self.requests:
            if sent.wait:
                until.setdefault(sent.client, []).append((sent.ended, sent.ended + sent.wait))
        for sent in self.requests:
            count += any(start < sent.at < end - 1e-6 for start, end in until.get(sent.client, ()))
        return count

    def to(self, server: str) -> list[Sent]:
        """The requests to one server."""
        return [sent for sent in self.requests if sent.server == server]

    def goodput(self, start: float, end: float) -> float:
        """Answers a second between two times."""
        return sum(start <= (call.ended or 0.0) < end for call in self.answers) / (end - start)

    def retries_over_budget(self, client: str, server: str, capacity: float) -> float:
        """By how much the charged retries to a server ever exceeded capacity + 0.1 x
        successes + t / 10 s.
        """
        worst, uses_retry_budget, successes = -capacity, 0, 0
        mine = [sent for sent in self.requests if (sent.client, sent.server) == (client, server)]
        for sent in mine:
            uses_retry_budget += sent.uses_retry_budget
            worst = max(worst, uses_retry_budget - capacity - 0.1 * successes - sent.at / 10)
            successes += sent.status == 200
        return worst


def per_second(times: Iterable[float], end: float, width: float = 1.0) -> list[float]:
    """How many of the times fall into each slice, per second."""
    slices = [0] * (int(end / width) + 1)
    for time in times:
        if 0 <= time < end:
            slices[int(time / width)] += 1
    return [count / width for count in slices[:-1]]


def peak(times: Iterable[float], width: float) -> int:
    """The most of the times that fall into any stretch of this width."""
    ordered, most, first = sorted(times), 0, 0
    for last, time in enumerate(ordered):
        while time - ordered[first] > width:
            first += 1
        most = max(most, last - first + 1)
    return most
