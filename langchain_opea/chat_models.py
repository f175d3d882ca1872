"""``ChatOPEA``: LangChain's chat model for every server of the chat-completions protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import Field, model_validator

from langchain_opea import options, structured
from langchain_opea.answers import ChunkWriter, result
from langchain_opea.batches import Configs, awaited, waited_for, with_places
from langchain_opea.blocks import register_blocks
from langchain_opea.errors import (
    OPEAConfigurationError,
    alangchain_stream,
    langchain_errors,
    langchain_stream,
)
from langchain_opea.messages import to_wire
from langchain_opea.profile import profile_of
from langchain_opea.token_counting import TokenCounting
from langchain_opea.tool_binding import ToolBinding
from opea_core import ChatResponse, Timeouts, __version__
from opea_core.adapters import (
    NOT_FOR_ANSWERS,
    SECRET_IN_CALLS,
    Caller,
    hidden,
    in_call,
    layered,
)

if TYPE_CHECKING:
    from typing import Unpack

    from langchain_core.runnables import RunnableConfig

    from langchain_opea.constructor_options import ChatOPEAOptions
    from opea_core import AsyncChatStream, ChatStream

register_blocks()

_BODY_FIELDS = (
    "temperature", "max_tokens", "stop", "n", "top_p", "seed", "presence_penalty",
    "frequency_penalty", "logprobs", "top_logprobs", "logit_bias", "reasoning_effort", "verbosity",
    "service_tier", "store",
)  # fmt: skip
_NOT_SENT = ("stream", "stream_usage", "ls_structured_output_format", "structured_output_format")


class ChatOPEA(ToolBinding, TokenCounting, defer_build=False):
    """A chat model behind any OpenAI-compatible server.

    The server may be vLLM, llama.cpp, Ollama, LiteLLM or a gateway.

    ``ChatOPEA(model="qwen3", base_url="http://localhost:8000", api_key="...")``, or
    ``ChatOPEA(client=opea_core.OPEA(...))`` to share one queue, breaker and set of connections. The
    keywords are those of ``ChatOpenAI``; those about servers are listed in ``Connection``. Fields
    of the request that are not listed go into ``extra_body=`` (or ``model_kwargs=``); per call,
    into the call.

    Raises errors that are both ``opea_core.OPEAError`` and
    ``langchain_core.exceptions.ModelError``.
    """

    model_name: str | None = Field(default=None, alias="model", repr=False)
    """The model; if not given and the server serves one, that one, asked for at the first call."""
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | str | None = None
    n: int | None = None
    top_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, int] | dict[int, int] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    streaming: bool | None = None
    """Whether ``invoke`` streams, too."""
    stream_usage: bool = True
    """Whether streams ask for token counts."""
    include_response_headers: bool = False
    """Whether ``response_metadata["headers"]`` holds the answer's headers."""
    disabled_params: dict[str, Any] | None = None
    """Parameters that are not sent: names, each with None or a list of the values meant."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request."""
    extra_body: dict[str, Any] | None = None
    """Further fields of the request; they win over ``model_kwargs``."""
    priority: Annotated[int, Field(ge=0, le=9)] | None = hidden()
    """0 (urgent) to 9 in the queue."""
    stream_chunk_timeout: float | None = hidden()
    """Seconds between two pieces of a stream (the core's ``idle``)."""

    _aliases: ClassVar[Mapping[str, str]] = options.ALIASES
    _no_effect: ClassVar[frozenset[str]] = options.NO_EFFECT
    _refused: ClassVar[Mapping[str, str]] = options.REFUSED

    if TYPE_CHECKING:

        def __init__(self, **keywords: Unpack[ChatOPEAOptions]) -> None: ...

    @classmethod
    def _unified(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        return super()._unified(options.of_responses(given))

    @classmethod
    def _unknown_hint(cls) -> str:
        return "Further fields of the request body go into extra_body= or model_kwargs=."

    @classmethod
    def _connection(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        found = super()._connection(values)
        if values.get("stream_chunk_timeout") is not None:
            found["timeout"] = _with_idle(
                found.get("timeout", Timeouts()), values["stream_chunk_timeout"]
            )
        return found

    @model_validator(mode="after")
    def _set_opea_version(self) -> Self:
        self._add_version("langchain-opea", __version__)
        return self

    # --- calls

    def _generate_with_cache(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> ChatResult:
        # Before the cache looks, whose key has the model's name.
        self._ask_for_model(self._named_model(kwargs))
        return super()._generate_with_cache(messages, *args, **kwargs)

    async def _agenerate_with_cache(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> ChatResult:
        await self._aask_for_model(self._named_model(kwargs))
        return await super()._agenerate_with_cache(messages, *args, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's signature
        **kwargs: Any,
    ) -> ChatResult:
        with langchain_errors():
            self._ask_for_model(self._named_model(kwargs))
            options, answer_tool = self._options(stop, kwargs)
            response: ChatResponse = self.client.chat(to_wire(messages), **options)
        return result(response, self.include_response_headers, answer_tool)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        with langchain_errors():
            await self._aask_for_model(self._named_model(kwargs))
            options, answer_tool = self._options(stop, kwargs)
            response: ChatResponse = await self.client.achat(to_wire(messages), **options)
        return result(response, self.include_response_headers, answer_tool)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with langchain_errors():
            self._ask_for_model(self._named_model(kwargs))
            options, answer_tool = self._options(stop, kwargs, stream=True)
            stream: ChatStream = self.client.stream_chat(to_wire(messages), **options)
        writer = ChunkWriter(
            self.include_response_headers, events=run_manager is not None, answer_tool=answer_tool
        )
        with closing(stream):
            for chunk in langchain_stream(stream):
                piece = writer.write(chunk, more=stream.waiting > 0)
                if piece is not None:
                    if run_manager:
                        run_manager.on_llm_new_token(piece.text, chunk=piece)
                    yield piece

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        with langchain_errors():
            await self._aask_for_model(self._named_model(kwargs))
            options, answer_tool = self._options(stop, kwargs, stream=True)
            stream: AsyncChatStream = self.client.astream_chat(to_wire(messages), **options)
        writer = ChunkWriter(
            self.include_response_headers, events=run_manager is not None, answer_tool=answer_tool
        )
        async with aclosing(stream):
            async for chunk in alangchain_stream(stream):
                piece = writer.write(chunk, more=stream.waiting > 0)
                if piece is not None:
                    if run_manager:
                        await run_manager.on_llm_new_token(piece.text, chunk=piece)
                    yield piece

    # --- several calls

    def batch(
        self, inputs: list[LanguageModelInput], config: Configs = None, **kwargs: Any
    ) -> list[AIMessage]:
        """As in LangChain, with as many calls at once as the ``OPEA`` object has places.

        Unless ``max_concurrency`` says how many.
        """
        with Caller().blocks():
            return super().batch(
                inputs, with_places(config, self.client.endpoints, len(inputs)), **kwargs
            )

    def batch_as_completed(
        self, inputs: Sequence[Any], config: Configs = None, **kwargs: Any
    ) -> Iterator[tuple[int, Any]]:
        """The same, each answer with its number as soon as it is there."""
        config = with_places(config, self.client.endpoints, len(inputs))
        return waited_for(super().batch_as_completed(inputs, config, **kwargs))

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """As in LangChain."""
        with Caller().awaits():
            return await super().abatch(inputs, config, **kwargs)

    def abatch_as_completed(
        self, inputs: Sequence[Any], config: Configs = None, **kwargs: Any
    ) -> AsyncIterator[tuple[int, Any]]:
        """As in LangChain."""
        return awaited(super().abatch_as_completed(inputs, config, **kwargs))

    def _options(
        self, stop: list[str] | None, kwargs: Mapping[str, Any], stream: bool = False
    ) -> tuple[dict[str, Any], str | None]:
        """The options of a call.

        The call's own lie over ``extra_body``, that over ``model_kwargs``, those over the fields.

        And the function that the answer may come as a call of, where it is to be text.
        """
        given = in_call(
            {
                name: value
                for name, value in kwargs.items()
                if name not in (*_NOT_SENT, "extra_body")
            }
        )
        if stop is not None:
            given.setdefault("stop", stop)
        usage = (
            {"stream_options": None}
            if stream and not kwargs.get("stream_usage", self.stream_usage)
            else {}
        )
        fields = usage | self._call_model(self.model_name) | self._shared_options() | self._body()
        found, extra = layered(
            (False, fields),
            (False, self.model_kwargs),
            (True, self.extra_body),
            (False, given),
            (True, kwargs.get("extra_body")),
        )
        if self.priority is not None:
            found.setdefault("priority", self.priority)
        if isinstance(found.get("response_format"), type | dict):
            found["response_format"] = structured.response_format(found["response_format"])
        if stream and (found | extra).get("n") not in (None, 1):
            raise OPEAConfigurationError(
                "Several answers (n=) cannot be streamed in LangChain.",
                "Use invoke, or set disable_streaming=True.",
            )
        options.leave_out(self.disabled_params, found, extra)
        answer_tool = structured.let_it_adapt(found)
        return found | ({"extra_body": extra} if extra else {}), answer_tool

    def _body(self) -> dict[str, Any]:
        """The fields that are part of every request."""
        values = vars(self)
        return {
            name: values[name]
            for name in _BODY_FIELDS
            if values[name] is not None and values[name] != []
        }

    def _shared_options(self) -> dict[str, Any]:
        options = super()._shared_options()
        if self._is_shared and self.stream_chunk_timeout is not None:
            options["timeout"] = _with_idle(
                options.get("timeout", self.client.settings.timeouts), self.stream_chunk_timeout
            )
        return options

    def _named_model(self, kwargs: Mapping[str, Any]) -> Any:
        """The model this call names, in whatever place."""
        places = (kwargs, kwargs.get("extra_body") or {}, self.extra_body or {}, self.model_kwargs)
        return self.model_name or next(
            (place["model"] for place in places if place.get("model")), None
        )

    # --- what the server tells

    def _discovered(self) -> None:
        """Fills ``profile["max_input_tokens"]`` (tokens); what ``profile=`` gave is not changed."""
        super()._discovered()
        found = self._resolve_model_profile()
        if found:
            merged: Any = {**found, **(self.profile or {})}
            self.profile = merged

    def _resolve_model_profile(self) -> ModelProfile | None:
        return profile_of(self.client.endpoints[0].capabilities, self._discovered_window())

    # --- identity

    @property
    def _llm_type(self) -> str:
        return "opea-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        shown = {
            name: value for name, value in self.model_kwargs.items() if name not in SECRET_IN_CALLS
        }
        return {
            "model_name": self.model,
            "base_url": self._url(),
            **self._body(),
            **shown,
            "extra_body": self.extra_body,
        }

    def _get_invocation_params(
        self, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        params = super()._get_invocation_params(stop=stop, **kwargs)
        return params | {name: "(not shown)" for name in SECRET_IN_CALLS if params.get(name)}

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """LangChain's cache key, without what changes no answer and nobody is to read."""
        return super()._get_llm_string(
            stop=stop, **{k: v for k, v in kwargs.items() if k not in NOT_FOR_ANSWERS}
        )

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "opea"
        params["ls_model_type"] = "chat"
        stop = stop or ([self.stop] if isinstance(self.stop, str) else self.stop)
        if stop:
            params["ls_stop"] = stop
        return params

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Traces and caches show the constructor; the key is a marker there."""
        return True


def _with_idle(timeout: Any, idle: float) -> Timeouts:
    with langchain_errors():
        limits: Timeouts = Timeouts.of(timeout).replace(idle=idle)
    return limits
