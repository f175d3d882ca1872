"""What a strict server of the chat-completions protocol refuses,
so that no field or block of LangChain's gets onto the wire unseen.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]

FIELDS = frozenset(
    {
        "model", "messages", "stream", "stream_options", "temperature", "max_tokens", "stop",
        "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort",
        "modalities", "audio", "logprobs", "top_logprobs",
    }
)  # fmt: skip
OF_MESSAGE = {
    "system": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls", "reasoning_content"},
    "tool": {"role", "content", "name", "tool_call_id"},
}
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MAGIC = {"image/png": b"\x89PNG\r\n\x1a\n", "application/pdf": b"%PDF-", "wav": b"RIFF"}


class RefusedError(Exception):
    """Why the request is answered with 400."""


def check(body: Any) -> None:
    """Raise RefusedError for a request that a strict server would not take."""
    need(isinstance(body, dict), "The body is no JSON object.")
    only(body, FIELDS, "the request")
    need(isinstance(body.get("model"), str) and body["model"], "you must provide a model parameter")
    need(bool(body.get("messages")), "messages must not be empty")
    need(
        "stream_options" not in body or body.get("stream") is True,
        "stream_options is only allowed when stream is true",
    )
    need(body.get("stop") != [], "stop must not be empty")
    names = [check_tool(tool) for tool in body.get("tools", ())]
    check_choice(body, names)
    check_form(body)
    check_conversation(body["messages"])


def need(fine: object, why: str) -> None:
    if not fine:
        raise RefusedError(why)


def only(given: Json, known: Sequence[str] | set[str] | frozenset[str], where: str) -> None:
    """Refuse keys nobody knows."""
    unknown = sorted(given.keys() - set(known))
    need(not unknown, f"Unrecognized argument in {where}: {', '.join(unknown)}")


# --- tools and forms


def check_tool(tool: Json) -> str:
    """A tool as the protocol has it; gives its name."""
    only(tool, ("type", "function"), "a tool")
    need(tool.get("type") == "function", "A tool's type must be function.")
    function = tool["function"]
    only(function, ("name", "description", "parameters", "strict"), "a function")
    need(
        NAME.fullmatch(function.get("name", "")), f"Invalid function name: {function.get('name')!r}"
    )
    parameters = function.get("parameters", {"type": "object"})
    need(parameters.get("type") == "object", f"The parameters of {function['name']} are no object.")
    return str(function["name"])


def check_choice(body: Json, names: Sequence[str]) -> None:
    choice = body.get("tool_choice")
    need(choice is None or names, "tool_choice is only allowed when tools are specified")
    need(
        "parallel_tool_calls" not in body or names,
        "parallel_tool_calls is only allowed when tools are specified",
    )
    if isinstance(choice, dict):
        need(
            choice == {"type": "function", "function": {"name": choice["function"]["name"]}},
            "tool_choice is malformed",
        )
        need(
            choice["function"]["name"] in names,
            "tool_choice names a function that is not among the tools",
        )
    else:
        need(choice in (None, "none", "auto", "required"), f"tool_choice cannot be {choice!r}")


def check_form(body: Json) -> None:
    form = body.get("response_format")
    if form is None:
        return
    if form["type"] == "json_object":
        only(form, ("type",), "response_format")
        text = " ".join(
            part["text"]
            for message in body["messages"]
            for part in parts_of(message)
            if part["type"] == "text"
        )
        need(
            "json" in text.lower(),
            (
                "'messages' must contain the word 'json' in some form, to use "
                "'response_format' of type 'json_object'."
            ),
        )
        return
    only(form, ("type", "json_schema"), "response_format")
    need(form["type"] == "json_schema", f"response_format cannot be {form['type']!r}")
    only(form["json_schema"], ("name", "description", "schema", "strict"), "json_schema")
    need(NAME.fullmatch(form["json_schema"].get("name", "")), "json_schema has no valid name")
    need(form["json_schema"]["schema"].get("type") == "object", "The schema is no object.")


# --- messages


def check_conversation(messages: Sequence[Json]) -> None:
    """Every message for itself, and every call answered by the messages that follow it."""
    open_calls: set[str] = set()
    for message in messages:
        role = message.get("role", "")
        need(role in OF_MESSAGE, f"Invalid role: {role!r}")
        only(message, OF_MESSAGE[role], f"a {role} message")
        if role == "tool":
            need(
                message["tool_call_id"] in open_calls,
                "A tool message must follow the tool call that it answers.",
            )
            open_calls.discard(message["tool_call_id"])
        else:
            need(
                not open_calls,
                f"These tool calls were not answered: {', '.join(sorted(open_calls))}",
            )
        for call in message.get("tool_calls", ()):
            only(call, ("id", "type", "function"), "a tool call")
            need(
                set(call["function"]) == {"name", "arguments"}
                and isinstance(call["function"]["arguments"], str),
                "A call is malformed.",
            )
            open_calls.add(call["id"])
        need(
            message.get("content") is not None or message.get("tool_calls"),
            f"A {role} message has no content.",
        )
        for part in parts_of(message):
            check_part(part, role)
    need(not open_calls, f"These tool calls were not answered: {', '.join(sorted(open_calls))}")


def parts_of(message: Json) -> list[Json]:
    """The content as parts, whatever it is."""
    content = message.get("content") or []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def check_part(part: Json, role: str) -> None:
    kind = part.get("type")
    known: dict[str, Callable[[Any], None]] = {
        "image_url": check_image,
        "input_audio": check_audio,
        "file": check_file,
    }
    if kind == "text":
        only(part, ("type", "text", "cache_control"), "a text part")
        need(isinstance(part["text"], str), "A text part has no text.")
        return
    need(
        kind in known and role in ("user", "tool"),
        f"A {role} message cannot hold a part of type {kind!r}.",
    )
    only(part, ("type", kind, "cache_control"), f"an {kind} part")
    known[kind](part[kind])


def check_image(image: Json) -> None:
    only(image, ("url", "detail"), "image_url")
    if not image["url"].startswith("https://"):
        check_data_url(image["url"], "image/png")


def check_file(file: Json) -> None:
    only(file, ("filename", "file_data"), "file")
    need(file.get("filename", "").endswith(".pdf"), f"Invalid file name: {file.get('filename')!r}")
    check_data_url(file["file_data"], "application/pdf")


def check_audio(audio: Json) -> None:
    only(audio, ("data", "format"), "input_audio")
    need(audio["format"] == "wav", f"Invalid audio format: {audio['format']!r}")
    check_data(audio["data"], "wav")


def check_data_url(url: str, mime: str) -> None:
    need(url.startswith(f"data:{mime};base64,"), f"Expected a data URL of {mime}, got {url[:40]!r}")
    check_data(url.partition(",")[2], mime)


def check_data(data: str, mime: str) -> None:
    try:
        decoded = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise RefusedError(f"The {mime} data is no base64: {error}") from error
    need(decoded.startswith(MAGIC[mime]), f"The data is no {mime}.")
