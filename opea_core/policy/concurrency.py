"""How many requests one endpoint gets at once, found from its answers.

A server says in one of two ways that it has enough. It refuses (429, 503, 529): then what it still
works on is what it takes. Or it lets requests wait: then more at once does not mean more answers a
second. By Little's law the answers a second are the requests in flight divided by the seconds each
takes, so two levels can be compared by what requests take at them.

Requests are measured in cohorts: those that were sent first at a level, whichever are answered
first. (The first answers after a change of level are those of the short requests.)

``RISING``  from a small start; doubled in each round of answers, and at first by the clock, as
            refusals come fast
``STEADY``  a level that is known to be good
``HIGHER``  for one cohort a few more: kept if they bring more answers, taken back if not or if
            refused
``LOWER``   for one cohort a few less: kept if as many answers come, so that nothing waits at the
            server
``YIELDING``  for one cohort a few less after a refusal, so that other clients of the server find
            room

A trial that fails makes the next one of its kind wait twice as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import ClassVar

from opea_core.policy import SECOND
from opea_core.policy.cohort import Cohort, Seen
from opea_core.policy.contention import Contention

FIRST = 4
"""Requests at once before anything is known."""
UNSEEN = 32
"""As many at most before an answer came; a refusal is heard long before that."""
MOST = 4096
_PACE = SECOND // 20
"""So long after the first requests the level doubles without an answer.

