"""What waits for a place: tickets, the routes they wait on, and why some get none."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from opea_core.errors import OPEAError
from opea_core.policy import SECOND
from opea_core.policy.breaker import State
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.model_limits import ModelLimits
from opea_core.policy.permit import Permit
from opea_core.policy.rate_limit import NOTHING, Need

Option: TypeAlias = tuple[EndpointState, ModelLimits]
"""An endpoint, and what a model may be asked there."""

DEFAULT_PRIORITY = 5
_MOST_ROUTES = 64
FIRST_CONTACT = 3 * SECOND // 2
"""How long a ticket is held for endpoints that never answered."""


# The states of a ticket. Every transition is a method of Scheduler, under the limiter's lock.
#
# state    | event                                    | next     | what else happens
# ---------|------------------------------------------|----------|----------------------------------
# NEW      | add, a candidate has room, nobody waits  | OFFERED  | a permit is issued (W1)
# NEW      | add, otherwise                           | PENDING  | joins the queue, then poll
# NEW      | leave                                    | GONE     |
# PENDING  | poll: it is next, and a candidate takes  | OFFERED  | a permit is issued, its waiter is
#          | it                                       |          | woken
# PENDING  | the queue is full; nothing opens in time | REJECTED | W3, W4; only inside add
# PENDING  | deadline or queue_timeout has passed     | REJECTED | W4
# PENDING  | its hold ends; every stated wait is too  | REJECTED | W36, W37
#          | long                                     |          |
# PENDING  | no candidate's retry budget pays for it  | REJECTED | R19
# PENDING  | close                                    | REJECTED | C1
# PENDING  | an offer to its event loop lapsed        | LAPSED   | W6
# PENDING  | leave, or its event loop turns out to be | GONE     |
#          | closed                                   |          |
# OFFERED  | take: its waiter resumes                 | TAKEN    | the permit is the call's (W5)
# OFFERED  | not taken for 2 s, or the waking failed  | LAPSED   | the permit is withdrawn (W5);
#          |                                          |          | after 2 s the others of its loop
#          |                                          |          | lapse, too (W6)
# OFFERED  | leave                                    | GONE     | the permit is withdrawn
# LAPSED   | take: its waiter shows signs of life     | PENDING  | back to its old turn
# LAPSED   | leave                                    | GONE     |
# TAKEN    | retry, a further attempt is possible     | PENDING  | the permit was settled (W12)
# TAKEN    | retry, none is possible                  | TAKEN    | a Rejection is returned
# TAKEN    | settle without a retry                   | TAKEN    | the permit comes back (W7)
# TAKEN    | leave                                    | GONE     | an unsettled permit comes back as
#          |                                          |          | neutral (W7, B7)
# REJECTED | take                                     | REJECTED | returns the Rejection
# REJECTED | leave                                    | GONE     |
# GONE     | leave                                    | GONE     | nothing, so leaving may repeat
#
# Only PENDING, OFFERED and LAPSED count as waiting. Between two attempts a ticket is PENDING with
# `is_between_attempts`, if it pays or pauses; it then stands in the short list and not in the heap.


class TicketState(Enum):
    """Where a ticket stands."""

    NEW = "new"
    PENDING = "pending"
    OFFERED = "offered"
    LAPSED = "lapsed"
    """Its offer was not taken; it waits again as soon as its waiter shows a sign of life."""
    TAKEN = "taken"
    REJECTED = "rejected"
    GONE = "gone"


class Reason(Enum):
    """Why a ticket got no place."""

    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    DEADLINE = "deadline"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    BUDGET = "budget"
    NO_OTHER = "no_other"
    CLOSED = "closed"
    WOULD_BLOCK = "would_block"
    WAITS_FOR_ITSELF = "waits_for_itself"


@dataclass(frozen=True, slots=True)
class Rejection:
    """No place: why, and what each endpoint's last error was."""

    reason: Reason
    at: int
    retry_after: float | None = None
    endpoints: tuple[str, ...] = ()
    cause: OPEAError | None = None
    answered: bool = True
    """Whether any of the endpoints ever answered."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A call that wants a place."""

    key: int
    seq: int
    route: Route
    model: str
    enqueued: int
    deadline: int | None = None
    queue_deadline: int | None = None
    recovery_wait: int = 30 * SECOND
    state: TicketState = TicketState.NEW
    retrying: bool = False
    uses_retry_budget: bool = False
    probed: int = 0
    """How often it tried a broken endpoint in vain."""
    is_between_attempts: bool = False
    """Whether it stands among those that pay or pause for their next attempt, not in the heap."""
    not_before: dict[EndpointState, int] = field(default_factory=dict)
    gives_up_at: int = 0
    """The time on its route's outage clock at which it has been held long enough."""
    offered_at: int = 0
    priority: int = DEFAULT_PRIORITY
    need: Need = NOTHING
    """The tokens it may take, where they are limited."""
    permit: Permit | None = None
    rejection: Rejection | None = None
    wake: Callable[[], None] | None = None
    owner: object = None
    """The event loop or thread that waits."""
    holder: object = None
    """The thread or task that gives its place back."""
    caller: object = None
    """Who waits for this call where another thread or task makes it."""
    read_at: int = 0
    """When its stream was read last; 0 for what is no stream."""

    def __lt__(self, other: Ticket) -> bool:
        return (self.key, self.seq) < (other.key, other.seq)

    @property
    def is_queued(self) -> bool:
        """Whether its entry in the heap of its route counts."""
        return self.state is TicketState.PENDING and not self.is_between_attempts

    def overdue(self, now: int) -> Reason | None:
        """Which of its own limits has passed, if any."""
        if self.deadline is not None and self.deadline <= now:
            return Reason.DEADLINE
        waited = (
            not self.retrying and self.queue_deadline is not None and self.queue_deadline <= now
        )
        return Reason.QUEUE_TIMEOUT if waited else None


