"""Several endpoints of which one is bad: down, slow, or failing at once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from .load import arrivals, callers
from .scene import Scene, stage
from .server import Model, Trouble

FROM, UNTIL, END = 5.0, 25.0, 50.0
TIMEOUT = 5.0
WELL = Model(places=4, service=0.2, spread=0.5)

BAD: dict[str, dict[str, Any]] = {
    "refused": {"kind": "down"},
    "500 at once": {"kind": "failing", "status": 500},
    "503 at once": {"kind": "failing", "status": 503},
    "20 x slower": {"kind": "slow", "factor": 20.0},
    "silent": {"kind": "slow", "factor": 1e6},
}


@cache
def one_of_three(variant: str, bad: str, seed: int = 1) -> Scene:
    """Half of what the three can do; the first one is bad for 20 s."""
    sick = replace(WELL, troubles=(Trouble(start=FROM, end=UNTIL, **BAD[bad]),))
    scene = stage(variant, seed, [sick, WELL, WELL], max_concurrent=4, timeout=TIMEOUT)
    arrivals(scene.world, scene.clients, rate=1.5 * WELL.capacity, end=END)
    scene.world.run(END + 200)
    return scene


@cache
def dies_with_all_places_taken(variant: str, seed: int = 1) -> Scene:
    """64 callers keep two servers busy, 32 places each, when one dies for good."""
    dying = Model(places=32, service=0.2, troubles=(Trouble("down", 2.5),))
    scene = stage(variant, seed, [dying, Model(places=32, service=0.2)])
    callers(scene.world, scene.clients[0], count=64, total=1_500)
    scene.world.run(300)
    return scene


@cache
def first_fail(variant: str, count: int, status: int, seed: int = 1) -> Scene:
    """The first answers of a server are failures: it is still loading."""
    scene = stage(variant, seed, [Model(fails_first=(count, status))], max_concurrent=8)
    callers(scene.world, scene.clients[0], count=8, total=400)
    scene.world.run(300)
    return scene


@cache
def fleet(variant: str, bad: str, count: int = 100, seed: int = 1) -> Scene:
    """100 endpoints at half of what they can do, one of them bad all the time."""
    sick = Model(places=4, service=0.2, troubles=(Trouble(**BAD[bad]),))
    scene = stage(
        variant, seed, [sick, *[Model(places=4, service=0.2)] * (count - 1)], max_concurrent=4
    )
    arrivals(scene.world, scene.clients, rate=100.0, end=15)
    scene.world.run(300)
    return scene


@cache
def crowd(variant: str, tickets: int = 10_000, seed: int = 1) -> Scene:
    """So many calls at once, for two servers of 32 places; one is gone from 5 s to 10 s."""
    model = Model(places=32, service=0.1, spread=0.5)
    gone = Model(places=32, service=0.1, spread=0.5, troubles=(Trouble("down", 5.0, 10.0),))
    scene = stage(variant, seed, [model, gone])
    callers(scene.world, scene.clients[0], count=tickets, total=tickets)
    scene.world.run(600)
    return scene


def crowd_ideal(tickets: int = 10_000) -> float:
    """Seconds on 64 places, 32 of which are lost for five seconds."""
    return (tickets * 0.1 + 32 * 5.0) / 64
