"""What happened at endpoints, as figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opea_core.policy.endpoint import EndpointState
from opea_core.policy.stats import Stats
from opea_core.types import Usage

_REQUEST_TOKENS = 50.0
"""A request itself is worth about so many tokens written."""


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
