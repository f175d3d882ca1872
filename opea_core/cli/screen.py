"""What commands write to: a terminal, drawn by rich where it is installed, or a file or pipe."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec

from opea_core.display_text import one_line

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_NARROWEST = 20


class Screen:
    """Standard output as plain text; tables are aligned with blanks."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.has_colour = self.is_terminal and not os.environ.get("NO_COLOR")
        self.width = shutil.get_terminal_size((100, 24)).columns if self.is_terminal else None
        """Columns; None where lines may be as long as they are."""
        self._is_dim = False

    def say(self, text: str = "") -> None:
        """One line, or several."""
        print(self.shown(text), flush=True)

    def aside(self, text: str) -> None:
        """A line that is not part of the result: dimmed on a terminal, else on standard error."""
        if self.is_terminal:
            print(self._dimmed(self.shown(text)), flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def write(self, piece: str, dim: bool = False) -> None:
        """A piece of a text that goes on, at once."""
        if self.has_colour and dim is not self._is_dim:
            sys.stdout.write(_DIM if dim else _PLAIN)
            self._is_dim = dim
        sys.stdout.write(self.shown(piece))
        sys.stdout.flush()

    def end(self) -> None:
        """The text is over."""
        self.write("\n")

    def shown(self, text: str) -> str:
        """A text without what would steer the terminal: models and servers may write anything."""
        return _STEERING.sub("\N{REPLACEMENT CHARACTER}", text) if self.is_terminal else text

    def _dimmed(self, text: str) -> str:
        return f"{_DIM}{text}{_PLAIN}" if self.has_colour else text

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        right: Collection[str] = (),
        colours: Mapping[str, str] | None = None,
    ) -> None:
        """Rows under their headings; columns named in ``right`` are aligned to the right.

        ``colours`` gives the colours of cells by their text, for terminals that have them. The last
        column is broken into lines where the terminal is too narrow.
        """
        del colours  # only a terminal that has them
        cells = [list(map(one_line, row)) for row in (columns, *rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        indent = sum(widths[:-1]) + 2 * (len(widths) - 1)
        for row in cells:
            first = "".join(
                f"{text.rjust(width) if name in right else text.ljust(width)}  "
                for text, width, name in zip(row[:-1], widths, columns, strict=False)
            )
            last = row[-1].rjust(widths[-1]) if columns[-1] in right else row[-1]
            for line in _broken(first + last, indent, self.width):
                self.say(line)


def _broken(text: str, indent: int, width: int | None) -> list[str]:
    """A row as lines of at most so many characters; those below the first begin at ``indent``."""
    if width is None or len(text) <= width or width - indent < _NARROWEST:
        return [text.rstrip()]
    lines = textwrap.wrap(text[indent:], width - indent) or [""]
    return [(text[:indent] + lines[0]).rstrip(), *(" " * indent + line for line in lines[1:])]


def make_screen() -> Screen:
    """The screen for this program: with rich on a terminal with colours, else plain."""
    screen = Screen()
    if not screen.has_colour or find_spec("rich") is None:
        return screen
    from opea_core.cli.rich_screen import RichScreen

    return RichScreen()
