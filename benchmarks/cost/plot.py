"""The picture of the ratios, with the targets marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

from .goals import OURS, PEERS
from .report import Row

mpl.use("svg")
mpl.rcParams.update(
    {"svg.hashsalt": "cost", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
)

from matplotlib import pyplot as plt  # noqa: E402 - the backend is chosen first

_MET, _MISSED, _MARK = "#0b6e4f", "#c1440e", "#222222"
_TITLES = {
    "opea_core": "opea_core beside raw httpx",
    "langchain_opea": "langchain_opea beside langchain-openai",
    "llama_index_opea": "llama_index_opea beside llama-index OpenAILike",
}


def draw(rows: list[Row], path: Path) -> None:
    """A panel for each of our packages: a bar for each ratio that has a target."""
    panels = {ours: [row for row in rows if _shown(row, ours)] for ours in OURS}
    panels = {ours: found for ours, found in panels.items() if found}
    if not panels:
        return
    heights = [len(found) + 2.5 for found in panels.values()]
    total = sum(heights) * 0.26
    figure, every = plt.subplots(
        len(panels),
        1,
        figsize=(9, total),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for axes, (ours, found) in zip(every[:, 0], panels.items(), strict=True):
        _panel(axes, _TITLES[ours], found)
    every[-1, 0].set_xlabel(
        "CPU time (or memory) as a part of the peer's; the black mark is the target"
    )
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def _shown(row: Row, ours: str) -> bool:
    judged = row["limit"] is not None and row["limit_of"] == "ratio" and row["ratio"] is not None
    return judged and row["ours"] == ours and row["peer"] in (PEERS[ours], "httpx_pydantic")


def _panel(axes: Any, title: str, found: list[Row]) -> None:
    names = [
        row["text"].rpartition(",")[0]
        + (" (beside httpx + pydantic)" if row["peer"] == "httpx_pydantic" else "")
        for row in found
    ]
    ratios = [row["ratio"]["median"] for row in found]
    places = range(len(found))
    axes.barh(places, ratios, height=0.62, color=[_MET if row["met"] else _MISSED for row in found])
    end = max(*ratios, *(row["limit"] for row in found), 1.0) * 1.12
    for place, row, ratio in zip(places, found, ratios, strict=True):
        axes.plot([row["limit"]] * 2, [place - 0.36, place + 0.36], color=_MARK, linewidth=2.2)
        axes.text(
            max(ratio, row["limit"]) + end * 0.01, place, f"{ratio:.2f}", va="center", fontsize=9
        )
    axes.axvline(1, color="#888888", linewidth=1, linestyle=":", zorder=0)
    axes.set_yticks(places, names)
    axes.set_xlim(0, end)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_title(title, loc="left")
