"""How a limit is divided among those who share it. Pure: numbers in, numbers out.

Each member holds a grant, and the grants never add up to more than the limit. A member that wants
less gives the rest back at its next renewal, and another takes it at its own: nobody has to ask a
third one. What a member uses already is never taken from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DEFAULT_PRIORITY = 5


@dataclass(frozen=True, slots=True)
class Demand:
    """What one member uses of a limit, and what it would use besides."""

    member: str
    used: int = 0
    waiting: Mapping[int, int] = field(default_factory=dict)
    """By priority (0 is urgent): how much more."""


def target(limit: int, demands: Sequence[Demand], member: str, turn: int = 0, unit: int = 1) -> int:
    """What a member should hold: every member that knows the same comes to the same division.

    What is used and wanted is served by priority, within one priority in equal parts. What is left
    goes in equal parts to all, so that a burst finds room before the next renewal. ``turn`` decides
    who comes first where there is less than one for each, so that it is not always the same.
    ``unit``: what one call takes; a smaller part would be of use to nobody.
    """
    # By name, so that every member comes to the same division.
    order = sorted(demands, key=lambda demand: demand.member)
    if order:
        first = turn % len(order)
        order = order[first:] + order[:first]
    given = {demand.member: 0 for demand in order}
    left = limit
    for priority in sorted({p for demand in order for p in _wants(demand)}):
        wants = {demand.member: _wants(demand).get(priority, 0) for demand in order}
        left -= _divide(min(left, sum(wants.values())), wants, given, unit)
    _divide(left, dict.fromkeys(given, left), given, unit)
    return given.get(member, 0)


def _wants(demand: Demand) -> dict[int, int]:
    """By priority. What runs counts with the most urgent of those that wait."""
    wants = dict(demand.waiting)
    own = min(wants, default=DEFAULT_PRIORITY)
    wants[own] = wants.get(own, 0) + demand.used
    return wants


def _divide(amount: int, wants: Mapping[str, int], given: dict[str, int], unit: int) -> int:
    """Give the amount out in equal parts, to nobody more than it wants; returns what went out."""
    open_wants = {member: want for member, want in wants.items() if want > 0}
    left = amount
    while left > 0 and open_wants:
        part = max(unit, left // len(open_wants))
        for member in list(open_wants):
            share = min(part, open_wants[member], left)
            given[member] += share
            open_wants[member] -= share
            left -= share
            if not open_wants[member]:
                del open_wants[member]
    return amount - left


def alone(limit: int, members: int) -> int:
    """What each of so many members keeps to while the store is away."""
    return max(1, limit // max(1, members))
