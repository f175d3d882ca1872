"""Texts with the columns of a row in them: ``Translate: {text}``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from opea_core.errors import ConfigurationError, nearest

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_LISTED = 20


class Template:
    """A text with names of columns in braces; ``{{`` and ``}}`` stand for braces."""

    def __init__(self, text: str) -> None:
        """Raises ConfigurationError for a lone brace, or braces with no name in them."""
        self.parts: list[tuple[str, str | None]] = []
        """Each a text and the name of the column behind it, if one is."""
        before, at = "", 0
        for found in _PART.finditer(text):
            before += text[at : found.start()]
            at = found.end()
            name = found[1]
            if found[0] in ("{{", "}}"):
                before += found[0][0]
            elif name is None or not name.strip():
                raise ConfigurationError(
                    f"The template has a lone {found[0]!r} at character {found.start() + 1}.",
                    "Write {column} for a column, and {{ or }} for a brace.",
                )
            else:
                self.parts.append((before, name.strip()))
                before = ""
        self.parts.append((before + text[at:], None))

    @property
    def names(self) -> list[str]:
        """The columns it needs."""
        return [name for _, name in self.parts if name is not None]

    def check(self, columns: list[str]) -> None:
        """Raise ConfigurationError if a column is needed that is not among these."""
        missing = next((name for name in self.names if name not in columns), None)
        if missing is not None:
            shown = ", ".join(columns[:_LISTED]) or "none"
            raise ConfigurationError(
                f"There is no column {missing!r} for the template.{nearest(missing, columns)}",
                f"The columns are: {shown}.",
            )

    def fill(self, columns: Mapping[str, Any]) -> str:
        """The text of a row; raises ConfigurationError for a column that it does not have."""
        self.check(list(columns))
        return "".join(
            text if name is None else text + shown(columns[name]) for text, name in self.parts
        )


def shown(value: Any) -> str:
    """A value as it stands in a text: as it is, empty for None, JSON for lists and objects."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
