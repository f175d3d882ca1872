"""The connections of one client: kept after an answer, given up after a time limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .server import Cut, Heard, Said, Server
from .world import SECOND, World

Limit = Literal["first_event", "total"]


@dataclass(frozen=True, slots=True)
class Late:
    """A time limit passed before there was an answer."""

    limit: Limit


@dataclass(frozen=True, slots=True)
class Result:
    """How a request ended: what was heard, and whether on a connection that was used before."""

    heard: Heard | Late
    sent_at: int
    reused: bool

    @property
    def wait(self) -> float:
        """Seconds the server asked to wait."""
        return (
            float(self.heard.headers.get("retry-after", 0)) if isinstance(self.heard, Said) else 0.0
        )


class Wire:
    """Sends requests; each ends exactly once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._kept: dict[str, list[int]] = {}  # by server: the epochs of idle connections

    def send(
        self,
        server: Server,
        patience: float | None,
        deadline: int | None,
        then: Callable[[Result], None],
    ) -> None:
        """A request that may take ``patience`` seconds, and at most until ``deadline``."""
        kept = self._kept.setdefault(server.name, [])
        epoch = kept.pop() if kept else None
        sent_at, used = self.world.now, server.epoch if epoch is None else epoch

        def hear(heard: Heard) -> None:
            alarm.cancel()
            if not isinstance(heard, Cut):
                kept.append(used)
            elif epoch is not None:
                kept.clear()  # the server closed one: its siblings are dead as well
            then(Result(heard, sent_at, epoch is not None))

        def give_up() -> None:
            server.leave(visit)
            then(Result(Late(limit), sent_at, epoch is not None))

        visit = server.connect(epoch, hear)
        times: list[tuple[int, Limit]] = [
            (sent_at + int((patience or 1e6) * SECOND), "first_event")
        ]
        if deadline is not None:
            times.append((deadline, "total"))
        when, limit = min(times)
        alarm = self.world.at(when, give_up)
