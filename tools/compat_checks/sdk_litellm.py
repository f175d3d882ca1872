"""LiteLLM, which takes a client of the openai SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import litellm
from shapes import MODEL, TOOL, City

from opea_core import OPEA
from opea_core.transports import async_openai_client, openai_client

CUT = "Connection error"
"""LiteLLM keeps only the words of the SDK's APIConnectionError."""
litellm.suppress_debug_info = True


def _asked(text: str) -> dict[str, Any]:
    return {
        "model": f"openai/{MODEL}",
        "messages": [{"role": "user", "content": text}],
        "api_key": "sk-of-the-caller",
    }


def chat(opea: OPEA, text: str) -> str:
    """A plain answer."""
    answer = litellm.completion(**_asked(text), client=openai_client(opea))
    return str(answer.choices[0].message.content)


def stream(opea: OPEA, text: str) -> Iterator[str]:
    """The pieces of an answer."""
    for chunk in litellm.completion(**_asked(text), client=openai_client(opea), stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


def tools(opea: OPEA) -> tuple[str, Any]:
    """The call of a tool."""
    asked = _asked("The weather in Paris?")
    answer = litellm.completion(**asked, client=openai_client(opea), tools=[TOOL])
    call = answer.choices[0].message.tool_calls[0]
    return call.function.name, json.loads(call.function.arguments)


def structured(opea: OPEA) -> City:
    """An answer of a schema."""
    asked = _asked("A city?")
    answer = litellm.completion(**asked, client=openai_client(opea), response_format=City)
    return City.model_validate_json(answer.choices[0].message.content)


async def achat(opea: OPEA, text: str) -> str:
    """A plain answer."""
    answer = await litellm.acompletion(**_asked(text), client=async_openai_client(opea))
    return str(answer.choices[0].message.content)
