"""Measures, prints the table, and writes ``cost.json`` and ``cost.svg``;
gives 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

from opea_core.version import __version__

from . import report, venvs
from .goals import Goal, goals, scenario_of
from .growth import GROWTH
from .run import Results, Runner
from .scenarios import SCENARIOS
from .targets import find

_FIGURES = venvs.ROOT / "docs" / "figures"
_OURS = tuple(dict.fromkeys(goal.ours for goal in goals()))
_GROUPS = {"S3": ("S3s", "S3a"), "S10": ("S10", "S10acc"), "growth": tuple(GROWTH)}


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    given = _arguments(arguments)
    wanted = [goal for goal in goals() if _wanted(goal, given)]
    folder = given.venvs or venvs.ROOT / ".bench"
    if not given.venvs:
        venvs.make(
            folder, {find(name).venv for goal in wanted for name in (goal.ours, goal.peer) if name}
        )
    rounds, scale = (1, 0.2) if given.quick else (given.rounds, 1.0)
    results = Runner(folder.absolute(), rounds, scale).measure(wanted)
    rows = report.rows(wanted, results)
    print(_versions(results))
    print("\n".join(report.table(rows)))
    for what, error in results.errors.items():
        print(f"failed: {what}: {error}")
    missed = [row for row in rows if row["met"] is False]
    judged = sum(row["met"] is not None for row in rows)
    print(f"\n{judged - len(missed)} of {judged} targets are met.")
    partial = given.quick or given.only or given.scenario
    if given.folder or not partial:
        _write(given.folder or _FIGURES, rows, results, rounds)
    return int(bool(missed or results.errors))


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument(
        "--only", type=_names, default=(), help=f"some of {','.join(_OURS)}, with their peers"
    )
    parser.add_argument(
        "--scenario",
        type=_names,
        default=(),
        help=f"some of S1,S2,S2b,S3,S4,S5,S6,S7,S8,S9,S10,growth,{','.join(GROWTH)}",
    )
    parser.add_argument(
        "--growth",
        action="store_true",
        help="also whether costs grow: 100,000 calls, 20,000 chunks, ... (minutes)",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--quick", action="store_true", help="one short round: only to see that it works"
    )
    parser.add_argument(
        "--venvs",
        type=Path,
        help="use the environments in this folder (raw, langchain, llamaindex) as they are",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="where to write; a part or a quick run writes only there (default: docs/figures)",
    )
    given = parser.parse_args(arguments)
    known = {*SCENARIOS, "S5", *GROWTH, *_GROUPS}
    for name in (*(set(given.only) - {*_OURS}), *(set(given.scenario) - known)):
        parser.error(f"there is no {name}")
    return given


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _wanted(goal: Goal, given: argparse.Namespace) -> bool:
    scenario = scenario_of(goal.metric)
    asked = {one for name in given.scenario for one in _GROUPS.get(name, (name,))}
    if given.only and goal.ours not in given.only:
        return False
    if asked:
        return scenario in asked
    return given.growth or scenario not in GROWTH


def _used(results: Results) -> dict[str, Any]:
    return {name: found for name, found in results.versions.items() if found}


def _versions(results: Results) -> str:
    used = {
        name: ", ".join(f"{package} {version}" for package, version in found.items())
        for name, found in _used(results).items()
    }
    lines = [f"  {name:18} {found}" for name, found in used.items()]
    return "\n".join(
        [
            (
                f"Python {platform.python_version()}; opea-core {__version__}; CPU time of "
                "the client, medians"
            ),
            *lines,
        ]
    )


def _write(folder: Path, rows: list[report.Row], results: Results, rounds: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    head = {
        "python": platform.python_version(),
        "opea": __version__,
        "rounds": rounds,
        "versions": _used(results),
    }
    (folder / "cost.json").write_text(json.dumps({**head, "rows": rows}, indent=1) + "\n")
    try:
        from .plot import draw
    except ImportError:
        print("no cost.svg: matplotlib is not installed")
    else:
        draw(rows, folder / "cost.svg")


if __name__ == "__main__":
    sys.exit(main())
