"""Four clients of one server that know nothing of each other:
what each of them gets, where too much is refused.
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from statistics import median
from typing import NamedTuple

from .client import Client
from .record import Called
from .scene import Scene, stage
from .server import Model

CLIENTS, COUNT = 4, 60
ROUNDS, FEWEST = 300, 2_000
"""For so many times what a request takes, and until the server has given about so many answers."""
SIZES = ((4, 8), (8, 16), (16, 40), (40, 257))
"""Fewer places are shared less evenly: each of them is a large share."""
_REFUSALS = ((503, None), (429, None), (429, 1), (529, None))
_DRAINED = 1e5


@dataclass(frozen=True, slots=True)
class Crowd:
    """A server that refuses what is too much, and so many callers at each client."""

    seed: int
    model: Model
    callers: int

    @property
    def end(self) -> float:
        """Seconds for which the callers ask again."""
        return self.model.service * max(
            ROUNDS, FEWEST / min(self.model.places, CLIENTS * self.callers)
        )

    @property
    def is_crowded(self) -> bool:
        """Whether there are more callers than places."""
        return CLIENTS * self.callers > 1.05 * self.model.places


class Share(NamedTuple):
    """What came of it."""

    places: int
    least: float
    """What the client with the fewest answers has, of what the one with the most has."""
    used: float
    """Answers, of what the server can give."""
    requests: float
    """For each answer."""
    lost: int


class SocketState(NamedTuple):
    """All servers with about as many places."""

    places: str
    servers: int
    worst: float
    quarter: float
    """A quarter of the servers is shared less evenly."""
    middle: float
    used: float
    requests: float
    lost: int


def draw(seed: int) -> Crowd:
    """A server; one seed gives one server."""
    chance = random.Random(seed)  # noqa: S311 - to be repeatable is the point
    refusal = chance.choice(_REFUSALS)
    places, service = int(2 ** chance.uniform(2, 8)), 0.02 * 500 ** chance.random()
    model = Model(places=places, service=service, spread=0.3, queue=0, refusal=refusal)
    return Crowd(seed, model, int(2 ** chance.uniform(3, 9)))


def play(crowd: Crowd) -> Scene:
    """Each caller asks again as soon as it is answered, until the end;
    then all that was asked is answered.
    """
    scene = stage("ours", crowd.seed, [crowd.model], CLIENTS)

    def ask(client: Client, _: Called | None = None) -> None:
        if scene.world.seconds < crowd.end:
            client.call(partial(ask, client))

    for client in scene.clients:
        for _ in range(crowd.callers):
            scene.world.at(0, partial(ask, client))
    scene.world.run(crowd.end + _DRAINED)
    return scene


def share(seed: int) -> Share:
    """What each has until the end; what is answered after it would be the same for all."""
    crowd = draw(seed)
    record = play(crowd).record
    answers = [
        sum(
            sent.status == 200 and sent.ended <= crowd.end
            for sent in record.requests
            if sent.client == name
        )
        for name in (f"p{number}" for number in range(1, CLIENTS + 1))
    ]
    model = crowd.model
    used = sum(answers) * model.service / crowd.end / model.places
    return Share(
        model.places,
        min(answers) / max(answers),
        used,
        record.amplification,
        len(record.calls) - len(record.answers),
    )


@cache
def shares(count: int = COUNT) -> list[Share]:
    """At so many servers drawn at random, but those with a place for each caller."""
    seeds = [seed for seed in range(count) if draw(seed).is_crowded]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(share, seeds))


def lines(found: list[Share]) -> list[SocketState]:
    """One for each size of servers."""
    return [
        _line(f"{least}-{most - 1}", here)
        for least, most in SIZES
        if (here := [each for each in found if least <= each.places < most])
    ]


def _line(places: str, found: list[Share]) -> SocketState:
    least = sorted(each.least for each in found)
    used, requests = (
        median(getattr(each, name) for each in found) for name in ("used", "requests")
    )
    return SocketState(
        places,
        len(found),
        least[0],
        least[len(least) // 4],
        median(least),
        used,
        requests,
        sum(each.lost for each in found),
    )


def table(found: list[Share]) -> str:
    """The lines, to read."""
    heads = (
        "places",
        "servers",
        "least share: worst",
        "quarter",
        "median",
        "places used",
        "requests per answer",
        "lost",
    )
    rows = [
        (line.places, f"{line.servers}", *(f"{value:.2f}" for value in line[2:7]), f"{line.lost}")
        for line in lines(found)
    ]
    return "\n".join(
        "  ".join(cell.rjust(len(head)) for cell, head in zip(row, heads, strict=True))
        for row in (heads, *rows)
    )
