"""Bounded statistics: counters, histograms of fixed size, a ring of recent requests."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

_RING = 256
_BUCKETS_PER_DOUBLING = 4
_BUCKETS = 32 * _BUCKETS_PER_DOUBLING  # from 1 us up to about an hour


class Histogram:
    """Durations in logarithmic buckets, each a fifth wider than the last."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0

    def add(self, nanoseconds: int) -> None:
        """Count one duration."""
        micros = max(1, nanoseconds // 1000)
        doublings = micros.bit_length() - 1
        part = ((micros << 2) >> doublings) - _BUCKETS_PER_DOUBLING
        self._counts[min(_BUCKETS - 1, doublings * _BUCKETS_PER_DOUBLING + part)] += 1
        self.count += 1

    def merge(self, other: Histogram) -> None:
        """Add the counts of another."""
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]
        self.count += other.count

    def percentile(self, share: float) -> float | None:
        """Seconds below which this share of the durations lies (to about 20 %), None if none."""
        if not self.count:
            return None
        seen, wanted = 0, share * self.count
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                doublings, part = divmod(bucket, _BUCKETS_PER_DOUBLING)
                return float(2**doublings) * (1 + (part + 0.5) / _BUCKETS_PER_DOUBLING) / 1e6
        return None

    def summary(self) -> dict[str, float | None]:
        """Median and tails in seconds."""
        return {
            "p50": self.percentile(0.5),
            "p90": self.percentile(0.9),
            "p99": self.percentile(0.99),
        }


@dataclass(frozen=True, slots=True)
class Recent:
    """One finished request, for tracking."""

    request_id: str
    endpoint: str
    seconds: float
    status: str
    """``ok`` or the class of the error."""
    attempts: int


class Stats:
    """What happened at one endpoint."""

    __slots__ = (
        "completion_tokens",
        "errors",
        "first_content",
        "latency",
        "prompt_tokens",
        "recent",
        "requests",
        "retries",
        "success",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.success = 0
        self.retries = 0
        self.errors: Counter[str] = Counter()
        self.latency = Histogram()
        self.first_content = Histogram()
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.recent: deque[Recent] = deque(maxlen=_RING)

    def merge(self, other: Stats) -> None:
        """Add what another endpoint counted."""
        self.requests += other.requests
        self.success += other.success
        self.retries += other.retries
        self.errors.update(other.errors)
        self.latency.merge(other.latency)
        self.first_content.merge(other.first_content)
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.recent.extend(other.recent)

    def summary(self) -> dict[str, Any]:
        """The figures as plain values; durations in seconds."""
        return {
            "requests": self.requests,
            "success": self.success,
            "errors": sum(self.errors.values()),
            "errors_by_class": dict(self.errors),
            "retries": self.retries,
            "latency": self.latency.summary(),
            "first_content": self.first_content.summary(),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }
