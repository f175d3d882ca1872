"""What changed at an endpoint, as events; and what happened there, as figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from opea_core import events
from opea_core.errors import RateLimited
from opea_core.policy import SECOND
from opea_core.policy.breaker import State
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.permit import Permit
from opea_core.policy.retry import EndpointImpact, Mark
from opea_core.policy.stats import Stats
from opea_core.types import Usage

_REQUEST_TOKENS = 50.0
"""A request itself is worth about so many tokens written."""


def changes(
    permit: Permit, effect: EndpointImpact, state: State, cooldown_until: int, now: int, alone: bool
) -> Iterator[events.Event]:
    """What an outcome changed, by what the breaker and the cooldown were before.

    ``alone``: there is no other endpoint.
    """
    endpoint, until, label = permit.endpoint, permit.limits.cooldown_until, permit.endpoint.label
    after = endpoint.breaker.state
    if after is not state:
        seconds = max(0, endpoint.breaker.open_until - now) / SECOND if after is State.OPEN else 0.0
        yield events.BreakerStateChanged(
            at=now, endpoint=label, before=state.value, after=after.value, seconds=seconds
        )
    if until > max(cooldown_until, now) and (
        permit.limits.stated or isinstance(effect.reason, RateLimited)
    ):
        yield events.CooldownStarted(at=now, endpoint=label, seconds=(until - now) / SECOND)
    if effect.mark is not None and effect.reason is not None and not alone:
        what = "its key was refused" if effect.mark is Mark.KEY else "it does not have the model"
        why = effect.reason.status_code or type(effect.reason).__name__
        yield events.EndpointDeprioritized(at=now, endpoint=label, reason=f"{what} ({why})")


def figures(endpoints: Sequence[EndpointState], now: int) -> dict[str, Any]:
    """Of several endpoints together, and of each."""
    total = Stats()
    for endpoint in endpoints:
        total.merge(endpoint.stats)
    return {
        **total.summary(),
        "in_flight": sum(endpoint.in_flight for endpoint in endpoints),
        "endpoints": {endpoint.label: endpoint.summary(now) for endpoint in endpoints},
    }


def work_of(usage: Usage | None) -> float:
    """How much an answer was, in tokens written.

    What takes a server its time, and a share for each request itself.
    """
    return (
        _REQUEST_TOKENS + (usage.completion_tokens or 0) if usage is not None else _REQUEST_TOKENS
    )
