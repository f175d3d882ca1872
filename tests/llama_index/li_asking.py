"""Every way to ask an LLM, and what a response tells, in one form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, NamedTuple

from llama_index.core.base.llms.types import ThinkingBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse

from llama_index_opea import OPEALLM
from opea_core import RetryPolicy
from opea_core.testing import ScriptedServer

Json = dict[str, Any]
Response = ChatResponse | CompletionResponse
Way = Callable[[OPEALLM], Response]
LLMWith = Callable[..., OPEALLM]
"""Makes an LLM at the test's server that is closed with it: ``llm_with(**options)``."""

HI = [ChatMessage(role="user", content="Hi")]
_NO_RETRIES = RetryPolicy(max_retries=0)


def llm_at(server: ScriptedServer, **options: Any) -> OPEALLM:
    """An LLM at the server that does not try again."""
    return OPEALLM(
        **{"model": "m", "api_base": server.url, "label": "one", "retry": _NO_RETRIES} | options
    )


async def alist(responses: AsyncIterator[Any]) -> list[Any]:
    return [response async for response in responses]


def responses_of(
    way: str, llm: OPEALLM, messages: Sequence[ChatMessage] = HI, **options: Any
) -> list[Any]:
    """All responses of one of the eight ways;
    the four of completions get the text of the last message.
    """

    given = (messages[-1].content or "") if way.endswith("complete") else messages
    call = getattr(llm, way)
    if way.startswith("a"):
        return asyncio.run(_awaited(call, given, options, "stream" in way))
    answer = call(given, **options)
    return list(answer) if "stream" in way else [answer]


async def _awaited(call: Any, given: Any, options: Json, is_stream: bool) -> list[Any]:
    answer = await call(given, **options)
    return await alist(answer) if is_stream else [answer]


def last_of(way: str, llm: OPEALLM, messages: Sequence[ChatMessage] = HI, **options: Any) -> Any:
    """The answer, or the last response of the stream."""
    return responses_of(way, llm, messages, **options)[-1]


CHATS = ("chat", "achat", "stream_chat", "astream_chat")
COMPLETIONS = ("complete", "acomplete", "stream_complete", "astream_complete")
WAYS = (*CHATS, *COMPLETIONS)
STREAMS = tuple(way for way in WAYS if "stream" in way)
CHAT_STREAMS = ("stream_chat", "astream_chat")


def apart(pieces: Iterable[Any]) -> list[Any]:
    """The pieces of a stream with a thought behind each,
    so that none is joined with the next one into one response.
    """
    return [part for piece in pieces for part in (piece, {"reasoning_content": "."})]


class Said(NamedTuple):
    """What a response tells its reader."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str, Json], ...] = ()
    """Id (INVENTED where the server gave none), name, arguments."""
    invalid: tuple[tuple[str, str, str], ...] = ()
    """Id, name, and the text that should be arguments."""
    usage: tuple[int, int, int] | None = None
    finish: str | None = "stop"


INVENTED = "(invented)"


def known_id(id_: str | None) -> str:
    """The id, or INVENTED."""
    return INVENTED if id_ and id_.startswith("call_") and len(id_) == 37 else id_ or ""


def said(response: Response) -> Said:
    """What a whole response tells: of a chat by its blocks,
    of a completion by ``additional_kwargs``.
    """
    known = response.additional_kwargs
    usage = (
        (known["prompt_tokens"], known["completion_tokens"], known["total_tokens"])
        if "prompt_tokens" in known
        else None
    )
    if isinstance(response, ChatResponse):
        text, reasoning, calls, invalid = _of_blocks(response.message)
    else:
        text, reasoning = response.text, known.get("reasoning_content", "")
        calls, invalid = _of_dicts(known)
    return Said(text, reasoning, calls, invalid, usage, known["finish_reason"])


def _of_blocks(message: ChatMessage) -> tuple[str, str, Any, Any]:
    reasoning = "".join(
        block.content or "" for block in message.blocks if isinstance(block, ThinkingBlock)
    )
    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    whole = tuple(
        (known_id(c.tool_call_id), c.tool_name, c.tool_kwargs)
        for c in calls
        if isinstance(c.tool_kwargs, dict)
    )
    broken = tuple(
        (known_id(c.tool_call_id), c.tool_name, c.tool_kwargs)
        for c in calls
        if isinstance(c.tool_kwargs, str)
    )
    return message.content or "", reasoning, whole, broken


def _of_dicts(known: Json) -> tuple[Any, Any]:
    broken = {call["id"] for call in known.get("invalid_tool_calls", ())}
    calls = [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in known.get("tool_calls", ())
    ]
    whole = tuple(
        (known_id(id_), name, json.loads(args, strict=False))
        for id_, name, args in calls
        if id_ not in broken
    )
    return whole, tuple((known_id(id_), name, args) for id_, name, args in calls if id_ in broken)
