"""DSPy with its LiteLLM engine, which takes the HTTP clients that LiteLLM is given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import dspy
import httpx
import litellm
from shapes import MODEL, TOOL, City

from opea_core import OPEA
from opea_core.transports import AsyncHTTPXTransport, HTTPXTransport

CUT = "Connection error"
"""LiteLLM keeps only the words of the SDK's APIConnectionError."""
KNOWN = "gpt-4o-mini"
"""A model that LiteLLM knows to take a schema."""


def _model(opea: OPEA, name: str = MODEL) -> dspy.LM:
    litellm.in_memory_llm_clients_cache.flush_cache()  # a check has a server of its own
    litellm.client_session = httpx.Client(transport=HTTPXTransport(opea))
    litellm.aclient_session = httpx.AsyncClient(transport=AsyncHTTPXTransport(opea))
    return dspy.LM(
        f"openai/{name}",
        engine="litellm",
        api_base="http://opea.invalid/v1",
        api_key="sk-of-the-caller",
        cache=False,
        num_retries=0,
    )


def chat(opea: OPEA, text: str) -> str:
    """A plain answer."""
    return str(_model(opea)(text)[0])


class _Asked(dspy.Module):  # type: ignore[misc]
    """A program of one question."""

    def __init__(self, model: dspy.LM) -> None:
        super().__init__()
        self.model = model

    def forward(self, question: str) -> dspy.Prediction:
        """Ask it."""
        return dspy.Prediction(answer=self.model(question)[0])


def stream(opea: OPEA, text: str) -> Iterator[str]:
    """The pieces of an answer."""

    async def ask() -> list[str]:
        program = dspy.streamify(_Asked(_model(opea)))
        return [
            part.choices[0].delta.content
            async for part in program(question=text)
            if not isinstance(part, dspy.Prediction)
            and part.choices
            and part.choices[0].delta.content
        ]

    yield from asyncio.run(ask())


def tools(opea: OPEA) -> tuple[str, Any]:
    """The call of a tool."""
    asked = [{"role": "user", "content": "The weather in Paris?"}]
    call = _model(opea)(messages=asked, tools=[TOOL])[0]["tool_calls"][0]
    return call.function.name, json.loads(call.function.arguments)


class _NameACity(dspy.Signature):  # type: ignore[misc]
    """Name a city."""

    question: str = dspy.InputField()
    city: City = dspy.OutputField()


def structured(opea: OPEA) -> City:
    """An answer of a schema."""
    with dspy.context(lm=_model(opea, KNOWN), adapter=dspy.JSONAdapter()):
        found: City = dspy.Predict(_NameACity)(question="A city?").city
    return found


async def achat(opea: OPEA, text: str) -> str:
    """A plain answer."""
    return str((await _model(opea).acall(text))[0])