Each time after that it takes four times as long.
"""
_SHORTEST, _LONGEST_HIGHER, _LONGEST_LOWER = 2, 5, 12
"""Cohorts between two trials."""
_YIELDED = 3
"""For so many rounds of answers some places are left to others."""
_AS_GOOD = 0.97
"""A lower level is as good if this share of the answers a second is left."""
_FALLEN, _RISEN = 0.75, 1.3
"""Changes of the answers a second at the same level after which the level is tried anew."""


# The phases of a level (rules W16 to W23). A cohort is done when 80 percent of it were answered.
#
# phase    | event                                          | next
# ---------|------------------------------------------------|---------------------------------------
# RISING   | callers wait, nothing answered, the clock is   | RISING, level doubled, at most 32
#          | up                                             | (W17)
# RISING   | cohort done, more was better                   | HIGHER, level doubled
# RISING   | cohort done, more was no better                | STEADY, at the level that was enough
# RISING   | slow start: an answer                          | RISING, level + 1; STEADY at the old
#          |                                                | level (W23)
# STEADY   | cohort done, time to try more (not if refused) | HIGHER
# STEADY   | cohort done, time to try less (not if the      | LOWER
#          | level is fixed, or was set by a refusal)       |
# STEADY   | an answer, refused before, time to yield       | YIELDING, a sixth less (W21)
# STEADY   | an answer, refused before, time to ask         | STEADY, level + 1, 2, 4 ... (W18)
# HIGHER   | cohort done, more answers per second           | HIGHER, or STEADY if it is not used
# HIGHER   | cohort done, no more of them                   | STEADY, or LOWER, at the old level
#          |                                                | (W20)
# LOWER    | cohort done, as many answers per second        | LOWER, or STEADY at level 1
# LOWER    | cohort done, fewer                             | STEADY, at the old level (W20)
# YIELDING | three rounds of answers                        | STEADY, at the old level
# any      | refused with fewer in flight than the level    | STEADY, at what is in flight (W18)
# any      | an answer did not come in time, level measured | STEADY, at half of the level (W22)
# any      | the breaker closed, or a lone cooldown ended   | RISING, from 1 (slow start, W23)
# any      | a ceiling was set or found                     | STEADY, at the ceiling (W16)


class Phase(Enum):
    """What the level is doing."""

    RISING = "rising"
    STEADY = "steady"
    HIGHER = "higher"
    LOWER = "lower"
    YIELDING = "yielding"


class ConcurrencyLimit:
    """The level of one endpoint and model, between 1 and ``ceiling``.

    A ceiling that the user set is what the level starts from and returns to; only refusals lower
    it.
    """

    __slots__ = (
        "_base", "_before", "_cohort", "_contention", "_fixed", "_higher_in", "_higher_wait",
        "_is_new", "_lower_in", "_lower_wait", "_pace", "_paced_at", "_quickest", "_refused",
        "_stays_new", "_step", "_threshold", "_unseen", "_weight",
        "ceiling", "level", "phase", "rests",
    )  # fmt: skip

    def __init__(self, ceiling: int | None, weight: float = 1.0) -> None:
        self._fixed = ceiling is not None
        self._weight = weight
        self.ceiling = ceiling or MOST
        self._refused = False
        self._threshold: int | None = None
        """While rising: the level that was good before."""
        self._paced_at: int | None = None
        """When the level rises by the clock, unless an answer comes."""
        self._before: Seen | None = None
        """What the last level, or the last cohort of this one, has shown."""
        self._unseen: list[Cohort] = []
        """Those that went out before anything was answered."""
        self._quickest = math.inf
        """The fewest seconds for a piece of work that a cohort took."""
        self.rests = False
        """Whether the only place is left to others for as long as a request takes."""
        self._contention = Contention()
        self._step = 0
        self._pace = _PACE
        self._is_new = self._stays_new = True
        """Whether no level was found to be too high yet.

        The second: the same while the level rises to what was good before.
        """
        self.level = self._base = self.ceiling if self._fixed else max(1, round(FIRST * weight))
        self.phase = Phase.RISING
        self._cohort = Cohort(_size(self.level), self.level)
        self._steady(self.level)
        if not self._fixed:
            self.phase, self._is_new = Phase.RISING, True

    def configure(self, ceiling: int | None) -> None:
        """A ceiling was set or found."""
        self._fixed = ceiling is not None
        self.ceiling = ceiling or MOST
        if ceiling is not None:
            self._steady(ceiling)

    @property
    def usual_seconds(self) -> float:
        """What a request takes, the last ones most."""
        return self._contention.usual_seconds

    # --- sending

    def has_room(self, in_flight: int) -> bool:
        """Whether one more may go out."""
        return in_flight < self.level

    def pass_time(self, in_flight: int, now: int) -> None:
        """Callers wait; with time the level rises although nothing is answered."""
        if in_flight < self.level:
            return
        if self._may_rise_unseen:
            self._wait_or_rise(now)
        elif self._refused and now >= self._contention.asks_at:
            self._ask_for_more(now)  # nothing was answered for long, and nobody waits for nothing

    @property
    def _may_rise_unseen(self) -> bool:
        """Whether the clock may raise the level.

        It may up to what was good before, or if nothing was ever too much.
        """
        if self._threshold is not None:
            return self.level < min(self._threshold, self._most_unseen)
        return self._is_new and not self._refused and self.level < self._most_unseen

    @property
    def _most_unseen(self) -> int:
        """So many at most before an answer came; a refusal is heard long before that."""
        return min(round(UNSEEN * self._weight), self.ceiling)

    def _wait_or_rise(self, now: int) -> None:
        """More want to go out, and nothing says that they may not."""
        if self._paced_at is None:
            self._paced_at = now + self._pace
        elif now >= self._paced_at:
            self._pace *= 4
            self._paced_at = now + self._pace
            if self._threshold is not None:
                return self._rise(min(self.level * 2, self._threshold))
            if self.phase is not Phase.RISING:
                self.phase, self._unseen = Phase.RISING, []
            level = min(self.level * 2, self._most_unseen)
            self._unseen.append(self._cohort)
            self._cohort = Cohort(level - self.level, self.level + 1)
            self.level = level
        return None

    def rises_at(self, now: int) -> int | None:
        """When the level rises by the clock, if it does."""
        at: int | None
        if self._may_rise_unseen:
            at = self._paced_at
        elif self._refused:
            at = self._contention.asks_at
        else:
            at = None
        return at if at is not None and at > now and self.level < self.ceiling else None

    def sent(self) -> Cohort | None:
        """A request goes out; gives where it is measured."""
        return self._cohort if self._cohort.join() else None

    def _rise(self, level: int) -> None:
        self.level = min(level, self.ceiling)
        if self._threshold is not None and self.level >= self._threshold:
            is_new = self._stays_new
            self._steady(self.level)
            self._is_new = is_new

    # --- what came of it

    def answered(
        self, cohort: Cohort | None, place: int, left: int, seconds: float, work: float, now: int
    ) -> None:
        """A request was answered.

        It was the ``place``-th in flight when it went out, and ``left`` are in flight now.
        """
        mine = self._cohort
        self._paced_at = None  # as long as answers come, it goes by them
        self._contention.answered(seconds, now)
        if cohort is not None:
            cohort.add(seconds, work, place, left)
        if self.phase is Phase.RISING:
            if self._threshold is not None and 2 * place > self.level:
                self._rise(self.level + 1)
            elif self._threshold is None and cohort is not None and cohort.is_done:
                self._risen(cohort)
        else:
            if self._refused and self.phase is Phase.STEADY:
                self._probe(place, now)
            if cohort is mine and mine.is_done:
                self._judges[self.phase](self, mine)

    def _risen(self, cohort: Cohort) -> None:
        """Some that went out before any answer are answered: did they only wait for the first?"""
        self._quickest = min(self._quickest, cohort.seen.pace)
        cohorts = [each for each in (*self._unseen, self._cohort) if each.answered]
        number = next((number for number, each in enumerate(cohorts) if each is cohort), 0)
        if number:
            gain, chance = cohort.rank.gain_over(cohorts[number - 1].rank)
            if gain + chance < cohort.rank.worth(cohorts[number - 1].rank):
                return self._steady(
                    round(max(each.rank.throughput for each in cohorts) * cohorts[0].rank.pace)
                )
        return self._go_on(cohort, self.level) if cohort is self._cohort else None

    def _go_on(self, cohort: Cohort, step: int) -> None:
        """More was better: even more, as long as it is used."""
        if 2 * cohort.full < cohort.answered or self.level >= self.ceiling:
            return self._stay(cohort.seen)
        return self._try(Phase.HIGHER, step, cohort.seen)

    def _steady(self, level: int) -> None:
        """This level is good, and nothing is known of others."""
        self._threshold = self._paced_at = self._before = None
        self._unseen, self._is_new, self._pace = [], False, _PACE
        self._higher_wait = self._lower_wait = _SHORTEST
        self._higher_in, self._lower_in = 2, 1
        self.level = max(1, min(level, self.ceiling))
        self._contention.asked = 0
        self._stay(None)

    def _stay(self, seen: Seen | None) -> None:
        """A level that is known, with what was seen at it."""
        self.phase = Phase.STEADY
        self._before = seen
        if not self._contention.asked:  # a level that was raised a moment ago is not known yet
            self._base = self.level
        self._cohort = Cohort(_size(self.level), self.level)

    def _has_stayed(self, cohort: Cohort) -> None:
        """One more cohort at the same level: is it time to try another?"""
        seen, before = cohort.seen, self._before
        if before is not None:
            change, chance = seen.gain_over(before)
            if change + chance < _FALLEN:
                self._lower_in = 0
            elif change - chance > _RISEN:
                self._higher_in = 0
            else:
                seen = before.updated(seen)
        self._quickest = min(self._quickest, seen.pace)
        self._stay(seen)
        is_used = 2 * cohort.full >= cohort.answered
        self._lower_in -= 1
        self._higher_in -= is_used
        if (
            self._lower_in <= 0
            and self.level > 1
            and not (self._fixed or self._refused)
            and (is_used or seen.pace > 1.5 * self._quickest)
        ):
            self._try_lower(seen)
        elif (
            is_used
            and self.level < self.ceiling
            and not self._refused
            and (self._higher_in <= 0 or self._is_new)
        ):
            self._try(
                Phase.HIGHER,
                self.level if self._is_new else math.ceil(self.level * seen.step(1 / 8)),
                seen,
            )

    def _try_lower(self, seen: Seen) -> None:
        used = min(self.level, round(seen.in_flight))
        self._try(Phase.LOWER, used - max(1, int(used * seen.step(1 / 6))) - self.level, seen)

    def _try(self, phase: Phase, step: int, seen: Seen) -> None:
        self.phase = phase
        self._base, self._before, self._step = self.level, seen, step
        self.level = max(1, min(self.level + step, self.ceiling))
        size = max(4, step) if step >= self._base else _size(self.level)
        self._cohort = Cohort(size, min(self.level, self._base + 1))

    def _was_higher(self, cohort: Cohort) -> None:
        before, seen = self._before, cohort.seen
        assert before is not None
        gain, chance = seen.gain_over(before)
        if self._is_new:  # a large step, and few answers to judge it by
            gain += chance
        if self._fixed or (seen.in_flight > before.in_flight and gain >= seen.worth(before)):
            self._higher_wait = self._higher_in = _SHORTEST
            self._go_on(
                cohort, max(1, min(self._step * 2, self.level if self._is_new else self.level // 2))
            )
        else:
            first, self._refused, self._is_new = self._is_new, False, False
            self.level = self._base
            self._higher_wait = self._higher_in = min(self._higher_wait * 2, _LONGEST_HIGHER)
            if first and before.pace > 1.15 * self._quickest and self.level > 1:
                self._try_lower(before)
            else:
                self._stay(before)

    def _was_lower(self, cohort: Cohort) -> None:
        before, seen = self._before, cohort.seen
        assert before is not None
        gain, chance = seen.gain_over(before)
        if gain >= _AS_GOOD and gain - 1.5 * chance >= seen.in_flight / before.in_flight:
            self._lower_wait = self._lower_in = _SHORTEST
            if self.level > 1:
                self._try(Phase.LOWER, -max(1, min(-self._step * 2, self.level // 3)), seen)
            else:
                self._stay(seen)
        else:
            self.level = self._base
            longest = _LONGEST_LOWER if before.pace > 1.15 * self._quickest else 3 * _LONGEST_LOWER
            self._lower_wait = self._lower_in = min(self._lower_wait * 2, longest)
            self._stay(before)

    def _probe(self, place: int, now: int) -> None:
        """Where refusals show what is too much, ask for one more now and then; they come fast."""
        if self._contention.may_yield(now):
            return self._yield(now)
        if place >= self.level and self._contention.may_ask(now):
            self._ask_for_more(now)
        return None

    def _ask_for_more(self, now: int) -> None:
        self._base = self.level
        self.level = min(self.level + self._contention.ask(self.level, now), self.ceiling)

    def _has_yielded(self, _: Cohort) -> None:
        self.level = self._base
        self._stay(None)

    _judges: ClassVar[dict[Phase, Callable[[ConcurrencyLimit, Cohort], None]]] = {
        Phase.STEADY: _has_stayed,
        Phase.HIGHER: _was_higher,
        Phase.LOWER: _was_lower,
        Phase.YIELDING: _has_yielded,
    }

    def is_above(self, place: int) -> bool:
        """Whether it is not known that the server takes so many."""
        return self.phase is Phase.RISING or self._is_new or place > self._base

    def refused(self, left: int, above: bool, now: int) -> None:
        """The server has enough; it still works on ``left`` of our requests.

        ``above``: that could be.
        """
        if left >= self.level:
            return
        self._contention.refused(self.level, left, above, now)
        self._steady(left)
        self._refused = True

    def _yield(self, now: int) -> None:
        """All places are taken, by us and maybe by unknown clients: leave them some for a while."""
        offered = self._contention.offer(self.level, now)
        if self.level == 1:
            self.rests = True
            return
        self.phase, self._base = Phase.YIELDING, self.level
        self.level -= offered
        self._cohort = Cohort(_YIELDED * self.level, self.level)

    def late(self) -> None:
        """A request got no answer in time."""
        if not self._fixed:
            self._steady(self.level // 2)

    def restart(self) -> None:
        """The server comes back: start small, and rise to what was good before."""
        is_new, good = self._is_new, self._threshold or (FIRST if self._is_new else self._base)
        self._steady(1)
        self.phase, self._threshold, self._stays_new = Phase.RISING, good, is_new
        self._contention.restart()


def _size(level: int) -> int:
    """How many requests tell something about a level: at least a round of answers."""
    return max(min(8, 2 * level - 1), level)