class Route:
    """The tickets that may use the same endpoints for the same model.

    And how long none of those endpoints was usable.
    """

    __slots__ = (
        "_clock", "_refused_from", "_running_since", "answered", "endpoints", "gives_up", "heap",
        "holds", "live", "model", "options", "refused",
    )  # fmt: skip

    def __init__(self, endpoints: tuple[EndpointState, ...], model: str) -> None:
        self.endpoints = endpoints
        self.model = model
        self.options = tuple((endpoint, endpoint.limits(model)) for endpoint in endpoints)
        """Each endpoint with what this model may be asked there."""
        self.heap: list[Ticket] = []
        self.holds: list[tuple[int, int, Ticket]] = []  # by the outage clock at which they give up
        self.live = 0
        self.answered = any(endpoint.answered for endpoint in endpoints)
        """Whether any of them ever answered; if not, nobody waits long."""
        self.gives_up = True
        """Whether a hold may end now."""
        self.refused = False
        """Whether what holds its tickets back is that everything is refused as too much."""
        self._clock = 0
        self._running_since: int | None = None
        self._refused_from: int | None = None

    def pass_time(self, now: int) -> bool:
        """Tickets wait: with time there may be room without any answer.

        Gives whether there is more of it now.
        """
        more = [limits.pass_time(now) for _, limits in self.options]
        return any(more)

    def is_well(self, now: int) -> bool:
        """Whether nothing was held back, nor is."""
        if self._running_since is not None or self._refused_from is not None or not self.answered:
            return False
        return any(
            e.breaker.state is State.CLOSED and not its.refusals and its.cooldown_until <= now
            for e, its in self.options
        )

    def wakes(self, now: int) -> Iterator[int]:
        """When something may become possible for its tickets that is not now."""
        for endpoint, limits in self.options:
            yield from (
                at for at in (endpoint.opens_at(limits, now), limits.room_at(now)) if at is not None
            )
        if self.running and self.gives_up and self.holds:
            left = self.holds[0][0] - self.clock(now)
            if left > 0 or not self.refused:
                yield now + max(1, left)

    def has_room(self, now: int) -> bool:
        """Whether anything is free."""
        return any(endpoint.has_room(limits, now) for endpoint, limits in self.options)

    def allowance(self, ticket: Ticket, now: int) -> int:
        """How long a ticket may be held: an address that never answered is likely wrong."""
        return (
            ticket.recovery_wait
            if self.answered
            else min(ticket.recovery_wait, max(0, ticket.enqueued + FIRST_CONTACT - now))
        )

    def queued(self) -> dict[Ticket, None]:
        """The tickets of the heap; one that came back may stand in it twice."""
        return dict.fromkeys(ticket for ticket in self.heap if ticket.is_queued)

    def remove(self, ticket: Ticket) -> None:
        """Out of the heap; but for a prober it is the head."""
        if self.heap and self.heap[0] is ticket:
            heapq.heappop(self.heap)
        elif ticket in self.heap:
            self.heap.remove(ticket)
            heapq.heapify(self.heap)

    def tidy(self) -> None:
        """Sweep the heaps when half of one is dead."""
        if max(len(self.heap), len(self.holds)) <= max(64, 2 * self.live):
            return
        heap = list(self.queued())
        holds = [
            entry
            for entry in self.holds
            if entry[2].state is TicketState.PENDING and entry[2].gives_up_at == entry[0]
        ]
        heapq.heapify(heap)
        heapq.heapify(holds)
        self.heap, self.holds = heap, holds

    def clock(self, now: int) -> int:
        """Nanoseconds of outage so far; stands still while a probe is in flight."""
        return self._clock + (now - self._running_since if self._running_since is not None else 0)

    def run_outage_clock(self, running: bool, refused: bool, now: int) -> None:
        """Let the outage clock run or stand.

        ``refused``: all that holds the tickets back is that every request is refused as too much.
        As soon as one is not, the server works, and that time was no outage.
        """
        self._clock = self.clock(now)
        self._running_since = now if running else None
        if refused and self._refused_from is None:
            self._refused_from = self._clock
        elif not refused and self._refused_from is not None:
            self._clock = min(self._clock, self._refused_from) if not running else self._clock
            self._refused_from = None

    @property
    def running(self) -> bool:
        """Whether the outage clock runs."""
        return self._running_since is not None


class Routes:
    """The routes there are, by endpoints and model.

    Those that nobody waits on are forgotten when there are many.
    """

    def __init__(self, endpoints: tuple[EndpointState, ...]) -> None:
        self._endpoints = endpoints
        self._known: dict[tuple[tuple[EndpointState, ...], str], Route] = {}
        self._last: Route | None = None  # of all endpoints, for the model that was asked for last

    def get(self, endpoints: Sequence[EndpointState] | None, model: str) -> Route:
        """The route to these endpoints (None: to all) for a model."""
        last = self._last
        if endpoints is None and last is not None and last.model == model:
            return last
        key = (self._endpoints if endpoints is None else tuple(endpoints), model)
        route = self._known.get(key)
        if route is None:
            if len(self._known) > _MOST_ROUTES:
                self._known = {key: known for key, known in self._known.items() if known.live}
            route = self._known[key] = Route(*key)
        if endpoints is None:
            self._last = route
        return route

    def kept(self, route: Route) -> Route:
        """The route, or the one that took its place while nobody waited on it."""
        return self._known.setdefault((route.endpoints, route.model), route)

    def live(self) -> list[Route]:
        """Those on which somebody waits."""
        return [route for route in self._known.values() if route.live]

    def __iter__(self) -> Iterator[Route]:
        return iter(self._known.values())
