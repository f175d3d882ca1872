"""Retry budget of one endpoint: how many retries it takes while it is failing."""

from __future__ import annotations

import math

from opea_core.policy import SECOND

_PER_SUCCESS = 0.1
_REFILL = 10 * SECOND  # one token


class Budget:
    """A bucket of tokens: each success adds 0.1 of one, and every 10 s add one.

    It holds ``max(20, 2 x max_concurrent)``, or 64 where that is measured.

    So retries to an endpoint <= capacity + 0.1 x its successes + seconds / 10.
    """

    __slots__ = ("_at", "_tokens", "capacity")

    def __init__(self, max_concurrent: int | None, now: int) -> None:
        self.capacity = float(max(20, 2 * (max_concurrent or 32)))
        self._tokens = self.capacity
        self._at = now

    def tokens(self, now: int) -> float:
        """Tokens left at ``now``."""
        if now > self._at:
            self._tokens = min(self.capacity, self._tokens + (now - self._at) / _REFILL)
            self._at = now
        return self._tokens

    def rise(self, max_concurrent: int) -> None:
        """More requests at once were found to fit: as many may fail together."""
        more = 2.0 * max_concurrent - self.capacity
        if more > 0:
            self.capacity += more
            self._tokens += more

    def allows(self, now: int) -> bool:
        """Whether a retry can be paid."""
        return self.tokens(now) >= 1

    def ready_at(self, now: int) -> int:
        """When a retry can be paid at the latest: now, or after the refill."""
        return now + max(0, math.ceil((1 - self.tokens(now)) * _REFILL))

    def charge(self, now: int) -> None:
        """Pay one retry."""
        self._tokens = self.tokens(now) - 1

    def refund(self) -> None:
        """Take back a charge for a retry that was not sent."""
        self._tokens = min(self.capacity, self._tokens + 1)

    def success(self, now: int) -> None:
        """A call went well."""
        self._tokens = min(self.capacity, self.tokens(now) + _PER_SUCCESS)
