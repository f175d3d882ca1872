"""The tickets that wait, and where each stands: what comes in, what gets a place, what leaves."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

from opea_core.config import QueuePolicy
from opea_core.policy import SECOND
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.ticket import (
    Option,
    Reason,
    Rejection,
    Route,
    Routes,
    Ticket,
    TicketState,
)


class TicketQueue:
    """Bookkeeping of tickets; what is decided about them is in ``Scheduler``."""

    def __init__(
        self,
        endpoints: Sequence[EndpointState],
        policy: QueuePolicy,
        max_retry_after: float,
        chance: Callable[[], float],
    ) -> None:
        self.endpoints = tuple(endpoints)
        self._policy = policy
        self._max_retry_after = int(max_retry_after * SECOND)
        self._chance = chance
        self._seq = 0
        self._routes = Routes(self.endpoints)
        self._retrying: dict[Ticket, None] = {}
        self._offered: dict[Ticket, None] = {}  # oldest first
        self.queued = 0  # pending tickets that were never granted
        self.waiting = 0  # pending or offered or lapsed

    def waiters(self) -> Iterator[Ticket]:
        """Some tickets that wait, in no particular order."""
        yield from self._retrying
        for route in self._routes:
            yield from route.queued()

    def _begin_hold(self, ticket: Ticket, now: int) -> None:
        """From here outage counts against the ticket; while it was in flight it did not."""
        route = ticket.route = self._routes.kept(ticket.route)
        if not route.live:
            route.run_outage_clock(False, False, now)  # it ran on after its last waiter left
        ticket.gives_up_at = route.clock(now) + route.allowance(ticket, now)

    def _pending(self, route: Route) -> list[Ticket]:
        return [*route.queued(), *(t for t in self._retrying if t.route is route)]

    def _enqueue(self, ticket: Ticket) -> None:
        """Into the queue.

        What counts comes last and without a call, so that Ctrl-C finds it done or not begun.
        """
        route = ticket.route = self._routes.kept(ticket.route)
        heapq.heappush(route.holds, (ticket.gives_up_at, ticket.seq, ticket))
        if not ticket.is_between_attempts:
            heapq.heappush(route.heap, ticket)
        ticket.state = TicketState.PENDING
        self.waiting += 1
        route.live += 1
        if ticket.is_between_attempts:
            self._retrying[ticket] = None
        if not ticket.retrying:
            self.queued += 1

    def _dequeue(self, ticket: Ticket) -> None:
        """Out of the queue; entries in the heaps die lazily and are swept when they are half."""
        self._retrying.pop(ticket, None)
        route = ticket.route
        ticket.state = TicketState.GONE
        self.waiting -= 1
        route.live -= 1
        if not ticket.retrying:
            self.queued -= 1
        route.tidy()

    def _offer(self, ticket: Ticket, option: Option, now: int) -> None:
        """Keep a place for a ticket; its entries in the heaps die lazily.

        From the permit on there is no call: Ctrl-C finds it done or not begun.
        """
        route, (endpoint, limits) = ticket.route, option
        if route.answered:
            ticket.recovery_wait = max(0, ticket.gives_up_at - route.clock(now))
        ticket.offered_at = now
        waited = ticket.state is TicketState.PENDING
        permit = endpoint.issue_permit(
            limits, now, ticket.uses_retry_budget, ticket.retrying, ticket.need
        )
        permit.candidates, permit.route = route.endpoints, route
        permit.has_alternative = any(
            e is not endpoint and not e.breaker.failing and e.opens_at(its, now) is None
            for e, its in route.options
        )
        ticket.permit = permit
        ticket.state = TicketState.OFFERED
        self._offered[ticket] = None
        if not waited:
            self.waiting += 1
            return
        route.live -= 1
        if not ticket.retrying:
            self.queued -= 1
        self._retrying.pop(ticket, None)
        if not ticket.is_between_attempts:
            route.remove(ticket)
        route.tidy()

    def _return(self, ticket: Ticket) -> None:
        """Give an untaken offer's place back, as if it had not been offered."""
        permit = ticket.permit
        assert permit is not None
        permit.endpoint.withdraw_permit(permit)
        ticket.permit = None

    def _reject(self, ticket: Ticket, reason: Reason, now: int, changed: list[Ticket]) -> None:
        self._dequeue(ticket)
        options = ticket.route.options
        opens = [at for e, limits in options if (at := e.free_at(limits, now)) is not None]
        ticket.state = TicketState.REJECTED
        ticket.rejection = Rejection(
            reason,
            now,
            retry_after=(min(opens) - now) / SECOND if opens else None,
            endpoints=tuple(e.describe(limits, now) for e, limits in options),
            cause=next((e.last_error for e, _ in options if e.last_error is not None), None),
            answered=ticket.route.answered,
        )
        changed.append(ticket)

    def lapse(self, ticket: Ticket) -> None:
        """An offer could not be delivered: give the place to the next one."""
        if ticket.state is TicketState.OFFERED:
            self._offered.pop(ticket, None)
            self._return(ticket)
            ticket.state = TicketState.LAPSED

    def close(self, now: int) -> list[Ticket]:
        """Reject everything that waits."""
        changed: list[Ticket] = []
        for ticket in list(self.waiters()):
            self._reject(ticket, Reason.CLOSED, now, changed)
        return changed

    def _lapse_with(self, ticket: Ticket) -> list[Ticket]:
        """The others of an event loop that stands still, so that it costs two seconds once.

        Woken, they come back with it.
        """
        others = (
            [t for t in self.waiters() if t.owner is ticket.owner]
            if ticket.owner is not None
            else []
        )
        for other in others:
            self._dequeue(other)
            self.waiting += 1
            other.state = TicketState.LAPSED
        return others
