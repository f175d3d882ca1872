"""What the scripted model says, before it is put into the words of an endpoint."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opea_core.testing.answers import Json, chunk, tool_call
from opea_core.testing.schema import instance

_WORDS = re.compile(r"\s*\S+\s*")
_QUOTED_WORDS = 12
_FRAGMENTS = 3


@dataclass(frozen=True, slots=True)
class Reply:
    """One choice before it is put into the protocol's words."""

    content: str = ""
    finish_reason: str = "stop"
    reasoning: str = ""
    tool_calls: Sequence[Json] = ()
    top_logprobs: int | None = None
    index: int = 0

    def choice(self) -> Json:
        """The whole choice."""
        message: Json = {"role": "assistant", "content": None if self.tool_calls else self.content}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = list(self.tool_calls)
        return {
            "index": self.index,
            "message": message,
            "finish_reason": self.finish_reason,
            **self._logprobs(self.content),
        }

    def deltas(self, model: str) -> Iterator[Json]:
        """The choice as events, word by word, arguments in several fragments."""
        yield chunk({"role": "assistant", "content": ""}, index=self.index, model=model)
        for word in words(self.reasoning):
            yield chunk({"reasoning_content": word}, index=self.index, model=model)
        for word in words(self.content):
            yield chunk({"content": word}, index=self.index, model=model, **self._logprobs(word))
        for position, call in enumerate(self.tool_calls):
            for fragment in _fragments(call, position):
                yield chunk({"tool_calls": [fragment]}, index=self.index, model=model)
        yield chunk({}, self.finish_reason, index=self.index, model=model)

    def _logprobs(self, text: str) -> Json:
        if self.top_logprobs is None:
            return {}
        return {
            "logprobs": {"content": [_logprob(word, self.top_logprobs) for word in words(text)]}
        }


def reply_to(body: Json, messages: list[Json], index: int) -> Reply:
    """What the model says: a tool call, an instance of the asked-for schema, or a text."""
    tool = _tool(body) if messages[-1].get("role") not in ("tool", "function") else None
    reasoning = "The scripted model thinks about it first." if _thinks(body) else ""
    if tool is not None:
        call = tool_call(
            tool.get("name", ""),
            instance({"type": "object", **(tool.get("parameters") or {})}),
            id=f"call_{index + 1}",
        )
        return Reply(
            finish_reason="tool_calls", reasoning=reasoning, tool_calls=(call,), index=index
        )
    top = (body.get("top_logprobs") or 0) if body.get("logprobs") else None
    return limited(
        Reply(_content(body, messages, index), reasoning=reasoning, top_logprobs=top, index=index),
        body,
    )


def _content(body: Json, messages: list[Json], index: int) -> str:
    wanted = body.get("response_format")
    wanted = wanted if isinstance(wanted, dict) else {}
    if wanted.get("type") == "json_schema":
        return json.dumps(
            instance(wanted.get("json_schema", {}).get("schema", {})), ensure_ascii=False
        )
    last = messages[-1]
    about = quote(text_of(last.get("content")))
    if wanted.get("type") == "json_object":
        return json.dumps({"about": about}, ensure_ascii=False)
    again = f" (answer {index + 1})" if index else ""
    if last.get("role") in ("tool", "function"):
        return f'The tool says: "{about}"{again}'
    return f'This is the scripted model. You wrote: "{about}"{again}'


def _tool(body: Json) -> Mapping[str, Any] | None:
    """The function to call: the forced one, else the first, None if tools are not wanted."""
    functions: list[Json] = [
        tool["function"]
        for tool in body.get("tools") or ()
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    choice = body.get("tool_choice")
    if not functions or choice == "none":
        return None
    if isinstance(choice, dict):
        name = choice.get("function", choice).get("name")
        return next(
            (function for function in functions if function.get("name") == name), functions[0]
        )
    return functions[0]


def _thinks(body: Json) -> bool:
    template = body.get("chat_template_kwargs")
    enabled = isinstance(template, dict) and bool(template.get("enable_thinking"))
    return enabled or body.get("reasoning_effort") not in (None, "none")


def limited(reply: Reply, body: Json) -> Reply:
    """The reply as ``stop`` and ``max_tokens`` leave it."""
    text, finish = reply.content, reply.finish_reason
    stops = body.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0]
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    tokens = words(text)
    if isinstance(limit, int) and len(tokens) > limit:
        text, finish = "".join(tokens[:limit]), "length"
    return dataclasses.replace(reply, content=text, finish_reason=finish)


def _fragments(call: Json, position: int) -> Iterator[Json]:
    """A tool call in pieces: name and id first, then the arguments bit by bit."""
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    yield {
        "index": position,
        "id": call["id"],
        "type": "function",
        "function": {"name": name, "arguments": ""},
    }
    size = -(-len(arguments) // _FRAGMENTS)
    for start in range(0, len(arguments), size):
        yield {"index": position, "function": {"arguments": arguments[start : start + size]}}


def text_of(content: Any) -> str:
    """The text of a message's content, whether it is a string or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(
        part["text"]
        for part in parts
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def words(text: str) -> list[str]:
    """The "tokens" of a text; joined they are the text again."""
    return _WORDS.findall(text)


def quote(text: str) -> str:
    """The first words of a text."""
    found = text.split()
    return " ".join(found[:_QUOTED_WORDS]) + (" ..." if len(found) > _QUOTED_WORDS else "")


def _logprob(word: str, top: int) -> Json:
    entry: Json = {"token": word, "logprob": -0.125, "bytes": list(word.encode())}
    others = [
        {"token": f"{word}{'*' * rank}", "logprob": -0.125 - rank, "bytes": None}
        for rank in range(top)
    ]
    return entry | {"top_logprobs": others}
