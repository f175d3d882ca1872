"""Requests of every form that many calls take.

Texts, messages, bodies, lines of OpenAI's batch files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from opea_core.errors import ConfigurationError

_HINT = (
    "Give a text, a list of messages, or a dict with messages (or prompt) and further fields of"
    " the body; custom_id may stand beside them."
)


class Asked(NamedTuple):
    """A request, read."""

    id: str | None
    messages: Any
    options: dict[str, Any]
    """The options of its call: those of all calls, and the fields of its own body."""


def custom_id(request: Any) -> str | None:
    """The id that a request brings along."""
    given = request.get("custom_id") if isinstance(request, Mapping) else None
    return None if given is None else str(given)


def read_request(request: Any, options: Mapping[str, Any]) -> Asked:
    """What one request asks for; raises ConfigurationError for what is none."""
    if isinstance(request, str) or (
        isinstance(request, Sequence) and not isinstance(request, bytes)
    ):
        return Asked(None, request, dict(options))
    if not isinstance(request, Mapping):
        raise ConfigurationError(f"A request must not be a {type(request).__name__}.", _HINT)
    inner = request.get("body")
    body = inner if isinstance(inner, Mapping) else request
    fields = {
        name: value
        for name, value in body.items()
        if name not in ("custom_id", "messages", "prompt", "method", "url")
    }
    messages = body.get("messages", body.get("prompt"))
    if messages is None:
        raise ConfigurationError("A request has neither messages nor a prompt.", _HINT)
    extra = {**(options.get("extra_body") or {}), **fields}
    found = {name: value for name, value in options.items() if name not in fields}
    return Asked(custom_id(request), messages, found | ({"extra_body": extra} if extra else {}))
