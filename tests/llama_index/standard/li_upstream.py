"""The scripted upstream of the conformance suite:
a model that does what the suite's prompts say, at a strict server.

It calls the tools that a prompt names, thinks when it is told how hard, fills in schemas, follows
the format of ReAct, and misbehaves under the names that are made for it. Nothing in it is a
recording of a product.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from standard_strict import RefusedError, check, need, only, parts_of

from opea_core.testing import Answer, Seen, error, json_answer, sse, tool_call
from opea_core.testing.model import ScriptedModel
from opea_core.testing.reply import Reply, limited, words
from opea_core.testing.schema import instance

Json = dict[str, Any]

REFUSED, CUT, BROKEN, PROSE, TOO_FEW = (
    "no-such-model",
    "cuts-streams",
    "breaks-streams",
    "says-only-words",
    "one-too-few",
)
"""Models that answer with 404, end streams in the middle, send an error there,
fill in no schema, leave out a vector.
"""

NUMBER = re.compile(r"\d+")
QUOTED = re.compile(r"'([^']+)'")
SAID_FIRST = re.compile(r"say '([^']+)', then call", re.IGNORECASE)
TOOL_OF_REACT = re.compile(r"> Tool Name: (\w+)")
MEDIA_TOKENS = {"image_url": 85, "file": 120, "input_audio": 40}
THOUGHT = "The script thinks about it first. "
WORDS = "This is the scripted upstream. How do you do?"


def upstream(seen: Seen) -> Answer:
    """The answer to a request, 400 for what a strict server refuses."""
    if seen.path.endswith("/models"):  # asked for what there is, when a model is unknown
        return ScriptedModel("m1").answer(seen)
    try:
        need(isinstance(seen.body, dict), "The body is no JSON object.")
        if seen.body.get("model") == REFUSED:
            return error(
                404,
                f"The model '{REFUSED}' does not exist.",
                type="invalid_request_error",
                code="model_not_found",
            )
        if seen.path.endswith("/embeddings"):
            return _embeddings(seen)
        if seen.path.endswith("/rerank"):
            return _rerank(seen.body)
        need(seen.path.endswith("/chat/completions"), f"There is nothing at {seen.path}.")
        _check_chat(seen.body)
        return _chat(seen.body)
    except RefusedError as refused:
        return error(400, str(refused), type="invalid_request_error")
    except (AttributeError, KeyError, TypeError) as malformed:
        return error(400, f"The request is malformed: {malformed!r}", type="invalid_request_error")


# --- chat


def _check_chat(body: Json) -> None:
    """What every strict server wants, and that thoughts are not sent back as words."""
    nothing = [name for name, value in body.items() if value is None or value == []]
    need(not nothing, f"Nothing is given for {', '.join(nothing)}.")
    check({**body, "messages": [_modern(message) for message in body.get("messages", ())]})
    need(
        "top_logprobs" not in body or body.get("logprobs") is True,
        "top_logprobs is only allowed when logprobs is true",
    )
    for message in body["messages"]:
        need(THOUGHT.strip() not in _text(message), "A thought was sent as text.")


def _modern(message: Json) -> Json:
    """The old form of a call and of its result in today's words, to be checked by today's rules."""
    if message.get("role") == "function":
        return {
            "role": "tool",
            "content": message.get("content"),
            "tool_call_id": message.get("name"),
        }
    if "function_call" in message:
        call = {
            "id": message["function_call"].get("name"),
            "type": "function",
            "function": message["function_call"],
        }
        return {name: value for name, value in message.items() if name != "function_call"} | {
            "tool_calls": [call]
        }
    return message


def _chat(body: Json) -> Answer:
    reply = _reply(body)
    usage = _usage(reply, body["messages"])
    if not body.get("stream"):
        choice = reply.choice()
        choice["message"]["content"] = reply.content or None
        return json_answer(_document("chat.completion", body, [choice]) | {"usage": usage})
    role, *events = reply.deltas(body["model"])
    events[0]["choices"][0]["delta"]["role"] = role["choices"][0]["delta"][
        "role"
    ]  # what is said or thought begins at once
    if body["model"] == CUT:
        return sse(*events[:-1], done=False)
    if body["model"] == BROKEN:
        return sse(
            *events[:-1],
            {"error": {"message": "The script went away.", "type": "server_error", "code": 500}},
            done=False,
        )
    if body.get("stream_options", {}).get("include_usage"):
        events.append(_document("chat.completion.chunk", body, []) | {"usage": usage})
    return sse(*events)


def _document(kind: str, body: Json, choices: list[Json]) -> Json:
    return {
        "id": "scripted-1",
        "object": kind,
        "created": 1_700_000_000,
        "model": body["model"],
        "choices": choices,
    }


def _reply(body: Json) -> Reply:
    """Calls, an answer of the wanted form, or some words."""
    thought = THOUGHT if body.get("reasoning_effort") not in (None, "none") else ""
    top = body.get("top_logprobs", 0) if body.get("logprobs") else None
    prompt = _last_prompt(body["messages"])
    calls = tuple(_calls(body, prompt))
    if body["model"] == PROSE:
        return Reply(WORDS)
    if calls:
        first = SAID_FIRST.search(prompt)
        return Reply(first[1] if first else "", "tool_calls", thought, calls)
    return limited(Reply(_content(body, prompt), reasoning=thought, top_logprobs=top), body)


def _calls(body: Json, prompt: str) -> Iterator[Json]:
    """The forced call; else those that the prompt names
    and that were not made since it was said.
    """
    tools: dict[str, Json] = {
        tool["function"]["name"]: tool["function"] for tool in body.get("tools", ())
    }
    choice = body.get("tool_choice", "auto")
    numbers, quoted = (
        map(int, NUMBER.findall(prompt)),
        iter(QUOTED.findall(SAID_FIRST.sub("", prompt))),
    )
    made = [
        call["function"]["name"]
        for message in _since_prompt(body["messages"])
        for call in message.get("tool_calls", ())
    ]
    named = sorted(
        (name for name in tools if name in prompt and name not in made), key=prompt.index
    )
    if isinstance(choice, dict):
        named = [choice["function"]["name"]]
    elif choice == "required":
        named = named or list(tools)
    elif choice == "none":
        named = []
    for name in named[:1] * (2 if "twice" in prompt else 1):
        position = len(made) + 1
        made.append(name)
        yield tool_call(name, _arguments(tools[name], numbers, quoted), id=f"call_{position}")


def _arguments(function: Json, numbers: Iterator[int], quoted: Iterator[str]) -> Json:
    """What the schema asks for, with the numbers and quoted words of the prompt in it."""
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
    said = "\n".join(_text(message) for message in body["messages"])
    tools = TOOL_OF_REACT.findall(said)
    if tools:
        return _react(body["messages"], tools, prompt)
    schema = _schema_in(said) or _schema_in(
        said.replace("{{", "{").replace("}}", "}")
    )  # core's own prompt doubles the braces
    return (
        WORDS
        if schema is None
        else f"Here it is:\n```json\n{json.dumps(instance(schema), ensure_ascii=False)}\n```"
    )


def _schema_in(text: str) -> Json | None:
    """The JSON schema that a prompt asks to follow."""
    for match in re.finditer(r"\{", text):
        try:
            found, _ = json.JSONDecoder().raw_decode(text, match.start())
        except ValueError:
            continue
        if (
            isinstance(found, dict)
            and isinstance(found.get("properties"), dict)
            and "type" in found
        ):
            return found
    return None


def _react(messages: list[Json], tools: list[str], prompt: str) -> str:
    """ReAct asks in words, and tells results as a user's message."""
    asked = next((name for name in tools if name in prompt), None)
    if asked is None or _text(messages[-1]).startswith("Observation:"):
        return (
            "Thought: I can answer without using any more tools. I'll use the user's "
            "language to answer\nAnswer: It is done."
        )
    first, second = NUMBER.findall(prompt)[:2]
    return (
        "Thought: I need to use a tool to help me answer the question.\nAction: "
        f'{asked}\nAction Input: {{"a": {first}, "b": {second}}}'
    )


