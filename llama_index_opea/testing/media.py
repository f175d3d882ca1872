"""What an answer has beside text, thoughts and probabilities, and what a question may have.

Pictures, sound, documents.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    DocumentBlock,
    ImageBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms import LLM, ChatMessage, ChatResponse, TextBlock

from llama_index_opea.testing.asking import (
    HELLO,
    aask,
    adrained,
    ask,
    drained,
    each_async_stream,
    each_stream,
)
from llama_index_opea.testing.base import asynchronous, needs
from llama_index_opea.testing.checks import (
    calls_of,
    check_any_stream,
    check_logprobs,
    check_reply,
    check_response,
    check_stream,
    thinking_of,
    usage_of,
)
from llama_index_opea.testing.samples import ADD, ADDING, PDF, PNG, WAV
from llama_index_opea.testing.settings import LLMSettings

IMAGES = {
    "bytes": ImageBlock(image=PNG),
    "detail": ImageBlock(image=PNG, image_mimetype="image/png", detail="low"),
    "data url": ImageBlock(url=ImageBlock(image=PNG, image_mimetype="image/png").inline_url()),
}


class MediaTests(LLMSettings):
    """Reasoning, probabilities, pictures, sound and documents, each under its flag."""

    # --- reasoning

    def _thinker(self) -> LLM:
        return self.llm(**self.reasoning_params)

    @needs("supports_reasoning")
    def test_reasoning_block(self) -> None:
        """What the model thought is one ThinkingBlock before the text.

        To fix: read every name that servers use for it.
        """
        response = self._thinker().chat([ChatMessage(role="user", content=HELLO)])
        check_response(response)
        assert thinking_of(response.message)

    @needs("supports_reasoning")
    @asynchronous
    async def test_reasoning_block_async(self) -> None:
        """The same for ``achat``."""
        response = await self._thinker().achat([ChatMessage(role="user", content=HELLO)])
        check_response(response)
        assert thinking_of(response.message)

    @needs("supports_reasoning")
    def test_thinking_delta(self) -> None:
        """Each thought of a stream is in ``additional_kwargs["thinking_delta"]`` of its response.

        Agents forward it. It is in no other response.
        """
        self._check_thoughts(ask(self._thinker(), "stream_chat"))

    @needs("supports_reasoning")
    @asynchronous
    async def test_thinking_delta_async(self) -> None:
        """The same for ``astream_chat``: no thought is lost, the first one neither."""
        self._check_thoughts(await aask(self._thinker(), "astream_chat"))

    def _check_thoughts(self, responses: list[ChatResponse]) -> None:
        last = check_stream(responses)
        assert thinking_of(last.message)
        assert last.message.content, "the model thought but said nothing: allow it more tokens"
        thoughts = [
            response for response in responses if response.additional_kwargs.get("thinking_delta")
        ]
        assert "".join(
            response.additional_kwargs["thinking_delta"] for response in thoughts
        ) == thinking_of(last.message)

    @needs("supports_reasoning")
    def test_reasoning_of_completions(self) -> None:
        """Completions have no blocks: thoughts are in ``additional_kwargs["reasoning_content"]``.

        They are not in the text.
        """
        response = self._thinker().complete(HELLO)
        thought = response.additional_kwargs.get("reasoning_content")
        assert isinstance(thought, str)
        assert thought
        assert thought.strip() not in response.text

    @needs("supports_reasoning")
    def test_reasoning_roundtrip(self) -> None:
        """An answer with thoughts goes back in the next turn.

        To fix: send thoughts under the server's own name or not at all, never as text.
        """
        llm = self._thinker()
        history = [ChatMessage(role="user", content=HELLO)]
        history += [llm.chat(history).message, ChatMessage(role="user", content="And now goodbye.")]
        assert isinstance(history[1].blocks[0], ThinkingBlock)
        check_response(llm.chat(history))
        check_stream(list(llm.stream_chat(history)))

    @needs("supports_reasoning", "supports_tools")
    def test_reasoning_and_tool(self) -> None:
        """Thoughts before a call are kept, and the message goes back with them.

        To fix: as ``test_reasoning_block``, with calls.
        """
        llm = self.tool_llm(**self.reasoning_params)
        history = [ChatMessage(role="user", content=ADD)]
        last = check_stream(drained(llm.stream_chat_with_tools([ADDING], chat_history=history)))
        assert thinking_of(last.message)
        (call,) = calls_of(last.message)
        history += [
            last.message,
            ChatMessage(
                role="tool", content="5", additional_kwargs={"tool_call_id": call.tool_call_id}
            ),
        ]
        check_response(llm.chat_with_tools([ADDING], chat_history=history))

    @needs("supports_reasoning", "supports_tools")
    @asynchronous
    async def test_reasoning_and_tool_async(self) -> None:
        """The same for ``astream_chat_with_tools``."""
        llm = self.tool_llm(**self.reasoning_params)
        last = check_stream(await adrained(await llm.astream_chat_with_tools([ADDING], ADD)))
        assert thinking_of(last.message)
        assert calls_of(last.message)

    # --- probabilities

    @needs("supports_logprobs")
    def test_logprobs(self) -> None:
        """``logprobs`` is a list for each token of candidates.

        To fix: convert, and take a ``top_logprobs`` of null as well.
        """
        response = self.llm(**self.logprobs_params).chat([ChatMessage(role="user", content=HELLO)])
        check_response(response)
        check_logprobs(response)

    @needs("supports_logprobs")
    def test_logprobs_complete(self) -> None:
        """Completions have them, too.

        To fix: core's converter from chat to completion drops them, use one of your own.
        """
        check_logprobs(self.llm(**self.logprobs_params).complete(HELLO))

    @needs("supports_logprobs")
    @each_stream
    def test_logprobs_stream(self, way: str) -> None:
        """The last response of a stream has those of all tokens.

        To fix: collect them while the stream runs.
        """
        check_logprobs(check_any_stream(way, ask(self.llm(**self.logprobs_params), way)))

    @needs("supports_logprobs")
    @each_async_stream
    @asynchronous
    async def test_logprobs_stream_async(self, way: str) -> None:
        """The same for async streams."""
        check_logprobs(check_any_stream(way, await aask(self.llm(**self.logprobs_params), way)))

    # --- pictures, sound, documents

    @needs("supports_images")
    @pytest.mark.parametrize("block", IMAGES.values(), ids=IMAGES)
    def test_image(self, block: ImageBlock) -> None:
        """A picture reaches the model: the prompt counts more tokens than without.

        To fix: send an ``image_url`` part, bytes as a data URL.
        """
        self._check_counted(block)

    @needs("supports_audio")
    def test_audio(self) -> None:
        """Sound reaches the model.

        To fix: send an ``input_audio`` part; the bytes of a block are base64 already.
        """
        self._check_counted(AudioBlock(audio=WAV, format="wav"))

    @needs("supports_documents")
    def test_document(self) -> None:
        """A document reaches the model. To fix: send a ``file`` part with a name and a data URL."""
        self._check_counted(
            DocumentBlock(data=PDF, title="sum.pdf", document_mimetype="application/pdf")
        )

    @needs("supports_images")
    @asynchronous
    async def test_image_async(self) -> None:
        """Async methods take pictures as well. To fix: read files and URLs in a thread."""
        message = ChatMessage(role="user", blocks=[TextBlock(text=HELLO), ImageBlock(image=PNG)])
        check_response(await self.llm().achat([message]))

    def _check_counted(self, block: Any) -> None:
        """The question with the block, and without; what is dropped in silence counts no tokens."""
        llm = self.llm()
        text = TextBlock(text=HELLO)
        with_block, without = (
            self.prompt_tokens(llm, ChatMessage(role="user", blocks=blocks))
            for blocks in ([text, block], [text])
        )
        assert with_block > without or not self.returns_usage, (
            f"the {block.block_type} was not sent"
        )

    @needs("supports_images", "supports_tools", "returns_usage")
    def test_tool_result_image(self, caplog: pytest.LogCaptureFixture) -> None:
        """A picture in a tool's result is sent, or warned about; it is not dropped in silence.

        To fix: lift it into a user message.
        """
        llm = self.tool_llm()
        call = ToolCallBlock(
            tool_call_id="call_a", tool_name="add_numbers", tool_kwargs={"a": 2, "b": 3}
        )
        with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.WARNING):
            warnings.simplefilter("always")
            counts = []
            for more in ([ImageBlock(image=PNG)], []):
                result = ChatMessage(
                    role="tool",
                    blocks=[TextBlock(text="See."), *more],
                    additional_kwargs={"tool_call_id": "call_a"},
                )
                history = [
                    ChatMessage(role="user", content=ADD),
                    ChatMessage(role="assistant", blocks=[call]),
                    result,
                ]
                response = llm.chat_with_tools([ADDING], chat_history=history)
                check_reply(response)
                counts.append(usage_of(response)[0])
        said = " ".join([*(str(warning.message) for warning in warned), caplog.text]).lower()
        assert counts[0] > counts[1] or "image" in said, (
            "the picture of a tool's result was dropped in silence"
        )
