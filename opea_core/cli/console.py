"""Writing to a terminal, or to a file.

Headings, aligned facts, and a table that may be drawn again.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 100
_LABEL = 11
_UP = "\x1b[{}A"
_CLEAR = "\x1b[2K"
_PARTS = re.compile(r"\n|[^\S\n]*[^\s]+[^\S\n]*|[^\S\n]+")

COLUMNS = ("endpoint", "requests", "in flight", "breaker", "retries", "errors", "p50")


class Console:
    """Standard output, at most ``WIDTH`` wide. ``live`` says whether it can be drawn over."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
        self._drawn = 0
        self._column = 0

    def say(self, text: str = "") -> None:
        """One line."""
        print(text, flush=True)

    def heading(self, text: str) -> None:
        """The title of a part."""
        self.say(f"\n{text}\n{'-' * len(text)}")

    def fact(self, label: str, value: object) -> None:
        """A label and its value; a long value goes on below itself."""
        first, *others = _wrapped(str(value), self.width - _LABEL)
        self.say(f"{label:<{_LABEL}}{first}")
        for line in others:
            self.say(" " * _LABEL + line)

    def begin(self, label: str) -> None:
        """A label whose value comes piece by piece, through ``write``, until ``end``."""
        self._column = 0
        self._put(f"{label:<{_LABEL}}")

    def write(self, piece: str) -> None:
        """A piece of a value, at once; a word that does not fit begins a new line."""
        for part in _PARTS.findall(piece):
            if part == "\n" or self._column + len(part.rstrip()) > self.width:
                self._put("\n")
                self._column = 0
                self._put(" " * _LABEL)
            if part != "\n":
                self._put(part)

    def end(self) -> None:
        """The value is whole."""
        self._put("\n")

    def _put(self, text: str) -> None:
        print(text, end="", flush=True)
        self._column += len(text)

    def draw(self, lines: Sequence[str]) -> None:
        """Lines over those of the last ``draw``."""
        if self._drawn:
            sys.stdout.write(_UP.format(self._drawn))
        for line in lines:
            sys.stdout.write(f"{_CLEAR}{line[: self.width - 1]}\n")
        sys.stdout.flush()
        self._drawn = len(lines)


def table(stats: Mapping[str, Any]) -> list[str]:
    """The figures of ``OPEA.get_stats`` as aligned lines, one per endpoint and the total."""
    rows = [COLUMNS, *(_row(label, figures) for label, figures in stats["endpoints"].items())]
    if len(rows) > 2:
        rows.append(_row("together", stats))
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    widths[COLUMNS.index("breaker")] = len("half_open")  # so that the columns stand still
    return [
        "  ".join(_aligned(*cell) for cell in zip(row, widths, COLUMNS, strict=True)).rstrip()
        for row in rows
    ]


def _row(label: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    median = figures["latency"]["p50"]
    shown = "" if median is None else f"{median * 1000:.0f} ms"
    counts = (
        figures["requests"],
        figures["in_flight"],
        figures.get("breaker", ""),
        figures["retries"],
        figures["errors"],
    )
    return (label, *map(str, counts), shown)


def _aligned(text: str, width: int, column: str) -> str:
    return text.ljust(width) if column in ("endpoint", "breaker") else text.rjust(max(width, 8))


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most ``width``, broken at blanks where there are any."""
    lines = []
    for line in text.splitlines() or [""]:
        while len(line) > width:
            cut = line.rfind(" ", 1, width + 1)
            cut = cut if cut > 0 else width
            lines.append(line[:cut])
            line = line[cut:].lstrip()
        lines.append(line)
    return lines
