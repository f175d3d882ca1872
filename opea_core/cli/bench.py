"""``opea bench``: how much a server takes at once, and how fast it is then."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opea_core import OPEA
from opea_core.cli.load import LEVELS, Level, measure, pays
from opea_core.cli.screen import make_screen
from opea_core.cli.servers import CommandError, choose_model
from opea_core.lazy_imports import importing

_COLUMNS = ("at once", "answers", "errors", "first p50", "p95", "token p50", "p95", "tokens/s")
_ALONE: dict[str, Any] = {"max_retries": 0, "recovery_wait": 0.0, "breaker": False}
"""What fails is counted, and not tried again."""


def run(arguments: argparse.Namespace) -> int:
    """Load a server level by level; 0 if it answered at all."""
    pyplot = _pyplot() if arguments.plot else None
    screen = make_screen()
    options: dict[str, Any] = {} if arguments.key is None else {"api_key": arguments.key}
    if arguments.model:
        options["model"] = arguments.model
    with OPEA(arguments.url, max_concurrent=max(LEVELS), **_ALONE, **options) as opea:
        options["model"] = choose_model(opea, screen)
    levels, reason = asyncio.run(_levels(arguments, options))
    screen.table(_COLUMNS, [_row(level) for level in levels], right=_COLUMNS)
    screen.say()
    screen.say(reason)
    if pyplot is not None:
        _plot(pyplot, levels, Path(arguments.plot))
        screen.say(f"plot: {arguments.plot}")
    return 0 if any(level.answers for level in levels) else 1


async def _levels(
    arguments: argparse.Namespace, options: dict[str, Any]
) -> tuple[list[Level], str]:
    """The levels until it no longer pays, and why that is so."""
    levels: list[Level] = []
    async with OPEA(arguments.url, max_concurrent=max(LEVELS), **_ALONE, **options) as opea:
        for at_once in (level for level in LEVELS if level <= arguments.most):
            print(f"{at_once} at once ...", file=sys.stderr, flush=True)
            levels.append(await measure(opea, at_once, arguments.prompt, arguments.max_tokens))
            reason = pays(levels)
            if reason is not None:
                break
        else:
            reason = f"more than {levels[-1].at_once} at once were not tried (--most)"
    best = max(levels, key=lambda level: level.tokens_per_second)
    rate = f"{best.tokens_per_second:,.0f} tokens a second with {best.at_once} at once"
    return levels, f"Most: {rate}; it ended as {reason}."


def _row(level: Level) -> tuple[str, ...]:
    times = (level.first(0.5), level.first(0.95), level.per_token(0.5), level.per_token(0.95))
    shown = ("" if found is None else f"{found * 1000:,.0f} ms" for found in times)
    counts = (str(level.at_once), str(len(level.answers)), str(len(level.errors)))
    return (*counts, *shown, f"{level.tokens_per_second:,.0f}")


def _pyplot() -> Any:
    """The module that draws, found before anything is sent."""
    with importing:
        try:
            import matplotlib as mpl  # pyright: ignore[reportMissingImports]

            mpl.use("svg")
            from matplotlib import pyplot  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise CommandError(
                "--plot draws with matplotlib, which is not installed.\n"
                "pip install 'opea-core[bench]'"
            ) from None
    return pyplot


def _plot(pyplot: Any, levels: Sequence[Level], path: Path) -> None:
    """Tokens a second and the time to the first content, over how many at once."""
    figure, left = pyplot.subplots(figsize=(7, 4))
    at_once = [level.at_once for level in levels]
    left.plot(at_once, [level.tokens_per_second for level in levels], "o-", color="tab:blue")
    left.set_xscale("log", base=2)
    left.set_xticks(at_once, [str(number) for number in at_once])
    left.set_xlabel("requests at once")
    left.set_ylabel("tokens a second", color="tab:blue")
    left.set_ylim(bottom=0)
    right = left.twinx()
    answered = [level for level in levels if level.answers]
    seconds = [level.first(0.95) for level in answered]
    right.plot([level.at_once for level in answered], seconds, "s--", color="tab:red")
    right.set_ylabel("seconds to the first content (p95)", color="tab:red")
    right.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, format="svg")
    pyplot.close(figure)
