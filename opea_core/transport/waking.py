"""Waking those who wait: which thread or loop, when, and who watches the clock for all."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opea_core import events
from opea_core.flow import telemetry
from opea_core.policy import SECOND
from opea_core.policy.breaker import Verdict
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.permit import Permit
from opea_core.policy.retry import EndpointImpact
from opea_core.policy.scheduler import (
    Scheduler,
    Ticket,
    TicketState,
)
from opea_core.settings import Settings
from opea_core.transport.figures import work_of
from opea_core.transport.permit_holders import Holders
from opea_core.types import Usage

if TYPE_CHECKING:
    from opea_core.shared.renewal import Renewal

_TIMEKEEPERS = 3  # waiters of an event loop (or of all threads) that watch the clock for the others
LONG_HOLD = 5 * SECOND
"""Calls that wait for so long because nothing can be sent are warned of."""
_OVERDUE = SECOND // 10
LOOKS_EVERY = 2 * SECOND
"""So often a waiter or two look whether another needs them.

They look for one whose waking was interrupted, and who holds a place if it waits for itself.
"""
CANCELLED = EndpointImpact(Verdict.NEUTRAL)
"""What a call that its caller ended says of its endpoint: nothing."""


class Waking:
    """The scheduler behind a lock, and the waiters it wakes; a call's way is in ``Limiter``."""

    def __init__(
        self,
        settings: Settings,
        emitter: events.Emitter,
        chance: Callable[[], float],
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.now = now
        self.emitter = emitter
        self._settings = settings
        self._chance = chance
        self._lock = threading.Lock()
        # By finalisers, which may not lock.
        self._returned: deque[tuple[Ticket, Callable[[], None]]] = deque()
        # What the next ordinary operation tells for them.
        self._untold: deque[Callable[[], None]] = deque()
        # By owner: who watches the clock, until when.
        self._timekeepers: dict[int, dict[Ticket, int]] = {}
        self._waiting: dict[int, dict[Ticket, None]] = {}  # by owner: who waits
        self._waits: deque[int] = deque(maxlen=64)
        self._held_since: int | None = (
            None  # nothing could be sent anywhere since, as far as anybody waited
        )
        self._tells_on: Ticket | None = None  # who tells of it when it lasts
        self._owners: Counter[int] = Counter()  # live permits per event loop
        self._holders = Holders()
        self.renewal: Renewal | None = None
        """What keeps this process's share of limits that others have, too."""
        self.renewal_lock = threading.Lock()
        self.closed = False
        self.endpoints = [
            EndpointState(e, settings.breaker, chance, now()) for e in settings.endpoints
        ]
        self._scheduler = self._new_scheduler()

    def _new_scheduler(self) -> Scheduler:
        return Scheduler(
            self.endpoints, self._settings.queue, self._settings.retry.max_retry_after, self._chance
        )

    def _settle(
        self, ticket: Ticket, permit: Permit, effect: EndpointImpact, usage: Usage | None, now: int
    ) -> None:
        if permit.settled:
            return
        permit.endpoint.settle(permit, effect, ticket.model, now, work_of(usage), usage)
        self._holders.remove(ticket, permit)
        if ticket.owner is not None:
            self._owners[id(ticket.owner)] -= 1
            if self._owners[id(ticket.owner)] <= 0:
                del self._owners[id(ticket.owner)]
        stats = permit.endpoint.stats
        stats.requests += 1 + permit.resent
        if effect.reason is not None:
            stats.errors[type(effect.reason).__name__] += 1
        elif effect.verdict is Verdict.OK:
            self._held_since = None
            stats.success += 1
            stats.latency.add(now - permit.at)
        if usage is not None:
            stats.prompt_tokens += usage.prompt_tokens or 0
            stats.completion_tokens += usage.completion_tokens or 0

    def _leave(self, ticket: Ticket, now: int) -> list[Ticket]:
        self._forget(ticket)
        self._scheduler.leave(ticket)
        if ticket.permit is not None:
            self._settle(ticket, ticket.permit, CANCELLED, None, now)
        return self._scheduler.poll(now)

    def _until(self, ticket: Ticket, now: int) -> int | None:
        """When this waiter asks again by itself: its own limits, and the clock if a keeper."""
        limits = [
            t
            for t in (ticket.deadline, None if ticket.retrying else ticket.queue_deadline)
            if t is not None
        ]
        limits += [now + LOOKS_EVERY] if self._holders.hold_any(ticket) else []
        self._waiting.setdefault(id(ticket.owner), {})[ticket] = None
        wake_at = self._wake_at(now)
        if self._watching(id(ticket.owner), wake_at, now) < _TIMEKEEPERS:
            self._timekeepers.setdefault(id(ticket.owner), {})[ticket] = wake_at
            limits.append(wake_at)
        return min(limits, default=None)

    def _held(
        self, ticket: Ticket, until: int | None, now: int
    ) -> tuple[events.Event | None, int | None]:
        """What to tell while nothing can be sent anywhere.

        It is told at once, and when it lasts; one waiter sees to the second.
        """
        options = ticket.route.options
        if ticket.is_between_attempts or any(
            endpoint.opens_at(limits, now) is None for endpoint, limits in options
        ):
            return None, until
        if self._held_since is None:
            self._held_since, self._tells_on = now, ticket
        elif now - self._held_since < LONG_HOLD or self._tells_on is None:
            return None, self._told_at(ticket, until)
        waited = now - self._held_since
        if waited >= LONG_HOLD:
            self._tells_on = None
        until = self._told_at(ticket, until)
        reasons = "; ".join(endpoint.describe(limits, now) for endpoint, limits in options)
        labels = ", ".join(endpoint.label for endpoint, _ in options)
        waiting = self._scheduler.waiting
        return telemetry.calls_held(now, labels, waited, waiting, reasons), until

    def _told_at(self, ticket: Ticket, until: int | None) -> int | None:
        """When a waiter asks again, if it is the one that tells when a hold lasts."""
        if self._tells_on is not None and self._tells_on.state is not TicketState.PENDING:
            self._tells_on = ticket
        if self._tells_on is not ticket or self._held_since is None:
            return until
        at = self._held_since + LONG_HOLD
        return at if until is None else min(at, until)

    def _forget(self, ticket: Ticket) -> None:
        """The ticket waits no longer, or asks again."""
        for table in (self._timekeepers, self._waiting):
            tickets: dict[Ticket, Any] | None = table.get(id(ticket.owner))
            if tickets is not None:
                tickets.pop(ticket, None)
                if not tickets:
                    del table[id(ticket.owner)]

    def _watching(self, owner: int, wake_at: int, now: int) -> int:
        """How many waiters of an owner wake up in time by themselves; an overdue one does not."""
        keepers = self._timekeepers.get(owner, {})
        return sum(
            now - _OVERDUE < at <= wake_at and ticket.state is TicketState.PENDING
            for ticket, at in keepers.items()
        )

    def _wakes(self, changed: list[Ticket], now: int) -> list[Ticket]:
        """Who must be woken: those that got something.

        And of each owner one, if nobody of it watches the clock.
        """
        if not self._scheduler.waiting:
            return changed
        wake_at = self._wake_at(now)
        unwatched = [
            tickets
            for owner, tickets in self._waiting.items()
            if not self._watching(owner, wake_at, now)
        ]
        nudged = [
            next((t for t in reversed(tickets) if t.state is TicketState.PENDING), None)
            for tickets in unwatched
        ]
        return [*changed, *(ticket for ticket in nudged if ticket is not None)]

    def _wake_at(self, now: int) -> int:
        """When a waiter must look at the latest."""
        wake_at = self._scheduler.wake_at(now)
        return now + LOOKS_EVERY if wake_at is None else min(wake_at, now + LOOKS_EVERY)

    def _unwoken(self) -> list[Ticket]:
        """Who waits and need not any more: what should have woken them was interrupted."""
        return [
            t
            for tickets in self._waiting.values()
            for t in tickets
            if t.state is not TicketState.PENDING
        ]

    def _after(self, wakes: list[Ticket], but: Ticket | None = None) -> None:
        """After every ordinary operation: wake who got something, finish what finalisers began."""
        self._pass_on(self._wake(wakes, but))
        self._drain()
        while self._untold:
            self._untold.popleft()()

    def _wake(self, wakes: list[Ticket], but: Ticket | None = None) -> list[Ticket]:
        """Wake waiters; gives those that cannot be woken, as their event loop is closed."""
        failed = []
        for ticket in wakes:
            if ticket is not but and ticket.wake is not None:
                try:
                    ticket.wake()
                except RuntimeError:
                    failed.append(ticket)
        return failed

    def _drain(self) -> None:
        """Take what finalisers gave back; whoever holds the lock does it after releasing."""
        while self._returned and self._lock.acquire(blocking=False):
            try:
                now = self.now()
                changed: list[Ticket] = []
                while self._returned:
                    ticket, tell = self._returned[0]
                    # A second time, after an interruption, it does nothing.
                    changed += self._leave(ticket, now)
                    self._untold.append(tell)
                    self._returned.popleft()
                wakes = self._wakes(changed, now)
            finally:
                self._lock.release()
            self._pass_on(self._wake(wakes))

    def _pass_on(self, failed: list[Ticket]) -> None:
        """Offers whose waiters are dead go to the next ones."""
        while failed:
            with self._lock:
                now = self.now()
                for ticket in failed:
                    self._scheduler.lapse(
                        ticket
                    ) if ticket.state is TicketState.OFFERED else self._scheduler.leave(ticket)
                wakes = self._wakes(self._scheduler.poll(now), now)
            failed = self._wake(wakes)
