"""What others see of each call: tokens, callbacks, events, and the rate limiter's count."""

from __future__ import annotations

import pytest
from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.callbacks import CallbackManager, CBEventType, TokenCountingHandler
from llama_index.core.instrumentation.events.llm import LLMChatStartEvent, LLMCompletionStartEvent
from llama_index.core.llms import ChatMessage

from llama_index_opea.testing.asking import (
    HELLO,
    Reply,
    aask,
    adrained,
    ask,
    drained,
    each_async_way,
    each_way,
    text_of,
)
from llama_index_opea.testing.base import asynchronous, needs
from llama_index_opea.testing.checks import calls_of, check_usage, usage_of
from llama_index_opea.testing.samples import ADD, ADDING
from llama_index_opea.testing.settings import LLMSettings
from llama_index_opea.testing.watching import ENDS, STARTS, CountingLimiter, Watch, watching


def _no_estimate(_: str) -> list[int]:
    raise AssertionError(
        "the token counter had to estimate:"
        " raw['usage'] is missing in the response that ended the call"
    )


class EventTests(LLMSettings):
    """Token counters, tracers and limiters see each call once, and all of it."""

    # --- usage

    @needs("returns_usage")
    def test_usage_chat(self) -> None:
        """The server's counts are in ``raw["usage"]`` and ``additional_kwargs``.

        To fix: keep the body of the answer as ``raw``.
        """
        check_usage(self.llm().chat([ChatMessage(role="user", content=HELLO)]))
        check_usage(self.llm().complete(HELLO))

    @needs("returns_usage")
    @asynchronous
    async def test_usage_chat_async(self) -> None:
        """The same for the async methods."""
        check_usage(await self.llm().achat([ChatMessage(role="user", content=HELLO)]))
        check_usage(await self.llm().acomplete(HELLO))

    @needs("returns_usage")
    def test_usage_stream_last(self) -> None:
        """The last response of a stream has the counts: end events see only that one.

        To fix: ask for usage in streams, and yield it.
        """
        check_usage(ask(self.llm(), "stream_chat")[-1])
        check_usage(ask(self.llm(), "stream_complete")[-1])

    @needs("returns_usage")
    @asynchronous
    async def test_usage_stream_last_async(self) -> None:
        """The same for async streams."""
        check_usage((await aask(self.llm(), "astream_chat"))[-1])
        check_usage((await aask(self.llm(), "astream_complete"))[-1])

    @needs("returns_usage", "supports_tools")
    def test_usage_tool_stream_last(self) -> None:
        """The last response of a stream that calls has the counts and still the calls."""
        last = drained(self.tool_llm().stream_chat_with_tools([ADDING], ADD))[-1]
        check_usage(last)
        assert calls_of(last.message)

    @needs("returns_usage", "supports_tools")
    @asynchronous
    async def test_usage_tool_stream_last_async(self) -> None:
        """The same for async streams."""
        last = (await adrained(await self.tool_llm().astream_chat_with_tools([ADDING], ADD)))[-1]
        check_usage(last)
        assert calls_of(last.message)

    @needs("returns_usage")
    @each_way
    def test_token_counter(self, way: str) -> None:
        """Core's ``TokenCountingHandler`` counts once what the server counted; it never estimates.

        To fix: see ``test_usage_stream_last``.
        """
        counter = TokenCountingHandler(tokenizer=_no_estimate)
        llm = self.llm(callback_manager=CallbackManager([counter]))
        self._check_token_count(counter, ask(llm, way)[-1])

    @needs("returns_usage")
    @each_async_way
    @asynchronous
    async def test_token_counter_async(self, way: str) -> None:
        """The same for the async methods."""
        counter = TokenCountingHandler(tokenizer=_no_estimate)
        llm = self.llm(callback_manager=CallbackManager([counter]))
        self._check_token_count(counter, (await aask(llm, way))[-1])

    def _check_token_count(self, counter: TokenCountingHandler, last: Reply) -> None:
        assert len(counter.llm_token_counts) == 1, "the call was counted more than once"
        assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == usage_of(
            last
        )

    @needs("returns_finish_reason")
    @each_way
    def test_finish_reason(self, way: str) -> None:
        """``additional_kwargs["finish_reason"]`` of the whole answer says whether it was cut off.

        To fix: keep it to the end of streams.
        """
        llm = self.llm()
        assert ask(llm, way)[-1].additional_kwargs.get("finish_reason") == "stop"
        assert (
            ask(llm, way, HELLO, **self.short_kwargs)[-1].additional_kwargs.get("finish_reason")
            == "length"
        )

    @needs("returns_finish_reason")
    @each_async_way
    @asynchronous
    async def test_finish_reason_async(self, way: str) -> None:
        """The same for the async methods."""
        assert (await aask(self.llm(), way))[-1].additional_kwargs.get("finish_reason") == "stop"

    # --- callbacks and events

    @each_way
    def test_events_balanced(self, way: str) -> None:
        """A call has one start and one end, as a callback and as an event.

        The end has the whole answer.

        To fix: decorate the eight public methods, and let none of them call another public one;
        private ones do the work.
        """
        llm = self.llm()
        with watching(llm) as watch:
            last = ask(llm, way)[-1]
        self._check_balanced(watch, last, way)

    @each_async_way
    @asynchronous
    async def test_events_balanced_async(self, way: str) -> None:
        """The same for the async methods."""
        llm = self.llm()
        with watching(llm) as watch:
            last = (await aask(llm, way))[-1]
        self._check_balanced(watch, last, way)

    def _check_balanced(self, watch: Watch, last: Reply, way: str) -> None:
        started, ended = watch.callbacks(CBEventType.LLM)
        assert started, "no callback was started: decorate the method"
        assert len(started) == 1, (
            f"{len(started)} callbacks were started for one call: a public method calls another one"
        )
        assert ended == started, "what was started must be ended, once"
        assert text_of(watch.last_response()) == text_of(last)
        (start,), (end,) = watch.of(*STARTS), watch.of(*ENDS)
        assert isinstance(
            start, LLMChatStartEvent if way.endswith("chat") else LLMCompletionStartEvent
        )
        assert text_of(end.response) == text_of(last)
        assert start.model_dict.get("class_name") == self.llm_class.class_name()

    def test_callback_manager_assignable(self) -> None:
        """``callback_manager`` may be set at any time: agents and engines do.

        To fix: do not freeze the model, read it in each call.
        """
        llm, watch = self.llm(), Watch()
        llm.callback_manager = CallbackManager([watch])
        ask(llm, "chat")
        started, ended = watch.callbacks(CBEventType.LLM)
        assert len(started) == 1
        assert ended == started

    # --- the limiter

    @each_way
    def test_rate_limiter_once(self, way: str) -> None:
        """A call takes the rate limiter once.

        To fix: core's decorators take it; public methods must not call each other.
        """
        limiter = CountingLimiter()
        ask(self.llm(rate_limiter=limiter), way)
        assert limiter.acquired == 1, f"one call took the limiter {limiter.acquired} times"

    @each_async_way
    @asynchronous
    async def test_rate_limiter_once_async(self, way: str) -> None:
        """The same for the async methods."""
        limiter = CountingLimiter()
        await aask(self.llm(rate_limiter=limiter), way)
        assert limiter.acquired == 1, f"one call took the limiter {limiter.acquired} times"

    # --- metadata

    def test_metadata_cheap(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``metadata`` needs no network, also of a new object: sync code reads it in every call.

        To fix: discover explicitly, and remember.
        """
        llm = self.llm()

        def no_network(*_: object, **__: object) -> None:
            raise AssertionError("metadata asks the network")

        with monkeypatch.context() as patched:
            for name in (
                "socket.socket.connect",
                "socket.socket.connect_ex",
                "socket.getaddrinfo",
                "socket.create_connection",
            ):
                patched.setattr(name, no_network)
            metadata = llm.metadata
            assert isinstance(metadata, LLMMetadata)
            assert llm.metadata == metadata
        assert metadata.context_window > 0
        assert metadata.model_name
        assert metadata.is_function_calling_model or not self.supports_tools
