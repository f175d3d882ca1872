"""Answers of the Responses dialect, written by hand, and read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any

from opea_core.capabilities import Capabilities
from opea_core.types import ChatResponse, Json
from opea_core.wire.ignored_options import Asked
from opea_core.wire.response_reader import ResponseReader
from opea_core.wire.response_spec import Problem, ResponseSpec


def text_part(text: str, **fields: Any) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], **fields}


def message(*texts: str, id: str = "msg_1", **fields: Any) -> Json:  # noqa: A002
    about = {"type": "message", "id": id, "role": "assistant", "status": "completed"}
    return {**about, "content": [text_part(text) for text in texts], **fields}


def summary(*texts: str, id: str = "rs_1", **fields: Any) -> Json:  # noqa: A002
    parts = [{"type": "summary_text", "text": text} for text in texts]
    return {"type": "reasoning", "id": id, "summary": parts, **fields}


def thought(*texts: str, id: str = "rs_1", **fields: Any) -> Json:  # noqa: A002
    parts = [{"type": "reasoning_text", "text": text} for text in texts]
    return {"type": "reasoning", "id": id, "summary": [], "content": parts, **fields}


def call(arguments: str = "{}", number: int = 1, name: str = "f", **fields: Any) -> Json:
    about = {"id": f"fc_{number}", "call_id": f"call_{number}", "status": "completed"}
    return {"type": "function_call", **about, "name": name, "arguments": arguments, **fields}


def response(*items: Json, status: Any = "completed", **fields: Any) -> Json:
    about = {"id": "resp_1", "object": "response", "created_at": 1_700_000_000, "model": "m-1"}
    return {**about, "status": status, "error": None, "output": list(items), **fields}


def event(kind: str, **fields: Any) -> Json:
    return {"type": f"response.{kind}", **fields}


def on(place: int, item: Json, kind: str, **fields: Any) -> Json:
    """An event about an item."""
    return event(kind, item_id=item["id"], output_index=place, **fields)


def added(place: int, item: Json, **fields: Any) -> Json:
    begun = {name: [] if name == "content" else value for name, value in item.items()}
    begun |= {"arguments": ""} if "arguments" in item else {}
    begun |= {"summary": []} if "summary" in item else {}
    return event("output_item.added", output_index=place, item=begun, **fields)


def done(place: int, item: Json) -> Json:
    return event("output_item.done", output_index=place, item=item)


def ended(*items: Json, kind: str = "completed", **fields: Any) -> Json:
    return event(kind, response=response(*items, **fields))


BEGUN = [
    event("created", response=response(status="in_progress")),
    event("in_progress", response=response(status="in_progress")),
]


def written(place: int, item: Json, size: int = 3) -> Iterator[Json]:
    """The events of one item, its texts in pieces of so many letters."""
    yield added(place, item)
    if item["type"] == "function_call":
        for piece in cut(item["arguments"], size):
            yield on(place, item, "function_call_arguments.delta", delta=piece)
        yield on(place, item, "function_call_arguments.done", arguments=item["arguments"])
    elif item["type"] in ("message", "reasoning"):
        for number, part in enumerate(item.get("content") or ()):
            yield from _part(place, item, number, part, size)
        for number, part in enumerate(item.get("summary") or ()):
            at = {"summary_index": number}
            for piece in cut(part["text"], size):
                yield on(place, item, "reasoning_summary_text.delta", delta=piece, **at)
            yield on(place, item, "reasoning_summary_text.done", text=part["text"], **at)
    yield done(place, item)


def _part(place: int, item: Json, number: int, part: Json, size: int) -> Iterator[Json]:
    kind, at = part["type"], {"content_index": number}
    name = "refusal" if kind == "refusal" else "text"
    yield on(place, item, "content_part.added", part={**part, name: ""}, **at)
    for piece in cut(part[name], size):
        yield on(place, item, f"{kind}.delta", delta=piece, logprobs=[], obfuscation="x7", **at)
    yield on(place, item, f"{kind}.done", **{name: part[name]}, **at)
    yield on(place, item, "content_part.done", part=part, **at)


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def whole(*items: Json, **fields: Any) -> list[Json]:
    """A whole stream, item after item."""
    said = [one for place, item in enumerate(items) for one in written(place, item)]
    return [*BEGUN, *said, ended(*items, **fields)]


def sse(events: Iterable[Json | str], named: bool = True) -> bytes:
    """The bytes of a stream; texts go in as they are."""
    return "".join(one if isinstance(one, str) else _lines(one, named) for one in events).encode()


def _lines(one: Json, named: bool) -> str:
    name = f"event: {one['type']}\n" if named else ""
    return f"{name}data: {json.dumps(one, ensure_ascii=False)}\n\n"


def read(
    body: bytes | Json | list[Any],
    stream: bool | None = None,
    size: int | None = None,
    limit: int | None = None,
    status: int = 200,
    is_cut: bool = False,
    most: int = 128 * 1024 * 1024,
    **known: Any,
) -> ResponseReader:
    """A body read to its end, in pieces of so many bytes."""
    numbers = count(1)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    spec = ResponseSpec(
        "chat",
        isinstance(body, bytes) if stream is None else stream,
        "asked",
        lambda: f"new{next(numbers)}",
        capabilities=Capabilities(**known),
        dialect="responses",
        asked=Asked(max_tokens=limit),
        max_response_bytes=most,
    )
    reader = ResponseReader(status, {}, spec)
    for at in range(0, len(data), size or len(data) or 1):
        reader.feed(data[at : at + (size or len(data))])
    reader.end(is_cut)
    return reader


def answer(reader: ResponseReader) -> ChatResponse:
    assert reader.problem is None, reader.problem
    assert reader.response is not None
    return reader.response


def told(events: Iterable[Json | str], **options: Any) -> ChatResponse:
    """The answer that events are."""
    return answer(read(sse(events), **options))


def problem(reader: ResponseReader) -> Problem:
    assert reader.response is None
    assert reader.problem is not None
    return reader.problem


def gist(said: ChatResponse) -> tuple[Any, ...]:
    """What an answer says, whichever way it came."""
    return (
        said.content,
        said.reasoning,
        said.refusal,
        [(c.id, c.name, c.arguments) for c in said.tool_calls],
        [(c.id, c.name, c.arguments) for c in said.invalid_tool_calls],
        said.finish_reason,
        said.choices[0].parts,
        said.choices[0].extra,
    )


def handed(reader: ResponseReader) -> tuple[Any, ...]:
    """What the chunks say, joined."""
    chunks = list(reader.chunks)
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        for delta in chunk.tool_calls:
            known = calls.setdefault(delta.index, ["", "", ""])
            known[0] += delta.id or ""
            known[1] += delta.name or ""
            known[2] += delta.arguments
    return (
        "".join(chunk.content for chunk in chunks),
        "".join(chunk.reasoning for chunk in chunks),
        "".join(chunk.refusal for chunk in chunks) or None,
        [tuple(known) for _, known in sorted(calls.items())],
    )


def texts(events: Sequence[Json], kind: str) -> list[str]:
    return [one["delta"] for one in events if one["type"] == f"response.{kind}.delta"]
