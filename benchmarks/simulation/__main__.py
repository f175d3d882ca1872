"""Runs every scenario, prints the tables, and writes the figures and plots of ``docs/figures``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from . import jobs, sharing
from .figures import SCENARIOS, Figure, short

_FOLDER = Path(__file__).parents[2] / "docs" / "figures"


def main(arguments: list[str] | None = None) -> int:
    """Gives 1 if a bound is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=_FOLDER, help="where to write (default: docs/figures)"
    )
    parser.add_argument(
        "--no-plots",
        action="store_true",
        help="only the table and the figures (needs no matplotlib)",
    )
    given = parser.parse_args(arguments)
    rows = [row for scenario in SCENARIOS for row in _rows(scenario)]
    _print(rows)
    shares = sharing.shares()
    print(
        f"\n{sharing.CLIENTS} clients of one server that know nothing of each "
        f"other\n{sharing.table(shares)}"
    )
    played = jobs.played()
    print(f"\n{jobs.HEAD}\n{jobs.table(played)}")
    given.folder.mkdir(parents=True, exist_ok=True)
    (given.folder / "resilience.json").write_text(json.dumps(rows, indent=1) + "\n")
    lines = [line._asdict() for line in sharing.lines(shares)]
    (given.folder / "resilience-sharing.json").write_text(json.dumps(lines, indent=1) + "\n")
    (given.folder / "resilience-jobs.json").write_text(
        json.dumps([each._asdict() for each in played], indent=1) + "\n"
    )
    if not given.no_plots:
        from .plots import draw

        draw(given.folder)
    return int(not all([row["holds"] for row in rows] + [each.holds for each in played]))


def _rows(scenario: str) -> list[dict[str, Any]]:
    ours, naive = SCENARIOS[scenario]("ours"), SCENARIOS[scenario]("naive")
    return [_row(scenario, *pair) for pair in zip(ours, naive, strict=True)]


def _row(scenario: str, ours: Figure, naive: Figure) -> dict[str, Any]:
    values = {"ours": round(ours.value, 3), "naive": round(naive.value, 3)}
    return {
        "scenario": scenario,
        "figure": ours.name,
        "bound": ours.bound,
        **values,
        "holds": ours.holds,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    last = ""
    print(f"{'':64} {'bound':>9} {'ours':>8} {'naive':>8}")
    for row in rows:
        if row["scenario"] != last:
            last = row["scenario"]
            print(last)
        broken = "" if row["holds"] else "  <- not kept"
        print(
            f"    {row['figure']:60} {row['bound']:>9} {short(row['ours']):>8} "
            f"{short(row['naive']):>8}{broken}"
        )


if __name__ == "__main__":
    sys.exit(main())
