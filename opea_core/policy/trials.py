"""Which trial of another level is due, how far it goes, and what a start has shown.

A trial costs answers where it fails, most of all at an engine whose key-value cache is full: there
more requests are fewer answers. So the next one of its kind waits longer, and much longer where
the answers a second fell. How far a trial of less goes follows from how much slower a piece of work
has become than it was at its quickest: if nothing waits at the server, less brings nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from opea_core.policy.cohort import Cohort, Seen

_SHORTEST, _LONGEST_HIGHER, _LONGEST_LOWER = 2, 5, 12
"""Cohorts between two trials."""
_AGAIN = 2
"""After a trial that failed the next one of its kind waits so many times as long."""
_FELL, _FELL_AGAIN, _FELL_LONGEST = 0.93, 4, 10
"""A smaller share of the answers a second means that they fell.

Then: so many times as long until the next trial, and the most cohorts.
"""
_SMALL = 3
"""At a level below this a cohort is few requests, so there are more cohorts between two trials."""
_CROWDED = 1.15
"""Requests wait for each other where a piece of work takes so many times what it took at best."""
_AT_LEISURE = 1 / 3
"""Where they do not, a trial of less has so small a part of its usual pace."""
_FARTHEST = 0.6
"""The share of the requests in flight that a trial of less leaves out at most."""
_FULL = 0.85
"""A level is full if this share of it is in flight."""
_CHANCE = 0.5
"""The part of what chance may do that speaks for more."""


class Trials:
    """When another level is tried, for one endpoint and model."""

    __slots__ = ("_higher_wait", "_lower_wait", "_quickest", "higher_in", "lower_in")

    def __init__(self) -> None:
        self._quickest = math.inf  # the fewest seconds for a piece of work that a cohort took
        self.restart()

    def restart(self) -> None:
        """A level is new, and nothing is known of others."""
        self.higher_in, self.lower_in = _SHORTEST, 1.0
        self._higher_wait, self._lower_wait = _SHORTEST, 1

    def slower(self, seen: Seen) -> float:
        """How many times as long as at best a piece of work took."""
        return seen.pace / self._quickest

    def is_crowded(self, seen: Seen) -> bool:
        """Whether requests wait for each other."""
        return self.slower(seen) > _CROWDED

    def see(self, seen: Seen) -> None:
        """A cohort was answered."""
        self._quickest = min(self._quickest, seen.pace)

    def stayed(self, seen: Seen, is_used: bool) -> None:
        """One more cohort at the same level."""
        self.see(seen)
        self.lower_in -= 1 if self.is_crowded(seen) else _AT_LEISURE
        self.higher_in -= is_used

    def higher_paid(self) -> None:
        """More requests brought more answers."""
        self._higher_wait = self.higher_in = _SHORTEST

    def higher_failed(self, gain: float, level: int) -> None:
        """They did not; ``gain``: the answers a second, of those before, with luck."""
        if gain < _FELL:
            self._higher_wait = min(self._higher_wait * _FELL_AGAIN, _FELL_LONGEST)
            self.higher_in = self._higher_wait * max(1, _SMALL // level)
        else:
            self._higher_wait = min(self._higher_wait * _AGAIN, _LONGEST_HIGHER)
            self.higher_in = self._higher_wait

    def lower_paid(self, seen: Seen) -> None:
        """Fewer requests brought as many answers."""
        self.see(seen)
        self._lower_wait, self.lower_in = 1, 1.0

    def lower_failed(self, before: Seen) -> None:
        """They did not."""
        longest = _LONGEST_LOWER if self.is_crowded(before) else 3 * _LONGEST_LOWER
        self.lower_in = self._lower_wait
        self._lower_wait = min(self._lower_wait * _AGAIN, longest)

    def less(self, level: int, seen: Seen) -> int:
        """The level below this one to try.

        If all requests only wait, as many are enough as work would take at its quickest; where the
        cache is full that is too few. So it goes half of the way, and less after it failed. Where
        callers are fewer than the level they would notice: there a small step is enough.
        """
        used = min(level, round(seen.in_flight))
        way = 1 - math.sqrt(min(1.0, self._quickest / seen.pace)) if used > _FULL * level else 0.0
        share = max(seen.step(1 / 6), way / self._lower_wait)
        return used - max(1, round(used * min(_FARTHEST, share)))


def some_luck(seen: Seen, before: Seen) -> float:
    """The answers a second as a multiple of those before, if chance was a little against them."""
    gain, chance = seen.gain_over(before)
    return gain + _CHANCE * chance


def enough(cohorts: Sequence[Cohort], now: int) -> int | None:
    """How many requests are enough, if one of these cohorts was no better than that before it.

    They went out one after another, before any answer. In a queue only those count as in flight
    that went out before. Nobody waits for the answers of a cohort: as long as they are not there,
    it is known what it can have shown at most. Each request that goes out meanwhile is a slow one.
    """
    for before, cohort in itertools.pairwise(cohorts):
        if not before.is_done or not cohort.sent:
            return None
        seen = before.rank
        most = cohort.at_most(now, cohort.middle, seen)
        if some_luck(most, seen) < most.worth(seen):
            best = max(each.rank.throughput for each in cohorts if each.is_done)
            return round(best * cohorts[0].rank.pace)
    return None
