"""What a server complains of: its words taken apart.

An error names many things besides what it is about: the request as it came, what the prompt said,
what might help. Those are taken out. What is left is a list of clauses, each with the field it is
about where the server says that apart.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from opea_core.types import Json
from opea_core.wire import jsontext

# A server decides how long its words are, and must not decide how long they are read.
_MOST_TEXT = 8192
_MOST_COMPLAINTS = 100
_MOST_WORDS = 1000
_MOST_SAID = 128 * 1024
"""Letters of the caller's that are looked for in an error."""
_MOST_QUOTES = 50
_DEEPEST = 12
_SHORTEST_QUOTE = 12  # of a prompt: a shorter one may be any word
_WORDS = ("message", "msg", "detail", "description", "reason", "error", "title", "help_message")
_PATHS = (
    "loc",
    "path",
    "param",
    "parameter",
    "field",
    "instancePath",
    "propertyPath",
    "argument_name",
)
_CODES = ("code", "type")
_ECHOED = frozenset(
    {
        "input",
        "ctx",
        "url",
        "request",
        "body",
        "model",
        "id",
        "request_id",
        "object",
        "status",
        "payload",
        "flagged_input",
        "failed_generation",
        *_PATHS,
        *_CODES,
    }
)
_DEEP = ("messages", "tools", "response_format", "input")
_LINES = re.compile(
    r"(?m)^(?:body -> )?([A-Za-z_0-9][\w.\[\]]{0,120}(?: -> [\w.]{1,40}){0,8})\n"
    r"[ \t]{1,8}(\S.{0,200}?) [\[(]type=([\w.]{1,60}).*$"
)
_PARTS = re.compile(
    r"(?<=[.!?;。])\s+|\n+|\s\|\s|(?<=,)\s*(?=please\b)|\uff0c|\bthe following must be satisfied\W*"
)
_ADVICE = re.compile(
    r"(?i)^\W*(tip|hint|note|see\b|for (more|reproducible|details|help|a list|example)|learn more"
    r"|read\b|visit|consult|refer\b|documentation|docs?:|if you (want|need|wish)|to (get|make|see"
    r"|learn|enable)\b"
    r"|consider|you (can|may|might|could)\b|try (setting|using|a )|recommended|we recommend"
    r"|request(ed)? (body|was) ?[:=]|received (body|request)|(debug|info|log|trace|payload|params"
    r"|kwargs|context)\b ?[:=])"
)
_TAIL = re.compile(
    r"(?s)\.? ?(Received|Available) Model Group.*| To drop these, set .*|Set `litellm.*"
)
FIELD_WORD = (
    r"(?i:parameters?|params?|fields?|arguments?|args?|propert(?:y|ies)|options?|keywords?"
    r"|settings?|attributes?)"
)
_NAMES = re.compile(rf"(?i){FIELD_WORD}(\(s\))?:\s*$")


class Complaint(NamedTuple):
    """One clause of a server's words, or one entry of a list of mistakes."""

    words: str
    path: tuple[str, ...] = ()
    """The field it is about, where the server says that apart (``param``, ``loc``)."""
    after: str = ""
    """What follows the clause in the same text."""


def read_complaints(text: str, body: Mapping[str, Any]) -> list[Complaint]:
    """What an error's body refuses.

    Without the request that is echoed, what the prompt said, and what might be instead.
    """
    reader = _Reader(body)
    document = _document(text)
    reader.read(text if document is None else document)
    return reader.found


