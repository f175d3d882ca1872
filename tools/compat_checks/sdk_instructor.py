"""instructor around the openai SDK's clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import instructor
from shapes import MODEL, City

from opea_core import OPEA
from opea_core.transports import async_openai_client, openai_client


def _messages(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def chat(opea: OPEA, text: str) -> str:
    """A plain answer."""
    client = instructor.from_openai(openai_client(opea))
    answer: Any = client.create(response_model=None, model=MODEL, messages=_messages(text))
    return str(answer.choices[0].message.content)


def stream(opea: OPEA, text: str) -> Iterator[str]:
    """The pieces of an answer."""
    client = instructor.from_openai(openai_client(opea))
    chunks: Any = client.create(
        response_model=None, model=MODEL, messages=_messages(text), stream=True
    )
    for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


CANNOT = {"tools": "its tools are how it asks for an object, which is the next column"}


def structured(opea: OPEA) -> City:
    """An object, asked for as a tool."""
    client = instructor.from_openai(openai_client(opea), mode=instructor.Mode.TOOLS)
    found: City = client.create(response_model=City, model=MODEL, messages=_messages("A city?"))
    return found


async def achat(opea: OPEA, text: str) -> str:
    """A plain answer."""
    client = instructor.from_openai(async_openai_client(opea))
    answer: Any = await client.create(response_model=None, model=MODEL, messages=_messages(text))
    return str(answer.choices[0].message.content)
