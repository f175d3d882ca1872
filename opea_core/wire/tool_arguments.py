"""Arguments of tool calls: what is whole, what stands for none, what is corrected."""

from __future__ import annotations

import re

from opea_core.wire import jsontext
from opea_core.wire.merge import LARGE, check_weight

PLACEHOLDERS = ("null", "{}")  # stand for no arguments, or for ones that are yet to come


_BETWEEN = re.compile(r"\}\s*\{")


def holds_two(text: str) -> bool:
    """Whether something follows a whole object in the same piece."""
    if not _BETWEEN.search(text):
        return False
    try:
        first, rest = jsontext.decode_first(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return False
    return isinstance(first, dict) and bool(rest)


def is_whole_object(args: str, heaviest: int) -> bool:
    """Whether arguments are a JSON object; raises TooMany if it would take too much to find out."""
    # 1 MB of empty lists in a text takes 24 MB once it is parsed.
    if len(args) > LARGE:
        check_weight(args.encode("utf-8", "surrogatepass"), heaviest)
    return jsontext.is_object(args)


def normalised(args: str, heaviest: int) -> str:
    """Blank and null arguments are an empty object; the same object twice is one."""
    text = args.strip().removeprefix("\ufeff")
    # The ways in which servers write that there are no arguments (P28).
    if text in ("", "null"):
        return "{}"
    if text.startswith('"'):
        return _decoded(text, heaviest) or args
    if len(text) != len(args.strip()):
        return text
    # Some servers send the whole arguments twice (P28).
    if text.startswith("{") and not is_whole_object(text, heaviest):
        try:
            first, rest = jsontext.decode_first(text.encode("utf-8", "surrogatepass"))
            if isinstance(first, dict) and jsontext.decode(rest) == first:
                return text[: len(text) - len(rest)].rstrip()
        except ValueError:
            pass
    return args


def _decoded(text: str, heaviest: int) -> str:
    """The object in a text that was encoded twice; nothing if there is none in it."""
    try:
        inner = jsontext.decode(text)
    except ValueError:
        return ""
    return inner if isinstance(inner, str) and is_whole_object(inner, heaviest) else ""


def problem_of(args: str, heaviest: int) -> str:
    """What is wrong with arguments; "" for a JSON object."""
    return "" if is_whole_object(args, heaviest) else "its arguments are no JSON object"
