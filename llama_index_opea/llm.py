"""``OPEALLM``: LlamaIndex's LLM for every server that speaks the chat-completions protocol."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from pydantic import BaseModel, Field, PrivateAttr

from llama_index_opea import options
from llama_index_opea.answers import ResponseWriter, chat_response, completion_response
from llama_index_opea.connection import Connection
from llama_index_opea.instrumentation import closed_with_the_answer, instrumented
from llama_index_opea.messages import Json, reads, refuse_media, to_wire
from llama_index_opea.structured import form_of
from llama_index_opea.structured_methods import ObjectMethods
from opea_core import ConfigurationError
from opea_core.adapters import hidden

if TYPE_CHECKING:
    from typing import Unpack

    from llama_index_opea.constructor_options import OPEALLMOptions
    from opea_core import AsyncChatStream, ChatStream

_BODY_FIELDS = (
    "temperature", "max_tokens", "stop", "top_p", "seed", "presence_penalty", "frequency_penalty",
    "logprobs", "logit_bias", "reasoning_effort", "verbosity", "service_tier", "modalities",
)  # fmt: skip
_logger = logging.getLogger("opea_core")


class OPEALLM(Connection, ObjectMethods, defer_build=False):
    """An LLM behind any OpenAI-compatible server: vLLM, llama.cpp, Ollama, LiteLLM, a gateway.

    ``OPEALLM(model="qwen3", api_base="http://localhost:8000", api_key="...")``, or
    ``OPEALLM(client=opea_core.OPEA(...))`` to share one queue, breaker and set of connections. The
    keywords are those of ``OpenAILike``; those about servers are listed in ``Connection``. Fields
    of the request that are not listed go into ``additional_kwargs=`` or ``extra_body=``; per call,
    into the call.

    Raises the errors of ``opea_core``; ``errors`` has three more.
    """

    model: str | None = None
    """The model; if not given and the server serves one, that one, asked for at the first call."""
    temperature: float | None = 0.1
    """None sends none."""
    max_tokens: int | None = None
    context_window: int | None = None
    """Tokens the model takes; else what ``discover`` found, else 3900."""
    stop: list[str] | str | None = None
    top_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int = 0
    """Alternatives for each token; sent with ``logprobs=True``."""
    logit_bias: dict[str, int] | dict[int, int] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    modalities: list[str] | None = None
    audio_config: dict[str, Any] | None = None
    tokenizer: Any = hidden()
    """Has an ``encode`` method (or names a tokenizer of Hugging Face).

    Completions then infer ``max_tokens``.
    """
    additional_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request."""
    extra_body: dict[str, Any] | None = None
    """Further fields of the request; they win over ``additional_kwargs``."""
    priority: Annotated[int, Field(ge=0, le=9)] | None = hidden()
    """0 (urgent) to 9 in the queue."""

    _model_field: ClassVar[str] = "model"
    _aliases: ClassVar[Mapping[str, str]] = options.ALIASES
    _guessed: bool = PrivateAttr(default=False)
    _asked: bool = PrivateAttr(default=False)
    _dumped: tuple[tuple[Any, ...], dict[str, Any]] | None = PrivateAttr(default=None)

    if TYPE_CHECKING:  # the model may come first, and names may be OpenAILike's

        def __init__(
            self, model_: str | None = None, /, **keywords: Unpack[OPEALLMOptions]
        ) -> None: ...

    @classmethod
    def class_name(cls) -> str:
        """The name in stored dicts."""
        return "OPEALLM"

    @classmethod
    def _unknown_hint(cls) -> str:
        return "Further fields of the request body go into additional_kwargs= or extra_body=."

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex plans by; never asks the server (``discover`` does)."""
        if not self._guessed and self._known_window() is None:
            self._guessed = True
            advice = (
                "Pass context_window=."
                if self._asked
                else "Pass context_window=, or call discover()."
            )
            text = "The context window of %s is not known; %d tokens are assumed. %s"
            _logger.warning(text, self._model_name(), DEFAULT_CONTEXT_WINDOW, advice)
        return self._metadata()

    def _discovered(self) -> None:
        self._asked = True

    def _metadata(self) -> LLMMetadata:
        return LLMMetadata(
            context_window=self._known_window() or DEFAULT_CONTEXT_WINDOW,
            num_output=self.max_tokens or -1,
            is_chat_model=self.is_chat_model,
            is_function_calling_model=self._calls_tools() and self.is_chat_model,
            model_name=self._model_name(),
        )

    def _calls_tools(self) -> bool:
        """What was set here, else what is known of the server."""
        if "is_function_calling_model" in self.model_fields_set:
            return self.is_function_calling_model
        known = self.client.endpoints[0].capabilities.tools
        return self.is_function_calling_model if known is None else known

    def _known_window(self) -> int | None:
        return self.context_window or self._discovered_window()

    def _model_name(self) -> str:
        return self.model or self.client.model or "unknown"

    def to_payload(self) -> dict[str, Any]:
        """What events show of this object; no keys, no headers."""
        shown = {
            "api_base": self._url(),
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        return {"class_name": self.class_name(), **self._shown_metadata(), **shown}

    def _shown_metadata(self) -> dict[str, Any]:
        """Every call shows it to events, whether anybody listens or not.

        It is made again only when something in it changed.
        """
        if type(self).metadata is not OPEALLM.metadata:
            return self.metadata.model_dump()
        of = (
            self._known_window(),
            self.max_tokens,
            self.is_chat_model,
            self._calls_tools(),
            self._model_name(),
        )
        dumped = self._dumped
        if dumped is None or dumped[0] != of:
            self._dumped = dumped = of, self._metadata().model_dump()
        return dumped[1]

    # --- chat and completions

    @instrumented(llm_chat_callback())
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """One answer.

        Options of the call win over fields, unknown ones go into the request body.
        """
        return self._send(self._chat_input(messages), kwargs)

    @instrumented(llm_chat_callback())
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """``chat`` for async code."""
        return await self._asend(await self._achat_input(messages), kwargs)

    @instrumented(llm_chat_callback())
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """One answer in growing responses: ``message`` is all so far, ``delta`` the new text.

        Reasoning comes as ``additional_kwargs["thinking_delta"]``; usage, finish reason and
        logprobs with the last response. Raises StreamInterrupted where a stream breaks off.
        """
        return self._stream(self._chat_input(messages), kwargs)

    @instrumented(llm_chat_callback())
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """``stream_chat`` for async code: ``async for r in await llm.astream_chat(...)``."""
        return await self._astream(await self._achat_input(messages), kwargs)

    @instrumented(llm_completion_callback())
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """One answer to a prompt.

        It goes as the user's message, or by ``/completions`` with ``is_chat_model=False``.

        ``formatted``: the prompt needs no ``completion_to_prompt``, which is for ``/completions``
        only.
        """
        return completion_response(self._send(self._prompt_input(prompt, formatted), kwargs))

    @instrumented(llm_completion_callback())
    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """``complete`` for async code."""
        return completion_response(await self._asend(self._prompt_input(prompt, formatted), kwargs))

    @instrumented(llm_completion_callback())
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """``complete`` in growing responses."""
        return _completions(self._stream(self._prompt_input(prompt, formatted), kwargs))

    @instrumented(llm_completion_callback())
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """``stream_complete`` for async code."""
        return _acompletions(await self._astream(self._prompt_input(prompt, formatted), kwargs))

    def _chat_input(self, messages: Sequence[ChatMessage]) -> list[Json] | str:
        """What is sent: messages, or in completions mode a prompt."""
        if not messages or not all(isinstance(message, ChatMessage) for message in messages):
            raise ConfigurationError(
                "chat() takes a list of ChatMessage objects, at least one.",
                "A plain prompt goes into complete().",
            )
        if not self.is_chat_model:
            refuse_media(messages, (), "a completion's prompt is text only (is_chat_model=False)")
            return str(self.messages_to_prompt(messages))  # type: ignore[misc]
        for endpoint in self.client.endpoints:
            taken = endpoint.capabilities.media
            if taken is not None:
                refuse_media(
                    messages,
                    taken,
                    f"{endpoint.label} takes {', '.join(['text', *sorted(taken)])} only",
                )
        return to_wire(
            messages, all(endpoint.capabilities.cache_points for endpoint in self.client.endpoints)
        )

    async def _achat_input(self, messages: Sequence[ChatMessage]) -> list[Json] | str:
        return (
            await asyncio.to_thread(self._chat_input, messages)
            if reads(messages)
            else self._chat_input(messages)
        )

    def _prompt_input(self, prompt: str, formatted: bool) -> list[Json] | str:
        if not isinstance(prompt, str):
            raise ConfigurationError(
                f"A prompt is a string, not {type(prompt).__name__}.", "Messages go into chat()."
            )
        if self.is_chat_model:
            return [{"role": "user", "content": prompt}]
        return prompt if formatted else str(self.completion_to_prompt(prompt))  # type: ignore[misc]

    def _send(self, sent: list[Json] | str, kwargs: Mapping[str, Any]) -> ChatResponse:
        self._ask_for_model(self._named_model(kwargs))
        call = self.client.chat if isinstance(sent, list) else self.client.complete
        return chat_response(call(sent, **self._options(sent, kwargs)))

    async def _asend(self, sent: list[Json] | str, kwargs: Mapping[str, Any]) -> ChatResponse:
        await self._aask_for_model(self._named_model(kwargs))
        call = self.client.achat if isinstance(sent, list) else self.client.acomplete
        return chat_response(await call(sent, **self._options(sent, kwargs)))

    def _stream(self, sent: list[Json] | str, kwargs: Mapping[str, Any]) -> ChatResponseGen:
        self._ask_for_model(self._named_model(kwargs))
        call = self.client.stream_chat if isinstance(sent, list) else self.client.stream_complete
        return closed_with_the_answer(_responses(call(sent, **self._options(sent, kwargs))))

    async def _astream(
        self, sent: list[Json] | str, kwargs: Mapping[str, Any]
    ) -> ChatResponseAsyncGen:
        await self._aask_for_model(self._named_model(kwargs))
        call = self.client.astream_chat if isinstance(sent, list) else self.client.astream_complete
        return closed_with_the_answer(_aresponses(call(sent, **self._options(sent, kwargs))))

    def _options(self, sent: list[Json] | str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        found = self._merged(
            self._call_model(self.model) | self._shared_options() | self._body(sent), kwargs
        )
        own = "messages" if isinstance(sent, list) else "prompt"
        if own in found:
            raise ConfigurationError(
                f"{own!r} cannot be a further field of the request.",
                "Take it out of additional_kwargs=.",
            )
        if "output_schema" in found:
            found.pop("response_format", None)
            found.get("extra_body", {}).pop("response_format", None)
        form = found.get("response_format")
        if isinstance(form, type) and issubclass(form, BaseModel):
            found["response_format"] = {
                "type": "json_schema",
                "json_schema": form_of(form, self.strict),
            }
        if found.get("n", found.get("extra_body", {}).get("n")) not in (None, 1):
            raise ConfigurationError(
                "LlamaIndex has one answer per call.", "Leave n= out, or call opea_core.OPEA.chat."
            )
        return found

    def _body(self, sent: list[Json] | str) -> dict[str, Any]:
        """The fields that are part of every request; those of ``/completions`` differ in two."""
        values = vars(self)
        body = {
            name: values[name]
            for name in _BODY_FIELDS
            if values[name] is not None and values[name] != []
        }
        if self.audio_config:
            body["audio"] = self.audio_config
        if isinstance(sent, str):
            if self.logprobs:
                body["logprobs"] = self.top_logprobs
            if self.max_tokens is None and self.tokenizer is not None:
                body["max_tokens"] = self._room_after(sent)
        elif self.logprobs and self.top_logprobs:
            body["top_logprobs"] = self.top_logprobs
        return body

    def _room_after(self, prompt: str) -> int:
        tokenizer = (
            _tokenizer(self.tokenizer) if isinstance(self.tokenizer, str) else self.tokenizer
        )
        window, used = self.metadata.context_window, len(tokenizer.encode(prompt))
        if used >= window:
            raise ConfigurationError(
                f"The prompt has {used} tokens, the model takes {window}.",
                "Shorten it, or set context_window=.",
            )
        return window - used


def _responses(stream: ChatStream) -> ChatResponseGen:
    writer = ResponseWriter()
    with stream:
        for chunk in stream:
            response = writer.write(chunk, more=stream.waiting > 0)
            if response is not None:
                yield response


async def _aresponses(stream: AsyncChatStream) -> ChatResponseAsyncGen:
    writer = ResponseWriter()
    async with stream:
        async for chunk in stream:
            response = writer.write(chunk, more=stream.waiting > 0)
            if response is not None:
                yield response


def _completions(responses: ChatResponseGen) -> CompletionResponseGen:
    for response in responses:
        yield completion_response(response)


async def _acompletions(responses: ChatResponseAsyncGen) -> CompletionResponseAsyncGen:
    async with aclosing(responses):
        async for response in responses:
            yield completion_response(response)


@lru_cache(maxsize=8)
def _tokenizer(name: str) -> Any:
    try:
        from transformers import AutoTokenizer  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ConfigurationError(
            "tokenizer= names a tokenizer of Hugging Face.", "pip install transformers"
        ) from error
    return AutoTokenizer.from_pretrained(name)
