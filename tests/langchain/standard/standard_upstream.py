"""The scripted upstream of the standard tests: a model that can do everything they ask for.

It answers under the name that was asked for, counts every kind of token, calls tools with what it
finds in the prompt, and refuses what a strict server refuses. Nothing in it is a recording of a
product.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from standard_media import WAV
from standard_strict import RefusedError, check, parts_of

from opea_core.testing import Answer, Seen, chunk, error, json_answer, sse, tool_call
from opea_core.testing.model import ScriptedModel
from opea_core.testing.reply import Reply, limited, words
from opea_core.testing.schema import instance

Json = dict[str, Any]

NUMBER = re.compile(r"\d+")
QUOTED = re.compile(r"'([^']+)'")
MEDIA_TOKENS = {"image_url": 85, "file": 120}
AUDIO_TOKENS = 40
THOUGHT = "The script thinks about it first. "
SPOKEN = {
    "id": "audio_1",
    "data": base64.b64encode(WAV).decode(),
    "transcript": "The script speaks.",
    "expires_at": 1_800_000_000,
}


class Upstream:
    """Answers requests; remembers the prompts it was told to keep,
    as a server with a prompt cache does.
    """

    def __init__(self) -> None:
        self._kept: set[str] = set()

    def __call__(self, seen: Seen) -> Answer:
        try:
            if seen.path.endswith("/embeddings"):
                return _embeddings(seen)
            check(seen.body)
        except RefusedError as refused:
            return error(400, str(refused), type="invalid_request_error")
        return self._chat(seen.body)

    def _chat(self, body: Json) -> Answer:
        reply = _reply(body)
        spoken = SPOKEN if "audio" in body.get("modalities", ()) else None
        usage = _usage(
            reply,
            _prompt_usage(body["messages"]) | self._cached(body["messages"]),
            spoken is not None,
        )
        if not body.get("stream"):
            choice = reply.choice()
            choice["message"] |= {"audio": spoken} if spoken else {}
            return json_answer(_document("chat.completion", body, [choice]) | {"usage": usage})
        events = list(_events(reply, spoken, body["model"]))
        if body.get("stream_options", {}).get("include_usage"):
            events.append(_document("chat.completion.chunk", body, []) | {"usage": usage})
        return sse(*events)

    def _cached(self, messages: list[Json]) -> Json:
        """How much of the prompt, up to the last mark, was kept before,
        and how much is kept from now on.
        """
        parts = [part for message in messages for part in parts_of(message)]
        marked = [number for number, part in enumerate(parts, 1) if "cache_control" in part]
        prefix = " ".join(part.get("text", "") for part in parts[: marked[-1]]) if marked else ""
        known = prefix in self._kept
        self._kept.add(prefix)
        count = len(words(prefix))
        return {
            "cached_tokens": count if known else 0,
            "cache_creation_tokens": 0 if known else count,
        }


def _embeddings(seen: Seen) -> Answer:
    """The default model's vectors, under the name that was asked for."""
    if not isinstance(seen.body, dict) or not all(
        isinstance(text, str) for text in seen.body.get("input", [None])
    ):
        raise RefusedError("input must be a list of strings")
    return ScriptedModel(seen.body["model"]).answer(seen)


def _document(kind: str, body: Json, choices: list[Json]) -> Json:
    return {
        "id": "scripted-1",
        "object": kind,
        "created": 1_700_000_000,
        "model": body["model"],
        "choices": choices,
    }


def _events(reply: Reply, spoken: Json | None, model: str) -> Iterator[Json]:
    """The reply's own events; what is spoken comes before the last of them,
    transcript and data apart.
    """
    *events, last = reply.deltas(model)
    yield from events
    if spoken:
        for piece in (
            {"id": spoken["id"], "transcript": spoken["transcript"]},
            {"data": spoken["data"]},
        ):
            yield chunk({"audio": piece}, model=model)
        yield chunk({"audio": {"expires_at": spoken["expires_at"]}}, model=model)
    yield last


def _reply(body: Json) -> Reply:
    """A call, an answer of the wanted form, or some words."""
    prompt = _text(
        next((message for message in reversed(body["messages"]) if message["role"] == "user"), {})
    )
    thought = THOUGHT if body.get("reasoning_effort") else ""
    function = _function(body)
    if function is not None:
        call = tool_call(function["name"], _arguments(function, prompt))
        return Reply(finish_reason="tool_calls", reasoning=thought, tool_calls=(call,))
    return limited(Reply(_content(body, prompt), reasoning=thought), body)


def _function(body: Json) -> Json | None:
    """The function to call: the named one; else the first, unless a tool has answered just now."""
    functions = [tool["function"] for tool in body.get("tools", ())]
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        return next(
            function for function in functions if function["name"] == choice["function"]["name"]
        )
    answered = body["messages"][-1]["role"] == "tool" and choice == "auto"
    return functions[0] if functions and choice != "none" and not answered else None


def _arguments(function: Json, prompt: str) -> Json:
    """What the schema asks for, with the numbers and quoted words of the prompt in it."""
    numbers, quoted = map(int, NUMBER.findall(prompt)), iter(QUOTED.findall(prompt))
    found: Json = instance({"type": "object", **function.get("parameters", {})})
    for name, value in found.items():
        if isinstance(value, str):
            found[name] = next(quoted, value)
        elif type(value) is int:
            found[name] = next(numbers, value)
    return found


def _content(body: Json, prompt: str) -> str:
    form = body.get("response_format", {})
    if form.get("type") == "json_schema":
        return json.dumps(instance(form["json_schema"]["schema"]), ensure_ascii=False)
    if form.get("type") == "json_object":
        return json.dumps(dict.fromkeys(QUOTED.findall(prompt), "text"))
    return "This is the scripted upstream. How do you do?"


def _text(message: Json) -> str:
    return " ".join(part["text"] for part in parts_of(message) if part["type"] == "text")


# --- tokens


def _prompt_usage(messages: list[Json]) -> Json:
    parts = [part for message in messages for part in parts_of(message)]
    audio = sum(AUDIO_TOKENS for part in parts if part["type"] == "input_audio")
    said = sum(
        len(words(part.get("text", ""))) + MEDIA_TOKENS.get(part["type"], 0) for part in parts
    )
    return {"all": said + audio, "audio_tokens": audio}


def _usage(reply: Reply, prompt: Json, speaks: bool) -> Json:
    """All the counts a server may give, the details also when they are 0."""
    asked = prompt.pop("all")
    thought, spoken = len(words(reply.reasoning)), AUDIO_TOKENS if speaks else 0
    called = sum(len(words(call["function"]["arguments"])) + 1 for call in reply.tool_calls)
    answered = len(words(reply.content)) + called + thought + spoken
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": spoken},
    }
