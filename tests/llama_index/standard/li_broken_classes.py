"""LLMs that do one thing wrong each: ours, and then something that integrations really do."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Sequence
from typing import Any

from llama_index.core.base.llms.types import AudioBlock, DocumentBlock, ImageBlock, LLMMetadata
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse, CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.llms.llm import LLM
from llama_index_instrumentation import get_dispatcher

from llama_index_opea import OPEALLM
from opea_core.errors import StreamInterrupted

# --- calls and streams


class NotTrimmed(OPEALLM):
    def _validate_chat_with_tools_response(
        self, response: ChatResponse, tools: Any, **kwargs: Any
    ) -> ChatResponse:
        return response


class Appending(OPEALLM):
    """Adds the question to the caller's own history."""

    def _prepare_chat_with_tools(
        self, tools: Any, user_msg: Any = None, chat_history: Any = None, **kwargs: Any
    ) -> Any:
        chat_history = [] if chat_history is None else chat_history
        if user_msg:
            chat_history.append(ChatMessage(role="user", content=user_msg))
        return super()._prepare_chat_with_tools(tools, None, chat_history, **kwargs)


class NothingRequired(OPEALLM):
    """An old signature, without ``tool_required``."""

    def _prepare_chat_with_tools(  # type: ignore[override]
        self, tools: Any, user_msg: Any = None, chat_history: Any = None, verbose: bool = False,
        allow_parallel_tool_calls: bool = False, **kwargs: Any,
    ) -> Any:  # fmt: skip
        return super()._prepare_chat_with_tools(
            tools, user_msg, chat_history, verbose, allow_parallel_tool_calls, **kwargs
        )


class NoChoice(OPEALLM):
    def _prepare_chat_with_tools(self, *args: Any, **kwargs: Any) -> Any:
        return {**super()._prepare_chat_with_tools(*args, **kwargs), "tool_choice": "auto"}


class ReadsBlocksOnly(OPEALLM):
    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> Any:
        response = response.model_copy(
            update={"message": ChatMessage(role="assistant", blocks=response.message.blocks)}
        )
        return super().get_tool_calls_from_response(response, error_on_no_tool_call)


class NeverAnError(OPEALLM):
    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> Any:
        return super().get_tool_calls_from_response(response, error_on_no_tool_call=False)


class AlwaysAnError(OPEALLM):
    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> Any:
        return super().get_tool_calls_from_response(response)


class Enough(OPEALLM):
    """Takes a stream that breaks off for a whole one."""

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        try:
            yield from super().stream_chat(messages, **kwargs)
        except StreamInterrupted:
            return

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        async def stream(inner: Any) -> AsyncIterator[Any]:
            try:
                async for response in inner:
                    yield response
            except StreamInterrupted:
                return

        return stream(await super().astream_complete(prompt, formatted, **kwargs))


class Leaking(OPEALLM):
    """Streams stay open when they are closed."""

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        inner = super().stream_chat(messages, **kwargs)
        _leaked.append(inner)
        return (response for response in inner)

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        inner = await super().astream_chat(messages, **kwargs)
        _leaked.append(inner)
        return (response async for response in inner)


_leaked: list[Any] = []


class HeldOpen(OPEALLM):
    """The callbacks are as they should be, but the answer stays open."""

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        chunks = self.client.stream_chat([{"role": "user", "content": "Hello"}])
        chunks.__enter__()
        _leaked.append(chunks)
        return (
            ChatResponse(message=ChatMessage(role="assistant", content="Hello"), delta="Hello")
            for _ in chunks
        )


class SystemPromptTwice(OPEALLM):
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return super().chat(self._extend_messages(list(messages)), **kwargs)


class Lists(OPEALLM):
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return list(super().stream_chat(messages, **kwargs))


class NoCoroutine(OPEALLM):
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:  # type: ignore[override]
        async for response in await super().astream_chat(messages, **kwargs):
            yield response


class TwoEvents(OPEALLM):
    """One public method calls another."""

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        super().complete(prompt, formatted, **kwargs)
        response = self.chat([ChatMessage(role="user", content=prompt)], **kwargs)
        return CompletionResponse(
            text=str(response.message.content),
            raw=response.raw,
            additional_kwargs=response.additional_kwargs,
        )

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        await super().acomplete("Hello", **kwargs)
        return await super().achat(messages, **kwargs)


