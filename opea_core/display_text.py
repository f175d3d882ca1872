"""Words as they may be shown: on one line, and not too long."""

from __future__ import annotations

import re

_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")


def one_line(text: str) -> str:
    """A server's words on one line.

    Without what steers a terminal or turns the direction of text.
    """
    return " ".join(_STEERING.sub(" ", text).split())


def fit(text: str, most: int) -> str:
    """The same, cut at so many characters."""
    if len(text) <= most and text.isprintable() and "  " not in text and text.strip() == text:
        return text  # as nearly all are
    return cut(one_line(text[: 4 * most]), most)


def cut(text: str, most: int) -> str:
    """At most so many characters; the last one shows that there were more."""
    return text if len(text) <= most else text[: most - 1] + "…"
