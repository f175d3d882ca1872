"""The two plots of ``docs/figures``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

from . import brownout, defaults, outages
from .record import per_second

mpl.use("svg")
mpl.rcParams.update(
    {
        "svg.hashsalt": "resilience",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)

from matplotlib import pyplot as plt  # noqa: E402 - the backend is chosen first
from matplotlib.ticker import MultipleLocator  # noqa: E402

_OURS, _NAIVE, _TROUBLE = "#0b6e4f", "#c1440e", "#f1f1f1"
_WHO = (("ours", "OPEA", _OURS), ("naive", "3 retries with backoff, nothing else", _NAIVE))


def draw(folder: Path) -> list[Path]:
    """Draw them; gives the files."""
    return [
        _brownout(folder / "resilience-brownout.svg"),
        _outage(folder / "resilience-outage.svg"),
        _defaults(folder / "resilience-defaults.svg"),
    ]


def _trouble(axes: Any, start: float, end: float, text: str) -> None:
    axes.axvspan(start, end, color=_TROUBLE, zorder=0, linewidth=0)
    axes.text(
        (start + end) / 2,
        0.97,
        text,
        ha="center",
        va="top",
        color="#555555",
        transform=axes.get_xaxis_transform(),
    )


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    return path


def _brownout(path: Path) -> Path:
    figure, (good, sent) = plt.subplots(2, 1, figsize=(8, 6), sharex=True, layout="constrained")
    width, end = 4.0, brownout.END
    middles = [width * (number + 0.5) for number in range(int(end / width))]
    for variant, label, color in _WHO:
        record = brownout.brownout(variant, "queues").record
        answers = per_second([call.ended or 0.0 for call in record.answers], end, width)
        good.plot(middles, answers, color=color, label=label, linewidth=2)
        sent.plot(
            middles,
            per_second([s.at for s in record.requests], end, width),
            color=color,
            linewidth=2,
        )
    good.axhline(
        brownout.RATE,
        color="#555555",
        linestyle=":",
        linewidth=1.2,
        label=f"asked by callers ({brownout.RATE:.0f} a second)",
    )
    for axes in (good, sent):
        _trouble(axes, brownout.START, brownout.HEALED, "the server is four times slower")
        axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.15)
        axes.set_xlim(0, end)
    for text, height in (
        ("works off what waited", 17.3),
        ("time limits and retries keep it overloaded", 1.2),
    ):
        good.text((brownout.HEALED + brownout.END) / 2, height, text, ha="center", color="#555555")
    good.set_ylabel("answers a second")
    sent.set_ylabel("requests sent a second")
    sent.set_xlabel("seconds")
    good.set_title("A minute at three times what the server can do", loc="left")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return _save(figure, path)


def _defaults(path: Path) -> Path:
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for variant, label, color in _WHO:
        shares = sorted(
            100 * min(each.goodput, 1.05) for each in defaults.at_drawn_servers(variant)
        )
        axes.plot(
            [100 * (n + 0.5) / len(shares) for n in range(len(shares))],
            shares,
            color=color,
            linewidth=2,
            label=label,
        )
    axes.axhline(
        100,
        color="#555555",
        linestyle=":",
        linewidth=1.2,
        label="the best fixed number for each server",
    )
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 110)
    axes.set_xlabel("% of the servers, the worst first")
    axes.set_ylabel("answers a second, % of the best fixed number's")
    axes.set_title(f"The default settings at {defaults.COUNT} servers drawn at random", loc="left")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return _save(figure, path)


def _outage(path: Path) -> Path:
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for variant, label, color in _WHO:
        record = outages.outage(variant, 8, 64).record
        answered = sorted(call.ended or 0.0 for call in record.answers)
        failed = sorted(call.ended or 0.0 for call in record.calls if call.error)
        text = f"{label}: {len(answered):,} answers"
        axes.step(
            [0, *answered],
            range(len(answered) + 1),
            where="post",
            color=color,
            linewidth=2,
            label=text,
        )
        if failed:
            axes.step([0, *failed, answered[-1]], [*range(len(failed) + 1), len(failed)],
                      where="post", color=color, linewidth=1.6, linestyle="--",
                      label=f"{label}: {len(failed)} errors")  # fmt: skip
    _trouble(axes, outages.START, outages.START + 8, "the server is gone")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 2300)
    axes.set_xlabel("seconds")
    axes.set_ylabel("calls that are over")
    axes.set_title("2,000 calls by 64 callers, and an outage of 8 seconds", loc="left")
    axes.xaxis.set_major_locator(MultipleLocator(5))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return _save(figure, path)