# --- messages


def _text(message: Json) -> str:
    return " ".join(part["text"] for part in parts_of(message) if part["type"] == "text")


def _is_prompt(message: Json) -> bool:
    """What a user says, but neither what ReAct tells of a tool nor a picture
    that belongs to a tool's result.
    """
    return (
        message["role"] == "user"
        and bool(_text(message))
        and not _text(message).startswith("Observation:")
    )


def _last_prompt(messages: list[Json]) -> str:
    return _text(next((message for message in reversed(messages) if _is_prompt(message)), {}))


def _since_prompt(messages: list[Json]) -> list[Json]:
    last = max(
        (number for number, message in enumerate(messages) if _is_prompt(message)), default=-1
    )
    return messages[last + 1 :]


def _usage(reply: Reply, messages: list[Json]) -> Json:
    """A token is a word; pictures, sound and documents have their price."""
    parts = [part for message in messages for part in parts_of(message)]
    asked = sum(
        len(words(part.get("text", ""))) + MEDIA_TOKENS.get(part["type"], 0) for part in parts
    )
    asked += sum(
        len(words(call["function"]["arguments"]))
        for message in messages
        for call in message.get("tool_calls", ())
    )
    called = sum(len(words(call["function"]["arguments"])) + 1 for call in reply.tool_calls)
    thought = len(words(reply.reasoning))
    answered = len(words(reply.content)) + called + thought
    usage: Json = {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
    }
    return usage | ({"completion_tokens_details": {"reasoning_tokens": thought}} if thought else {})


# --- vectors and ranks


def _embeddings(seen: Seen) -> Answer:
    """The default model's vectors, last text first: ``index`` says which is whose."""
    only(seen.body, {"model", "input", "dimensions", "encoding_format"}, "the request")
    texts = seen.body.get("input")
    many = [texts] if isinstance(texts, str) else texts
    need(
        isinstance(many, list) and many and all(isinstance(text, str) and text for text in many),
        "input must be text or a list of texts",
    )
    document = json.loads(ScriptedModel(seen.body["model"]).answer(seen).body)
    document["data"].reverse()
    if seen.body["model"] == TOO_FEW:
        document["data"].pop()
    return json_answer(document)


def _rerank(body: Json) -> Answer:
    """Scores by the share of the query's words; the order is that of the documents."""
    only(body, {"model", "query", "documents", "top_n"}, "the request")
    documents, query = body.get("documents"), body.get("query")
    need(isinstance(query, str) and query, "query must be a text")
    need(
        isinstance(documents, list)
        and documents
        and all(isinstance(text, str) for text in documents),
        "documents must be texts",
    )
    need(
        isinstance(body.get("top_n", 1), int) and body.get("top_n", 1) > 0,
        "top_n must be a positive number",
    )
    wanted = set(re.findall(r"\w+", query.lower()))
    scores = [
        len(wanted & set(re.findall(r"\w+", text.lower()))) / len(wanted) - number / 100
        for number, text in enumerate(documents)
    ]
    best = sorted(range(len(scores)), key=lambda number: -scores[number])[: body.get("top_n")]
    results = [{"index": number, "relevance_score": scores[number]} for number in sorted(best)]
    return json_answer(
        {
            "id": "scripted-1",
            "model": body["model"],
            "results": results,
            "usage": {"total_tokens": len(documents)},
        }
    )
