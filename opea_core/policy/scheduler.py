"""Who goes next, and where: queue, endpoints, cooldowns and breakers decided together.

A plain data structure without lock or clock; ``transport/limiter.py`` is its only caller.

A ticket is pending, then offered (a place is kept for it), then taken, then gone; an offer that is
not taken within two seconds lapses. Tickets that may use the same endpoints wait in one heap,
ordered by the time they came plus their priority; those between two attempts stand in a short list
of their own.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice

from opea_core.policy import SECOND
from opea_core.policy.breaker import State
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.outlook import outlook_of
from opea_core.policy.permit import Permit
from opea_core.policy.rate_limit import NOTHING, Need
from opea_core.policy.retry import Retry
from opea_core.policy.ticket import (
    DEFAULT_PRIORITY,
    Option,
    Reason,
    Rejection,
    Route,
    Ticket,
    TicketState,
)
from opea_core.policy.ticket_queue import TicketQueue

OFFER_TTL = 2 * SECOND
_NEVER = 1 << 63
_LOOK_EVERY, _LOOK_FIRST = 3.0, 0.5
"""Seconds after which an endpoint is tried again at the latest while anybody is held for it.

The second: where none ever answered.
"""
_PROBERS = 256
"""Of so many at most it is asked who probes: the last to come are at the end of a heap, about."""


class Scheduler(TicketQueue):
    """The state machine. ``chance`` gives a float in [0, 1) and breaks ties between endpoints."""

    # --- tickets

    def ticket(
        self,
        now: int,
        *,
        model: str = "",
        endpoints: Sequence[EndpointState] | None = None,
        priority: int = DEFAULT_PRIORITY,
        deadline: int | None = None,
        recovery_wait: float | None = None,
        need: Need = NOTHING,
    ) -> Ticket:
        """A new ticket, not yet waiting.

        Smaller keys go first: time of coming plus priority x aging.
        """
        self._seq += 1
        wait = self._policy.recovery_wait if recovery_wait is None else recovery_wait
        timeout = self._policy.queue_timeout
        return Ticket(
            key=now + int(priority * self._policy.aging * SECOND),
            seq=self._seq,
            route=self._routes.get(endpoints, model),
            model=model,
            enqueued=now,
            deadline=deadline,
            queue_deadline=None if timeout is None else now + int(timeout * SECOND),
            recovery_wait=int(wait * SECOND),
            priority=priority,
            need=need,
        )

    def add(self, ticket: Ticket, now: int) -> list[Ticket]:
        """Let a new ticket wait; gives the tickets to wake (maybe itself: offered or rejected)."""
        self._begin_hold(ticket, now)
        # Nobody is ahead: no need to stand in the queue.
        if not self.waiting and ticket.overdue(now) is None:
            option = self._choose(ticket, now)
            if option is not None:
                self._offer(ticket, option, now)
                return [ticket]
        self._enqueue(ticket)
        changed = self.poll(now)
        if ticket.state is TicketState.PENDING:
            if self.queued > self._policy.max_queued:
                gated = all(
                    e.opens_at(limits, now) is not None for e, limits in ticket.route.options
                )
                self._reject(
                    ticket, Reason.UNAVAILABLE if gated else Reason.QUEUE_FULL, now, changed
                )
            elif (reason := self._cannot_wait(ticket, now)) is not None:
                self._reject(ticket, reason, now, changed)
        return changed

    def retry(
        self, ticket: Ticket, again: Retry, failed: EndpointState, now: int, behind: bool = False
    ) -> Rejection | None:
        """Let a granted and settled ticket wait for its next attempt.

        Gives a Rejection if there can be none.

        ``behind`` puts it behind those that wait (after a failed probe), also among those that may
        probe next. One that neither pays nor pauses (it was refused as too much) goes back to its
        old place in the queue.
        """
        if again.delay is None:
            others = tuple(e for e in ticket.route.endpoints if e is not failed)
            if not others:
                return Rejection(Reason.NO_OTHER, now)
            ticket.route = self._routes.get(others, ticket.model)
        elif again.delay > 0:
            ticket.not_before[failed] = now + int(again.delay * SECOND)
        ticket.uses_retry_budget = again.uses_retry_budget
        ticket.is_between_attempts = again.uses_retry_budget or any(
            at > now for at in ticket.not_before.values()
        )
        if ticket.uses_retry_budget and not any(
            e.budget.allows(now) for e in ticket.route.endpoints
        ):
            return Rejection(Reason.BUDGET, now)
        earliest = min(
            max(ticket.not_before.get(e, now), e.opens_at(limits, now) or now)
            for e, limits in ticket.route.options
        )
        if ticket.deadline is not None and earliest >= ticket.deadline:
            return Rejection(Reason.DEADLINE, now)
        if behind:
            ticket.probed += 1
            ticket.key = max(
                ticket.key, max((t.key for t in self._pending(ticket.route)), default=0) + 1
            )
        ticket.permit = None
        ticket.retrying = True
        self._begin_hold(ticket, now)
        self._enqueue(ticket)
        return None

    def take(self, ticket: Ticket) -> Permit | Rejection | None:
        """What the ticket got; None if it still waits. Taking an offer makes it final."""
        if ticket.state is TicketState.OFFERED:
            self._offered.pop(ticket, None)
            self.waiting -= 1
            ticket.state = TicketState.TAKEN
        elif ticket.state is TicketState.LAPSED:
            ticket.state = TicketState.GONE
            self.waiting -= 1
            self._enqueue(ticket)
        if ticket.state is TicketState.TAKEN:
            return ticket.permit
        return ticket.rejection

    def expire(self, ticket: Ticket, now: int) -> None:
        """Reject a waiting ticket whose own time is over."""
        if ticket.state is TicketState.PENDING:
            reason = ticket.overdue(now)
            if reason is not None:
                self._reject(ticket, reason, now, [])

    def leave(self, ticket: Ticket) -> None:
        """The waiter is gone, in whatever state: its place in the queue or its offer comes back."""
        if ticket.state is TicketState.PENDING:
            self._dequeue(ticket)
        elif ticket.state is TicketState.OFFERED:
            self._offered.pop(ticket, None)
            self.waiting -= 1
            self._return(ticket)
        elif ticket.state is TicketState.LAPSED:
            self.waiting -= 1
        ticket.state = TicketState.GONE

    # --- decisions

    def poll(self, now: int) -> list[Ticket]:
        """Offer what is free, reject what cannot be served.

        Gives the tickets whose waiters must be woken.
        """
        changed: list[Ticket] = []
        self._lapse_old(now, changed)
        if self.waiting:
            live = self._routes.live()
            for route in live:
                self._hold(route, now, changed)
            for ticket in [
                t
                for t in list(self._retrying)
                if t.uses_retry_budget and not any(e.budget.allows(now) for e in t.route.endpoints)
            ]:
                self._reject(ticket, Reason.BUDGET, now, changed)
            self._give_out(now, changed)
            # Each must hear of it.
            while any([route.pass_time(now) for route in live if route.live]):  # noqa: C419
                self._give_out(now, changed)
        return changed

    def _lapse_old(self, now: int, changed: list[Ticket]) -> None:
        """Take back the offers that nobody took."""
        while self._offered:
            oldest = next(iter(self._offered))
            if oldest.offered_at + OFFER_TTL > now:
                break
            self.lapse(oldest)
            changed.append(oldest)  # it was not woken, or not in time
            changed.extend(self._lapse_with(oldest))

    def _give_out(self, now: int, changed: list[Ticket]) -> None:
        """Offer places as long as there are some, the smallest key first."""
        while any(route.live and route.has_room(now) for route in self._routes):
            best = min(
                ((t, o) for t in self._heads(now, changed) if (o := self._choose(t, now))),
                key=lambda pair: pair[0],
                default=None,
            )
            if best is None:
                break
            ticket, option = best
            if option[0].breaker.state is not State.CLOSED:
                ticket = self._prober(ticket, option, now)
            self._offer(ticket, option, now)
            changed.append(ticket)

    def _prober(self, first: Ticket, option: Option, now: int) -> Ticket:
        """Who tries a broken endpoint: of those who did so least often, whoever has most time left.

        After an outage the first in the queue have hardly any time. A probe that its own caller's
        deadline cuts short proves nothing, and the next one would be no luckier.
        """
        if first.deadline is None:
            return first
        some = [
            *islice(self._retrying, _PROBERS),
            *(t for route in self._routes for t in route.heap[-_PROBERS:] if t.is_queued),
        ]
        able = [t for t in some if t.overdue(now) is None and self._choose(t, now) == option]
        return min(able, key=lambda t: (t.probed, -(t.deadline or _NEVER), t), default=first)

    def wake_at(self, now: int) -> int | None:
        """When something may become possible that is not now, or None if only an event can help."""
        times: list[int] = []
        if self._offered:
            times.append(next(iter(self._offered)).offered_at + OFFER_TTL)
        for route in self._routes.live():
            times.extend(route.wakes(now))
        for ticket in self._retrying:
            times.extend(at for at in ticket.not_before.values() if at > now)
            if ticket.uses_retry_budget:
                times.extend(
                    at for e in ticket.route.endpoints if (at := e.budget.ready_at(now)) > now
                )
        return min(times, default=None)

    def _choose(self, ticket: Ticket, now: int) -> Option | None:
        """The best endpoint that takes the ticket now: lowest tier, then least loaded.

        A marked one if all others are out of use.
        """
        best: Option | None = None
        best_rank: tuple[int, float, float] | None = None
        for option in self.usable(ticket, now):
            endpoint, limits = option
            is_due = ticket.not_before.get(endpoint, 0) <= now
            if is_due and endpoint.has_room(limits, now, ticket.need):
                rank = (
                    endpoint.config.tier,
                    (endpoint.in_flight + 1) / endpoint.config.weight,
                    self._chance(),
                )
                if best_rank is None or rank < best_rank:
                    best, best_rank = option, rank
        return best

    def usable(self, ticket: Ticket, now: int) -> Sequence[Option]:
        """Where the ticket may go, now or when there is room.

        That is where nothing forbids it; not where it is marked, unless all are.
        """
        uses_retry_budget = ticket.uses_retry_budget
        options = [
            o
            for o in ticket.route.options
            if o[0].opens_at(o[1], now) is None
            and (not uses_retry_budget or o[0].budget.allows(now))
        ]
        return [o for o in options if not o[0].is_deprioritized(now, ticket.model)] or options

    def _heads(self, now: int, changed: list[Ticket]) -> Iterator[Ticket]:
        """The tickets that may be next: the first of each heap, and all that retry."""
        for route in self._routes:
            while route.heap:
                head = route.heap[0]
                if not head.is_queued:
                    heapq.heappop(route.heap)
                elif (reason := head.overdue(now)) is not None:
                    self._reject(head, reason, now, changed)
                else:
                    yield head
                    break
        yield from (t for t in list(self._retrying) if t.overdue(now) is None)

    def _hold(self, route: Route, now: int, changed: list[Ticket]) -> None:
        """When no endpoint of a route can be used: how long may its tickets be held?"""
        if not route.answered and any(e.answered for e in route.endpoints):
            self._first_contact(route, now)
        if route.is_well(now):
            return
        outlook = outlook_of(route, self._max_retry_after, now)
        if outlook.outage:  # they are tried the sooner for it
            for endpoint in route.endpoints:
                endpoint.breaker.shorten_break(_LOOK_EVERY if route.answered else _LOOK_FIRST)
            outlook = outlook_of(route, self._max_retry_after, now)
        route.run_outage_clock(outlook.outage, outlook.refused, now)
        route.gives_up, route.refused = outlook.gives_up, outlook.refused
        if outlook.hopeless:
            for ticket in self._pending(route):
                self._reject(ticket, Reason.RATE_LIMITED, now, changed)
        elif outlook.outage and outlook.gives_up:
            more = (
                max(limits.patience for _, limits in route.options) - self._policy.recovery_wait
                if outlook.refused
                else 0.0
            )
            self._give_up(
                route,
                route.clock(now) + outlook.reopens - now - int(max(0.0, more) * SECOND),
                now,
                changed,
            )

    def _first_contact(self, route: Route, now: int) -> None:
        """One of them has answered: from now on it is worth waiting for."""
        route.answered = True
        for ticket in self._pending(route):
            self._begin_hold(ticket, now)
            heapq.heappush(route.holds, (ticket.gives_up_at, ticket.seq, ticket))

    def _give_up(self, route: Route, until: int, now: int, changed: list[Ticket]) -> None:
        """Reject the tickets whose hold ends before anything opens (``until`` on the outage clock).

        Where everything is refused as too much, those that go by their own attempts and pauses are
        left to them.
        """
        spared = []
        while route.holds and (
            route.holds[0][0] < until or route.holds[0][2].state is not TicketState.PENDING
        ):
            at, _, ticket = heapq.heappop(route.holds)
            if (
                ticket.route is not route
                or at != ticket.gives_up_at
                or ticket.state is not TicketState.PENDING
            ):
                continue
            if route.refused and (ticket.is_between_attempts or ticket.recovery_wait < SECOND):
                spared.append((at, ticket.seq, ticket))
            else:
                self._reject(ticket, Reason.UNAVAILABLE, now, changed)
        for entry in spared:
            heapq.heappush(route.holds, entry)

    @staticmethod
    def _cannot_wait(ticket: Ticket, now: int) -> Reason | None:
        """Why waiting is pointless: nothing opens before the ticket's own time is over."""
        opens = [e.opens_at(limits, now) or now for e, limits in ticket.route.options]
        if ticket.deadline is not None and min(opens) >= ticket.deadline:
            return Reason.DEADLINE
        if ticket.queue_deadline is not None and min(opens) >= ticket.queue_deadline:
            return Reason.QUEUE_TIMEOUT
        return None


__all__ = [
    "DEFAULT_PRIORITY",
    "OFFER_TTL",
    "Reason",
    "Rejection",
    "Route",
    "Scheduler",
    "Ticket",
    "TicketState",
]
