"""ChatOpenAI of langchain-openai."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from langchain_openai import ChatOpenAI
from shapes import MODEL, TOOL, City

from opea_core import OPEA
from opea_core.transports import AsyncHTTPXTransport, HTTPXTransport


def _model(opea: OPEA) -> ChatOpenAI:
    return ChatOpenAI(
        model=MODEL,
        api_key="sk-of-the-caller",
        base_url="http://opea.invalid/v1",
        http_client=httpx.Client(transport=HTTPXTransport(opea)),
        http_async_client=httpx.AsyncClient(transport=AsyncHTTPXTransport(opea)),
    )


def chat(opea: OPEA, text: str) -> str:
    """A plain answer."""
    return str(_model(opea).invoke(text).text)


def stream(opea: OPEA, text: str) -> Iterator[str]:
    """The pieces of an answer."""
    for chunk in _model(opea).stream(text):
        if chunk.text:
            yield str(chunk.text)


def tools(opea: OPEA) -> tuple[str, Any]:
    """The call of a tool."""
    call = _model(opea).bind_tools([TOOL]).invoke("The weather in Paris?").tool_calls[0]
    return call["name"], call["args"]


def structured(opea: OPEA) -> City:
    """An answer of a schema."""
    return _model(opea).with_structured_output(City).invoke("A city?")  # type: ignore[return-value]


async def achat(opea: OPEA, text: str) -> str:
    """A plain answer, and the same streamed."""
    model = _model(opea)
    answer = await model.ainvoke(text)
    pieces = [str(chunk.text) async for chunk in model.astream(text)]
    assert "".join(pieces) == answer.text
    return "".join(pieces)
