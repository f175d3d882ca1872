"""Tables and colours by rich (extra ``[cli]``)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from opea_core.cli.screen import Screen
from opea_core.display_text import one_line


class RichScreen(Screen):
    """A terminal with colours."""

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        right: Collection[str] = (),
        colours: Mapping[str, str] | None = None,
    ) -> None:
        """Rows under their headings, with a line below these."""
        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for place, name in enumerate(columns):
            is_last = place == len(columns) - 1
            drawn.add_column(
                name, justify="right" if name in right else "left", overflow="fold", no_wrap=False,
                ratio=1 if is_last else None,
            )  # fmt: skip
        found = colours or {}
        for row in rows:
            shown = map(one_line, row)
            drawn.add_row(*(Text(text, style=found.get(text, "")) for text in shown))
        Console().print(drawn)
