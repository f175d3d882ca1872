"""Three times as much work as a server can do, for a minute; then it is well again."""

from __future__ import annotations

from functools import cache
from typing import Any

from .load import arrivals
from .scene import Scene, stage
from .server import Model, Trouble

PROCESSES, RATE, TIMEOUT = 2, 12.0, 10.0
START, HEALED, END = 20.0, 80.0, 140.0
GRACE = 30.0
"""Seconds after which all must be well again."""

KINDS: dict[str, dict[str, Any]] = {
    "sheds": {"queue": 8},
    "queues": {"queue": None},
}
"""What the server does with more than it can do: 503 at once, or let it wait."""


@cache
def brownout(variant: str, kind: str, seed: int = 1, end: float = END) -> Scene:
    """Two processes ask for 12 answers a second of a server that can give 16,
    and in the brownout 4.

    Every request is given up after 10 s, and a server
    that queues stops working for those who are gone.
    """
    model = Model(
        places=8,
        service=0.5,
        spread=0.3,
        troubles=(Trouble("slow", START, HEALED, factor=4.0),),
        **KINDS[kind],
    )
    scene = stage(variant, seed, [model], PROCESSES, timeout=TIMEOUT)
    arrivals(scene.world, scene.clients, RATE, end)
    scene.world.run(end + 300)
    return scene
