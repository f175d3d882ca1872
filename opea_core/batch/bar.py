"""A batch as a bar with a table of its endpoints, drawn by rich on a terminal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from opea_core.batch.progress import Figures, Pace, leaving, place
from opea_core.batch.summary import spoken

if TYPE_CHECKING:
    from opea_core.batch.work import Batch

_LOOK = 0.25


class Bar:
    """Draws itself anew four times a second, and stands still at the end."""

    async def show(self, batch: Batch) -> None:
        """Draw until cancelled."""
        # Standard output may be where the answers go.
        console, pace = Console(stderr=True), Pace()
        with Live(console=console, auto_refresh=False, transient=False) as live:
            try:
                while True:
                    live.update(drawn(pace.figures(batch)), refresh=True)
                    await asyncio.sleep(_LOOK)
            finally:
                live.update(drawn(pace.figures(batch)), refresh=True)


def drawn(figures: Figures) -> Group:
    """The bar, what it stands for, and the endpoints."""
    parts: list[RenderableType] = [_top(figures), _counts(figures), _endpoints(figures)]
    if figures.is_stopping and figures.running:
        parts.append(Text(leaving(figures.running), style="yellow"))
    return Group(*parts)


def _top(figures: Figures) -> Table:
    line = Table.grid(padding=(0, 2))
    share = f"{figures.done / figures.total:.0%}" if figures.total else ""
    count = f"{figures.done:,}" + (f" of {figures.total:,}" if figures.total else "")
    bar = ProgressBar(total=figures.total, completed=figures.done, width=40)
    left = f"{spoken(figures.left)} left" if figures.left is not None else ""
    line.add_row(bar, share, f"{count} rows", spoken(figures.seconds), left)
    return line


def _counts(figures: Figures) -> Text:
    text = Text(
        f"{figures.per_second:,.1f} rows/s, {figures.tokens_per_second:,.0f} tokens/s, "
        f"{figures.running:,} on their way, {figures.retries:,} retries"
    )
    if figures.failed:
        text.append(f", failed: {figures.failures()}", style="red")
    return text


def _endpoints(figures: Figures) -> Table:
    table = Table.grid(padding=(0, 3))
    for label, values in figures.endpoints.items():
        in_flight, breaker, latency = place(values)
        style = None if breaker == "closed" else "yellow"
        table.add_row(label, in_flight, Text(breaker, style=style or ""), latency)
    return table
