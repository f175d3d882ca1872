"""A batch over three replicas: how much it makes of what their places allow.

Calls take 0.2 to 5 s. One replica is four times slower, and one is gone for a while. As many calls
wait for a place as the window of a batch lets wait, since it is that window that pulls the rows.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from opea_core.batch.result import Result
from opea_core.batch.window import Window
from opea_core.errors import OPEAError

from .client import Client
from .record import Called, Record
from .scene import Scene, stage
from .server import Model, Trouble

SECONDS, SPREAD = 2.6, 12 / 13
"""What a call takes: 0.2 to 5 s, all alike often."""
SLOWER = 4
LEAST = 0.9
"""The share of what the places allow that a batch must reach."""
_TIMEOUT, _RECOVERY_WAIT = 120.0, 600.0
_END = 1e5

BEYOND: dict[str, dict[str, object]] = {
    "503": {"queue": 0, "refusal": (503, None)},
    "429": {"queue": 0, "refusal": (429, None)},
    "as many wait, then 503": {"queue": 64, "refusal": (503, None)},
    "all wait": {"queue": None},
}
"""What becomes of requests for which a server has no place."""


@dataclass(frozen=True)
class Job:
    """So many rows, over three replicas with so many places each; one is gone for a time."""

    beyond: str
    rows: int = 20_000
    places: int = 64
    gone: tuple[float, float] = (60.0, 120.0)
    """From when to when, in seconds."""
    seed: int = 1

    def models(self) -> list[Model]:
        """The three replicas: as it should be, slow, and the one that is gone for a while."""
        well = Model(self.places, SECONDS, SPREAD, **BEYOND[self.beyond])  # type: ignore[arg-type]
        return [
            well,
            replace(well, service=SECONDS * SLOWER),
            replace(well, troubles=(Trouble("down", *self.gone),)),
        ]

    def allowed(self, end: float) -> float:
        """How many calls the places of the three can answer until then."""
        start, back = self.gone
        there = end - max(0.0, min(end, back) - start)
        return (end + end / SLOWER + there) * self.places / SECONDS


class Played(NamedTuple):
    """What came of a job."""

    beyond: str
    rows: int
    answered: int
    begun: float
    """When the last row was sent, in seconds; afterwards places stay free, as no row is left."""
    share: float
    """What was answered until then, of what the places allow."""
    requests: float
    """For each answer."""

    @property
    def holds(self) -> bool:
        """Whether every row was answered, with enough of the places used."""
        return self.answered == self.rows and self.share >= LEAST


class Batch:
    """Sends rows as a batch does: the next one whenever its window has room."""

    def __init__(self, client: Client, rows: int) -> None:
        self.begun = 0.0
        """When the last row was sent."""
        self._client = client
        self._world = client.world
        self._left = rows
        self._window = Window(ordered=False)
        self._is_due = False
        self._news()

    def _news(self) -> None:
        """Look for room in a turn of its own, as the event loop of a batch does."""
        if not self._is_due:
            self._is_due = True
            self._world.at(self._world.now, self._look)

    def _look(self) -> None:
        self._is_due = False
        for _ in self._window.ready():
            pass  # a real batch writes them
        while self._left and self._window.has_room():
            self._left -= 1
            index = self._window.start()
            self.begun = self._world.seconds
            self._client.call(partial(self._over, index), partial(self._placed, index))

    def _placed(self, index: int, has_one: bool) -> None:
        self._window.place(index, has_one)
        self._news()

    def _over(self, index: int, called: Called) -> None:
        error = OPEAError(called.error) if called.error else None
        self._window.end(Result(index, None, None, error=error))
        self._news()


def run(job: Job) -> tuple[Scene, Batch]:
    """Let it play to its end."""
    scene = stage("ours", job.seed, job.models(), recovery_wait=_RECOVERY_WAIT, timeout=_TIMEOUT)
    batch = Batch(scene.clients[0], job.rows)
    scene.world.run(_END)
    return scene, batch


def play(job: Job) -> Played:
    """What came of it."""
    scene, batch = run(job)
    record: Record = scene.record
    early = sum(call.ended is not None and call.ended <= batch.begun for call in record.answers)
    return Played(
        job.beyond,
        job.rows,
        len(record.answers),
        batch.begun,
        early / job.allowed(batch.begun),
        record.amplification,
    )


def played() -> list[Played]:
    """Whatever becomes of the requests for which there is no place."""
    with ProcessPoolExecutor() as pool:
        return list(pool.map(play, [Job(beyond) for beyond in BEYOND]))


HEAD = (
    f"A batch over three replicas with {Job.places} places; calls take 0.2 to 5 s, one replica is "
    f"{SLOWER} times slower,\none is gone from {Job.gone[0]:.0f} to {Job.gone[1]:.0f} s"
)


def table(found: list[Played]) -> str:
    """What came of each, to read; the share in percent of what the places allow."""
    heads = ("beyond the places", "rows", "answered", "seconds", "share", "requests per answer")
    rows = [
        (
            one.beyond,
            f"{one.rows:,}",
            f"{one.answered:,}",
            f"{one.begun:.0f}",
            f"{one.share:.1%}" + ("" if one.holds else "  <- not kept"),
            f"{one.requests:.2f}",
        )
        for one in found
    ]
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (heads, *rows)
    )
