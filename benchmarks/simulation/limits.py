"""A server with a rate limit that states how long to wait, and a crowd that comes at once."""

from __future__ import annotations

from functools import cache

from .load import callers
from .scene import Scene, stage
from .server import Model

CROWD, RATE = 200, (25, 10)


@cache
def storm(variant: str, seed: int = 1, processes: int = 1) -> Scene:
    """200 callers at once for a server that takes 25 requests in each 10 s,
    and tells the others to come back then.
    """
    scene = stage(
        variant,
        seed,
        [Model(places=64, service=0.5, spread=0.5, rate=RATE)],
        processes,
        max_concurrent=CROWD,
    )
    for client in scene.clients:
        callers(scene.world, client, CROWD // processes, CROWD // processes)
    scene.world.run(1000)
    return scene


@cache
def lockstep(variant: str, each: int, processes: int = 20, seed: int = 1) -> list[float]:
    """When the processes come back that were all told at once to wait 10 s, in order;
    each had some calls on the way.
    """
    scene = stage(variant, seed, [Model(places=64, service=0.5, rate=(1, 10))], processes)
    for client in scene.clients:
        callers(scene.world, client, each, each)
    scene.world.run(30)
    back: dict[str, float] = {}
    for sent in scene.record.requests:
        if sent.at > 5:
            back.setdefault(sent.client, sent.at)
    return sorted(back.values())
