"""Servers that are gone: for seconds, for good,
and one that comes back under the load of several processes.
"""

from __future__ import annotations

from functools import cache

from .load import arrivals, callers
from .scene import Scene, stage
from .server import Model, Trouble

TOTAL, PLACES, SERVICE, START = 2_000, 8, 0.05, 2.0


@cache
def outage(variant: str, seconds: float, count: int, seed: int = 1) -> Scene:
    """2,000 answers for some callers, by a server of 8 x 50 ms that is gone for a while."""
    model = Model(
        places=PLACES, service=SERVICE, troubles=(Trouble("down", START, START + seconds),)
    )
    scene = stage(variant, seed, [model], max_concurrent=PLACES)
    callers(scene.world, scene.clients[0], count, TOTAL)
    scene.world.run(1000)
    return scene


@cache
def gateway(variant: str, seconds: float, count: int, seed: int = 1) -> Scene:
    """The same outage seen through a gateway, which answers 502 at once."""
    model = Model(
        places=PLACES,
        service=SERVICE,
        troubles=(Trouble("failing", START, START + seconds, status=502),),
    )
    scene = stage(variant, seed, [model], max_concurrent=PLACES)
    callers(scene.world, scene.clients[0], count, TOTAL)
    scene.world.run(1000)
    return scene


def ideal(seconds: float, count: int) -> float:
    """Seconds in which it could be done: the work on as many places as are used,
    and the outage in which nobody can work.
    """
    return seconds + TOTAL * SERVICE / min(PLACES, count)


GONE, BACK = 10.0, 100.0


@cache
def gone_for_good(variant: str, seed: int = 1) -> Scene:
    """A server that is gone for longer than callers are held;
    back at 100 s, when nobody believes in it any more.
    """
    scene = stage(variant, seed, [Model(troubles=(Trouble("down", GONE, BACK),))])
    arrivals(scene.world, scene.clients, rate=4, end=BACK + 80)
    scene.world.run(BACK + 300)
    return scene


RESTART, RETURN, LAST = 10.0, 18.0, 30.0


@cache
def restart(variant: str, processes: int, seed: int = 1) -> Scene:
    """Processes that share a busy server, 60 % of what it can do, when it restarts."""
    model = Model(places=32, service=0.4, spread=0.5, troubles=(Trouble("down", RESTART, RETURN),))
    scene = stage(variant, seed, [model], processes)
    arrivals(scene.world, scene.clients, rate=0.6 * model.capacity, end=LAST)
    scene.world.run(300)
    return scene


@cache
def with_deadlines(variant: str, deadline: float | None, seed: int = 1) -> Scene:
    """An outage that lasts longer than callers are patient,
    at a third of what the server can do.
    """
    model = Model(places=16, service=1.0, troubles=(Trouble("down", 10, 20),))
    scene = stage(variant, seed, [model])
    arrivals(
        scene.world,
        scene.clients,
        rate=5,
        end=120,
        **({} if deadline is None else {"deadline": deadline}),
    )
    scene.world.run(300)
    return scene
