"""The text of arguments in streams, so that LangChain reads it as the core does."""

from __future__ import annotations

import json
import re

_SPECIAL = re.compile(r'["\\\x00-\x1f]')


def spoiler(arguments: str, events: bool = False) -> str:
    """What to append to broken arguments so that LangChain does not mend them, usually nothing.

    LangChain completes cut-off JSON when it merges chunks, and would make a call of
    ``{"path": "/ho`` that nobody meant. One closing bracket that does not fit makes it an invalid
    call, as it is without streaming.

    ``events``: v3 events break at JSON that is no object, so it must not be whole JSON either.
    """
    begun = arguments.lstrip()
    if begun and not begun.startswith("{"):
        return "]" if events and _is_json(arguments) else ""
    text, stack = "", []
    for token in _TOKENS.findall(arguments):
        if token in ("{", "["):
            stack.append(token)
        elif token in ("}", "]"):
            if not stack or stack.pop() != _OPENING[token]:
                return ""  # LangChain gives up by itself
        elif not token.endswith('"') or len(token) == 1 or _ESCAPED_END.search(token):
            text = '""' if _CUT_ESCAPE.search(token) else '"'  # a text that has no end
    return text + ("}" if stack and stack[-1] == "[" else "]")


def unspoiled(arguments: str) -> str:
    """The arguments as the server sent them."""
    for tail in ('""}', '""]', '"}', '"]', "}", "]"):
        if arguments.endswith(tail):
            before = arguments.removesuffix(tail)
            if tail in (spoiler(before), spoiler(before, True)):
                return before
    return arguments


_TOKENS = re.compile(r'[{}\[\]]|"(?:[^"\\]|\\.)*(?:"|\\?$)', re.DOTALL)
_OPENING = {"}": "{", "]": "["}
_CUT_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\$")
_ESCAPED_END = re.compile(r'(?<!\\)(?:\\\\)*\\"$')


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


class JsonText:
    """The arguments of one call, with line breaks inside of strings as JSON has them.

    LangChain reads strictly.
    """

    __slots__ = ("_in_escape", "_in_text")

    def __init__(self) -> None:
        self._in_text = False
        self._in_escape = False

    def escaped(self, piece: str) -> str:
        """The next piece, control characters inside of strings escaped."""
        if not self._in_escape and not _SPECIAL.search(piece):
            return piece
        found = []
        for char in piece:
            if self._in_escape:
                self._in_escape = False
            elif char == '"':
                self._in_text = not self._in_text
            elif char == "\\":
                self._in_escape = self._in_text
            elif self._in_text and char < " ":
                char = json.dumps(char)[1:-1]
            found.append(char)
        return "".join(found)
