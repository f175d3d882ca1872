"""Refusals as servers word them, and what the code reads in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from opea_core import errors
from opea_core.capabilities import Capabilities
from opea_core.flow.adapting import MAY_TELL
from opea_core.flow.embed import is_too_large
from opea_core.types import Json
from opea_core.wire.error_body import read_error
from opea_core.wire.error_class import error_class
from opea_core.wire.refusal import adapt

FOLDER = Path(__file__).parent / "refusals"
"""In each file a list: ``body`` came with ``status`` when ``request`` was sent;
``wanted`` is what must be changed for it.
"""


def refusals(name: str) -> list[Json]:
    """What one file holds."""
    found: list[Json] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return found


def request_of(refusal: Json) -> Json:
    """The body that was sent: what is not said of it is the least that can be sent."""
    least: Json = (
        {"model": "m"}
        if refusal.get("kind") == "embeddings"
        else {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    )
    if refusal.get("stream"):
        least |= {"stream": True, "stream_options": {"include_usage": True}}
    return least | refusal["request"]


def reading(refusal: Json) -> list[str]:
    """The changes that a refusal asks for; ``overflow``
    and ``split`` are no changes but must be known.
    """
    text, status = _text(refusal["body"]), refusal["status"]
    error = read_error(text.encode(), status)
    kind = error_class(status if status >= 400 else None, error)
    if kind is errors.ContextOverflowError:
        return ["overflow"]
    if status < 400 or status in MAY_TELL:
        known = Capabilities(
            **{"developer_role": True, "tool_media": True} | refusal.get("known", {})
        )
        adapted = adapt(
            request_of(refusal), text, known, any_form=bool(refusal.get("output_schema"))
        )
        if adapted is not None:
            return list(adapted.reports)
    if refusal.get("kind") == "embeddings" and is_too_large(
        kind(error.message, status_code=status, code=error.code)
    ):
        return ["split"]
    return []


def _text(body: Any) -> str:
    """As it came; of an event of a stream its data."""
    text = body if isinstance(body, str) else json.dumps(body)
    return text.removeprefix("data: ").strip()


# --- noise: what servers say beside it


def echoed(refusal: Json) -> Json:
    """The request comes back in the error; not behind a bracket
    that is left open by what stands before.
    """
    words = _text(refusal["body"])
    if words.count("{") != words.count("}"):
        return refusal
    return _said(refusal, " Request body: " + json.dumps(request_of(refusal)))


def quoting(refusal: Json) -> Json:
    """The prompt comes back, and it speaks of fields."""
    prompt = "Why does my server say unsupported parameter: 'seed'?"
    request = request_of(refusal)
    at = next(
        (
            n
            for n, m in enumerate(request.get("messages") or ())
            if m.get("role") == "user" and isinstance(m.get("content"), str)
        ),
        None,
    )
    if at is None:
        return refusal
    messages = list(request["messages"])
    messages[at] = {**messages[at], "content": prompt}
    changed = {**refusal, "request": {"seed": 1, **refusal["request"], "messages": messages}}
    return _said(changed, f' The prompt was: "{prompt}"')


def listing(refusal: Json) -> Json:
    """The fields that are known are told, too."""
    return _said(
        _with_more(refusal),
        " Known parameters are: messages, model, top_p, seed, user and temperature.",
    )


def advising(refusal: Json) -> Json:
    """What may have been meant."""
    return _said(_with_more(refusal), " Did you mean 'seed'?")


def _with_more(refusal: Json) -> Json:
    return {**refusal, "request": {"seed": 1, "temperature": 0.5, **refusal["request"]}}


def _said(refusal: Json, more: str) -> Json:
    body = refusal["body"]
    if isinstance(body, str) and not body.lstrip().startswith(("{", "[", "data:")):
        return {**refusal, "body": _ended(body) + more}
    return {**refusal, "body": _said_in(body, more)}


def _said_in(body: Any, more: str) -> Any:
    """The error's own words, and more after them;
    as it was where there are no words in one place.
    """
    if isinstance(body, dict):
        for key in ("error", "message", "detail"):
            if isinstance(body.get(key), str):
                return {**body, key: _ended(body[key]) + more}
            if isinstance(body.get(key), dict):
                return {**body, key: _said_in(body[key], more)}
    return body


def _ended(words: str) -> str:
    return words if words.endswith((".", "!", "?", "}")) else f"{words}."
