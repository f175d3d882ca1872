"""Who holds places: a thread or a task that waits for a place which only it can give back would wait for ever."""

from __future__ import annotations

from collections import Counter

from opea_core.policy.dispatcher import Ticket
from opea_core.policy.endpoint import EndpointState, Grant


class Holders:
    """The places that each thread or task holds at each endpoint. Called under the gate's lock."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: Counter[tuple[object, EndpointState]] = Counter()

    def add(self, ticket: Ticket, grant: Grant) -> None:
        """The holder of a ticket got a place."""
        self._held[ticket.holder, grant.endpoint] += 1

    def remove(self, ticket: Ticket, grant: Grant) -> None:
        """It gave the place back."""
        key = (ticket.holder, grant.endpoint)
        self._held[key] -= 1
        if self._held[key] <= 0:
            del self._held[key]

    def hold_all(self, ticket: Ticket, endpoint: EndpointState) -> bool:
        """Whether all that is in flight at an endpoint is held by who waits with this ticket."""
        return 0 < endpoint.in_flight <= self._held[ticket.holder, endpoint]
