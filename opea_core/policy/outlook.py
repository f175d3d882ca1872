"""What calls that wait for the same endpoints can hope for."""

from __future__ import annotations

from typing import NamedTuple

from opea_core.policy.ticket import Route


class Outlook(NamedTuple):
    """What the tickets of a route can hope for."""

    outage: bool
    """Nothing works, as far as anybody knows: the outage clock runs."""
    hopeless: bool
    """Every wait that is asked for is too long."""
    refused: bool = False
    """Some endpoint is there, and refuses everything."""
    gives_up: bool = True
    """Whether a hold may end now: a wait that the server stated is honoured once."""
    reopens: int = 0


def outlook_of(route: Route, max_retry_after: int, now: int) -> Outlook:
    """What a route's tickets can hope for: sent now or soon, somebody who finds out, or nothing."""
    reopens: list[int] = []
    under_way = refused = False
    gives_up = True
    for endpoint, limits in route.options:
        opens = endpoint.opens_at(limits, now)
        broken = endpoint.breaker.admits_at(now) is not None
        if not broken and opens is not None and limits.asked_until - now > max_retry_after:
            continue  # who comes when a trial is due makes it
        if not (broken or limits.refusals):
            return Outlook(outage=False, hopeless=False)
        reopens.append(opens or now)
        refused = refused or not broken
        under_way = (
            under_way
            or opens is None
            or (endpoint.breaker.probing if broken else limits.in_flight > 0)
        )
        gives_up = gives_up and not (
            limits.stated and limits.cooldown_until > now and limits.refusals < 2
        )
    return Outlook(
        outage=bool(reopens) and not (under_way and route.answered),
        hopeless=not reopens,
        refused=refused,
        gives_up=gives_up,
        reopens=now if under_way else min(reopens, default=0),
    )
