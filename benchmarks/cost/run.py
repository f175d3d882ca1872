"""Starts the server and, in turn, one worker for each scenario and target."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import venvs
from .goals import Goal, scenario_of
from .targets import TARGETS, find

_OURS = ("OPEA_", "OPENAI_", "LANGCHAIN_", "LANGSMITH_")
_ENVIRONMENT = {"LANGSMITH_TRACING": "false", "PYTHONWARNINGS": "ignore"}
_LONGEST = 900.0


@dataclass
class Results:
    """What the workers said: figures by target, metric and round, versions, and what went wrong."""

    figures: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def add(self, target: str, turn: int, figures: dict[str, float]) -> None:
        """Keep the figures of a round."""
        for metric, value in figures.items():
            self.figures.setdefault(target, {}).setdefault(metric, {})[turn] = value


def cores() -> tuple[str, str]:
    """One for the clients and one for the server; empty where processes are not pinned."""
    free = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (str(free[0]), str(free[-1])) if len(free) > 1 else ("", "")


@contextmanager
def server(core: str) -> Iterator[str]:
    """The server's URL while it runs."""
    command = [sys.executable, "-m", f"{__package__}.server", *([core] if core else [])]
    with subprocess.Popen(command, cwd=venvs.ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


@dataclass(frozen=True)
class Runner:
    """Where the environments are, and how much to do."""

    folder: Path
    rounds: int
    scale: float

    def measure(self, goals: Iterable[Goal]) -> Results:
        """Every target beside its peers: they take turns within each scenario,
        in the other order in every second round.
        """
        plan, results = _plan(goals), Results()
        with server(cores()[1]) as url:
            for target in _ordered(target for targets in plan.values() for target in targets):
                self._versions(results, target, url)
            for turn in range(self.rounds):
                for scenario, targets in plan.items():
                    if scenario == "calls" and turn:  # minutes long, and its own many blocks
                        continue
                    print(
                        f"round {turn + 1} of {self.rounds}: {scenario}",
                        file=sys.stderr,
                        flush=True,
                    )
                    for target in _ordered(targets)[:: -1 if turn % 2 else 1]:
                        self._turn(results, target, scenario, url, turn)
        return results

    def _versions(self, results: Results, target: str, url: str) -> None:
        found = self._work(target, "versions", url)
        if isinstance(found, str):
            results.errors[f"{target}, start"] = found
        else:
            results.versions[target] = found

    def _turn(self, results: Results, target: str, scenario: str, url: str, turn: int) -> None:
        if f"{target}, start" in results.errors:
            return
        found = self._work(target, scenario, url)
        if isinstance(found, str):
            results.errors[f"{target}, {scenario}"] = found
        else:
            results.add(target, turn, found)

    def _work(self, target: str, scenario: str, url: str) -> dict[str, Any] | str:
        interpreter = venvs.python(self.folder, find(target).venv)
        job = {
            "target": target,
            "scenario": scenario,
            "server": url,
            "scale": str(self.scale),
            "core": cores()[0],
        }
        command = [str(interpreter), "-m", f"{__package__}.worker", json.dumps(job)]
        try:
            done = subprocess.run(  # noqa: S603 - our own
                command,
                cwd=venvs.ROOT,
                env=_environment(),
                capture_output=True,
                text=True,
                timeout=_LONGEST,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return type(error).__name__
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["no word"])[-1]
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return figures


def _plan(goals: Iterable[Goal]) -> dict[str, set[str]]:
    plan: dict[str, set[str]] = {}
    for goal in goals:
        plan.setdefault(scenario_of(goal.metric), set()).update(
            name for name in (goal.ours, goal.peer) if name
        )
    return plan


def _ordered(targets: Iterable[str]) -> list[str]:
    wanted = set(targets)
    return [name for name in TARGETS if name in wanted]


def _environment() -> dict[str, str]:
    """Ours without what would change the measured: settings, proxies,
    and whatever keeps compiled files from being written.
    """
    unwanted = (*_OURS, "PYTHON")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith(unwanted)
    }
    return kept | _ENVIRONMENT
