"""What this project may cost: the most a ratio, or a figure of ours alone, may be."""

from __future__ import annotations

from dataclasses import dataclass

OURS = ("opea_core", "langchain_opea", "llama_index_opea")
"""``opea_aiohttp`` is opea_core with its async connections made by aiohttp."""
PEERS = {
    "opea_core": "raw_httpx",
    "langchain_opea": "langchain_openai",
    "llama_index_opea": "llama_index_like",
}
LINEAR = 6.0
"""Four times as much input takes at most six times as long."""


@dataclass(frozen=True)
class Goal:
    """A metric, who is measured beside whom, and the limit of the ratio; None only shows."""

    metric: str
    ours: str
    peer: str | None
    limit: float | None
    alone: bool = False
    """The limit is one of our own figure."""


_RATIOS: dict[str, tuple[float | None, float | None, float | None]] = {
    "S1.sync.cpu_us": (1.2, 0.42, 0.32),
    "S2.c50.cpu_us": (0.25, 0.42, 0.15),
    "S2b.c200.cpu_us": (0.12, 0.35, 0.12),
    "S3.sync.burst.cpu_us": (1.6, 0.26, 0.24),
    "S3.async.burst.cpu_us": (1.6, 0.26, 0.24),
    "S3.sync.paced.cpu_us": (1.2, 0.62, 0.70),
    "S3.async.paced.cpu_us": (1.2, 0.62, 0.70),
    "S4.cpu_us": (1.5, 0.28, 0.28),
    "S5.import.cpu_ms": (1.5, 0.50, 0.65),
    "S5.first_call.cpu_ms": (None, None, None),
    "S6.kib": (1.5, 0.8, 1.0),
    "S7.float.cpu_ms": (1.3, 0.08, 0.10),
    "S7.default.cpu_ms": (None, None, None),
    "S8.ttft_sync.cpu_us": (1.2, 0.45, 0.45),
    "S8.ttft_async.cpu_us": (1.2, 0.45, 0.45),
    "S10.20k.cpu_ms": (1.6, 0.35, 0.40),
}
_FLOORS = (
    ("S3.async.paced.cpu_us", "langchain_base", "langchain_openai"),
    ("S5.import.cpu_ms", "langchain_base", "langchain_openai"),
    ("S6.kib", "langchain_base", "langchain_openai"),
    ("S1.sync.cpu_us", "llama_index_base", "llama_index_like"),
    ("S5.import.cpu_ms", "llama_index_base", "llama_index_like"),
)
"""What no adapter can do without: the framework's own part, around a bare HTTP client."""
_HELD_MS = (50.0, 100.0, 100.0)
_BESIDE_SDK = ("S1.sync.cpu_us", "S2.c50.cpu_us", "S2b.c200.cpu_us", "S3.sync.burst.cpu_us",
               "S3.async.burst.cpu_us", "S4.cpu_us", "S5.import.cpu_ms", "S7.default.cpu_ms",
               "S8.ttft_sync.cpu_us", "S10.20k.cpu_ms")  # fmt: skip
_BESIDE_AIOHTTP = ("S2.c50.cpu_us", "S2b.c200.cpu_us", "S3.async.burst.cpu_us", "S4.cpu_us")
_OVER_OPEA = {"S1.sync.cpu_us": 1.15, "S2.c50.cpu_us": 1.0, "S3.sync.burst.cpu_us": None,
              "S3.async.burst.cpu_us": None}  # fmt: skip
"""The openai SDK over this project, beside the same SDK over a client of its own."""
_FLAT = {"calls.time": 1.25, "calls.kib": 1024.0, "chunks.sync.time": 1.25, "chunks.sync.kib": 0.25,
         "chunks.async.time": 1.25, "chunks.async.kib": 0.25, "endpoints.time": 1.25,
         "tickets.time": 1.25, "tickets.kib": None}  # fmt: skip

_KEPT = {("langchain_opea", "chunks.sync.kib"), ("langchain_opea", "chunks.async.kib")}
"""LangChain itself keeps the chunks of a stream until its end, to add them up for its callbacks."""

