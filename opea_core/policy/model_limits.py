"""What one model at one endpoint may be asked: how much at once, and when again after it refused.

A refusal for being too much (429, 503, 529) is no failure. While other requests are in flight it
only says how many the server takes, and what it asks to wait is tried as soon as another request
ended well: if that trial is refused too, the wait is kept. With nothing in flight there is nothing
to go by but the wait, stated or growing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opea_core.errors import RateLimited
from opea_core.policy import SECOND
from opea_core.policy.cohort import Cohort
from opea_core.policy.concurrency import ConcurrencyLimit
from opea_core.policy.pace import Pace
from opea_core.policy.retry import EndpointImpact, most_jitter

if TYPE_CHECKING:
    from opea_core.policy.permit import Permit
    from opea_core.policy.rate_limit import Need, RateWindows

LONGEST_COOLDOWN = 24 * 3600.0
"""Seconds; a longer wait is not believed."""
_FIRST_BACKOFF, _FIRST_LIMITED, _LONGEST_BACKOFF = 0.1, 1.0, 4.0
"""Seconds; the second where a limited rate is all that is known of a server."""
_PATIENT_TRIAL = 60 * SECOND
"""A wait that is longer than this is tried before it is over, by one call at a time."""
_NOTICE = SECOND // 50
_BRIEF = 5.0
"""A wait of fewer seconds does not mean a window after which all is new.

The requests are spread.
"""
_TURNS, _LONGEST_PATIENCE = 40, 120.0
_JUST = SECOND
"""So long ago at most an answer has just come."""


# The cooldown of one model at one endpoint. The state is not stored: OPEN is cooldown_until <= now,
# TRYING is a cooldown with trial_number != 0, and COOLING is any other cooldown.
#
# state   | event                                            | next    | what else happens
# --------|--------------------------------------------------|---------|----------------------------
# OPEN    | refused as too much, others in flight, and no    | OPEN    | the level falls to what is
#         | stated wait or above the known level             |         | in flight (W18, W25)
# OPEN    | refused, others in flight, stated wait, within   | COOLING | the level falls as well
#         | the known level                                  |         | (W24, W25)
# OPEN    | refused, nothing else in flight                  | COOLING | stated wait (W26) or a
#         |                                                  |         | growing pause (W28)
# COOLING | refused, sent before the cooldown began          | COOLING | only ever longer (W24)
# COOLING | another request was answered, and no trial of    | COOLING | a trial is due now (W27)
#         | this cooldown was refused                        |         |
# COOLING | 60 s of a wait longer than that have passed      | COOLING | a trial is due now (W27)
# COOLING | a request is sent while a trial is due           | TRYING  | it is the trial
# COOLING | a request is sent after cooldown_until           | OPEN    | slow start if it began with
#         |                                                  |         | nothing in flight (W23)
# TRYING  | the trial is answered, or its first content came | OPEN    | the cooldown is over
# TRYING  | the trial is refused                             | COOLING | no further trial because of
#         |                                                  |         | answers
# TRYING  | the trial ends in any other way                  | COOLING | a trial is due again
# TRYING  | not refused for twice the time that the last     | TRYING  | others may be sent, too:
#         | refusal took                                     |         | refusals come fast


class ModelLimits:
    """State of one model at one endpoint.

    ``open`` -> ``cooling`` (a refusal with a wait, or with nothing else in flight) -> ``trying``
    (one request out before the time) -> ``open`` (answered) or ``cooling`` (refused); ``cooling``
    -> ``open`` when the time has come.
    """

    __slots__ = (
        "_backoff_step", "_passes_at", "_refusal_took", "_rests_until", "_sends", "_share",
        "_spent", "_trial_at", "_trials", "adopted_until", "allowance_until", "allowed",
        "answered_at", "asked_until", "concurrency", "cooldown_seq", "cooldown_until",
        "in_flight", "rates", "refusals", "stated", "trying",
    )  # fmt: skip

    def __init__(
        self, ceiling: int | None, weight: float = 1.0, rates: RateWindows | None = None
    ) -> None:
        self.rates = rates
        """Requests and tokens a minute, where they are limited."""
        self.concurrency = ConcurrencyLimit(ceiling, weight)
        self.in_flight = 0
        self.cooldown_until = 0
        self.cooldown_seq = 0
        """Grows with each cooldown that begins."""
        self.asked_until = 0
        """Until when the server asked to wait; the jitter is ours."""
        self.stated = False
        """Whether the server said how long."""
        self.adopted_until = 0
        """Until when a server asked another process to wait."""
        self.refusals = 0
        """In a row with nothing else in flight."""
        self.answered_at: int | None = None
        """When the last answer came."""
        self.allowed: int | None = None
        """What the server said is left of its rate limit, until ``allowance_until``."""
        self.allowance_until = 0
        self._backoff_step = 0
        self._rests_until = 0
        self._share: float | None = None  # of the longest jitter, for the cooldown that began last
        self.trying = 0
        """The number of the request that is out before the time, else 0."""
        self._trials = 0
        self._spent = False  # a trial before the time was refused
        self._trial_at: int | None = None
        self._refusal_took = self._passes_at = 0
        self._sends = Pace()

    # --- may a request go out?

    def opens_at(self, now: int) -> int | None:
        """None if requests may be sent, else when the cooldown ends or a trial is due."""
        if self.cooldown_until <= now:
            return None
        trial = self._trial_at
        if self.trying:  # it is not refused: refusals come fast
            passes = self._passes_at
            return None if passes <= now else min(passes, self.cooldown_until)
        if trial is None:
            return self.cooldown_until
        return None if trial <= now else min(trial, self.cooldown_until)

    def has_room(self, now: int, need: Need | None = None) -> bool:
        """Whether one more request may be in flight; without ``need`` whether any may."""
        if self.rates is not None and not self.rates.has_room(now, need):
            return False
        if (
            self.allowed is not None
            and now < self.allowance_until
            and self.in_flight >= self.allowed
        ):
            return False
        if now < self._rests_until or now < self._sends.next_at:
            return False
        return self.concurrency.has_room(self.in_flight)

    def pass_time(self, now: int) -> bool:
        """Callers wait. Gives whether there is more room now."""
        before = self.concurrency.level
        self.concurrency.pass_time(self.in_flight, now)
        return self.concurrency.level > before

    def room_at(self, now: int) -> int | None:
        """When there is room without any answer, if ever."""
        at = max(self._rests_until, self._sends.next_at)
        if (
            self.allowed is not None
            and now < self.allowance_until
            and self.in_flight >= self.allowed
        ):
            at = max(at, self.allowance_until)
        if self.rates is not None:
            at = max(at, self.rates.room_at(now) or 0)
        return at if now < at else self.concurrency.rises_at(now)

    @property
    def patience(self) -> float:
        """Seconds for which a server that works may well refuse one: others are served in turn."""
        return min(_TURNS * self.concurrency.usual_seconds, _LONGEST_PATIENCE)

    def answered_since(self, at: int, now: int) -> bool:
        """Whether an answer came after ``at``, or lately for what a request takes."""
        return self.answered_at is not None and self.answered_at >= min(
            at, now - max(_JUST, int(self.patience * SECOND))
        )

    # --- what became of it

    def send(self, now: int) -> tuple[Cohort | None, int]:
        """A request goes out, and ``in_flight`` grows next.

        Gives where it is measured, and the number of the trial before the time, if it is one.
        """
        trial = 0
        if self.cooldown_until > now:
            if not self.trying:
                self._trials += 1
                trial = self.trying = self._trials
                self._passes_at = now + 2 * self._refusal_took + _NOTICE
        elif self.cooldown_until:
            self.cooldown_until = 0
            self._trial_at = None
            if self.refusals:
                self.concurrency.restart()
        self._sends.sent(now)
        return self.concurrency.sent(now), trial

    def allow(self, left: int, seconds: float, now: int) -> None:
        """The server says how many requests are left for a while; one may always find out."""
        self.allowed, self.allowance_until = (
            max(1, left),
            now + int(min(seconds, LONGEST_COOLDOWN) * SECOND),
        )

    def adopt(self, seconds: float, now: int) -> None:
        """The server asked another process, which shares this limit, to wait."""
        until = now + int(min(seconds, LONGEST_COOLDOWN) * SECOND)
        if until > self.cooldown_until + SECOND:
            self.cooldown_seq += 1
            self.trying, self._trial_at, self._spent = 0, None, False
            self.cooldown_until = self.asked_until = self.adopted_until = until
            self.stated = True

    def answered(self, permit: Permit, work: float, now: int) -> None:
        """It was answered; its place is free already."""
        self.heard(permit.trial, now)
        self._sends.answered(alone=self.in_flight == 0)
        concurrency = self.concurrency
        concurrency.answered(
            permit.cohort, permit.place, self.in_flight, (now - permit.at) / SECOND, work, now
        )
        if concurrency.rests:
            concurrency.rests = False
            self._rests_until = now + int(concurrency.usual_seconds * SECOND)

    def heard(self, trial: int, now: int) -> None:
        """The server works on a request: there was room for it.

        ``trial``: its number, if it is one and no other began since.
        """
        self.answered_at = now
        self.refusals = 0
        self._backoff_step = 0
        if trial:
            self.trying = 0
            self.cooldown_until = 0
            self._trial_at = None
        elif self.cooldown_until > now and not self._spent and self._trial_at is None:
            self._trial_at = now

    def refused(self, permit: Permit, effect: EndpointImpact, now: int) -> None:
        """It was refused as too much; its place is free already."""
        alone = self.in_flight == 0
        self._refusal_took = now - permit.at
        fresh = permit.cooldown_seq == self.cooldown_seq and not permit.trial
        if alone:
            self.refusals += fresh or not self.refusals
            if effect.wait is None or effect.wait < _BRIEF:
                self._sends.refused(now)
        else:
            self.concurrency.refused(self.in_flight, permit.above, now)
        if permit.trial:
            self._spent = True
            self._trial_at = None
        if alone or (effect.wait is not None and not permit.above):
            self._cool_down(effect, fresh, now)

    def _cool_down(self, effect: EndpointImpact, fresh: bool, now: int) -> None:
        """Begin a cooldown, or make it longer; never shorter.

        A burst of refusals sent before it counts as one.
        """
        if fresh:
            self._share = None
            self.cooldown_seq += 1
            self.trying, self._trial_at = 0, None
        if self.cooldown_until <= now:
            self._spent, self._trial_at, self.trying = False, None, 0
        wait = (
            self._backoff(effect, fresh)
            if effect.wait is None
            else self._stated(effect.wait, effect.jitter)
        )
        until = now + int(wait * SECOND)
        if until > self.cooldown_until:
            self.cooldown_until, self.stated = until, effect.wait is not None
            self.asked_until = (
                until
                if effect.wait is None
                else now + int(min(effect.wait - effect.jitter, LONGEST_COOLDOWN) * SECOND)
            )
        if self.cooldown_until - now > _PATIENT_TRIAL:
            self._trial_at = now + _PATIENT_TRIAL

    def _stated(self, wait: float, jitter: float) -> float:
        """The seconds the server asked for, and a share of the longest jitter.

        It is one share for all refusals of a burst, as the longest of many would be the same in
        every process.
        """
        most = most_jitter(wait - jitter)
        if self._share is None:
            self._share = jitter / most if most else 0.0
        return min(wait - jitter + self._share * most, LONGEST_COOLDOWN)

    def _backoff(self, effect: EndpointImpact, fresh: bool) -> float:
        """Seconds to leave a server alone that says nothing of when.

        A part of what a request takes, doubled each time.
        """
        if not fresh:
            return 0.0
        usual = self.concurrency.usual_seconds
        if not usual and isinstance(effect.reason, RateLimited):
            return min(
                _FIRST_LIMITED * 2 ** self._step() * (1 + 0.5 * effect.chance), _LONGEST_BACKOFF
            )
        first = min(1.0, usual / 2) or _FIRST_BACKOFF
        most = min(max(usual, 2.0), _LONGEST_BACKOFF) if usual else _LONGEST_BACKOFF
        return min(first * 2 ** self._step(), most) * (0.5 + 0.5 * effect.chance)

    def _step(self) -> float:
        self._backoff_step = min(self._backoff_step + 1, 10)
        return float(self._backoff_step - 1)
