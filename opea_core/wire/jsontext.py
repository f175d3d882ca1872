"""JSON as servers really write it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

# Servers send raw control characters, NaN and infinities (P8).
_TOLERANT = json.JSONDecoder(strict=False, parse_constant=lambda _: None)


_CHUNK = 64 * 1024
_ESCAPED = re.compile(rb"\\*+.?", re.DOTALL)
_NO_BLANK = re.compile(r"\S")
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_TOLERANT_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def decode(data: bytes | str) -> Any:
    """One JSON document; raises ValueError if there is none or something follows it.

    The fast parser refuses lone surrogate escapes, raw control characters and invalid UTF-8, which
    servers do send; those go the tolerant way. NaN and infinities become None.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError:
        value, rest = decode_first(data)
        if rest:
            raise ValueError("something follows the JSON document") from None
        return value


def decode_first(data: bytes) -> tuple[Any, str]:
    """The first JSON document and what follows it, stripped; raises ValueError if there is none."""
    text = data.decode("utf-8-sig", "replace").lstrip()
    try:
        value, end = _TOLERANT.raw_decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value, text[end:].strip()


def decode_lines(data: bytes) -> Iterator[Any]:
    """The JSON documents of several lines that a server glued into one.

    Raises ValueError on any other.
    """
    text = data.decode("utf-8-sig", "replace").strip()
    at = 0
    while at < len(text) and not (
        text.startswith("[DONE]", at) and len(text) == at + len("[DONE]")
    ):
        try:
            value, at = _TOLERANT.raw_decode(text, at)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        yield value
        at = _after_blanks(text, at)


def _after_blanks(text: str, at: int) -> int:
    found = _NO_BLANK.search(text, at)
    return len(text) if found is None else found.start()


def weighs_more(data: bytes, most: int) -> bool:
    """Whether the values of a document take more memory than ``most`` bytes, beside its text."""
    return _weight(data) > most and weight(data, most) > most


def weight(data: bytes, most: int) -> int:
    """About how many bytes of memory the values of a document take; counted, not parsed.

    Its text is not part of it. Beyond ``most`` nobody goes on counting.
    """
    found, inside = 0, False  # what stands inside of strings is none
    # In pieces: all of a text split at its quotes took 45 times its size.
    for chunk in _chunks(data):
        parts = chunk.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        found += _weight(b"".join(parts[inside::2]))
        if found > most:
            break
        inside ^= len(parts) % 2 == 0
    return found


def _chunks(data: bytes) -> Iterator[bytes]:
    """A text of JSON in pieces that are not cut after a backslash."""
    at = 0
    while at < len(data):
        end = at + _CHUNK
        if data[end - 1 : end] == b"\\":
            end = _ESCAPED.match(data, end).end()  # type: ignore[union-attr]
        yield data[at:end]
        at = end


def _weight(data: bytes) -> int:
    # As CPython takes it; the first key of an object is dearer than the next ones.
    objects, lists = data.count(b"{"), data.count(b"[")
    return 130 * objects + 72 * lists + 60 * data.count(b":") + 32 * data.count(b",")


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8.

    Raises ValueError or TypeError for what JSON cannot say (NaN, objects).
    """
    return _ENCODER.encode(value).encode()


def encode_again(value: Any) -> bytes:
    """What a server said, as JSON that ``decode`` reads.

    Half a character stays the escape it was, and a number beyond all others may stand there.
    """
    return _TOLERANT_ENCODER.encode(value).encode("utf-8", "backslashreplace")


def is_object(text: str) -> bool:
    """Whether the text is one JSON object."""
    if not text.rstrip().endswith("}"):
        return False
    try:
        return isinstance(decode(text), dict)
    except ValueError:
        return False


def mended(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced by U+FFFD.

    It is always encodable.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # In UTF-16 the two halves of a pair are one character again.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class TextJoiner:
    """Joins surrogate pairs that were cut between two pieces of text.

    A high surrogate at the end is held back until its low half comes; one that stays alone becomes
    U+FFFD, so that what is handed out can always be encoded.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def push(self, text: str) -> str:
        """The text that is certain now."""
        if not self._held and (not text or text.isascii()):
            return text
        text, self._held = self._held + text, ""
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        return mended(text)

    def end(self) -> str:
        """What stands for a half that stayed alone; changes nothing."""
        return "\ufffd" if self._held else ""
