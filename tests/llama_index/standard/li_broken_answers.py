"""LLMs whose responses have one fault each:
ours, and then something that integrations really do wrong.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any

from llama_index.core.base.llms.types import ThinkingBlock, ToolCallBlock
from llama_index.core.llms import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
)

from llama_index_opea import OPEALLM

Change = Callable[[list[Any]], list[Any]]


def broken(change: Change) -> type[OPEALLM]:
    """Ours, with the responses of every call changed before anybody sees them;
    one of a call that does not stream.
    """

    class Broken(OPEALLM):
        def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
            return _changed([super().chat(messages, **kwargs)])[-1]

        async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
            return _changed([await super().achat(messages, **kwargs)])[-1]

        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            return _changed([super().complete(prompt, formatted, **kwargs)])[-1]

        async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            return _changed([await super().acomplete(prompt, formatted, **kwargs)])[-1]

        def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
            yield from _changed(list(super().stream_chat(messages, **kwargs)))

        async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
            return _stream(
                _changed(
                    [response async for response in await super().astream_chat(messages, **kwargs)]
                )
            )

        def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            yield from _changed(list(super().stream_complete(prompt, formatted, **kwargs)))

        async def astream_complete(
            self, prompt: str, formatted: bool = False, **kwargs: Any
        ) -> Any:
            return _stream(
                _changed(
                    [
                        response
                        async for response in await super().astream_complete(
                            prompt, formatted, **kwargs
                        )
                    ]
                )
            )

    def _changed(responses: list[Any]) -> list[Any]:
        return change([response.model_copy(deep=True) for response in responses])

    return Broken


async def _stream(responses: list[Any]) -> AsyncIterator[Any]:
    for response in responses:
        yield response


def each(change: Callable[[Any], object]) -> Change:
    """Do this to each response of a chat."""

    def change_all(responses: list[Any]) -> list[Any]:
        for response in responses:
            if isinstance(response, ChatResponse):
                change(response)
        return responses

    return change_all


def last(change: Callable[[Any], object]) -> Change:
    """Do this to the last response, of whatever kind."""

    def change_last(responses: list[Any]) -> list[Any]:
        change(responses[-1])
        return responses

    return change_last


# --- messages and streams


def only_new_text(response: ChatResponse) -> None:
    if response.delta is not None:
        response.message.blocks = [TextBlock(text=response.delta)]


def one_message_for_all(responses: list[Any]) -> list[Any]:
    if isinstance(responses[-1], ChatResponse):
        for response in responses:
            response.message = responses[-1].message
    return responses


def empty_at_the_end(responses: list[Any]) -> list[Any]:
    """The usage comes alone."""
    if isinstance(responses[-1], CompletionResponse):
        return [*responses, CompletionResponse(text="", delta="", raw=responses[-1].raw)]
    return [
        *responses,
        ChatResponse(
            message=ChatMessage(role=MessageRole.ASSISTANT), delta="", raw=responses[-1].raw
        ),
    ]


def without_delta(responses: list[Any]) -> list[Any]:
    for response in responses:
        response.delta = None
    return responses


def all_text_as_delta(responses: list[Any]) -> list[Any]:
    for response in responses:
        response.delta = (
            response.text if isinstance(response, CompletionResponse) else response.message.content
        )
    return responses


def first_lost(responses: list[Any]) -> list[Any]:
    return responses[1:] or responses


def first_thought_lost(responses: list[Any]) -> list[Any]:
    """The stream is sound in itself, but for what came with the first chunk."""
    for block in (
        block
        for response in responses[1:]
        if isinstance(response, ChatResponse)
        for block in response.message.blocks
    ):
        if isinstance(block, ThinkingBlock):
            block.content = (block.content or "").partition(" ")[2]
    return responses[1:] or responses


def from_the_user(response: ChatResponse) -> None:
    response.message.role = MessageRole.USER


def text_first(response: ChatResponse) -> None:
    response.message.blocks.reverse()


def text_in_two_blocks(response: ChatResponse) -> None:
    response.message.blocks = [TextBlock(text=response.message.content or ""), TextBlock(text="")]


def thinking_in_pieces(response: ChatResponse) -> None:
    thoughts = [block for block in response.message.blocks if isinstance(block, ThinkingBlock)]
    for block in thoughts:
        words = (block.content or "").partition(" ")
        response.message.blocks[:1] = [
            ThinkingBlock(content=words[0] + words[1]),
            ThinkingBlock(content=words[2]),
        ]


def thinking_forgotten(response: ChatResponse) -> None:
    response.message.blocks = [
        block for block in response.message.blocks if not isinstance(block, ThinkingBlock)
    ]


def thinking_in_the_text(response: ChatResponse) -> None:
    text = "".join(
        getattr(block, "content", None) or getattr(block, "text", "")
        for block in response.message.blocks
    )
    response.message.blocks = [TextBlock(text=text)]


def no_thinking_delta(response: ChatResponse) -> None:
    response.additional_kwargs.pop("thinking_delta", None)


def always_a_thinking_delta(response: ChatResponse) -> None:
    response.additional_kwargs.setdefault("thinking_delta", "")


def thinking_delta_of_the_message(response: ChatResponse) -> None:
    if "thinking_delta" in response.additional_kwargs:
        response.message.additional_kwargs["thinking_delta"] = response.additional_kwargs.pop(
            "thinking_delta"
        )


# --- what responses tell besides


def raw_text(response: Any) -> None:
    response.raw = "the answer"


def no_usage(response: Any) -> None:
    response.raw = {name: value for name, value in (response.raw or {}).items() if name != "usage"}


def usage_at_the_beginning(responses: list[Any]) -> list[Any]:
    usage = responses[-1].raw.get("usage")
    no_usage(responses[-1])
    responses[0].raw = {**(responses[0].raw or {}), "usage": usage}
    return responses


def no_counts(response: Any) -> None:
    response.additional_kwargs = {
        name: value
        for name, value in response.additional_kwargs.items()
        if not name.endswith("_tokens")
    }


def no_finish_reason(response: Any) -> None:
    response.additional_kwargs.pop("finish_reason", None)


def no_logprobs(response: Any) -> None:
    response.logprobs = None


def last_logprob_only(response: Any) -> None:
    response.logprobs = response.logprobs and response.logprobs[-1:]


def flat_logprobs(response: Any) -> None:
    response.logprobs = response.logprobs and [
        candidate for candidates in response.logprobs for candidate in candidates
    ]


def no_reasoning_content(response: Any) -> None:
    response.additional_kwargs.pop("reasoning_content", None)


# --- calls


def calls_in_blocks_only(response: ChatResponse) -> None:
    response.message.additional_kwargs.pop("tool_calls", None)


def calls_as_dicts_only(response: ChatResponse) -> None:
    response.message.blocks = [
        block for block in response.message.blocks if not isinstance(block, ToolCallBlock)
    ]


def calls_as_objects(response: ChatResponse) -> None:
    calls = response.message.additional_kwargs.get("tool_calls", ())
    objects = [
        SimpleNamespace(id=call["id"], function=SimpleNamespace(**call["function"]))
        for call in calls
    ]
    response.message.additional_kwargs.update({"tool_calls": objects} if objects else {})


def calls_unread(response: ChatResponse) -> None:
    for block in response.message.blocks:
        if isinstance(block, ToolCallBlock):
            block.tool_kwargs = str(block.tool_kwargs)


def same_ids(response: ChatResponse) -> None:
    for block in response.message.blocks:
        if isinstance(block, ToolCallBlock):
            block.tool_call_id = "call_1"


def text_lost_beside_calls(response: ChatResponse) -> None:
    if response.message.additional_kwargs.get("tool_calls"):
        response.message.blocks = [
            block for block in response.message.blocks if not isinstance(block, TextBlock)
        ]


def second_call_lost(response: ChatResponse) -> None:
    calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
    response.message.blocks = [block for block in response.message.blocks if block not in calls[1:]]
    response.message.additional_kwargs.update(
        {"tool_calls": calls and response.message.additional_kwargs["tool_calls"][:1]}
    )
