"""The rows of the table, and the table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from typing import Any

from .goals import TEXTS, Goal
from .run import Results

Row = dict[str, Any]


def rows(goals: Iterable[Goal], results: Results) -> list[Row]:
    """A row for each goal that has figures; a ratio is the median of the ratios of the rounds."""
    return [row for goal in goals if (row := _row(goal, results)) is not None]


def _row(goal: Goal, results: Results) -> Row | None:
    ours = results.figures.get(goal.ours, {}).get(goal.metric)
    peer = results.figures.get(goal.peer or "", {}).get(goal.metric, {})
    if not ours:
        return None
    ratio = _spread(ours[turn] / peer[turn] for turn in ours if peer.get(turn, 0) > 0)
    value = _spread(ours.values())
    judged = value if goal.alone else ratio
    met = None if goal.limit is None else judged is not None and judged["median"] <= goal.limit
    return {
        "metric": goal.metric,
        "text": TEXTS[goal.metric],
        "ours": goal.ours,
        "peer": goal.peer,
        "value": value,
        "peer_value": _spread(peer.values()),
        "ratio": ratio,
        "limit": goal.limit,
        "limit_of": "value" if goal.alone else "ratio",
        "met": met,
    }


def _spread(values: Iterable[float]) -> dict[str, float] | None:
    found = sorted(values)
    if not found:
        return None
    return {
        "median": _round(statistics.median(found)),
        "min": _round(found[0]),
        "max": _round(found[-1]),
    }


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def table(found: list[Row]) -> Iterator[str]:
    """Lines to print."""
    last = ""
    for row in found:
        title = (
            f"{row['ours']} beside {row['peer']}" if row["peer"] else f"{row['ours']}: flat or not"
        )
        group = title.replace("httpx_pydantic", "raw_httpx")
        if group != last:
            last = group
            yield (
                f"\n{group:54} {'ours':>9} {'peer':>9} {'ratio':>7} {'min..max':>13} {'target':>9}"
            )
        yield _line(row)


def _line(row: Row) -> str:
    ratio = row["ratio"]
    spread = f"{_short(ratio['min'])}..{_short(ratio['max'])}" if ratio else ""
    met = {True: "  met", False: "  MISSED", None: ""}[row["met"]]
    name = row["text"] + (" (beside httpx + pydantic)" if row["peer"] == "httpx_pydantic" else "")
    figures = (
        f"{_median(row['value']):>9} {_median(row['peer_value']):>9} {_median(ratio):>7} "
        f"{spread:>13}"
    )
    return f"  {name:52} {figures} {limit(row):>9}{met}".rstrip()


def limit(row: Row) -> str:
    """The limit as text: of the ratio, or of our own figure in its unit."""
    if row["limit"] is None:
        return ""
    unit = " ms" if row["metric"].endswith("_ms") and row["limit_of"] == "value" else ""
    return f"<= {_short(row['limit'])}{unit}"


def _median(spread: dict[str, float] | None) -> str:
    return _short(spread["median"]) if spread else ""


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
