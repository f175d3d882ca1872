"""How many requests one endpoint gets at once, found from its answers.

A server says in one of two ways that it has enough. It refuses (429, 503, 529): then what it still
works on is what it takes. Or it lets requests wait: then more at once does not mean more answers a
second. By Little's law the answers a second are the requests in flight divided by the seconds each
takes, so two levels can be compared by what requests take at them.

Requests are measured in cohorts: those that were sent first at a level, whichever are answered
first. (The first answers after a change of level are those of the short requests.)

The phases of a level stand in phases.py, when another one is tried in trials.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from opea_core.policy import SECOND
from opea_core.policy.cohort import Cohort, Seen, size_for
from opea_core.policy.contention import Contention
from opea_core.policy.phases import Phase
from opea_core.policy.trials import Trials, enough, some_luck

FIRST = 4
"""Requests at once before anything is known."""
UNSEEN = 32
"""As many at most before an answer came; a refusal is heard long before that."""
MOST = 4096
_PACE = SECOND // 20
"""So long after the first requests the level doubles without an answer.

Each time after that it takes four times as long.
"""
_PATIENCE = 4
"""After an answer the level doubles so many times as late without another, as that one took."""
_YIELDED = 3
"""For so many rounds of answers some places are left to others."""
_AS_GOOD = 0.97
"""A lower level is as good if this share of the answers a second is left."""
_FEWEST = 4  # answers that a trial is judged by
_FALLEN, _RISEN = 0.75, 1.3
"""Changes of the answers a second at the same level after which the level is tried anew."""


class ConcurrencyLimit:
    """The level of one endpoint and model, between 1 and ``ceiling``.

    A ceiling that the user set is what the level starts from and returns to; only refusals lower
    it.
    """

    __slots__ = (
        "_base", "_before", "_cohort", "_contention", "_fixed", "_is_new", "_pace", "_paced_at",
        "_refused", "_stays_new", "_step", "_threshold", "_trials", "_unseen", "_weight",
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
        self.rests = False
        """Whether the only place is left to others for as long as a request takes."""
        self._contention = Contention()
        self._trials = Trials()
        self._step = 0
        self._pace = _PACE
        self._is_new = self._stays_new = True
        """Whether no level was found to be too high yet.

        The second: the same while the level rises to what was good before.
        """
        self.level = self._base = self.ceiling if self._fixed else max(1, round(FIRST * weight))
        self.phase = Phase.RISING
        self._cohort = Cohort(size_for(self.level), self.level)
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
        if self.phase not in (Phase.RISING, Phase.STEADY):
            return False  # a trial of another level goes on
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
            self._cohort.close()
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

    def sent(self, now: int) -> Cohort | None:
        """A request goes out; gives where it is measured."""
        return self._cohort if self._cohort.join(now) else None

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
            cohort.add(seconds, work, place, left, now)
        if self.phase is Phase.RISING:
            if self._threshold is None:
                self._pace = max(self._pace, int(_PATIENCE * seconds * SECOND))
                self._has_risen(now)
            elif 2 * place > self.level:
                self._rise(self.level + 1)
        else:
            if self._refused and self.phase is Phase.STEADY:
                self._probe(place, now)
            if cohort is mine and mine.is_done:
                self._judges[self.phase](self, mine)
            elif self.phase is Phase.HIGHER and self._is_new and not self._fixed:
                self._doubles_in_vain(mine, now)

    def _has_risen(self, now: int) -> None:
        """Some that went out before any answer are answered: did they only wait for the first?"""
        level = enough([*self._unseen, self._cohort], now)
        if level is not None:
            self._steady(level)
        elif self._cohort.is_done:
            self._trials.see(self._cohort.seen)
            self._go_on(self._cohort, self.level)

    def _go_on(self, cohort: Cohort, step: int) -> None:
        """More was better: even more, as long as it is used."""
        if 2 * cohort.full < cohort.answered or self.level >= self.ceiling:
            return self._stay(cohort.seen)
        return self._try(Phase.HIGHER, step, cohort.seen)

    def _steady(self, level: int) -> None:
        """This level is good, and nothing is known of others."""
        self._threshold = self._paced_at = self._before = None
        self._unseen, self._is_new, self._pace = [], False, _PACE
        self._trials.restart()
        self.level = max(1, min(level, self.ceiling))
        self._contention.asked = 0
        self._stay(None)

    def _stay(self, seen: Seen | None) -> None:
        """A level that is known, with what was seen at it."""
        self.phase = Phase.STEADY
        self._before = seen
        if not self._contention.asked:  # a level that was raised a moment ago is not known yet
            self._base = self.level
        self._cohort = Cohort(size_for(self.level), self.level)

    def _has_stayed(self, cohort: Cohort) -> None:
        """One more cohort at the same level: is it time to try another?"""
        seen, before, trials = cohort.seen, self._before, self._trials
        if before is not None:
            change, chance = seen.gain_over(before)
            if change + chance < _FALLEN:
                trials.lower_in = 0
            elif change - chance > _RISEN:
                trials.higher_in = 0
            else:
                seen = before.updated(seen)
        self._stay(seen)
        is_used = 2 * cohort.full >= cohort.answered
        trials.stayed(seen, is_used)
        if (
            trials.lower_in <= 0
            and self.level > 1
            and not (self._fixed or self._refused)
            and (is_used or trials.slower(seen) > 1.5)
        ):
            self._try_lower(seen)
        elif (
            is_used
            and self.level < self.ceiling
            and not self._refused
            and (trials.higher_in <= 0 or self._is_new)
        ):
            self._try(
                Phase.HIGHER,
                self.level if self._is_new else math.ceil(self.level * seen.step(1 / 8)),
                seen,
            )

    def _try_lower(self, seen: Seen) -> None:
        self._try(Phase.LOWER, self._trials.less(self.level, seen) - self.level, seen)

    def _try(self, phase: Phase, step: int, seen: Seen) -> None:
        self.phase = phase
        self._base, self._before, self._step = self.level, seen, step
        self.level = max(1, min(self.level + step, self.ceiling))
        size = max(_FEWEST, step if step >= self._base else size_for(self.level))
        self._cohort = Cohort(size, min(self.level, self._base + 1))

    def _was_higher(self, cohort: Cohort) -> None:
        before, seen = self._before, cohort.seen
        assert before is not None
        gain, chance = seen.gain_over(before)
        if self._is_new:  # a large step, and few answers to judge it by
            gain += chance
        if self._fixed or (seen.in_flight > before.in_flight and gain >= seen.worth(before)):
            self._trials.higher_paid()
            self._go_on(
                cohort, max(1, min(self._step * 2, self.level if self._is_new else self.level // 2))
            )
        else:
            self._higher_failed(before, sum(seen.gain_over(before)))

    def _doubles_in_vain(self, cohort: Cohort, now: int) -> None:
        """Twice as many are out: can they still be worth it? Each further one is a slow one."""
        before = self._before
        assert before is not None
        if cohort.is_sent:
            most = cohort.at_most(now, self.level, before)
            if some_luck(most, before) < most.worth(before):
                self._higher_failed(before, sum(most.gain_over(before)))

    def _higher_failed(self, before: Seen, gain: float) -> None:
        """More was no better: back to the level before, or below it if requests waited there."""
        first, self._refused, self._is_new = self._is_new, False, False
        self.level = self._base
        self._trials.higher_failed(gain, self.level)
        if first and self._trials.is_crowded(before) and self.level > 1:
            self._try_lower(before)
        else:
            self._stay(before)

    def _was_lower(self, cohort: Cohort) -> None:
        before, seen = self._before, cohort.seen
        assert before is not None
        gain, chance = seen.gain_over(before)
        if gain < _AS_GOOD:
            self._lower_failed(before)
        elif gain - 1.5 * chance >= seen.in_flight / before.in_flight:
            self._trials.lower_paid(seen)
            if self.level > 1 and self._trials.is_crowded(seen):
                self._try_lower(seen)
            else:
                self._stay(seen)
        elif not cohort.prolong(3 * size_for(self.level)):  # it may be chance: a few more tell
            self._lower_failed(before)

    def _lower_failed(self, before: Seen) -> None:
        self.level = self._base
        self._trials.lower_failed(before)
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
