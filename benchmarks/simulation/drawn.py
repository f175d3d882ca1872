"""Servers drawn at random, and how the default settings do beside the best fixed
number for each of them.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from .load import callers
from .scene import Scene, stage
from .server import Model, Trouble

KINDS = (
    "503",
    "429",
    "529",
    "503 with a wait",
    "429 with a wait",
    "queues",
    "batches",
    "cache",
    "rate limit",
    "rate limit, unstated",
)
ROUNDS = 80
"""Calls for each place that is used."""
_FEWEST, _MOST = 200, 12_000


@dataclass(frozen=True, slots=True)
class Drawn:
    """A server and who asks of it."""

    seed: int
    kind: str
    model: Model
    callers: int
    calls: int

    def __str__(self) -> str:
        model = self.model
        parts = [
            (
                f"#{self.seed} {self.kind}: {model.places} x {model.service:.2f} s, "
                f"{self.callers} callers, {self.calls} calls"
            )
        ]
        parts += [f"batching {model.batching:.1f}"] if model.batching else []
        parts += [f"cache {model.cache[0]} x {model.cache[1]:.1f}"] if model.cache else []
        parts += [f"{model.rate[0]} in {model.rate[1]} s"] if model.rate else []
        parts += [f"x {factor} at {at:.1f} s" for at, factor in model.changes]
        parts += [f"{t.kind} {t.start:.1f}-{t.end:.1f} s" for t in model.troubles]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    goodput: float
    """Answers a second."""
    lost: int
    requests: float
    """For each answer."""
    first: float
    """Seconds from a call's begin to its answer that 95 % keep."""
    served: float
    """The same from the request that was answered."""


def draw(seed: int) -> Drawn:
    """A server; one seed gives one server."""
    chance = random.Random(seed)  # noqa: S311 - to be repeatable is the point
    kind = KINDS[seed % len(KINDS)]
    places = int(2 ** chance.uniform(0, 8))
    service = 0.02 * 1000 ** chance.random()
    count = int(2 ** chance.uniform(0, 11))
    model = Model(places=places, service=service, spread=chance.choice((0.0, 0.3, 0.8)))
    if kind.startswith(("503", "429", "529")):
        wait = chance.choice((1, 2, 5)) if "wait" in kind else None
        model = replace(
            model, queue=chance.choice((0, 0, 0, places)), refusal=(int(kind[:3]), wait)
        )
        model = replace(model, batching=chance.choice((0.0, 0.0, 1.0)))
    elif kind == "batches":
        model = replace(model, batching=chance.uniform(0.5, 4.0))
    elif kind == "cache":
        model = replace(model, places=256, cache=(places, chance.uniform(1.5, 4.0)), batching=0.0)
    elif kind.startswith("rate limit"):
        rate = int(2 ** chance.uniform(4, 10))
        model = replace(
            model,
            places=64,
            rate=(rate, 60),
            rate_is_stated=kind == "rate limit",
            service=min(service, 2.0),
        )
    used = min(count, model.cache[0] if model.cache else model.places)
    calls = max(_FEWEST, min(_MOST, ROUNDS * used))
    if model.rate:
        calls = max(count, min(calls, 6 * model.rate[0]))
    length = calls / used * model.service
    if chance.random() < 0.25 and not model.rate:
        model = (
            replace(model, changes=((length * 0.4, chance.choice((0.5, 2.0))),))
            if model.cache is None
            else model
        )
    elif chance.random() < 0.25:
        start = length * 0.3
        model = replace(
            model, troubles=(Trouble("down", start, start + chance.choice((1.0, 3.0, 8.0))),)
        )
    return Drawn(seed, kind, model, count, calls)


def play(drawn: Drawn, variant: str = "ours", processes: int = 1, **options: Any) -> Scene:
    """Let the callers ask until all is done."""
    scene = stage(variant, drawn.seed, [drawn.model], processes, **options)
    for client in scene.clients:
        callers(scene.world, client, max(1, drawn.callers // processes), drawn.calls // processes)
    scene.world.run(1e7)
    return scene


def result(scene: Scene) -> Result:
    """The figures of what was played."""
    record = scene.record
    answers = record.answers
    served = [sent.ended - sent.at for sent in record.requests if sent.status == 200]
    return Result(
        goodput=len(answers) / max(1e-9, record.finished),
        lost=len(record.calls) - len(answers),
        requests=record.amplification,
        first=_late([(call.ended or 0.0) - call.started for call in answers]),
        served=_late(served),
    )


def _late(seconds: list[float]) -> float:
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1] if seconds else math.inf


def fixed_numbers(drawn: Drawn) -> list[int]:
    """Which fixed numbers may be the best ones."""
    model = drawn.model
    if model.rate:
        return [4, 32]
    best = model.cache[0] if model.cache else model.places
    numbers = [best, *(max(1, int(best * factor)) for _, factor in model.changes)]
    if model.cache:
        numbers += [max(1, round(best * 0.8)), math.ceil(best * 1.2)]
    if model.queue:
        numbers.append(best + model.queue)
    return sorted(set(numbers))


@cache
def best_fixed(seed: int) -> tuple[int, Result]:
    """The best fixed number for a server, and what it does."""
    drawn = draw(seed)
    results = [
        (number, result(play(drawn, max_concurrent=number))) for number in fixed_numbers(drawn)
    ]
    return max(results, key=lambda pair: (-pair[1].lost, pair[1].goodput))
