"""What a server took and did not do: told with the answer, as nothing else would show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from opea_core.types import ChatResponse, Choice, Json
from opea_core.wire import jsontext
from opea_core.wire.request import TOKEN_LIMITS


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request an answer can be held against."""

    n: int = 1
    logprobs: bool = False
    tool: str | None = None
    """The function that was to be called; ``""`` for any of them."""
    no_tool: bool = False
    """Whether no function was to be called (``tool_choice="none"``)."""
    one_tool: bool = False
    """Whether at most one was to be called at once (``parallel_tool_calls=False``)."""
    tools: frozenset[str] | None = None
    """The functions that may be called; None where no tools were sent."""
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    usage: bool = False
    required: frozenset[str] | None = None
    """Fields that the answer's schema requires, if it was asked for by ``output_schema=``."""
    form: str = ""
    """The name of that schema."""


NOTHING = Asked()


def asked_of(body: Mapping[str, Any], output_schema: Json | None, stream_options: Any) -> Asked:
    """What a request asks for: as it was given, with the ``stream_options`` that are sent."""
    choice, stop, n = body.get("tool_choice"), body.get("stop"), body.get("n")
    function = choice.get("function") if isinstance(choice, Mapping) else None
    tool = (
        ""
        if choice in ("required", "any")
        else function.get("name")
        if isinstance(function, Mapping)
        else None
    )
    limits = [body[name] for name in TOKEN_LIMITS if isinstance(body.get(name), int)]
    schema = output_schema.get("schema") if output_schema is not None else None
    required = schema.get("required") if isinstance(schema, Mapping) else None
    return Asked(
        n=n if isinstance(n, int) and n > 1 and not isinstance(n, bool) else 1,
        logprobs=body.get("logprobs") not in (None, False, 0),
        tool=tool if isinstance(tool, str) else None,
        no_tool=choice == "none",
        one_tool=body.get("parallel_tool_calls") is False,
        tools=_names_of(body.get("tools")),
        stop=tuple(text for text in _texts(stop) if isinstance(text, str) and text),
        max_tokens=min(limits, default=None),
        usage=isinstance(stream_options, Mapping) and stream_options.get("include_usage") is True,
        required=None if schema is None else frozenset(map(str, required or ())),
        form="" if output_schema is None else str(output_schema.get("name")),
    )


def _names_of(tools: Any) -> frozenset[str] | None:
    """The names of functions; None if there are none, or tools of another kind among them."""
    if not isinstance(tools, list) or not tools:
        return None
    functions = [tool.get("function") if isinstance(tool, Mapping) else None for tool in tools]
    names = [one.get("name") if isinstance(one, Mapping) else None for one in functions]
    return frozenset(map(str, names)) if all(names) else None


def _texts(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else value if isinstance(value, list) else []


def ignored(asked: Asked, response: ChatResponse) -> Iterator[str]:
    """What the answer is not, although it was asked for."""
    if len(response.choices) < asked.n:
        yield f"{len(response.choices)} of {asked.n} answers came (n was ignored)"
    if asked.logprobs and not any(choice.logprobs for choice in response.choices):
        yield "logprobs were asked for, and none came"
    for choice in response.choices:
        yield from _in_choice(asked, choice)
    yield from _in_usage(asked, response)


def _in_choice(asked: Asked, choice: Choice) -> Iterator[str]:
    called = {call.name for call in (*choice.tool_calls, *choice.invalid_tool_calls)}
    # What was cut off or filtered may lack a call for that reason.
    is_whole = choice.finish_reason not in ("length", "content_filter") and not choice.refusal
    # With a schema the tool may be our own way of asking for it, so the answer is looked at.
    if asked.tool is not None and is_whole and asked.required is None:
        if not called:
            yield (
                f"{asked.tool or 'a tool'} was to be called, and no tool was"
                " (tool_choice was ignored)"
            )
        elif asked.tool and asked.tool not in called:
            yield (
                f"{asked.tool} was to be called, and {_listed(called)} was"
                " (tool_choice was ignored)"
            )
    if asked.required is None:
        yield from _in_calls(asked, choice, called)
    # Some servers keep the stop sequence at the end; only text behind it shows that it was ignored.
    if any(text in choice.content and not choice.content.endswith(text) for text in asked.stop):
        yield "the text goes on behind a stop sequence (stop was ignored)"
    if (
        asked.required is not None
        and is_whole
        and called <= {asked.form}
        and not _keeps(asked.required, choice)
    ):
        yield "the answer does not keep to its schema (output_schema was ignored)"
    if (
        choice.reasoning
        and not (choice.content or called or choice.refusal)
        and choice.finish_reason != "length"
    ):
        yield "all of the answer is in its reasoning; there is no text"


def _in_calls(asked: Asked, choice: Choice, called: set[str]) -> Iterator[str]:
    if asked.no_tool and called:
        yield f"no tool was to be called, and {_listed(called)} was (tool_choice was ignored)"
    unknown = set() if asked.tools is None else called - asked.tools
    if unknown:
        yield f"{_listed(unknown)} was called, which is not one of the tools"
    calls = len(choice.tool_calls) + len(choice.invalid_tool_calls)
    if asked.one_tool and calls > 1:
        yield f"{calls} tools were called at once (parallel_tool_calls=False was ignored)"


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))[:200]


def _in_usage(asked: Asked, response: ChatResponse) -> Iterator[str]:
    usage = response.usage
    if usage is None:
        if asked.usage:
            yield "usage was asked for, and none came"
        return
    # Zero is right for an answer that says nothing.
    said = any(choice.content or choice.reasoning for choice in response.choices)
    if said and not (usage.prompt_tokens or usage.completion_tokens or usage.total_tokens):
        yield "the server counts no tokens: its usage is zero"
    if (
        asked.max_tokens
        and usage.completion_tokens is not None
        and usage.completion_tokens > asked.max_tokens * asked.n
    ):
        yield (
            f"{usage.completion_tokens} tokens came, max_tokens was {asked.max_tokens}"
            " (it was ignored)"
        )


def _keeps(required: frozenset[str], choice: Choice) -> bool:
    """Whether an answer is an object with the fields its schema requires.

    What is deeper is the caller's to look at.
    """
    texts = [choice.content, *(call.arguments for call in choice.tool_calls)]
    return any(_has(text, required) for text in texts if text)


def _has(text: str, required: frozenset[str]) -> bool:
    start, end = text.find("{"), text.rfind("}")
    try:
        value = jsontext.decode(text[start : end + 1]) if start >= 0 else None
    except ValueError:
        return False
    return isinstance(value, dict) and required <= value.keys()