class Unheard(OPEALLM):
    """No callbacks, no limiter."""

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        manager, self.callback_manager = self.callback_manager, CallbackManager([])
        limiter, self.rate_limiter = self.rate_limiter, None
        try:
            return super().chat(messages, **kwargs)
        finally:
            self.callback_manager, self.rate_limiter = manager, limiter


class ConstructorWins(OPEALLM):
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return super().chat(messages, **{**kwargs, "max_tokens": self.max_tokens})


class Mutating(OPEALLM):
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        response = super().chat(messages, **kwargs)
        messages[0].blocks.pop()
        return response


class Swallowing(OPEALLM):
    """An error becomes an answer."""

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        try:
            return super().chat(messages, **kwargs)
        except Exception as error:  # noqa: BLE001
            return ChatResponse(message=ChatMessage(role="assistant", content=str(error)))


class Talkative(OPEALLM):
    """An error shows the key."""

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        try:
            return super().chat(messages, **kwargs)
        except Exception as error:
            raise RuntimeError(f"401 with not-a-key: {error}") from error


def dropping(*kinds: type) -> type[OPEALLM]:
    """Blocks of these kinds vanish on the way."""

    class Dropping(OPEALLM):
        def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
            kept = [message.model_copy(deep=True) for message in messages]
            for message in kept:
                message.blocks = [block for block in message.blocks if not isinstance(block, kinds)]
            return super().chat(kept, **kwargs)

    return Dropping


NoMedia = dropping(ImageBlock, AudioBlock, DocumentBlock)


class Cores(OPEALLM):
    """Structured prediction as core does it."""

    structured_predict = LLM.structured_predict  # type: ignore[assignment]
    astructured_predict = LLM.astructured_predict  # type: ignore[assignment]
    stream_structured_predict = LLM.stream_structured_predict  # type: ignore[assignment]
    astream_structured_predict = LLM.astream_structured_predict  # type: ignore[assignment]
    _structured_stream_call = LLM._structured_stream_call  # type: ignore[assignment]
    _structured_astream_call = LLM._structured_astream_call  # type: ignore[assignment]


class Dicts(OPEALLM):
    def structured_predict(self, *args: Any, **kwargs: Any) -> Any:
        return super().structured_predict(*args, **kwargs).model_dump()


class Unprompted(OPEALLM):
    def _extend_messages(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        return messages


# --- keeping


class ShowsKey(OPEALLM):
    def to_payload(self) -> dict[str, Any]:
        return {**super().to_payload(), "api_key": "not-a-key"}


class ShowsHeaders(OPEALLM):
    def to_payload(self) -> dict[str, Any]:
        return {**super().to_payload(), "headers": {"x-team": "not-to-be-shown"}}


class KeyInRepr(OPEALLM):
    def __repr__(self) -> str:
        return f"{super().__repr__()} not-a-key"


class KeyInDict(OPEALLM):
    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().to_dict(**kwargs), "api_key": "not-a-key"}


class TellsArguments(OPEALLM):
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        get_dispatcher(__name__).event(_Told(tags={"arguments": copy.deepcopy(kwargs)}))
        return super().chat(messages, **kwargs)


class _Told(BaseEvent):
    pass


class AsksForMetadata(OPEALLM):
    @property
    def metadata(self) -> LLMMetadata:
        self.client.models()
        return super().metadata


class Swallows(OPEALLM):
    def __init__(self, **data: Any) -> None:
        data.pop("no_such_argument", None)
        super().__init__(**data)


class Forgets(OPEALLM):
    """Loses a field on the way through a dict."""

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        return {
            name: value
            for name, value in super().to_dict(**kwargs).items()
            if name != "system_prompt"
        }


class Unpicklable(OPEALLM):
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("cannot pickle")


class Frozen(OPEALLM):
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "callback_manager":
            raise ValueError("frozen")
        super().__setattr__(name, value)


class Nameless(OPEALLM):
    @classmethod
    def class_name(cls) -> str:
        return LLM.class_name()


class InDisguise(OPEALLM):
    achat = CustomLLM.achat  # type: ignore[assignment]
