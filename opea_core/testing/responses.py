"""Chat answers in the Responses dialect, as the scripted server gives them at ``/v1/responses``."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from opea_core.testing.answers import MODEL, Answer, Forever, Json, Step, encode
from opea_core.testing.response_events import EventWriter, logprobs_of
from opea_core.testing.responses_request import THOUGHTFUL, encrypted

_ENCRYPTED = "reasoning.encrypted_content"
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n")
_ECHOED: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
"""Of the request, with what counts where it says nothing."""
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


def is_for(path: str) -> bool:
    """Whether requests to this path are made in this dialect."""
    return path.rstrip("/").endswith("/responses")


def as_responses(answer: Answer, body: Any) -> Answer:
    """The answer in this dialect; what is no chat answer, or is one no more, stays as it is.

    A stream is translated event by event: its waits, and where it breaks off, stay where they are.
    """
    if answer.bare or answer.before != "answer" or "content-encoding" in answer.headers:
        return answer
    request: Json = body if isinstance(body, dict) else {}
    if answer.is_stream:
        steps = tuple(_stream(answer, request))
    else:
        steps = _plain(answer, request)
    changed = dataclasses.replace(answer, steps=steps)
    if isinstance(answer.length, int) and answer.body:
        length = answer.length * len(changed.body) // len(answer.body)
        changed = changed.replace(length=length)
    return changed


def _plain(answer: Answer, request: Json) -> tuple[Step, ...]:
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return answer.steps
    if not isinstance(document, dict) or not document.get("choices"):
        return answer.steps
    others = tuple(step for step in answer.steps if not isinstance(step, bytes))
    return (*others, encode(whole(document, request)))


def whole(document: Json, request: Json) -> Json:
    """A chat completion as a response object."""
    choice = document["choices"][0]
    message = choice.get("message") or {}
    built = envelope(document, request)
    built["output"] = list(items_of(message, request))
    logprobs = logprobs_of(choice)
    for part in (p for item in built["output"] for p in item.get("content") or ()):
        if logprobs and part["type"] == "output_text":
            part["logprobs"] = logprobs
    return ended(built, choice.get("finish_reason"), document.get("usage"))


def envelope(document: Mapping[str, Any], request: Json) -> Json:
    """A response object before anything of it was said."""
    beside = {"choices", "usage", "object", "created", "system_fingerprint"}
    echoed = {
        name: value if request.get(name) is None else request[name]
        for name, value in _ECHOED.items()
    }
    text = {"format": {"type": "text"}, **(request.get("text") or {})}
    return {
        "id": "resp_scripted_1",
        "object": "response",
        "created_at": document.get("created", 1_700_000_000),
        "completed_at": None,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": document.get("model", MODEL),
        "output": [],
        "reasoning": {"effort": None, "summary": None, **(request.get("reasoning") or {})},
        "text": text,
        "usage": None,
        **echoed,
        **{k: v for k, v in document.items() if k not in beside and k not in ("id", "model")},
    }


def ended(response: Json, reason: Any, usage: Any) -> Json:
    """A response object with its end: the status that the finish reason means, and the counts."""
    built = {**response, "status": "completed", "usage": _usage(usage)}
    if reason in (None, "stop", "tool_calls", "function_call"):
        return built | {"completed_at": built["created_at"]}
    details = {"reason": _REASONS.get(reason, reason)}
    return built | {"status": "incomplete", "incomplete_details": details}


def _usage(usage: Any) -> Json | None:
    if not isinstance(usage, dict):
        return None
    asked = usage.get("prompt_tokens_details") or {}
    answered = usage.get("completion_tokens_details") or {}
    given, made = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    return {
        "input_tokens": given,
        "input_tokens_details": {
            "cached_tokens": asked.get("cached_tokens", 0),
            "cache_write_tokens": asked.get("cache_creation_tokens", 0),
        },
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": answered.get("reasoning_tokens", 0)},
        "total_tokens": usage.get("total_tokens", given + made),
    }


def items_of(message: Mapping[str, Any], request: Json) -> Iterator[Json]:
    """The output items that a chat message is."""
    thought = message.get("reasoning_content") or message.get("reasoning")
    mark, place = THOUGHTFUL if thought else "_", 1
    if thought:
        yield reasoning_item(f"rs{mark}{place}", thought, request)
        place += 1
    parts: list[Json] = []
    if message.get("content"):
        text = message["content"]
        parts.append({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    if parts:
        about = {"id": f"msg{mark}{place}", "role": "assistant", "status": "completed"}
        yield {"type": "message", **about, "content": parts}
        place += 1
    for number, call in enumerate(message.get("tool_calls") or (), place):
        inner = call.get("function") or {}
        yield {
            "type": "function_call",
            "id": f"fc{mark}{number}",
            "status": "completed",
            "call_id": call.get("id"),
            "name": inner.get("name"),
            "arguments": inner.get("arguments", ""),
        }


def reasoning_item(id_: str, text: str, request: Json) -> Json:
    """Reasoning as a summary; encrypted too, where that was asked for."""
    item = {"type": "reasoning", "id": id_, "summary": [{"type": "summary_text", "text": text}]}
    if _ENCRYPTED in (request.get("include") or ()):
        item["encrypted_content"] = encrypted(text)
    return item


# --- streams


def _stream(answer: Answer, request: Json) -> Iterator[Step]:
    """The steps of a stream, each with what its events mean in this dialect."""
    events, has_done = _scanned(answer)
    first = next((event for event in events if "choices" in event), {})
    usage = next((event["usage"] for event in events if event.get("usage")), None)
    writer = EventWriter(
        envelope(first, request),
        lambda id_, text: reasoning_item(id_, text, request),
        lambda response, reason: ended(response, reason, usage),
        waits_for_done=has_done,
    )
    rest = b""
    for step in answer.steps:
        if isinstance(step, Forever):
            if rest:
                yield rest
            yield dataclasses.replace(step, data=_translated(writer, step.data))
            continue
        if not isinstance(step, bytes):
            yield step
            continue
        *complete, rest = _split(rest + step)
        said = b"".join(_translated(writer, event) for event in complete)
        if said:
            yield said
    if rest:
        yield rest


def _split(data: bytes) -> list[bytes]:
    """Whole events with the blank line behind each, and what is no whole event yet."""
    found, at = list[bytes](), 0
    for end in _EVENT_END.finditer(data):
        found.append(data[at : end.end()])
        at = end.end()
    return [*found, data[at:]]


def _scanned(answer: Answer) -> tuple[list[Json], bool]:
    """The JSON events of a whole stream, and whether it has an end mark."""
    data = [_data(event) for event in _split(answer.body)]
    return [found for found in map(_json, data) if found is not None], b"[DONE]" in data


def _data(event: bytes) -> bytes:
    lines = [line for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(line.removeprefix(b"data:").strip() for line in lines)


def _json(data: bytes) -> Json | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _translated(writer: EventWriter, event: bytes) -> bytes:
    """One event's bytes; comments and what is no chat event stay."""
    data = _data(event)
    if data == b"[DONE]":
        return writer.done()
    document = _json(data)
    if document is None:
        return event
    if isinstance(document.get("choices"), list):
        return _comments(event) + writer.chat(document)
    if "error" in document and "type" not in document:
        return _comments(event) + writer.failed(document["error"])
    writer.passed(document)
    return event


def _comments(event: bytes) -> bytes:
    lines = [line for line in event.splitlines() if line.startswith(b":")]
    return b"".join(line + b"\n\n" for line in lines)
