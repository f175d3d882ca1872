"""Streams: cumulative, complete at the end, and closed when nobody listens.

And an error when they break off.
"""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core.callbacks import CBEventType
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate

from llama_index_opea.testing.asking import (
    HELLO,
    aask,
    adrained,
    argument,
    ask,
    drained,
    each_async_stream,
    each_stream,
    text_of,
)
from llama_index_opea.testing.base import asynchronous, needs
from llama_index_opea.testing.checks import check_completion_stream, check_reply, check_stream
from llama_index_opea.testing.samples import ADD, ADDING
from llama_index_opea.testing.settings import LLMSettings
from llama_index_opea.testing.watching import watching


class StreamTests(LLMSettings):
    """``stream_chat``, ``stream_complete`` and their async twins."""

    def test_stream_chat(self) -> None:
        """Each response holds the message so far and what is new; the last one is the whole answer.

        To fix: build a new ChatMessage for each response. ``FunctionAgent`` keeps only the last
        one, so a final response that only tells the usage must still carry text, thoughts and
        calls.
        """
        responses = ask(self.llm(), "stream_chat")
        check_stream(responses)
        assert any(response.delta for response in responses), "no response has a delta"

    @asynchronous
    async def test_astream_chat(self) -> None:
        """The same for ``astream_chat``."""
        responses = await aask(self.llm(), "astream_chat")
        check_stream(responses)
        assert any(response.delta for response in responses), "no response has a delta"

    def test_stream_complete(self) -> None:
        """The same for ``stream_complete``: ``text`` is all text so far, ``delta`` what is new."""
        responses = ask(self.llm(), "stream_complete")
        check_completion_stream(responses)
        assert any(response.delta for response in responses), "no response has a delta"

    @asynchronous
    async def test_astream_complete(self) -> None:
        """The same for ``astream_complete``."""
        responses = await aask(self.llm(), "astream_complete")
        check_completion_stream(responses)
        assert any(response.delta for response in responses), "no response has a delta"

    # --- nothing is lost

    @needs("repeats_itself")
    def test_ways_agree(self) -> None:
        """``chat`` and ``stream_chat`` give the same message, the completions the same text.

        Nothing is lost, not at the beginning either.
        """
        llm = self.llm(**self.reasoning_params)
        whole, last = ask(llm, "chat")[0].message, ask(llm, "stream_chat")[-1].message
        assert last == whole
        assert (
            text_of(ask(llm, "complete")[0])
            == text_of(ask(llm, "stream_complete")[-1])
            == whole.content
        )

    @needs("repeats_itself")
    @asynchronous
    async def test_ways_agree_async(self) -> None:
        """The same for the async methods, and with ``chat``."""
        llm = self.llm(**self.reasoning_params)
        whole = ask(llm, "chat")[0].message
        assert (
            (await aask(llm, "achat"))[0].message
            == (await aask(llm, "astream_chat"))[-1].message
            == whole
        )
        assert (
            text_of((await aask(llm, "acomplete"))[0])
            == text_of((await aask(llm, "astream_complete"))[-1])
            == whole.content
        )

    @needs("repeats_itself", "supports_tools")
    def test_ways_agree_on_calls(self) -> None:
        """A streamed message with calls is the whole one, blocks and ``additional_kwargs``."""
        llm = self.tool_llm(**self.reasoning_params)
        whole = llm.chat_with_tools([ADDING], ADD, allow_parallel_tool_calls=True).message
        assert (
            drained(llm.stream_chat_with_tools([ADDING], ADD, allow_parallel_tool_calls=True))[
                -1
            ].message
            == whole
        )

    @needs("repeats_itself", "supports_tools")
    @asynchronous
    async def test_ways_agree_on_calls_async(self) -> None:
        """The same for the async methods."""
        llm = self.tool_llm(**self.reasoning_params)
        whole = (await llm.achat_with_tools([ADDING], ADD, allow_parallel_tool_calls=True)).message
        stream = await llm.astream_chat_with_tools([ADDING], ADD, allow_parallel_tool_calls=True)
        assert (await adrained(stream))[-1].message == whole

    def test_stream_predict(self) -> None:
        """``stream`` hands on the deltas; they are the whole answer.

        To fix: put the new text into ``delta``, in each response once.
        """
        llm = self.llm()
        with watching(llm) as watch:
            tokens = list(llm.stream(PromptTemplate(HELLO)))
        assert "".join(tokens) == text_of(watch.last_response())

    @asynchronous
    async def test_astream_predict(self) -> None:
        """``astream`` does so too."""
        llm = self.llm()
        with watching(llm) as watch:
            tokens = [token async for token in await llm.astream(PromptTemplate(HELLO))]
        assert "".join(tokens) == text_of(watch.last_response())

    @asynchronous
    async def test_stream_in_other_task(self) -> None:
        """A stream may be read in another task than the one that opened it: servers do.

        To fix: keep no context open across ``yield``.
        """
        stream = await self.llm().astream_chat(argument("chat", HELLO))
        check_stream(await asyncio.create_task(adrained(stream)))

    # --- nobody listens any more

    @each_stream
    def test_stream_abandoned_closes(self, way: str) -> None:
        """A stream that is closed early gives back its connection, and the object works on.

        To fix: close the HTTP response in a ``finally`` around the loop. ``one_request_params``
        makes sure that a stream left open is noticed.
        """
        llm = self.llm(**self.one_request_params)
        for _ in range(2):
            with watching(llm) as watch:
                stream = getattr(llm, way)(argument(way, HELLO))
                next(stream)
                stream.close()
            started, ended = watch.callbacks(CBEventType.LLM)
            assert ended == started
        check_reply(ask(llm, way)[-1])

    @each_async_stream
    @asynchronous
    async def test_stream_abandoned_closes_async(self, way: str) -> None:
        """The same for async streams.

        Core's wrapper does not close the generator it wraps: add a finaliser of your own.
        """
        llm = self.llm(**self.one_request_params)
        for _ in range(2):
            with watching(llm) as watch:
                stream = await getattr(llm, way)(argument(way, HELLO))
                await anext(stream)
                await stream.aclose()
            started, ended = watch.callbacks(CBEventType.LLM)
            assert ended == started
        check_reply((await aask(llm, way))[-1])

    # --- it breaks off

    @needs("cut_stream_params")
    @each_stream
    def test_cut_stream_raises(self, way: str) -> None:
        """A stream that ends without a finish reason or another sign of its end raises.

        To fix: do not take the end of the data for it.
        """
        with pytest.raises(Exception):  # noqa: B017, PT011 - each integration has errors of its own
            ask(self.llm(**self.cut_stream_params), way)

    @needs("cut_stream_params")
    @each_async_stream
    @asynchronous
    async def test_cut_stream_raises_async(self, way: str) -> None:
        """The same for async streams."""
        with pytest.raises(Exception):  # noqa: B017, PT011
            await aask(self.llm(**self.cut_stream_params), way)

    @needs("broken_stream_params")
    @each_stream
    def test_error_in_stream_raises(self, way: str) -> None:
        """An error that the server sends in the middle of a stream raises.

        To fix: look for ``error`` in every event.
        """
        with pytest.raises(Exception):  # noqa: B017, PT011
            ask(self.llm(**self.broken_stream_params), way)

    @needs("broken_stream_params")
    @each_async_stream
    @asynchronous
    async def test_error_in_stream_raises_async(self, way: str) -> None:
        """The same for async streams."""
        with pytest.raises(Exception):  # noqa: B017, PT011
            await aask(self.llm(**self.broken_stream_params), way)

    def test_stream_after_history(self) -> None:
        """The last message of a stream goes back as it is and is answered.

        To fix: leave no half-built parts in it.
        """
        llm = self.llm()
        first = ask(llm, "stream_chat")[-1].message
        history = [*argument("chat", HELLO), first, ChatMessage(role="user", content=HELLO)]
        check_stream(list(llm.stream_chat(history)))
