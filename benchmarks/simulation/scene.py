"""Servers and clients put together; the same scene for ours, for ours without one of its parts,
and for a naive client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opea_core import RetryPolicy

from .client import Client
from .naive import NaiveClient
from .record import Record
from .server import Model, Server
from .world import World

VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {},
    "no budget": {"budget": False},
    "no breaker": {"breaker": False},
    "no chance": {"retry": RetryPolicy(jitter="none"), "chance": lambda: 0.0},
    "hasty": {"chance": lambda: -0.5},
}
"""What stands for OPEA as it is, and what is left when a part of it is taken away."""


@dataclass
class Scene:
    """What plays, and what is written down of it."""

    world: World
    record: Record
    servers: list[Server]
    clients: list[Any]

    def opened(self) -> int:
        """How often a breaker opened."""
        return sum(client.moves("open") for client in self.clients if isinstance(client, Client))

    def closed_again(self) -> list[float]:
        """When breakers closed, in seconds."""
        return [
            at for client in self.clients if isinstance(client, Client) for at in client.closed_at()
        ]


def stage(
    variant: str, seed: int, models: Sequence[Model], processes: int = 1, **options: Any
) -> Scene:
    """A scene; ``variant`` is one of VARIANTS or "naive",
    ``options`` are OPEA's (a naive client knows only timeout).
    """
    world, record = World(seed), Record()
    servers = [Server(world, f"gpu{number}", model) for number, model in enumerate(models, 1)]
    clients: list[Any] = []
    for number in range(1, processes + 1):
        if variant == "naive":
            clients.append(
                NaiveClient(
                    world, servers, record, f"p{number}", timeout=options.get("timeout", 600.0)
                )
            )
        else:
            clients.append(
                Client(world, servers, record, f"p{number}", **{**options, **VARIANTS[variant]})
            )
    return Scene(world, record, servers, clients)