class _Reader:
    """Walks through an error, and the errors in its texts."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = body
        self.said = _texts(body)
        self.found: list[Complaint] = []
        self._known: dict[str, tuple[str, list[Any]]] = {}

    def read(self, value: Any, depth: int = 0, around: str = "") -> None:
        if depth > _DEEPEST or len(self.found) >= _MOST_COMPLAINTS:
            return
        if isinstance(value, str):
            self._text(value, depth)
        elif isinstance(value, list | tuple):
            for entry in value[:_MOST_COMPLAINTS]:
                self.read(entry, depth + 1, around)
        elif isinstance(value, Mapping):
            self._mapping(value, depth, around)

    def _mapping(self, value: Mapping[str, Any], depth: int, around: str) -> None:
        words = next(
            (
                value[key]
                for key in _WORDS
                if isinstance(value.get(key), str) and value[key].strip()
            ),
            around,
        )
        path = _path_in(value)
        if isinstance(value.get("keys"), list):  # how zod tells it
            self.found += [
                Complaint(words[:_MOST_WORDS], (*path, str(name)))
                for name in value["keys"][:_MOST_COMPLAINTS]
            ]
        if isinstance(value.get("param"), str) and " " in value["param"]:
            self._text(value["param"], depth)
        code = " ".join(
            str(value[key]).replace("_", " ") for key in _CODES if isinstance(value.get(key), str)
        )
        if path:
            said, nested = self._cleaned(words)
            self.found.append(Complaint(f"{said} | {code}", path))
            for inner in nested:
                self.read(inner, depth + 1)
        for key, inner in value.items():
            if key in self.body and key not in (*_WORDS, *_ECHOED):
                self._trail((key,), inner, depth)
            is_echo = key in _ECHOED and not (key == "status" and isinstance(inner, Mapping))
            if not is_echo and not (
                path and key in _WORDS and path[0] in self.body and path[0] not in _DEEP
            ):
                self.read(inner, depth + 1, words)

    def _cleaned(self, words: str) -> tuple[str, list[Any]]:
        """Words without what is echoed and quoted, and the errors in them.

        The same words come often.
        """
        found = self._known.get(words)
        if found is None:
            found = self._known[words] = _apart(
                _without(_TAIL.sub("", words[:_MOST_TEXT]), self.said), self.body
            )
        return found

    def _trail(self, path: tuple[str, ...], value: Any, depth: int) -> None:
        """Errors under the name of the field they are about: ``{"seed": ["Unknown field."]}``."""
        if len(self.found) >= _MOST_COMPLAINTS:
            return
        if isinstance(value, str) or (
            isinstance(value, list) and all(isinstance(entry, str) for entry in value)
        ):
            words = value if isinstance(value, str) else " ".join(value[:_MOST_COMPLAINTS])
            self.found.append(Complaint(words[:_MOST_WORDS], path))
        elif isinstance(value, Mapping) and depth < _DEEPEST:
            for key, inner in value.items():
                own = () if key in ("_errors", *_WORDS) or str(key).isdigit() else (str(key),)
                self._trail((*path, *own), inner, depth + 1)

    def _text(self, text: str, depth: int) -> None:
        # How pydantic tells several mistakes in one text.
        for found in _LINES.finditer(text[:_MOST_TEXT]):
            self.found.append(
                Complaint(
                    f"{found.group(2)} | {found.group(3).replace('_', ' ')}", _path(found.group(1))
                )
            )
        text, nested = _apart(
            _without(_TAIL.sub("", _LINES.sub(" ", text[:_MOST_TEXT])), self.said), self.body
        )
        parts = [words for part in _PARTS.split(text) if (words := part.strip())]
        for number, words in enumerate(parts):
            if not _ADVICE.match(words):
                self.found.append(
                    Complaint(words, (), parts[number + 1] if number + 1 < len(parts) else "")
                )
        for inner in nested:
            self.read(inner, depth + 1)


def _apart(text: str, body: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """A text without the documents in it, and those of them that are errors.

    Such an error is one of a server behind this one.
    """
    kept, nested, at = [], list[Any](), 0
    for start, end in _spans(text):
        span = text[start:end]
        value = _document(span)
        if value is not None and _is_error(value):
            nested.append(value)
        elif not _echoes(span, body):
            continue
        kept.append(text[at:start])
        # "unsupported parameters: {'seed': 1}".
        if isinstance(value, dict) and _NAMES.search(text[:start]):
            kept.append(", ".join(map(str, value)))
        at = end
    return " ".join((*kept, text[at:])), nested


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where documents stand.

    From a bracket to the one that closes it, or to the end of a text that is cut off.
    """
    depth, start = 0, 0
    for found in re.finditer(r"[{}\[\]()]|(?<!\w)\w{1,80}\((?=\w{1,80}=)", text):
        char = found.group()
        if char in "{[" or len(char) > 1 or (char == "(" and depth):
            start = found.start() if depth == 0 else start
            depth += 1
        elif depth and char != "(":
            depth -= 1
            if depth == 0 and found.end() - start > 16:
                yield start, found.end()
    if depth and len(text) - start > 16:
        yield start, len(text)


