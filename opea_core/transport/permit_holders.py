"""Who holds places.

A thread or a task that waits for a place which only it can give back would wait for ever.
"""

from __future__ import annotations

from opea_core.policy.endpoint import EndpointState
from opea_core.policy.permit import Permit
from opea_core.policy.scheduler import Ticket


class Holders:
    """The places that each thread or task holds at each endpoint.

    Called under the limiter's lock.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[tuple[object, EndpointState], dict[Ticket, None]] = {}

    def add(self, ticket: Ticket, permit: Permit) -> None:
        """The holder of a ticket got a place."""
        self._held.setdefault((ticket.holder, permit.endpoint), {})[ticket] = None

    def remove(self, ticket: Ticket, permit: Permit) -> None:
        """It gave the place back."""
        key = (ticket.holder, permit.endpoint)
        held = self._held.get(key, {})
        held.pop(ticket, None)
        if not held:
            self._held.pop(key, None)

    def hold_any(self, ticket: Ticket) -> bool:
        """Whether who waits with this ticket holds a place where it may go."""
        return ticket.holder is not None and any(
            (ticket.holder, endpoint) in self._held for endpoint in ticket.route.endpoints
        )

    def hold_all(self, ticket: Ticket, endpoint: EndpointState) -> int | None:
        """When who waits with this ticket last read a stream of its own, if it holds all in flight.

        0 if none of them is a stream.

        Whoever read a stream last is likely to read on, but another thread or task may: then it is
        read while this one waits.
        """
        held = self._held.get((ticket.holder, endpoint), {})
        return max(other.read_at for other in held) if 0 < endpoint.in_flight <= len(held) else None
