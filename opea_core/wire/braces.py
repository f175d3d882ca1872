"""Where a JSON object ends that comes in pieces, without reading any of it twice."""

from __future__ import annotations

import re

_OUTSIDE, _INSIDE = re.compile(r'["{}]|[^\s"{}]+'), re.compile(r'["\\]')


class Braces:
    """Counts the braces of a text, outside of strings."""

    __slots__ = ("_depth", "_escaped", "_inside", "ended", "goes_on")

    def __init__(self) -> None:
        self._depth = 0
        self._inside = self._escaped = False
        self.ended = False
        """Whether the first object is over."""
        self.goes_on = False
        """Whether something comes after it."""

    def feed(self, text: str) -> None:
        """More of the text."""
        at = 0
        while at < len(text) and not self.goes_on:
            at = self._string(text, at) if self._inside else self._plain(text, at)

    def _string(self, text: str, at: int) -> int:
        """On to the end of a string, or of the text."""
        if self._escaped:
            self._escaped = False
            return at + 1
        found = _INSIDE.search(text, at)
        if found is None:
            return len(text)
        if found[0] == '"':
            self._inside = False
        else:
            self._escaped = True
        return found.end()

    def _plain(self, text: str, at: int) -> int:
        """On to the next string, brace, or end of the text."""
        found = _OUTSIDE.search(text, at)
        if found is None:
            return len(text)
        if self.ended:
            self.goes_on = True
        elif found[0] == '"':
            self._inside = True
        elif found[0] == "{":
            self._depth += 1
        elif found[0] == "}":
            self._depth -= 1
            self.ended = self._depth <= 0
        return found.end()
