"""The scheduler behind a lock: the clock, the waking, and giving back from anywhere."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from opea_core import events
from opea_core.config import Endpoint
from opea_core.policy import SECOND
from opea_core.policy.breaker import State, Verdict
from opea_core.policy.endpoint import EndpointState, Permit
from opea_core.policy.rate_limit import NOTHING, Need
from opea_core.policy.retry import EndpointImpact, Retry
from opea_core.policy.scheduler import (
    DEFAULT_PRIORITY,
    Reason,
    Rejection,
    Scheduler,
    Ticket,
    TicketState,
)
from opea_core.policy.stats import Recent
from opea_core.settings import Settings
from opea_core.transport.permit_holders import Holders
from opea_core.transport.telling import changes, figures, work_of
from opea_core.types import Usage

_TIMEKEEPERS = 3  # waiters of an event loop (or of all threads) that watch the clock for the others
_LONG_WAIT = 10 * SECOND
LONG_HOLD = 5 * SECOND
"""Calls that wait for so long because nothing can be sent are warned of."""
_OVERDUE = SECOND // 10
_LOOKS_EVERY = 2 * SECOND
"""So often a waiter or two look whether another needs them.

They look for one whose waking was interrupted, and who holds a place if it waits for itself.
"""
T = TypeVar("T")
_CANCELLED = EndpointImpact(Verdict.NEUTRAL)


class Limiter:
    """What all threads and event loops share.

    Nothing waits, sends or calls foreign code under the lock.
    """

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
        self.closed = False
        self.endpoints = [
            EndpointState(e, settings.breaker, chance, now()) for e in settings.endpoints
        ]
        self._scheduler = self._new_scheduler()

    def _new_scheduler(self) -> Scheduler:
        return Scheduler(
            self.endpoints, self._settings.queue, self._settings.retry.max_retry_after, self._chance
        )

    # --- a call's way

    def ticket(
        self,
        *,
        model: str,
        endpoints: Sequence[EndpointState] | None = None,
        priority: int = DEFAULT_PRIORITY,
        deadline: int | None = None,
        recovery_wait: float | None = None,
        need: Need = NOTHING,
    ) -> Ticket:
        """A new ticket for a call; ``ask`` makes it wait."""
        with self._lock:
            ticket = self._scheduler.ticket(
                self.now(),
                model=model,
                endpoints=endpoints,
                priority=priority,
                deadline=deadline,
                recovery_wait=recovery_wait,
                need=need,
            )
        self._drain()
        return ticket

    def ask(self, ticket: Ticket) -> tuple[Permit | Rejection | None, int | None]:
        """What the ticket got, or None and when to ask again (None: when it is woken)."""
        until = None
        with self._lock:
            now = self.now()
            scheduler = self._scheduler
            if self.closed and ticket.state is not TicketState.REJECTED:
                scheduler.leave(ticket)
                return Rejection(Reason.CLOSED, now), None
            looks = ticket in self._timekeepers.get(id(ticket.owner), ())
            self._forget(ticket)
            unwoken = self._unwoken() if looks else []
            if ticket.state is TicketState.NEW:
                changed = scheduler.add(ticket, now)
            else:
                scheduler.expire(ticket, now)
                changed = []
            got = scheduler.take(ticket)
            if got is None:
                changed += scheduler.poll(now)
                got = scheduler.take(ticket)
            if isinstance(got, Permit):
                self._holders.add(ticket, got)
                if ticket.owner is not None:
                    self._owners[id(ticket.owner)] += 1
            held = None
            if got is None:
                until = self._until(ticket, now)
                held, until = self._held(ticket, until, now)
            wakes = self._wakes(
                [*changed, *(other for other in unwoken if other not in changed)], now
            )
        self._after(wakes, ticket)
        if held is not None:
            self.emitter(held)
        return got, until

    def settle(
        self,
        ticket: Ticket,
        permit: Permit,
        effect: EndpointImpact,
        again: Retry | None = None,
        behind: bool = False,
        usage: Usage | None = None,
    ) -> Rejection | None:
        """Give a place back with what the outcome says.

        With ``again`` the ticket waits for its next attempt.
        """
        endpoint = permit.endpoint
        with self._lock:
            now = self.now()
            before = (endpoint.breaker.state, permit.limits.cooldown_until)
            self._settle(ticket, permit, effect, usage, now)
            rejection = None
            if again is not None and not self.closed:
                rejection = self._scheduler.retry(ticket, again, endpoint, now, behind)
            elif again is not None:
                rejection = Rejection(Reason.CLOSED, now)
            wakes = self._wakes(self._scheduler.poll(now), now)
        self._after(wakes, ticket)
        self._tell_changes(permit, effect, *before, now)
        return rejection

    def note_wait(self, waited: int, permit: Permit) -> None:
        """A call got its first place.

        When half of the last ones waited long for nothing but places, say so.
        """
        self._waits.append(waited)
        if waited < _LONG_WAIT or any(
            e.last_error is not None or e.config.max_concurrent is None for e in self.endpoints
        ):
            return
        median = sorted(self._waits)[len(self._waits) // 2]
        if median >= _LONG_WAIT:
            places = sum(e.level for e in self.endpoints)
            self.emitter(
                events.CallsWait(
                    at=self.now(),
                    endpoint=permit.endpoint.label,
                    seconds=median / SECOND,
                    places=places,
                )
            )

    def prove(self, permit: Permit) -> None:
        """First content of a stream came."""
        endpoint = permit.endpoint
        before = endpoint.breaker.state
        with self._lock:
            now = self.now()
            endpoint.stats.first_content.add(now - permit.at)
            endpoint.prove(permit, now)
            wakes = (
                self._wakes(self._scheduler.poll(now), now)
                if before is not endpoint.breaker.state
                else []
            )
        self._after(wakes)
        self._tell_changes(permit, _CANCELLED, before, permit.limits.cooldown_until, now)

    def leave(self, ticket: Ticket) -> None:
        """The call is over or cancelled: whatever it still holds comes back.

        Does nothing the second time.
        """
        with self._lock:
            now = self.now()
            wakes = self._wakes(self._leave(ticket, now), now)
        self._after(wakes)

    def abandon(self, ticket: Ticket, tell: Callable[[], None]) -> None:
        """The same from a finaliser, which may interrupt the holder of the lock.

        ``tell`` is called later.
        """
        self._returned.append((ticket, tell))
        self._drain()

    def close(self) -> None:
        """Reject everything that waits, now and later."""
        with self._lock:
            self.closed = True
            wakes = self._scheduler.close(self.now())
        self._after(wakes)

    def configure(self, endpoints: Sequence[Endpoint]) -> None:
        """More is known about the endpoints, in the same order.

        What was counted about them stays.
        """
        with self._lock:
            for endpoint, config in zip(self.endpoints, endpoints, strict=True):
                endpoint.configure(config)
            wakes = self._wakes(self._scheduler.poll(self.now()), self.now())
        self._after(wakes)

    def look(self, read: Callable[[int], T]) -> T:
        """Read several things at one moment; ``read`` gets the time."""
        with self._lock:
            return read(self.now())

    def change(self, act: Callable[[int], object]) -> None:
        """Change limits, and wake whoever may go now; ``act`` gets the time."""
        with self._lock:
            now = self.now()
            act(now)
            wakes = self._wakes(self._scheduler.poll(now), now)
        self._after(wakes)

    def waiters(self) -> Iterator[Ticket]:
        """Those who wait; only inside ``look`` or ``change``."""
        return self._scheduler.waiters()

    def would_block(self, ticket: Ticket, loop: object) -> bool:
        """Whether a thread that waits for this ticket would block a loop that it waits for.

        That is the event loop whose calls hold the places.
        """
        if self._owners[id(loop)] <= 0:
            return False
        with self._lock:
            now = self.now()
            usable = self._scheduler.usable(ticket, now)
            options = usable or ticket.route.options
            return not any(
                e.has_room(limits, now) or limits.room_at(now) is not None for e, limits in options
            )

    def waits_for_itself(self, ticket: Ticket) -> bool:
        """Whether who waits with the ticket, thread or task, holds all places it may use."""
        with self._lock:
            now = self.now()
            options = self._scheduler.usable(ticket, now)
            if not options or any(
                endpoint.has_room(limits, now) or limits.room_at(now) is not None
                for endpoint, limits in options
            ):
                return False
            read = [self._holders.hold_all(ticket, endpoint) for endpoint, _ in options]
            if None in read:
                return False
            last = max(at or 0 for at in read)
            return not last or now - max(last, ticket.enqueued) >= _LOOKS_EVERY

    def held_by(self, ticket: Ticket, holder: object) -> None:
        """Another thread or task reads a stream now."""
        with self._lock:
            permit = ticket.permit
            if permit is not None and not permit.settled:
                self._holders.remove(ticket, permit)
                ticket.holder = holder
                self._holders.add(ticket, permit)

    def reset(self) -> None:
        """In a forked child: fresh locks, nothing in flight, nobody waiting."""
        self._lock = threading.Lock()
        self._returned.clear()
        self._timekeepers.clear()
        self._waiting.clear()
        self._owners.clear()
        self._holders = Holders()
        self._held_since = self._tells_on = None
        self.endpoints[:] = [
            EndpointState(e.config, self._settings.breaker, self._chance, self.now())
            for e in self.endpoints
        ]
        self._scheduler = self._new_scheduler()

    # --- figures

    def stats(self, label: str | None = None) -> dict[str, Any]:
        """Figures of one endpoint, or of all with each under ``endpoints``."""
        with self._lock:
            known = [e for e in self.endpoints if label in (None, e.label)]
            found = figures(known, self.now()) if label is None else known[0].summary(self.now())
            found["queued"] = self._scheduler.waiting
            if label is None:
                found["hooks_failed"] = self.emitter.failed
        self._after([])
        return found

    def record_call(self, recent: Recent) -> None:
        """Remember a finished call under its request id."""
        endpoint = next(
            (e for e in self.endpoints if e.label == recent.endpoint), self.endpoints[0]
        )
        endpoint.stats.recent.append(recent)

    def recent(self) -> list[Recent]:
        """The last finished calls, oldest first per endpoint."""
        return [recent for endpoint in self.endpoints for recent in list(endpoint.stats.recent)]

    # --- inside the lock

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
            self._settle(ticket, ticket.permit, _CANCELLED, None, now)
        return self._scheduler.poll(now)

    def _until(self, ticket: Ticket, now: int) -> int | None:
        """When this waiter asks again by itself: its own limits, and the clock if a keeper."""
        limits = [
            t
            for t in (ticket.deadline, None if ticket.retrying else ticket.queue_deadline)
            if t is not None
        ]
        limits += [now + _LOOKS_EVERY] if self._holders.hold_any(ticket) else []
        self._waiting.setdefault(id(ticket.owner), {})[ticket] = None
        wake_at = self._wake_at(now)
        if self._watching(id(ticket.owner), wake_at, now) < _TIMEKEEPERS:
            self._timekeepers.setdefault(id(ticket.owner), {})[ticket] = wake_at
            limits.append(wake_at)
        return min(limits, default=None)

    def _held(
        self, ticket: Ticket, until: int | None, now: int
    ) -> tuple[events.CallsHeld | None, int | None]:
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
        return events.CallsHeld(
            at=now,
            endpoint=labels,
            seconds=waited / SECOND,
            waiting=self._scheduler.waiting,
            reason=reasons,
        ), until

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
        return now + _LOOKS_EVERY if wake_at is None else min(wake_at, now + _LOOKS_EVERY)

    def _unwoken(self) -> list[Ticket]:
        """Who waits and need not any more: what should have woken them was interrupted."""
        return [
            t
            for tickets in self._waiting.values()
            for t in tickets
            if t.state is not TicketState.PENDING
        ]

    # --- outside the lock

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

    def _tell_changes(
        self, permit: Permit, effect: EndpointImpact, state: State, cooldown_until: int, now: int
    ) -> None:
        for event in changes(
            permit, effect, state, cooldown_until, now, alone=len(self.endpoints) == 1
        ):
            self.emitter(event)
