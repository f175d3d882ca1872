"""Fields of an answer that come in pieces and have no rule of their own.

They are kept in lists, and joined when they are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sized
from typing import Any

from opea_core.types import Json
from opea_core.wire.jsontext import weighs_more

_MOST_ENTRIES = 10_000
"""Annotations or details of reasoning in one answer; further ones are a mistake or an attack."""


LARGE = 64 * 1024
"""Bytes of JSON from which on it is weighed before it is parsed."""
NO_LIMIT = 1 << 62


class TooMany(ValueError):
    """A server sends more of something than any answer has."""


def check_weight(data: bytes, most: int) -> None:
    """Raise TooMany for JSON of so many values that they would take much more memory than it."""
    if weighs_more(data, most):
        raise too_heavy()


def too_heavy() -> TooMany:
    """What is said of values that would take too much memory."""
    return TooMany(
        "the answer holds too many values: "
        "they would take more than 4 x max_response_bytes in memory"
    )


_SINGLE = frozenset(
    {
        "id",
        "type",
        "name",
        "role",
        "status",
        "model",
        "object",
        "index",
        "format",
        "mime_type",
        "call_id",
    }
)
"""Fields whose last value counts; texts of other fields come in pieces."""
_TEXTS = ("text", "thinking", "summary", "reasoning", "content")
_WHAT = {"reasoning_details": "details of reasoning"}
_CLOSING = ("signature", "data")
_REPEATED = 16
"""A text of so many letters that comes again as it was is not a further piece."""


class _Pieces(list[str]):
    """A text that comes in pieces."""


class _Merged(dict[str, Any]):
    """An object that comes in pieces."""


class _Entries:
    """A list that comes in pieces: by ``index`` and ``type``, or the last entry goes on."""

    __slots__ = ("_at", "_entries")

    def __init__(self, known: list[Any]) -> None:
        self._entries: list[Any] = []
        self._at: dict[tuple[str, str], int] = {}
        for entry in known:
            self._append(entry)

    def add(self, news: list[Any]) -> None:
        """What one event has of it."""
        for number, entry in enumerate(news):
            place = self._place(entry, first=number == 0)
            if place is None:
                self._append(entry)
            else:
                self._entries[place] = grown(self._entries[place], entry)

    def __len__(self) -> int:
        return len(self._entries)

    def joined(self) -> list[Any]:
        """All of it so far."""
        return [whole(entry) for entry in self._entries]

    def _append(self, entry: Any) -> None:
        if isinstance(entry, dict) and entry.get("index") is not None:
            self._at[_key(entry)] = len(self._entries)
        self._entries.append(entry)

    def _place(self, entry: Any, first: bool) -> int | None:
        """Where the entry is that this one goes on with; None for a new one."""
        if not isinstance(entry, dict):
            return None
        if entry.get("index") is not None:
            return self._at.get(_key(entry))
        last = self._entries[-1] if first and self._entries else None
        return len(self._entries) - 1 if isinstance(last, dict) and _goes_on(last, entry) else None


def _key(entry: Json) -> tuple[str, str]:
    return repr(entry.get("index")), repr(entry.get("type"))


def _goes_on(last: Json, entry: Json) -> bool:
    """Whether an entry without a number is a further piece of the last one."""
    same = (
        last.get("type") == entry.get("type")
        and entry.get("id") in (None, last.get("id"))
        and last.get("index") is None
    )
    # What was signed is whole: a further text begins an entry of its own.
    texts = any(name in last and name in entry for name in _TEXTS)
    return same and texts and not any(last.get(name) for name in _CLOSING)


def grown(known: Any, news: Any, name: str = "") -> Any:
    """A value and what came of it since.

    Texts and lists go on, objects field by field; of others the last counts.
    """
    value = _grown(known, news, name)
    if isinstance(value, dict | list | _Entries) and not isinstance(value, _Pieces):
        check_size(_WHAT.get(name, "entries of a field"), value)
    return value


def _grown(known: Any, news: Any, name: str) -> Any:
    if news is None or known is None:
        return known if news is None else news
    if isinstance(news, str) and isinstance(known, str | _Pieces):
        return news if name in _SINGLE else _longer(known, news)
    if name and known == news and not _may_go_on(news):  # sent again
        return known
    if isinstance(news, list) and isinstance(known, list | _Entries):
        entries = known if isinstance(known, _Entries) else _Entries(known)
        entries.add(news)
        return entries
    if isinstance(news, dict) and isinstance(known, dict):
        merged = known if isinstance(known, _Merged) else _Merged(known)
        for key, value in news.items():
            merged[key] = grown(merged.get(key), value, key)
        return merged
    return news


def _may_go_on(news: Any) -> bool:
    """Whether a value holds a short text, of which the same may come next."""
    inner = news if isinstance(news, list) else [news]
    return any(
        isinstance(entry, dict)
        and any(len(str(entry[name])) < _REPEATED for name in _TEXTS if name in entry)
        for entry in inner
    )


def _longer(known: Any, news: str) -> Any:
    """A text and its next piece."""
    if not news or (known == news and len(news) >= _REPEATED):
        return known
    pieces = known if isinstance(known, _Pieces) else _Pieces([known] if known else [])
    pieces.append(news)
    return pieces


def whole(value: Any) -> Any:
    """A value with all that came of it."""
    if isinstance(value, _Pieces):
        return joined(value)
    if isinstance(value, _Entries):
        return value.joined()
    if isinstance(value, _Merged):
        return {key: whole(inner) for key, inner in value.items()}
    return value


class Fields:
    """Unknown fields of a message, as they come in pieces.

    Annotations come one by one, some of them again.
    """

    __slots__ = ("_annotations", "_known", "_seen")

    def __init__(self) -> None:
        self._known: Json = {}
        self._annotations: list[Any] = []
        self._seen: set[str] = set()

    def add(self, key: str, news: Any) -> None:
        """More of a field."""
        if key == "annotations" and isinstance(news, list):
            self._add_annotations(news)
        elif news is not None or key not in self._known:
            self._known[key] = grown(self._known.get(key), news, key)
            check_size("unknown fields", self._known)

    def joined(self) -> Json:
        """All fields with their values so far."""
        found = {key: whole(value) for key, value in self._known.items()}
        if self._annotations:
            found["annotations"] = list(self._annotations)
        return found

    def _add_annotations(self, news: list[Any]) -> None:
        self._known.setdefault("annotations", [])
        for entry in news:
            text = json.dumps(entry, sort_keys=True, default=repr)
            if text not in self._seen:
                self._seen.add(text)
                self._annotations.append(entry)
        check_size("annotations", self._annotations)


def joined(pieces: list[str]) -> str:
    """The pieces as one, which they are from now on.

    An answer so far may be asked for with each of them.
    """
    if len(pieces) > 1:
        pieces[:] = ["".join(pieces)]
    return pieces[0] if pieces else ""


def merge_logprobs(known: Json | None, news: Mapping[str, Any]) -> Json:
    """Lists are continued; of anything else the last value counts.

    ``known`` was made here, and is changed.
    """
    merged: Json = known if known is not None else {}
    for key, value in news.items():
        if isinstance(value, list) and isinstance(merged.get(key), list):
            merged[key].extend(value)
        elif value is not None or key not in merged:
            merged[key] = list(value) if isinstance(value, list) else value
    return merged


def check_size(what: str, entries: Sized) -> None:
    """Raise TooMany beyond what any answer has."""
    if len(entries) > _MOST_ENTRIES:
        raise TooMany(f"the answer has more than {_MOST_ENTRIES} {what}")
