"""What the default settings do: at servers drawn at random, beside the best fixed number,
and at one of eight places.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from typing import NamedTuple

from .drawn import KINDS, Result, best_fixed, draw, play, result
from .load import callers
from .scene import Scene, stage
from .server import Model, Trouble

UNSTATED = "rate limit, unstated"
"""A limit per minute that no answer tells of: who is refused for longer than ``recovery_wait``
fails, whatever the number.
"""
COUNT = 200
CALLERS, PLACES, SERVICE = 64, 8, 0.05


class Compared(NamedTuple):
    """One drawn server: what came of a variant beside the best fixed number."""

    kind: str
    goodput: float
    first: float
    requests: float
    lost: int


def _compared(variant: str, seed: int) -> Compared:
    drawn, (_, best) = draw(seed), best_fixed(seed)
    ours: Result = result(play(drawn, variant))
    return Compared(
        drawn.kind, ours.goodput / best.goodput, ours.first / best.first, ours.requests, ours.lost
    )


@cache
def at_drawn_servers(variant: str, count: int = COUNT) -> list[Compared]:
    """The first so many drawn servers that say what they limit."""
    seeds = [seed for seed in range(2 * count) if KINDS[seed % len(KINDS)] != UNSTATED][:count]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(partial(_compared, variant), seeds, chunksize=4))


def percentile(values: list[float], share: float) -> float:
    """The value below which this share lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


@cache
def eight_places(
    variant: str,
    status: int,
    total: int = 1_000,
    outage: float = 0.0,
    most: int | None = None,
    seed: int = 1,
) -> Scene:
    """64 callers at a server of 8 places and 50 ms that refuses what is beyond;
    gone for a while at 2 s.
    """
    troubles = (Trouble("down", 2.0, 2.0 + outage),) if outage else ()
    model = Model(
        places=PLACES, service=SERVICE, queue=0, refusal=(status, None), troubles=troubles
    )
    scene = stage(variant, seed, [model], **({} if most is None else {"max_concurrent": most}))
    callers(scene.world, scene.clients[0], CALLERS, total)
    scene.world.run(1000)
    return scene
