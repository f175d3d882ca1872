"""What each folder of tests costs in seconds of CPU, beside what it may cost.

``make test`` prints a line for each folder. It fails nothing, as a busy or slow machine needs more:
who adds tests sees in time which folder outgrows its share of four minutes on two cores.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent
COLLECTING = "(collecting, in all processes)"
BUDGETS: dict[str, float] = {
    "architecture": 4, "core": 13, "core/batch": 8, "core/cli": 7, "core/doctor": 3,
    "core/flow": 8, "core/policy": 16, "core/shared": 3, "core/simulation": 24, "core/stress": 15,
    "core/testing": 8, "core/transport": 32, "core/transports_sdk": 4, "core/wire": 55, "docs": 3,
    "faults": 20, "fuzz": 5, "langchain": 45, "live": 12, "llama_index": 55, ".": 4, COLLECTING: 18,
}  # fmt: skip
"""Seconds by folder, all workers together: a fifth more than was measured on a busy machine.

Four minutes on two cores are 480 s; a hundred of them are waits for sockets and deadlines.
"""
OTHERS = 2.0
"""Seconds for a folder that has no budget."""


class Cost(NamedTuple):
    """What the tests of a folder cost."""

    items: int = 0
    seconds: float = 0.0

    def __add__(self, other: tuple[Any, ...]) -> Cost:
        """Both together."""
        return Cost(self.items + other[0], self.seconds + other[1])


def folder_of(path: Path) -> str:
    """``faults``, or ``core/wire`` in the folder that holds half of all; ``.`` if in none."""
    parts = path.relative_to(HERE).parts[:-1] if path.is_relative_to(HERE) else ()
    return "/".join(parts[: 2 if parts[:1] == ("core",) else 1]) or "."


def lines(costs: dict[str, Cost]) -> Iterator[str]:
    """A table of the costs, the greatest first."""
    yield f"{'folder':<32}{'items':>7}{'CPU s':>8}{'budget':>8}"
    for folder, cost in sorted(costs.items(), key=lambda found: -found[1].seconds):
        budget = BUDGETS.get(folder, OTHERS)
        over = "  over" if cost.seconds > budget else ""
        yield f"{folder:<32}{cost.items:>7}{cost.seconds:>8.1f}{budget:>8.0f}{over}"
    whole = sum(costs.values(), Cost())
    yield f"{'all':<32}{whole.items:>7}{whole.seconds:>8.1f}{sum(BUDGETS.values()):>8.0f}"


class Meter:
    """A plugin: each process counts what its tests cost, the first one adds it up and tells."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}

    def add(self, folder: str, cost: tuple[Any, ...]) -> None:
        """Count a cost."""
        self.costs[folder] = self.costs.get(folder, Cost()) + cost

    def pytest_collection_finish(self) -> None:
        """All until here was for the imports and the list of the tests."""
        self.add(COLLECTING, (0, _seconds()))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """A test with its fixtures, and with the processes that it started and waited for."""
        before = _seconds()
        try:
            return (yield)
        finally:
            self.add(folder_of(item.path), (1, _seconds() - before))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A worker hands over what it counted."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["cpu"] = {
                folder: list(cost) for folder, cost in self.costs.items()
            }

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """What a worker counted; nothing if it broke down."""
        for folder, cost in getattr(node, "workeroutput", {}).get("cpu", {}).items():
            self.add(folder, cost)

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """The table, if the whole suite ran."""
        if config.args_source is pytest.Config.ArgsSource.TESTPATHS and self.costs:
            terminalreporter.section("seconds of CPU")
            for line in lines(self.costs):
                terminalreporter.write_line(line)


def _seconds() -> float:
    """What this process and its children needed."""
    return sum(os.times()[:4])
