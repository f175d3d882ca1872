"""Fields of an answer that come in pieces and have no rule of their own: kept in lists, joined when they are asked for."""

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
    """Raise TooMany for JSON of so many values that they would take much more memory than its text."""
    if weighs_more(data, most):
        raise TooMany("the answer holds too many values: they would take more than 4 x max_response_bytes in memory")


class Fields:
    """Unknown fields of a message: the last value counts, but audio comes in pieces and annotations one by one."""

    __slots__ = ("_annotations", "_audio", "_known", "_seen")

    def __init__(self) -> None:
        self._known: Json = {}
        self._audio: dict[str, list[str]] = {}
        self._annotations: list[Any] = []
        self._seen: set[str] = set()

    def add(self, key: str, news: Any) -> None:
        """One more value of a field."""
        if key == "audio" and isinstance(news, dict):
            self._add_audio(news)
        elif key == "annotations" and isinstance(news, list):
            self._add_annotations(news)
        elif news is not None or key not in self._known:
            self._known[key] = news
            check_size("unknown fields", self._known)

    def joined(self) -> Json:
        """All fields with their values so far."""
        found = dict(self._known)
        if self._audio:
            found["audio"] = {**found["audio"], **{name: joined(pieces) for name, pieces in self._audio.items()}}
        if self._annotations:
            found["annotations"] = list(self._annotations)
        return found

    def _add_audio(self, news: Json) -> None:
        known = self._known.get("audio")
        if not isinstance(known, dict):
            known = self._known["audio"] = {}
        for name, value in news.items():
            if name in ("data", "transcript") and isinstance(value, str):
                self._audio.setdefault(name, []).append(value)
            elif value is not None or name not in known:
                known[name] = value

    def _add_annotations(self, news: list[Any]) -> None:
        self._known.setdefault("annotations", [])
        for entry in news:
            text = json.dumps(entry, sort_keys=True, default=repr)
            if text not in self._seen:
                self._seen.add(text)
                self._annotations.append(entry)
        check_size("annotations", self._annotations)


class Details:
    """Structured reasoning by its ``index`` and ``type``: texts are appended, other fields take the last value."""

    __slots__ = ("_at", "_entries")

    def __init__(self) -> None:
        self._entries: list[tuple[Json, dict[str, list[str]]]] = []
        self._at: dict[tuple[str, str], int] = {}

    def add(self, news: list[Any]) -> None:
        """What one event has of it."""
        for detail in news:
            if isinstance(detail, dict):
                self._add(detail)
        check_size("details of reasoning", self._entries)

    def joined(self) -> list[Json]:
        """All of it so far."""
        return [{**entry, **{name: joined(pieces) for name, pieces in texts.items()}} for entry, texts in self._entries]

    def _add(self, detail: Json) -> None:
        index = detail.get("index")
        key = (repr(index), repr(detail.get("type")))
        place = self._at.get(key) if index is not None else None
        if place is None:
            self._at[key] = len(self._entries)
            self._entries.append((dict(detail), {}))
            return
        entry, texts = self._entries[place]
        for name, value in detail.items():
            if name in ("text", "summary") and isinstance(value, str) and isinstance(entry.get(name), str):
                texts.setdefault(name, [entry[name]]).append(value)
            elif value is not None:
                entry[name] = value


def joined(pieces: list[str]) -> str:
    """The pieces as one, which they are from now on: an answer so far may be asked for with each of them."""
    if len(pieces) > 1:
        pieces[:] = ["".join(pieces)]
    return pieces[0] if pieces else ""


def merge_logprobs(known: Json | None, news: Mapping[str, Any]) -> Json:
    """Lists are continued; of anything else the last value counts. ``known`` was made here, and is changed."""
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
