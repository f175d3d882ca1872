"""What ``timeout=`` takes, of an object and of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from opea_core.config import Timeouts


class TimeoutLike(Protocol):
    """Anything with a ``connect`` and a ``read`` in seconds, such as ``httpx.Timeout``."""

    @property
    def connect(self) -> float | None:
        """Seconds to connect; None for no limit."""

    @property
    def read(self) -> float | None:
        """Seconds between two pieces of an answer; None for no limit."""


Timeout: TypeAlias = (
    float
    | tuple[float | None, float | None]
    | Timeouts
    | Mapping[str, float | None]
    | TimeoutLike
    | None
)
"""Seconds per attempt, (connect, read), limits by their names, or None for no limit."""

__all__ = ["Timeout", "TimeoutLike"]
