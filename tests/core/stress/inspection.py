"""An inspector that looks at what an object's limits hold, at any moment and from any thread,
and finds what must not be.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any, Self

from opea_core import OPEA, events
from opea_core.policy import SECOND
from opea_core.policy.breaker import State
from opea_core.policy.ticket import Ticket, TicketState

_HAND_OVER = 5 * SECOND
"""Nobody may stand beside a free place for so long, even on a busy machine."""
_LIVE = (TicketState.OFFERED, TicketState.TAKEN)


class Inspector:
    """Knows every ticket that an object gave out;
    a hook of that object, and callable from elsewhere.

    ``wrong`` has what was found. As a hook it looks after every ``each``-th event.
    """

    def __init__(self, each: int = 1) -> None:
        self.wrong: list[str] = []
        self.looks = 0
        self._each = each
        self._heard = 0
        self._opea: OPEA | None = None
        self._tickets: list[Ticket] = []
        self._free_since: dict[Ticket, int] = {}
        self._before: dict[str, tuple[int, int, int]] = {}

    def __call__(self, event: events.Event) -> None:
        self._heard += 1
        if self._heard % self._each == 0:
            self.look()

    def watch(self, opea: OPEA) -> None:
        """Learn of every ticket from now on."""
        self._opea = opea
        limiter: Any = opea._engine.limiter
        give = limiter.ticket

        def ticket(**options: Any) -> Ticket:
            given: Ticket = give(**options)
            self._tickets.append(given)
            return given

        limiter.ticket = ticket

    def forget(self) -> None:
        """In a forked child: the parent's tickets are not ours, and its gates neither."""
        self._tickets, self._free_since, self._before = [], {}, {}

    def look(self) -> None:
        """Take the lock, and look at everything."""
        if self._opea is None:
            return
        limiter: Any = self._opea._engine.limiter
        if not limiter._lock.acquire(timeout=30):
            self.wrong.append("the lock is held while foreign code runs, or for ever")
            return
        try:
            self.looks += 1
            for found in self._look(limiter, time.monotonic_ns()):
                self.wrong.append(found)
        finally:
            limiter._lock.release()

    def _look(self, limiter: Any, now: int) -> list[str]:
        tickets = self._alive()
        returned = len(limiter._returned)
        return [
            *self._places(limiter, tickets),
            *self._queue(limiter, tickets),
            *self._waiters(limiter, tickets, now if not returned else 0),
            *self._endpoints(limiter, now),
        ]

    def _alive(self) -> list[Ticket]:
        done = (TicketState.GONE, TicketState.REJECTED)
        known = len(self._tickets)
        kept = [
            t
            for t in self._tickets[:known]
            if not (t.state in done or (t.state is TicketState.TAKEN and t.permit.settled))
        ]  # type: ignore[union-attr]
        self._tickets[:known] = kept  # those that came meanwhile stay
        return kept

    def _places(self, limiter: Any, tickets: list[Ticket]) -> list[str]:
        found = []
        held = [
            t.permit
            for t in tickets
            if t.state in _LIVE and t.permit is not None and not t.permit.settled
        ]
        if len({id(permit) for permit in held}) != len(held):
            found.append("a place was granted to two tickets")
        counts = Counter(id(permit.endpoint) for permit in held)
        for e in limiter.endpoints:
            most = e.config.max_concurrent or 1 << 30
            if not 0 <= e.in_flight <= most:
                found.append(f"{e.label}: {e.in_flight} in flight, {most} allowed")
            if e.in_flight != sum(limits.in_flight for limits in e._models.values()):
                found.append(f"{e.label}: {e.in_flight} in flight, but not by its models")
            if e.in_flight != counts[id(e)]:
                found.append(f"{e.label}: {e.in_flight} in flight, {counts[id(e)]} live grants")
        owned = Counter(
            id(t.owner) for t in tickets if t.state is TicketState.TAKEN and t.owner is not None
        )
        if dict(limiter._owners) != dict(owned):
            found.append(f"loops hold {dict(limiter._owners)}, not {dict(owned)}")
        return found

    def _queue(self, limiter: Any, tickets: list[Ticket]) -> list[str]:
        scheduler, found = limiter._scheduler, []
        states = Counter(t.state for t in tickets)
        waiting = (
            states[TicketState.PENDING] + states[TicketState.OFFERED] + states[TicketState.LAPSED]
        )
        queued = sum(t.state is TicketState.PENDING and not t.retrying for t in tickets)
        if (scheduler.waiting, scheduler.queued) != (waiting, queued):
            found.append(
                f"{scheduler.waiting} waiting and {scheduler.queued} queued are counted, "
                f"{waiting} and {queued} there"
            )
        standing = Counter(id(t) for t in scheduler.waiters())
        if standing != Counter(id(t) for t in tickets if t.state is TicketState.PENDING):
            found.append("who stands in the queue is not who is pending")
        if {id(t) for t in scheduler._offered} != {
            id(t) for t in tickets if t.state is TicketState.OFFERED
        }:
            found.append("who is offered a place is not who is listed")
        live = sum(route.live for route in scheduler._routes)
        if live != states[TicketState.PENDING]:
            found.append(
                f"the routes count {live} waiting tickets, not {states[TicketState.PENDING]}"
            )
        return found

    def _waiters(self, limiter: Any, tickets: list[Ticket], now: int) -> list[str]:
        """Nobody waits beside a free place, but for the moment in which it is handed over."""
        if not now:  # a finaliser gave something back just now: whoever releases the lock takes it
            return []
        beside = {
            t: self._free_since.get(t, now)
            for t in tickets
            if t.state is TicketState.PENDING and _may_go(t, now)
        }
        self._free_since = beside
        return [
            f"a ticket stood beside a free place for {(now - since) / SECOND:.1f} s"
            for since in beside.values()
            if now - since > _HAND_OVER
        ]

    def _endpoints(self, limiter: Any, now: int) -> list[str]:
        found = []
        for e in limiter.endpoints:
            if not -1e-6 <= e.budget._tokens <= e.budget.capacity:
                found.append(
                    f"{e.label}: {e.budget._tokens} retries in the budget of {e.budget.capacity}"
                )
            state = (
                sum(limits.cooldown_seq for limits in e._models.values()),
                e.breaker.generation,
            )
            if any(
                new < old for new, old in zip(state, self._before.get(e.label, state), strict=True)
            ):
                found.append(
                    f"{e.label}: gate or breaker went back from {self._before[e.label]} to {state}"
                )
            self._before[e.label] = state
            if e.breaker.state is not State.HALF_OPEN and e.breaker._probes:
                found.append(f"{e.label}: {e.breaker.state.value}, with probes")
        return found


def _may_go(ticket: Ticket, now: int) -> bool:
    return any(
        e.has_room(limits, now)
        and e.opens_at(limits, now) is None
        and ticket.not_before.get(e, 0) <= now
        and (not ticket.uses_retry_budget or e.budget.allows(now))
        and (ticket.deadline is None or ticket.deadline > now)
        for e, limits in ticket.route.options
    )


class Patrol:
    """Lets inspectors look again and again from a thread of its own."""

    def __init__(self, *inspectors: Inspector, every: float = 0.005) -> None:
        self._inspectors = inspectors
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._walk, daemon=True)

    def _walk(self) -> None:
        while not self._over.wait(self._every):
            for inspector in self._inspectors:
                inspector.look()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)
