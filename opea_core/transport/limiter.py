"""The scheduler behind a lock: the clock, the waking, and giving back from anywhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from opea_core.config import Endpoint
from opea_core.flow import telemetry
from opea_core.policy import SECOND
from opea_core.policy.breaker import State
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.permit import Permit
from opea_core.policy.rate_limit import NOTHING, Need
from opea_core.policy.retry import EndpointImpact, Retry
from opea_core.policy.scheduler import (
    DEFAULT_PRIORITY,
    Reason,
    Rejection,
    Ticket,
    TicketState,
)
from opea_core.policy.stats import Recent
from opea_core.transport.figures import figures
from opea_core.transport.permit_holders import Caller, Holders
from opea_core.transport.waking import CANCELLED, LOOKS_EVERY, Waking
from opea_core.types import Usage

_LONG_WAIT = 10 * SECOND
T = TypeVar("T")


class Limiter(Waking):
    """What all threads and event loops share.

    Nothing waits, sends or calls foreign code under the lock.
    """

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
            wakes = self._wakes(list(dict.fromkeys([*changed, *unwoken])), now)
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
            self.emitter(telemetry.calls_wait(self.now(), permit.endpoint.label, median, places))

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
        self._tell_changes(permit, CANCELLED, before, permit.limits.cooldown_until, now)

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

    def blocks_others(self, ticket: Ticket) -> bool:
        """Whether who waits for this call blocks an event loop whose calls hold the places."""
        caller = ticket.caller
        return isinstance(caller, Caller) and any(
            self.would_block(ticket, loop) for loop in caller.loops()
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
            return not last or now - max(last, ticket.enqueued) >= LOOKS_EVERY

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
        # Its thread is not here, and may have held its locks.
        self.renewal, self.renewal_lock = None, threading.Lock()
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

    # --- outside the lock

    def _tell_changes(
        self, permit: Permit, effect: EndpointImpact, state: State, cooldown_until: int, now: int
    ) -> None:
        for event in telemetry.endpoint_changes(
            permit, effect, state, cooldown_until, now, alone=len(self.endpoints) == 1
        ):
            self.emitter(event)
