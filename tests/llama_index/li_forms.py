"""Ways to ask for an object, and servers that answer them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from li_asking import alist
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel
from written_answers import PERSON

from llama_index_opea import OPEALLM
from opea_core.testing import Answer, Seen, chat, stream, tool_call

PREDICTS = (
    "structured_predict",
    "astructured_predict",
    "stream_structured_predict",
    "astream_structured_predict",
)
AS_LLM = ("chat", "achat", "stream_chat", "astream_chat", "complete", "acomplete")
ALL = (*PREDICTS, *(f"as_structured_llm.{way}" for way in AS_LLM))
PROMPT = PromptTemplate("Tell about {topic}.")


class Person(BaseModel):
    """A person."""

    name: str
    age: int


ANN = Person(**PERSON)


def objects(way: str, llm: OPEALLM, output_cls: Any = Person, **options: Any) -> list[Any]:
    """The objects one of the ten ways gives: one, or those of a stream."""
    if way in PREDICTS:
        given: tuple[Any, ...] = (output_cls, options.pop("prompt", PROMPT))
        call = getattr(llm, way)
        options = {"topic": "Ann", **options}
    else:
        way = way.removeprefix("as_structured_llm.")
        call = getattr(llm.as_structured_llm(output_cls), way)
        text = options.pop("text", "Tell about Ann.")
        given = (text,) if "complete" in way else ([ChatMessage(text)],)
        options = options.pop("llm_kwargs", None) or {}

    async def awaited() -> Any:
        answer = await call(*given, **options)
        return await alist(answer) if "stream" in way else [answer]

    if way.startswith("a"):
        found = asyncio.run(awaited())
    else:
        answer = call(*given, **options)
        found = list(answer) if "stream" in way else [answer]
    return [one if way in PREDICTS else one.raw for one in found]


def predicted(way: str, llm: OPEALLM, output_cls: Any = Person, **options: Any) -> Any:
    """The object, or the last one of the stream."""
    return objects(way, llm, output_cls, **options)[-1]


Script = Callable[[Seen], Answer]


def saying(text: str, finish_reason: str = "stop", size: int = 4) -> Script:
    """A server that says this, in small pieces where it streams."""

    def answer(seen: Seen) -> Answer:
        if not seen.body["stream"]:
            return chat(text, finish_reason=finish_reason)
        return stream(
            [text[at : at + size] for at in range(0, len(text), size)] or [""],
            finish_reason=finish_reason,
        )

    return answer


def calling(
    *calls: tuple[str, str], finish_reason: str = "tool_calls", text: str = "", size: int = 4
) -> Script:
    """A server that calls functions with these arguments."""
    whole = [
        tool_call(name, arguments, f"c{number}") for number, (name, arguments) in enumerate(calls)
    ]

    def answer(seen: Seen) -> Answer:
        if not seen.body["stream"]:
            return chat(text or None, tool_calls=whole, finish_reason=finish_reason)
        pieces: list[Any] = [text] if text else []
        for index, (name, arguments) in enumerate(calls):
            head = {"index": index, "id": f"c{index}", "function": {"name": name, "arguments": ""}}
            parts = [arguments[at : at + size] for at in range(0, len(arguments), size)]
            pieces += [
                {"tool_calls": [head]},
                *(
                    {"tool_calls": [{"index": index, "function": {"arguments": part}}]}
                    for part in parts
                ),
            ]
        return stream(pieces, finish_reason=finish_reason)

    return answer


def how(seen: Seen) -> str:
    """How a request asks for the object."""
    body = seen.body
    if "response_format" in body:
        return str(body["response_format"]["type"])
    if "tools" in body:
        return "tool" if isinstance(body["tool_choice"], dict) else str(body["tool_choice"])
    return "text"


def texts(seen: Seen) -> list[tuple[str, str]]:
    """Role and content of each message."""
    return [(message["role"], message["content"]) for message in seen.body["messages"]]
