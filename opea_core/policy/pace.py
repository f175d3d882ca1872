"""The time between two requests, where a server limits how many come, not how many it works on."""

from __future__ import annotations

from opea_core.policy import SECOND

_FASTER, _FASTER_AFTER, _SLOWEST = 0.9, 8, 60 * SECOND
_ENOUGH = 4
"""Fewer answers between two refusals say nothing of a rate: others may have had the rest."""


class Pace:
    """The shortest time between two requests, where the rate is limited.

    That is where a server that works on nothing of ours refuses a request. The time is what was
    measured between two such refusals, and a little less after every few answers.
    """

    __slots__ = ("_answers", "_interval", "_since", "next_at")

    def __init__(self) -> None:
        self.next_at = 0
        self._interval = 0
        self._answers = 0
        self._since: int | None = None

    def sent(self, now: int) -> None:
        """A request goes out."""
        if self._interval:
            self.next_at = now + self._interval

    def answered(self, alone: bool) -> None:
        """One was answered; ``alone``: no other one is in flight."""
        self._answers += 1
        if not alone:  # it takes several at once
            self._interval = self.next_at = 0
        elif self._answers % _FASTER_AFTER == 0:
            self._interval = int(self._interval * _FASTER)

    def refused(self, now: int) -> None:
        """One was refused with no other one in flight."""
        if self._answers >= _ENOUGH and self._since is not None:
            self._interval = min((now - self._since) // self._answers, _SLOWEST)
        elif self._answers:  # it has room at times only: others have the rest of it
            self._interval //= 2
        if self._answers >= _ENOUGH or self._since is None:
            self._answers, self._since = 0, now
