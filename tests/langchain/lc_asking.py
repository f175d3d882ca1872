"""Every way to ask a chat model, and what a message tells, in one form."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_core._api import LangChainBetaWarning
from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_opea import ChatOPEA
from opea_core import RetryPolicy
from opea_core.testing import ScriptedServer

Call = tuple[str, dict[str, Any], str | None]
"""Name, arguments, id; the id is INVENTED where the server gave none."""
Invalid = tuple[str | None, str, str | None]
"""Name, the raw text of the arguments, id."""
Block = tuple[str, Any]
"""Type and substance."""

INVENTED = "(invented)"
_BRACKETS = ("", "]", '"]', '""]', "}", '"}', '""}')
_NO_RETRIES = RetryPolicy(max_retries=0)


@dataclass(frozen=True)
class Told:
    """What a message tells its reader."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    invalid: tuple[Invalid, ...] = ()
    usage: Any = None
    finish: str | None = "stop"
    refusal: str = ""

    @property
    def blocks(self) -> list[Block]:
        """The content blocks that say the same, in the order of a whole answer."""
        reasoning = [("reasoning", self.reasoning)] if self.reasoning else []
        text = [("text", self.text)] if self.text else []
        refusal = [("refusal", self.refusal)] if self.refusal else []
        calls = [("tool_call", (name, args, id_)) for name, args, id_ in self.calls]
        return [
            *reasoning,
            *text,
            *refusal,
            *calls,
            *[("invalid_tool_call", name) for name, _, _ in self.invalid],
        ]


def told(message: AIMessage, expected: Told = Told()) -> Told:
    """What a message tells; ids and brackets as ``expected`` has them where they may differ.

    Broken arguments of a streamed call carry a bracket more, so that LangChain does not mend them.
    """
    return Told(
        text=str(message.text),
        reasoning=message.additional_kwargs.get("reasoning_content", ""),
        calls=tuple(
            (c["name"], c["args"], _id(c["id"], i, expected.calls))
            for i, c in enumerate(message.tool_calls)
        ),
        invalid=tuple(
            (c["name"], _raw(c["args"], i, expected.invalid), _id(c["id"], i, expected.invalid))
            for i, c in enumerate(message.invalid_tool_calls)
        ),
        usage=message.usage_metadata,
        finish=message.response_metadata["finish_reason"],
        refusal=message.additional_kwargs.get("refusal", ""),
    )


def blocks(message: AIMessage, expected: Told = Told()) -> list[Block]:
    """Type and substance of a message's content blocks, in their order."""
    found: list[Block] = []
    for block in message.content_blocks:
        kind: str = block["type"]
        value: Any = block.get("text") or block.get("reasoning") or block.get("refusal")
        if kind == "tool_call":
            seen = sum(1 for known, _ in found if known == "tool_call")
            value = (block["name"], block["args"], _id(block["id"], seen, expected.calls))
        elif kind in (
            "invalid_tool_call",
            "tool_call_chunk",
        ):  # LangChain leaves a broken call a chunk when it merges v1
            kind, value = "invalid_tool_call", block["name"]
        found.append((kind, value))
    return found


def in_order(found: list[Block]) -> list[Block]:
    """Blocks in the order of a whole answer, texts and thoughts as one each;
    in a merged stream they stand as they came.
    """
    order = ("reasoning", "text", "refusal", "tool_call", "invalid_tool_call")
    joined: list[Block] = []
    for kind, value in sorted(found, key=lambda block: order.index(block[0])):
        if joined and joined[-1][0] == kind and kind in ("reasoning", "text"):
            joined[-1] = (kind, joined[-1][1] + value)
        else:
            joined.append((kind, value))
    return joined


def _id(id_: str | None, position: int, expected: tuple[Any, ...]) -> str | None:
    invented = position < len(expected) and expected[position][-1] == INVENTED
    return INVENTED if invented and id_ and id_.startswith("call_") else id_


def _raw(args: str | None, position: int, expected: tuple[Invalid, ...]) -> str:
    args = args or ""
    raw = expected[position][1] if position < len(expected) else args
    return raw if args.startswith(raw) and args.removeprefix(raw) in _BRACKETS else args


def chat_model(server: ScriptedServer, **options: Any) -> ChatOPEA:
    """A model at the server that does not try again."""
    return ChatOPEA(
        **{"model": "m", "base_url": server.url, "label": "one", "retry": _NO_RETRIES} | options
    )


def merged(chunks: Any) -> AIMessageChunk:
    """The chunks added up as users do it."""
    full: Any = None
    for chunk in chunks:
        full = chunk if full is None else full + chunk
    return full


async def amerged(chunks: Any) -> AIMessageChunk:
    return merged([chunk async for chunk in chunks])


@contextmanager
def beta() -> Iterator[None]:
    """Events of version 3 are beta in LangChain."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LangChainBetaWarning)
        yield


def output_v3(model: Any, messages: Any = "Hi", **options: Any) -> AIMessage:
    with beta():
        output: AIMessage = model.stream_events(messages, version="v3", **options).output
    return output


async def aoutput_v3(model: Any, messages: Any = "Hi", **options: Any) -> AIMessage:
    with beta():
        stream = await model.astream_events(messages, version="v3", **options)
        output: AIMessage = await stream.output
    return output


ModelWith = Callable[..., ChatOPEA]
"""Makes a model at the test's server that is closed with it: ``model_with(**options)``."""

Way = Callable[..., AIMessage]
"""Asks a server's model: ``way(server, messages, **options_of_the_model)``."""


def _way(ask: Callable[[ChatOPEA, Any], AIMessage], **fixed: Any) -> Way:
    def asked(server: ScriptedServer, messages: Any = "Hi", **options: Any) -> AIMessage:
        model = chat_model(server, **(fixed | options))
        try:
            return ask(model, messages)
        finally:
            model.client.close()

    return asked


WHOLE: dict[str, Way] = {
    "invoke": _way(lambda model, messages: model.invoke(messages)),
    "ainvoke": _way(lambda model, messages: asyncio.run(model.ainvoke(messages))),
}
"""One answer, asked for without streaming."""

STREAMED: dict[str, Way] = {
    "streaming invoke": _way(lambda model, messages: model.invoke(messages), streaming=True),
    "stream": _way(lambda model, messages: merged(model.stream(messages))),
    "astream": _way(lambda model, messages: asyncio.run(amerged(model.astream(messages)))),
    "stream v1": _way(lambda model, messages: merged(model.stream(messages)), output_version="v1"),
    "events v3": _way(output_v3),
    "aevents v3": _way(lambda model, messages: asyncio.run(aoutput_v3(model, messages))),
}
"""The same answer in pieces, put together again."""

WAYS = WHOLE | STREAMED

BLOCK_WAYS: dict[str, Way] = {
    "invoke v1": _way(lambda model, messages: model.invoke(messages), output_version="v1"),
    "stream": STREAMED["stream"],
    "stream v1": STREAMED["stream v1"],
    "astream v1": _way(
        lambda model, messages: asyncio.run(amerged(model.astream(messages))), output_version="v1"
    ),
    "events v3": STREAMED["events v3"],
}
"""The ways whose messages hold blocks of their own."""
