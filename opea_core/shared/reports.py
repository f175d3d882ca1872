"""What the members of a shared limit tell each other, as JSON.

Anybody who reaches the store may write there, and a member may be of another version: what is
read is never trusted. What no member would tell counts as not told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from opea_core.policy.model_limits import LONGEST_COOLDOWN

MOST = 1 << 40
"""More than anybody uses or wants of a limit."""
LONGEST = 64 * 1024
"""Letters of a report; a longer one is not read."""
_MOST_MODELS = 256
_PRIORITIES = {str(priority): priority for priority in range(10)}


@dataclass(frozen=True, slots=True)
class Report:
    """What one member tells of one limit."""

    used: int = 0
    waiting: Mapping[int, int] = field(default_factory=dict)
    """By priority: how much more it wants."""
    cooling: Mapping[str, float] = field(default_factory=dict)
    """By model: for how many seconds more the server asked it to wait."""


def written(report: Report) -> str:
    """A report as it is told."""
    told: dict[str, Any] = {"used": report.used, "waiting": dict(report.waiting)}
    return json.dumps(told | ({"cooling": dict(report.cooling)} if report.cooling else {}))


def read(text: object) -> Report:
    """What a member told; nothing where it cannot be read, or no member would say so."""
    if not isinstance(text, str) or len(text) > LONGEST:
        return Report()
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return Report()
    if not isinstance(told, dict):
        return Report()
    used = told.get("used")
    return Report(
        used if _is_count(used) else 0,
        {
            _PRIORITIES[priority]: count
            for priority, count in _items(told, "waiting")
            if priority in _PRIORITIES and _is_count(count)
        },
        {
            model: float(seconds)
            for model, seconds in _items(told, "cooling")[:_MOST_MODELS]
            if _is_number(seconds) and 0 < seconds <= LONGEST_COOLDOWN
        },
    )


def _items(told: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    found = told.get(name)
    return list(found.items()) if isinstance(found, dict) else []


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST
