"""The openai SDK, 2 (httpx) or 3 (httpx2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from shapes import MODEL, TOOL, City

from opea_core import OPEA
from opea_core.transports import async_openai_client, openai_client


def _messages(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def chat(opea: OPEA, text: str) -> str:
    """A plain answer; the client is closed, which must not close OPEA."""
    with openai_client(opea) as client:
        answer = client.chat.completions.create(model=MODEL, messages=_messages(text))
    return answer.choices[0].message.content or ""


def stream(opea: OPEA, text: str) -> Iterator[str]:
    """The pieces of an answer."""
    asked = {"model": MODEL, "messages": _messages(text), "stream": True}
    for chunk in openai_client(opea).chat.completions.create(**asked):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


def tools(opea: OPEA) -> tuple[str, Any]:
    """The call of a tool."""
    answer = openai_client(opea).chat.completions.create(
        model=MODEL, messages=_messages("The weather in Paris?"), tools=[TOOL]
    )
    call = answer.choices[0].message.tool_calls[0]
    return call.function.name, json.loads(call.function.arguments)


def structured(opea: OPEA) -> City:
    """An answer of a schema."""
    answer = openai_client(opea).chat.completions.parse(
        model=MODEL, messages=_messages("A city?"), response_format=City
    )
    return answer.choices[0].message.parsed


async def achat(opea: OPEA, text: str) -> str:
    """A plain answer, and the same streamed."""
    async with async_openai_client(opea) as client:
        asked: Any = {"model": MODEL, "messages": _messages(text)}
        answer = await client.chat.completions.create(**asked)
        chunks = await client.chat.completions.create(**asked, stream=True)
        pieces = [c.choices[0].delta.content or "" async for c in chunks if c.choices]
    assert "".join(pieces) == answer.choices[0].message.content
    return "".join(pieces)
