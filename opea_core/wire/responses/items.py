"""Items of an answer in the Responses dialect, as pieces of a chat answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opea_core.types import Json

CALLS = ("function_call", "custom_tool_call")
_ANSWERS_ONLY = ("logprobs", "parsed")
"""Fields of parts that only answers have."""


def dicts(value: Any) -> list[Json]:
    """The objects in a list; nothing of anything else."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """A text; "" for anything else."""
    return value if isinstance(value, str) else ""


def texts_of(item: Mapping[str, Any]) -> dict[str, str]:
    """What a message or an item of reasoning says, by its kind.

    The kinds are ``text``, ``refusal``, ``thought`` (raw reasoning) and ``summary``; of reasoning
    that is there raw and as a summary only the first.
    """
    is_reasoning = item.get("type") == "reasoning"
    found: dict[str, list[str]] = {}
    content = item.get("content")
    for part in [{"text": content}] if isinstance(content, str) else dicts(content):
        kind = "refusal" if part.get("type") == "refusal" else "text"
        value = text(part.get("refusal" if kind == "refusal" else "text"))
        if value:
            found.setdefault("thought" if is_reasoning else kind, []).append(value)
    if is_reasoning and "thought" not in found:
        found["summary"] = [text(part.get("text")) for part in dicts(item.get("summary"))]
    return {
        kind: ("\n\n" if kind == "summary" else "").join(filter(None, values))
        for kind, values in found.items()
    }


def logprobs_of(item: Mapping[str, Any]) -> list[Any]:
    """The logprobs of a message, its parts joined."""
    return [entry for part in dicts(item.get("content")) for entry in dicts(part.get("logprobs"))]


def annotations_of(item: Mapping[str, Any]) -> Iterator[Json]:
    """The annotations of a message, as chat spells them."""
    for part in dicts(item.get("content")):
        for annotation in dicts(part.get("annotations")):
            yield annotation_of(annotation)


def annotation_of(annotation: Json) -> Json:
    """A citation of a URL one level deeper, as chat has it; others as they are."""
    kind = annotation.get("type")
    if kind != "url_citation" or isinstance(annotation.get(kind), dict):
        return annotation
    return {"type": kind, kind: {k: v for k, v in annotation.items() if k != "type"}}


def arguments_of(item: Mapping[str, Any]) -> str:
    """What a call is made with; arguments that came as an object count as text."""
    value = item.get("input" if item.get("type") == CALLS[1] else "arguments")
    if isinstance(value, dict | list):
        from opea_core.wire import jsontext

        return jsontext.encode_again(value).decode()
    return text(value)


def call_id_of(item: Mapping[str, Any]) -> str:
    """What the output of a call has to name; old servers only have the item's own id."""
    return text(item.get("call_id")) or text(item.get("id"))


def put_together(kind: str, about: Json, said: Mapping[str, str]) -> Json:
    """An item whose end never came, of what its pieces said."""
    item: Json = {"type": kind, **{name: value for name, value in about.items() if value}}
    if kind in CALLS:
        return item | {"input" if kind == CALLS[1] else "arguments": said.get("arguments", "")}
    if kind == "reasoning":
        parts = {"summary": ("summary", "summary_text"), "thought": ("content", "reasoning_text")}
        found = [(*parts[part], text) for part, text in said.items() if part in parts]
        return item | {name: [{"type": one, "text": text}] for name, one, text in found}
    names = {"text": "output_text", "refusal": "refusal"}
    content = [{"type": names[part], part: text} for part, text in said.items() if part in names]
    return item | {"role": "assistant", "content": content}


def place_of(item: Json, is_alone: bool) -> Json:
    """What is kept of an item to send it back in its place.

    A chat message says what the only message (``is_alone``) of an answer says.
    """
    kind = item.get("type")
    if kind == "message":
        kept = {name: item[name] for name in ("id", "phase") if item.get(name)}
        said = [
            {k: v for k, v in part.items() if k not in _ANSWERS_ONLY}
            for part in dicts(item.get("content"))
        ]
        return {"type": kind, **kept, **({} if is_alone else {"content": said})}
    if kind in CALLS:
        kept = {"id": item["id"]} if item.get("id") else {}
        return {"type": kind, **kept, "call_id": call_id_of(item)}
    return item


def is_commentary(item: Mapping[str, Any]) -> bool:
    """Whether a message tells of the work and is not the answer."""
    return item.get("phase") == "commentary" and bool(item.get("content"))


def places_of(items: list[Json]) -> list[Json]:
    """The items to send back; none where a chat message says all of it."""
    messages = [item for item in items if item.get("type") == "message" and item.get("content")]
    is_alone = len(messages) <= 1 and not any(map(is_commentary, messages))
    plain = is_alone and all(item.get("type") in ("message", *CALLS) for item in items)
    return [] if plain else [place_of(item, is_alone) for item in items]