TEXTS = {
    "S1.sync.cpu_us": "one sync call, us",
    "S2.c50.cpu_us": "a call, 50 at once, us",
    "S2b.c200.cpu_us": "a call, 200 at once, us",
    "S3.sync.burst.cpu_us": "a chunk, sync, 64 in one write, us",
    "S3.async.burst.cpu_us": "a chunk, async, 64 in one write, us",
    "S3.sync.paced.cpu_us": "a chunk, sync, one by one, us",
    "S3.async.paced.cpu_us": "a chunk, async, one by one, us",
    "S4.cpu_us": "a chunk, 50 streams at once, us",
    "S5.import.cpu_ms": "import, ms",
    "S5.first_call.cpu_ms": "import, construct, first call, ms",
    "S6.kib": "memory of a call in flight, KiB",
    "S7.float.cpu_ms": "256 vectors as numbers, ms",
    "S7.default.cpu_ms": "256 vectors as the client asks, ms",
    "S8.ttft_sync.cpu_us": "until the first token, sync, us",
    "S8.ttft_async.cpu_us": "until the first token, async, us",
    "S9.burst.held_ms": "event loop held, 50 streams, ms",
    "S9.burst.gc_ms": "of which one garbage collection, ms",
    "S10.20k.cpu_ms": "20 KB of tool arguments, ms",
    "S10.growth": "20 KB beside 5 KB (4: linear)",
    "S10acc.20k.cpu_ms": "the same with full = full + chunk, ms",
    "calls.time": "last 10,000 of 100,000 calls, beside a new client's",
    "calls.kib": "memory that 80,000 calls left, KiB",
    "chunks.sync.time": "last 2,000 of 20,000 chunks, beside the first, sync",
    "chunks.sync.kib": "memory a chunk leaves, sync, KiB",
    "chunks.async.time": "last 2,000 of 20,000 chunks, beside the first, async",
    "chunks.async.kib": "memory a chunk leaves, async, KiB",
    "endpoints.time": "a call with 100 endpoints, beside one",
    "tickets.time": "a call out of 10,000 waiting, beside 100",
    "tickets.kib": "memory of a call that waits, KiB",
}


def _peer(metric: str, ours: str) -> str:
    return "httpx_pydantic" if (metric, ours) == ("S5.import.cpu_ms", "opea_core") else PEERS[ours]


def goals() -> list[Goal]:
    """All of them, in the order of the table."""
    found = []
    for place, ours in enumerate(OURS):
        found += [
            Goal(metric, ours, _peer(metric, ours), limits[place])
            for metric, limits in _RATIOS.items()
        ]
        found.append(Goal("S10.growth", ours, PEERS[ours], LINEAR, alone=True))
        found.append(Goal("S9.burst.held_ms", ours, PEERS[ours], _HELD_MS[place], alone=True))
        found.append(Goal("S9.burst.gc_ms", ours, PEERS[ours], None, alone=True))
        if ours == "langchain_opea":
            found.append(Goal("S10acc.20k.cpu_ms", ours, PEERS[ours], None))
    found += [Goal(*floor, None) for floor in _FLOORS]
    found += [Goal(metric, "opea_core", "openai", None) for metric in _BESIDE_SDK]
    found += [Goal(metric, "opea_aiohttp", "raw_aiohttp", 2.0) for metric in _BESIDE_AIOHTTP]
    found += [
        Goal(metric, "openai_over_opea", "openai", limit) for metric, limit in _OVER_OPEA.items()
    ]
    flat = [
        (ours, metric, limit)
        for ours in OURS
        for metric, limit in _FLAT.items()
        if _has(ours, metric)
    ]
    return found + [
        Goal(metric, ours, None, None if (ours, metric) in _KEPT else limit, alone=True)
        for ours, metric, limit in flat
    ]


def _has(ours: str, metric: str) -> bool:
    return ours == "opea_core" or metric.startswith(("calls", "chunks"))


def scenario_of(metric: str) -> str:
    """The scenario that gives a metric."""
    return {"S3.sync": "S3s", "S3.asyn": "S3a"}.get(metric[:7], metric.partition(".")[0])
