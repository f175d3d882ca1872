"""Answers that came in another dialect than the rows of a batch were written in."""

from __future__ import annotations

from typing import Any

from opea_core.errors import BadAnswerError
from opea_core.types import ORIGIN, ChatResponse, Choice, Json
from opea_core.wire.responses.ending import NoAnswer, finish_reason
from opea_core.wire.responses.items import dicts, text
from opea_core.wire.usage import read_usage


def chat_completion(response: ChatResponse) -> Json:
    """A chat's answer as a chat completion, whatever dialect its server speaks."""
    if "choices" in response.raw:
        return response.raw
    # The mark of the server is ours, and no part of OpenAI's form.
    message = {name: value for name, value in response.message.items() if name != ORIGIN}
    # What reads the output needs to know one form only.
    found: Json = {
        "id": response.id,
        "object": "chat.completion",
        "created": response.raw.get("created_at"),
        "model": response.model,
        "choices": [
            {"index": 0, "message": message, "finish_reason": response.finish_reason},
        ],
    }
    if response.usage is not None:
        usage = response.usage
        found["usage"] = {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
        }
    return found


def from_responses(document: Json) -> ChatResponse:
    """The text, the end and the tokens of a response, with its own form in ``raw``."""
    items = dicts(document.get("output"))
    try:
        ended = finish_reason(document, items)
    except NoAnswer as error:
        raise BadAnswerError(f"The response is no answer: {error.error}.") from None
    parts = [part for item in items for part in dicts(item.get("content"))]
    said = "".join(text(part.get("text")) for part in parts if part.get("type") == "output_text")
    usage: Any = document.get("usage")
    return ChatResponse(
        choices=[Choice(content=said, finish_reason=ended)],
        usage=read_usage(usage) if isinstance(usage, dict) else None,
        model=text(document.get("model")),
        id=text(document.get("id")),
        raw=document,
    )
