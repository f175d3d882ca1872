"""Chat messages as input items of the Responses dialect.

What an answer held besides its text and its calls (reasoning, encrypted or not, and items of tools
that the server runs) stands in the message's ``response_items`` and goes back in its place, next to
the item that followed it: servers refuse one half of such a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opea_core.types import RESPONSE_ITEMS, Json
from opea_core.wire.responses.items import CALLS, dicts, is_commentary, texts_of

_ANSWERS_ONLY = ("status", "format")
"""Fields of reasoning that only answers have."""
_TEMPORARY = "rs_tmp"


def input_items(messages: Sequence[Any], keeps: bool) -> list[Any]:
    """The items; ``keeps``: the server stores answers, so that an id alone stands for an item."""
    items: list[Any] = []
    # The result of such a call is an item of another type.
    custom: set[str] = set()
    for message in messages:
        if not isinstance(message, Mapping) or "role" not in message:
            items.append(message)
        elif message["role"] == "assistant":
            own = list(_assistant(message, keeps))
            custom |= {str(item.get("call_id")) for item in own if item.get("type") == CALLS[1]}
            items += own
        elif message["role"] in ("tool", "function"):
            items.append(_output(message, custom))
        else:
            name = {"name": message["name"]} if message.get("name") else {}
            content = _parts(message.get("content") or "")
            items.append({"type": "message", "role": message["role"], **name, "content": content})
    return items


def _output(message: Mapping[str, Any], custom: set[str]) -> Json:
    """What a tool answered."""
    call_id = str(message.get("tool_call_id") or message.get("name") or "")
    kind = "custom_tool_call_output" if call_id in custom else "function_call_output"
    content = _parts(message.get("content"))
    return {"type": kind, "call_id": call_id, "output": "" if content is None else content}


def _parts(content: Any) -> Any:
    """A content: a text as it is, parts under this dialect's names."""
    if not isinstance(content, list):
        return content
    return [_part(part) for part in content]


def _part(part: Any) -> Any:
    if isinstance(part, str):
        return {"type": "input_text", "text": part}
    if not isinstance(part, Mapping):
        return part
    kind, inner = part.get("type"), part.get(str(part.get("type")))
    if kind == "text":
        return {"type": "input_text", "text": part.get("text", "")}
    if kind == "image_url":
        image = inner if isinstance(inner, Mapping) else {"url": inner}
        built = {"type": "input_image", "image_url": image.get("url")}
        return built | ({"detail": image["detail"]} if image.get("detail") else {})
    if kind == "file" and isinstance(inner, Mapping):
        return {"type": "input_file", **inner}
    return part


# --- what the assistant said


def _assistant(message: Mapping[str, Any], keeps: bool) -> Iterator[Json]:
    said = _Said(message)
    known = message.get(RESPONSE_ITEMS)
    waiting: list[Json] = []
    """What goes only with the item that follows it."""
    for item in known if isinstance(known, list) else ():
        kind = item.get("type") if isinstance(item, Mapping) else None
        if kind == "reasoning":
            waiting += [_sendable(item)] if _may_go_back(item, keeps) else []
            continue
        follows = said.taken(item) if kind in ("message", *CALLS) else _sendable(item)
        # Where what followed is gone, so is its reasoning: servers refuse one half of a pair (D6).
        if follows is not None:
            yield from waiting
            yield follows
        waiting = []
    yield from said.rest()


def _may_go_back(item: Mapping[str, Any], keeps: bool) -> bool:
    """Encrypted, or stored under its id: a server knows no other reasoning again."""
    return bool(item.get("encrypted_content") or (keeps and item.get("id")))


def _sendable(item: Mapping[str, Any]) -> Json:
    left = _ANSWERS_ONLY if item.get("type") == "reasoning" else ()
    built = {k: v for k, v in item.items() if k not in left and v is not None}
    if not built.get("id") or str(built["id"]).startswith(_TEMPORARY):
        built.pop("id", None)
    return built


class _Said:
    """Text and calls of one message: each goes back once, as the message has it now."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        self._texts = _said_parts(message)
        self._is_whole = _is_said_by(message.get(RESPONSE_ITEMS), self._texts)
        self._calls = [call for call in _calls_of(message) if _is_call(call)]

    def taken(self, item: Mapping[str, Any]) -> Json | None:
        """The item that a place stands for, if the message still has it."""
        if item.get("type") == "message":
            own = dicts(item.get("content"))
            if self._is_whole:
                parts, self._texts = own, []
            elif own and is_commentary(item):
                parts = own
            else:
                parts, self._texts = self._texts, []
            about = {name: item[name] for name in ("id", "phase") if item.get(name)}
            return _message(parts, about) if parts else None
        for call in self._calls:
            if call.get("id") == item.get("call_id"):
                self._calls.remove(call)
                return _call(call, {"id": item["id"]} if item.get("id") else {})
        return None

    def rest(self) -> Iterator[Json]:
        """What no place stands for."""
        if self._texts:
            yield _message(self._texts, {})
        for call in self._calls:
            yield _call(call, {})


def _calls_of(message: Mapping[str, Any]) -> Sequence[Any]:
    """The calls; one in the old form is answered by its name."""
    legacy = message.get("function_call")
    if isinstance(legacy, Mapping) and not message.get("tool_calls"):
        return [{"id": legacy.get("name"), "function": legacy}]
    return message.get("tool_calls") or ()


def _is_said_by(items: Any, parts: Sequence[Any]) -> bool:
    """Whether the messages among the items say what a chat message says, one after the other."""
    messages = [item for item in dicts(items) if item.get("type") == "message"]
    own = [texts_of(item) for item in messages if not is_commentary(item)]
    whole = texts_of({"type": "message", "content": parts})
    return any(own) and all(
        "".join(said.get(kind, "") for said in own) == whole.get(kind, "")
        for kind in ("text", "refusal")
    )


def _is_call(call: Any) -> bool:
    return isinstance(call, Mapping) and any(
        isinstance(call.get(kind), Mapping) for kind in ("function", "custom")
    )


def _message(parts: Sequence[Any], about: Json) -> Json:
    """A message in a form that servers take which know OpenAI's schema only.

    Parts of an assistant want an id and a status there; without an id a text stands alone.
    """
    content: Any = list(parts)
    if about.get("id"):
        about = {**about, "status": "completed"}
    elif len(content) == 1 and content[0].get("type") == "output_text":
        content = content[0]["text"]
    return {"type": "message", "role": "assistant", **about, "content": content}


def _call(call: Mapping[str, Any], about: Json) -> Json:
    custom = call.get("custom")
    if isinstance(custom, Mapping):
        inner = {"name": custom.get("name"), "input": custom.get("input", "")}
        return {"type": CALLS[1], **about, "call_id": call.get("id"), **inner}
    function = call["function"]
    inner = {"name": function.get("name"), "arguments": function.get("arguments") or "{}"}
    return {"type": CALLS[0], **about, "call_id": call.get("id"), **inner}


def _said_parts(message: Mapping[str, Any]) -> list[Any]:
    """The text of the assistant as output parts, in the full form that strict servers want."""
    content = message.get("content")
    texts = [content] if isinstance(content, str) else content if isinstance(content, list) else []
    parts: list[Any] = []
    for part in texts:
        if isinstance(part, str) and part:
            parts.append({"type": "output_text", "text": part, "annotations": []})
        elif isinstance(part, Mapping) and part.get("type") == "text" and part.get("text"):
            parts.append({"type": "output_text", "text": part["text"], "annotations": []})
        elif isinstance(part, Mapping) and part.get("type") != "text":
            parts.append(part)
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    return parts
