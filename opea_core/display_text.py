"""Words as they may be shown: on one line, not too long, and without what URLs hide."""

from __future__ import annotations

import re

_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")

_URL = re.compile(r"(?<![\w.+-])[A-Za-z][\w.+-]*:/\S+")
_WORD = re.compile(r"\S+")


def one_line(text: str) -> str:
    """A server's words on one line.

    Without what steers a terminal, turns the direction of text, or cannot be written (half a
    character).
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


def redact_url(text: str) -> str:
    """The URL without user info and without the values of its query."""
    from urllib.parse import parse_qsl, urlsplit

    try:
        split = urlsplit(text)
        host = split.netloc.rpartition("@")[2]
    except ValueError:
        return "(unreadable URL)"
    path = split.path
    # A URL that was taken for a path has lost a slash.
    if split.scheme and not split.netloc:
        path = path.rpartition("@")[2]
    query = "&".join(f"{name}=***" for name, _ in parse_qsl(split.query, keep_blank_values=True))
    origin = f"{split.scheme}://{host}" if split.scheme or host else ""
    return origin + path + (f"?{query}" if query else "")


def redact_urls(text: str) -> str:
    """A text with its URLs, with or without a scheme, as they may be shown."""
    return _WORD.sub(lambda word: _harmless(word[0]), text) if "@" in text or "?" in text else text


def _harmless(word: str) -> str:
    if ":/" in word:
        return _URL.sub(lambda url: redact_url(url[0]), word)
    before, at, rest = word.rpartition("@")
    return f"…@{rest}" if at and ":" in before else word
