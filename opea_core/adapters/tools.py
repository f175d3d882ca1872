"""Names of functions and the choice among tools, as the protocol writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from opea_core.errors import ConfigurationError

_WORDS = ("auto", "none", "required")


def clean_name(name: str) -> str:
    """A name as the protocol takes it: letters, digits, ``_`` and ``-``, at most 64."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64]


def tool_choice_of(choice: Any, tools: Sequence[Mapping[str, Any]]) -> str | dict[str, Any] | None:
    """The choice as the protocol writes it: a word, or a dict for a tool's name.

    True and ``any`` mean ``required``.

    ``tools`` as they are sent. Raises ConfigurationError for the name of no tool.
    """
    if choice is None or choice is False or isinstance(choice, dict):
        return choice or None
    if choice is True or choice == "any":
        return "required"
    if choice in _WORDS:
        return str(choice)
    names = [tool["function"]["name"] for tool in tools if "function" in tool]
    sent = next((name for name in (str(choice), clean_name(str(choice))) if name in names), None)
    if sent is not None:
        return {"type": "function", "function": {"name": sent}}
    if any(tool.get("type") == choice for tool in tools):
        return {"type": choice}
    found = get_close_matches(str(choice), names, n=1, cutoff=0.6)
    raise ConfigurationError(
        f"tool_choice={choice!r} is no tool of these."
        f"{f' Did you mean {found[0]!r}?' if found else ''}",
        f"There are: {', '.join(names) or 'none'}; or any, auto, none.",
    )
