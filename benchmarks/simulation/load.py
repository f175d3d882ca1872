"""Who asks: callers that come at a rate, and callers that ask again when they are answered."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from .record import Called
from .world import World


class Asked(Protocol):
    """Either kind of client."""

    def call(self, done: object = None, **options: object) -> Called: ...


def arrivals(
    world: World, clients: Sequence[Asked], rate: float, end: float, **options: object
) -> None:
    """Calls that come by chance (Poisson), ``rate`` a second over all clients,
    whatever becomes of them.

    Their chance is their own: with one seed they come at the same times, whoever the clients are.
    """
    chance, when = random.Random(world.seed), 0.0  # noqa: S311 - to be repeatable is the point
    for number in range(int(2 * rate * end)):
        when += chance.expovariate(rate)
        if when >= end:
            break
        world.after(when, partial(clients[number % len(clients)].call, **options))


def callers(world: World, client: Asked, count: int, total: int, **options: object) -> None:
    """So many callers, each asking again as soon as it is answered, ``total`` calls in all."""
    left = [total]

    def ask(_: object = None) -> None:
        if left[0] > 0:
            left[0] -= 1
            client.call(ask, **options)

    for _ in range(count):
        world.at(0, ask)
