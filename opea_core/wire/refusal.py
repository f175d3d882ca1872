"""Parameters that servers refuse: what to leave out or call differently, once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from opea_core.config import Capabilities
from opea_core.types import Json
from opea_core.wire.error_body import ErrorBody
from opea_core.wire.request import has_parameter

_MOST_DROPPED = 256
DROPPABLE = (
    "stream_options", "parallel_tool_calls", "strict", "seed", "user", "logprobs", "top_logprobs", "reasoning_effort", "name",
)  # fmt: skip
_REFUSED = (
    r"(?i)unsupported|not supported|n.t support|no support|unrecognized|unrecognised|unknown|unexpected|extra[_ ]|not permitted"
    r"|not allowed|forbidden|invalid (parameter|argument|field|request)|cannot be used|can.t be used|not available|no such"
    r"|use '?`?\w+'?`? instead"
)
_FORMAT = r"(?i)json_schema|json schema|structured[ _]outputs?|guided|grammar"
_THIS_SCHEMA = r"(?i)invalid (json )?schema|features? not supported|keyword|compile|regex"
_HAND_BACK = r"(?i)reasoning\w{0,30}[`'\" ].{0,60}(must be passed back|passed back|is missing|must be provided|is required)"


class Mend(NamedTuple):
    """A change to what an endpoint is sent, and its name in the report (``seed``, ``a -> b``)."""

    capabilities: Capabilities
    report: str


def mend(
    body: Json, error: ErrorBody, model: str, known: Capabilities, any_form: bool = False, reasoning_is_set: bool = False
) -> Mend | None:
    """What to change after a 400 or 422 about a built ``body``; None when it names nothing of ours.

    ``any_form``: the caller asked for an answer of a schema and leaves it to us how. ``reasoning_is_set``:
    which reasoning goes back was decided by the caller.
    """
    refused = bool(re.search(_REFUSED, f"{error.message} {error.code} {error.type} {' '.join(str(d) for d in error.details)}"))
    for name in DROPPABLE:
        if (model, name) not in known.dropped and has_parameter(body, name) and _names(error, name, refused):
            before = known.dropped if len(known.dropped) < _MOST_DROPPED else frozenset()  # by model, which callers name
            return Mend(known.replace(dropped=before | {(model, name)}), name)
    if re.search(_HAND_BACK, error.message) and not reasoning_is_set:
        more = {"auto": "tool_turns", "tool_turns": "always"}.get(known.send_reasoning)
        if more:
            return Mend(known.replace(send_reasoning=more), f"send_reasoning -> {more}")
    if known.developer_role and _sends_role(body, "developer") and "developer" in error.message:
        return Mend(known.replace(developer_role=False), "developer -> system")
    if any_form and known.structured_output is None and "response_format" in body and _refuses_format(error, refused):
        return Mend(known.replace(structured_output="function_calling"), "response_format -> tools")
    return _swap(body, error, known) if refused else None


def elsewhere(path: str, known: Capabilities) -> Mend | None:
    """After a 404 for ``/v1/rerank``: some servers have it beside ``/v1``."""
    if known.rerank_beside_v1 or not path.endswith("/v1"):
        return None
    return Mend(known.replace(rerank_beside_v1=True), f"{path}/rerank -> {path.removesuffix('/v1')}/rerank")


def dislikes_schema(message: str) -> bool:
    """Whether a server's words are about the schema it was given, not about the way of asking."""
    return bool(re.search(_THIS_SCHEMA, message))


def _refuses_format(error: ErrorBody, refused: bool) -> bool:
    """Whether the server takes no ``json_schema`` (and not: whether it dislikes this schema)."""
    if dislikes_schema(error.message) or any(path[:2] == ("response_format", "json_schema") and len(path) > 2 for path in error.paths):
        return False
    named = any(path[0] == "response_format" for path in error.paths) or "response_format" in error.message
    return named or (refused and bool(re.search(_FORMAT, error.message)))


def _swap(body: Json, error: ErrorBody, known: Capabilities) -> Mend | None:
    for sent, other in (("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")):
        if sent in body and _first_named(error, sent, other):
            return Mend(known.replace(max_tokens_field=other), f"{sent} -> {other}")
    forced = body.get("tool_choice") not in (None, "auto", "none")
    if forced and known.forced_tool_choice and _names(error, "tool_choice", True):
        return Mend(known.replace(forced_tool_choice=False), "tool_choice -> auto")
    return None


def _names(error: ErrorBody, name: str, refused: bool) -> bool:
    """Whether the error is about this field: by ``param`` or ``loc``, or in words that refuse it."""
    if any(_points_to(path, name) for path in error.paths):
        return True
    quoted = rf"[`'\"]{name}[`'\"]|\b{name}\b(?=\s*(is|are|was|:|parameter|not|field|argument))|(parameter|field|argument)s?:?\s+{name}\b"
    plain = rf"\b{name}\b" if "_" in name or name == "logprobs" else quoted
    return refused and bool(re.search(plain, error.message))


def _points_to(path: tuple[str, ...], name: str) -> bool:
    """Whether a path is this field, or lies in it; the nested ones only where they are ours to drop."""
    if path[0] == name:
        return True
    return path[-1] == name and ((name == "name" and path[0] == "messages") or name == "strict")


def _first_named(error: ErrorBody, sent: str, other: str) -> bool:
    """Whether ``sent`` is what is refused, not ``other`` (messages name both: "use the other")."""
    if any(path[0] == sent for path in error.paths):
        return True
    message = error.message
    advised = re.search(rf"\buse [`'\"]?({sent}|{other})\b", message, re.IGNORECASE)
    if advised:
        return advised.group(1) == other and bool(re.search(rf"\b{sent}\b", message))
    at, instead = re.search(rf"\b{sent}\b", message), re.search(rf"\b{other}\b", message)
    return at is not None and (instead is None or at.start() < instead.start())


def _sends_role(body: Mapping[str, Any], role: str) -> bool:
    messages = body.get("messages")
    return isinstance(messages, list) and any(isinstance(m, Mapping) and m.get("role") == role for m in messages)