def _document(span: str) -> Any:
    try:
        return jsontext.decode(span.encode("utf-8", "replace"))
    except ValueError:
        pass
    try:
        # Gateways in Python put the error of the server behind them into a text as its repr.
        return ast.literal_eval(span) if len(span) <= _MOST_TEXT else None
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _is_error(value: Any, depth: int = 0) -> bool:
    """Whether a document says what is wrong, and is no request."""
    if isinstance(value, list | tuple):
        return (
            bool(value)
            and depth < _DEEPEST
            and all(_is_error(entry, depth + 1) for entry in value[:_MOST_COMPLAINTS])
        )
    # With one of these it is the request that comes back.
    if not isinstance(value, dict) or "messages" in value or "model" in value:
        return False
    return (
        bool(value.keys() & {"error", "message", "detail", "msg", "errors"})
        or {"loc", "type"} <= value.keys()
    )


_REQUEST = re.compile(
    r"['\"](messages|input|content|properties|role)['\"]\s*:|\b(messages|content|role)="
)


def _echoes(span: str, body: Mapping[str, Any]) -> bool:
    """Whether a part of a text is the request, or a part of it, that comes back."""
    # One name alone may be what the error is about.
    named = sum(f'"{key}"' in span or f"'{key}'" in span or f"{key}=" in span for key in body)
    return named >= 2 or bool(_REQUEST.search(span))


def _texts(body: Mapping[str, Any]) -> list[str]:
    """What the caller wrote: prompts, and what tools and schemas say of themselves."""
    found: list[str] = []
    stack: list[Any] = [
        body.get("messages"),
        body.get("input"),
        body.get("tools"),
        body.get("prompt"),
        body.get("response_format"),
    ]
    size = 0
    while stack and len(found) < 200 and size < _MOST_SAID:
        value = stack.pop()
        if isinstance(value, str) and len(value) >= _SHORTEST_QUOTE:
            found.append(" ".join(value[:_MOST_SAID].split()).lower())
            size += len(found[-1])
        elif isinstance(value, Mapping):
            stack += value.values()
        elif isinstance(value, list):
            stack += value
    return found


def _without(text: str, said: Sequence[str]) -> str:
    """A text without what it quotes of the caller's."""
    if not said:
        return text
    lower = text.lower()
    for words in said:
        at = lower.find(words)
        # A single word of a prompt may be the server's own word.
        if at >= 0 and " " in words:
            text, lower = text[:at] + text[at + len(words) :], lower[:at] + lower[at + len(words) :]
    for quote in reversed(
        list(
            islice(
                re.finditer(r"([`'\"“«])([^`'\"”»]{12,}?)(\.\.\.|…)?[`'\"”»]", text), _MOST_QUOTES
            )
        )
    ):
        inner = " ".join(quote.group(2).split()).lower().rstrip(" .…")
        if " " in inner and any(inner in words for words in said):
            text = text[: quote.start()] + text[quote.end() :]
    return text


def _path_in(value: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the field stands that an error is about."""
    more = value.get("params")
    # How Ajv tells it.
    if isinstance(more, Mapping) and isinstance(more.get("additionalProperty"), str):
        return (more["additionalProperty"],)
    return next((found for key in _PATHS if (found := _path(value.get(key)))), ())


def _path(loc: Any) -> tuple[str, ...]:
    parts = (
        loc
        if isinstance(loc, list | tuple)
        else re.split(r"[.\[\]/#$]+| -> ", loc)
        if isinstance(loc, str)
        else ()
    )
    return tuple(
        str(part) for part in parts if str(part) not in ("", "body") and not str(part).isdigit()
    )


def own_names(body: Json) -> frozenset[str]:
    """Names of the properties in the schemas of the caller's tools and of the answer he wants."""
    names: set[str] = set()
    stack: list[Any] = [body.get("tools"), body.get("functions"), body.get("response_format")]
    while stack and len(names) < 2000:
        value = stack.pop()
        if isinstance(value, Mapping):
            properties = value.get("properties")
            if isinstance(properties, Mapping):
                names.update(map(str, properties))
            stack += value.values()
        elif isinstance(value, list):
            stack += value
    return frozenset(names)
