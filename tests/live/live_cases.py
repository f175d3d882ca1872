"""What every server must give, asked directly or through a proxy.

Nothing here depends on the words of the answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from opea_core import errors
from opea_core.types import ChatChunk, ChatResponse

GREETING = [{"role": "user", "content": "Say hello."}]
STEADY: dict[str, Any] = {"temperature": 0, "max_tokens": 40}
"""The same answer every time, and a short one."""
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of the next days.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 10}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
THINKING = {"chat_template_kwargs": {"enable_thinking": True}}
TOO_LONG = "☃" * 700  # three tokens each: more than the 2048 of the window


def check_whole(response: ChatResponse, finish_reason: str = "stop") -> None:
    """An answer as every caller relies on it."""
    assert response.content.strip()
    assert "\ufffd" not in response.content
    assert response.role == "assistant"
    assert response.finish_reason == finish_reason
    assert response.model
    assert response.id
    assert response.request_id
    assert response.meta.attempts == 1
    assert not response.warnings


def check_usage(response: ChatResponse) -> None:
    """Token counts that add up."""
    usage = response.usage
    assert usage is not None
    assert usage.prompt_tokens
    assert usage.completion_tokens
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def check_chunks(chunks: Sequence[ChatChunk]) -> ChatResponse:
    """The pieces are those of the whole answer on the last one,
    and only that one is the last; gives the answer.
    """
    *pieces, last = chunks
    response = last.response
    assert response is not None
    assert last.done
    assert last.type == "complete"
    assert not any(piece.done or piece.response for piece in pieces)
    assert len(pieces) > 1
    assert "".join(chunk.content for chunk in chunks) == response.content
    assert "".join(chunk.reasoning for chunk in chunks) == response.reasoning
    assert last.finish_reason == response.finish_reason
    assert last.usage == response.usage
    return response


class Cases:
    """One test per thing a server can do; the subclass gives the ``server``."""

    # --- chat

    def test_chat(self, client: Any) -> None:
        response = client.chat(GREETING, **STEADY)
        check_whole(response)
        check_usage(response)
        assert response.requested_model == "tiny-chat"
        assert response.choices[0].tool_calls == []
        assert response.reasoning == ""
        assert response.raw["choices"][0]["message"]["content"] == response.content
        assert client.opea.get_stats()["success"] == 1

    def test_chat_conversation(self, client: Any) -> None:
        response = client.chat(
            [
                {"role": "system", "content": "Answer in one sentence. 你好, café, 🙂"},
                *GREETING,
                {"role": "assistant", "content": "Hello!"},
                {"role": "user", "content": [{"type": "text", "text": "And once more."}]},
            ],
            **STEADY,
        )
        check_whole(response)
        check_usage(response)

    def test_length(self, client: Any) -> None:
        response = client.chat(GREETING, temperature=0, max_tokens=3)
        check_whole(response, "length")
        assert response.usage.completion_tokens == 3

    def test_stop(self, client: Any) -> None:
        free = client.chat(GREETING, **STEADY)
        word = free.content.split()[1]
        stopped = client.chat(GREETING, stop=[word], **STEADY)
        assert stopped.finish_reason == "stop"
        assert word not in stopped.content
        assert free.content.startswith(stopped.content)

    def test_seed(self, client: Any) -> None:
        first, second = (client.chat(GREETING, seed=12, max_tokens=40) for _ in range(2))
        check_whole(first)
        assert first.content == second.content
        assert client.opea.get_stats()["success"] == 2

    def test_logprobs(self, client: Any) -> None:
        response = client.chat(GREETING, logprobs=True, top_logprobs=2, **STEADY)
        check_whole(response)
        tokens = response.logprobs["content"]
        assert b"".join(bytes(token["bytes"]) for token in tokens).decode() == response.content
        assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in tokens)

    def test_n(self, client: Any) -> None:
        response = client.chat(GREETING, n=2, seed=7, max_tokens=40)
        check_whole(response)
        check_usage(response)
        assert [choice.index for choice in response.choices] == [0, 1]
        assert all(choice.content and choice.finish_reason == "stop" for choice in response.choices)

    def test_json_schema(self, client: Any) -> None:
        wanted = {
            "type": "json_schema",
            "json_schema": {"name": "person", "strict": True, "schema": PERSON},
        }
        response = client.chat(GREETING, response_format=wanted, temperature=0, max_tokens=150)
        check_whole(response)
        person = json.loads(response.content)
        assert person.keys() == {"name", "age"}
        assert isinstance(person["age"], int)

    # --- streams

    def test_stream(self, client: Any) -> None:
        response = check_chunks(client.stream_chat(GREETING, **STEADY))
        check_whole(response)
        assert response.meta.first_content is not None

    def test_stream_is_the_answer(self, client: Any) -> None:
        streamed = check_chunks(
            client.stream_chat(GREETING, seed=12, max_tokens=40)
        )  # words with an accent
        whole = client.chat(GREETING, seed=12, max_tokens=40)
        check_whole(streamed)
        assert streamed.content == whole.content
        assert streamed.finish_reason == whole.finish_reason

    def test_stream_usage(self, client: Any) -> None:
        chunks = client.stream_chat(GREETING, stream_options={"include_usage": True}, **STEADY)
        response = check_chunks(chunks)
        check_whole(response)
        check_usage(response)
        assert chunks[-1].usage == response.usage

    def test_stream_stop(self, client: Any) -> None:
        chunks = client.stream_chat(GREETING, stop=["has"], **STEADY)
        response = check_chunks(chunks)
        check_whole(response)
        assert "has" not in response.content

    def test_stream_logprobs(self, client: Any) -> None:
        chunks = client.stream_chat(GREETING, logprobs=True, top_logprobs=2, **STEADY)
        response = check_chunks(chunks)
        check_whole(response)
        tokens = response.logprobs["content"]
        assert b"".join(bytes(token["bytes"]) for token in tokens).decode() == response.content

    def test_stream_n(self, client: Any) -> None:
        chunks = client.stream_chat(
            GREETING, n=2, seed=7, max_tokens=40, stream_options={"include_usage": True}
        )
        response = check_chunks([chunk for chunk in chunks if chunk.index == 0])
        check_whole(response)
        check_usage(response)
        assert [choice.index for choice in response.choices] == [0, 1]
        assert response.choices[1].content
        pieces = [piece for chunk in chunks for piece in (chunk, *chunk.other_choices)]
        assert (
            "".join(piece.content for piece in pieces if piece.index == 1)
            == response.choices[1].content
        )

    # --- tools

    def test_tools(self, client: Any) -> None:
        response = client.chat("Weather in Paris?", tools=[WEATHER], temperature=0, max_tokens=90)
        (call,) = response.tool_calls
        assert response.finish_reason == "tool_calls"
        assert response.invalid_tool_calls == []
        assert call.id
        assert call.name == "get_weather"
        assert call.args == {"city": "Paris", "days": 2}
        check_usage(response)

    def test_tool_choice(self, client: Any) -> None:
        response = client.chat(
            "Weather in Paris?",
            tools=[WEATHER],
            tool_choice="required",
            temperature=0,
            max_tokens=90,
        )
        assert response.finish_reason == "tool_calls"
        assert [call.name for call in response.tool_calls] == ["get_weather"]

    def test_stream_tools(self, client: Any) -> None:
        chunks = client.stream_chat(
            "Weather in Paris?", tools=[WEATHER], temperature=0, max_tokens=90
        )
        response = check_chunks(chunks)
        (call,) = response.tool_calls
        assert response.finish_reason == "tool_calls"
        assert call.name == "get_weather"
        assert call.args == {"city": "Paris", "days": 2}
        deltas = [delta for chunk in chunks for delta in chunk.tool_calls]
        assert {delta.index for delta in deltas} == {0}
        assert [delta.name for delta in deltas if delta.name] == ["get_weather"]
        assert [delta.id for delta in deltas if delta.id] == [call.id]
        assert "".join(delta.arguments for delta in deltas) == call.arguments

    def test_tool_loop(self, client: Any) -> None:
        messages: list[dict[str, Any]] = [{"role": "user", "content": "Weather in Paris?"}]
        asked = client.chat(messages, tools=[WEATHER], temperature=0, max_tokens=90)
        (call,) = asked.tool_calls
        # the id is the server's own, another one each time; ours makes the request the same as the
        # recorded one
        function = {"name": call.name, "arguments": json.dumps(call.args)}
        messages += [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
            },
            {
                "role": "tool",
                "tool_call_id": "call_1",
                "content": '{"forecast": ["sunny", "rain"]}',
            },
        ]
        answer = client.chat(messages, tools=[WEATHER], **STEADY)
        check_whole(answer)
        assert answer.tool_calls == []

    # --- reasoning

    def test_reasoning(self, client: Any) -> None:
        response = client.chat(GREETING, extra_body=THINKING, temperature=0, max_tokens=100)
        check_whole(response)
        assert response.reasoning.strip()
        assert "<think>" not in response.content + response.reasoning
        assert response.choices[0].reasoning_field == "reasoning_content"

    def test_stream_reasoning(self, client: Any) -> None:
        chunks = client.stream_chat(GREETING, **THINKING, temperature=0, max_tokens=100)
        response = check_chunks(chunks)
        check_whole(response)
        assert response.reasoning.strip()
        assert "<think>" not in response.content + response.reasoning
        first_word = next(i for i, chunk in enumerate(chunks) if chunk.content.strip())
        assert not any(chunk.reasoning for chunk in chunks[first_word:])

    # --- completions, embeddings, models

    def test_completion(self, client: Any) -> None:
        response = client.complete("The answer", temperature=0, max_tokens=12)
        assert response.text
        assert response.finish_reason in ("stop", "length")
        check_usage(response)

    def test_stream_completion(self, client: Any) -> None:
        chunks = client.stream_complete("The answer", temperature=0, max_tokens=12)
        response = check_chunks(chunks)
        assert response.text
        assert response.finish_reason in ("stop", "length")

    def test_embeddings(self, embedder: Any) -> None:
        response = embedder.embed(["hello world", "a queue"], encoding_format="float")
        assert len(response.embeddings) == 2
        assert response.dimensions > 1
        assert all(len(vector) == response.dimensions for vector in response.embeddings)
        assert all(math.isfinite(number) for vector in response.embeddings for number in vector)
        assert all(any(vector) for vector in response.embeddings)
        assert response.usage.prompt_tokens
        alone = embedder.embed("a queue", encoding_format="float")
        assert alone.embeddings[0] == pytest.approx(response.embeddings[1], abs=1e-4)

    def test_embeddings_base64(self, embedder: Any) -> None:
        packed = embedder.embed(["hello world", "a queue"], encoding_format="base64")
        assert all(isinstance(entry["embedding"], str) for entry in packed.raw["data"])
        plain = embedder.embed(["hello world", "a queue"], encoding_format="float")
        assert len(packed.embeddings) == 2
        for one, other in zip(packed.embeddings, plain.embeddings, strict=True):
            assert one == pytest.approx(other, abs=1e-4)

    def test_models(self, client: Any) -> None:
        models = client.models()
        assert "tiny-chat" in [model.id for model in models]
        assert all(model.raw["id"] == model.id for model in models)
        assert client.opea.is_compatible_model("tiny-chat")

    # --- errors

    def test_bad_body(self, client: Any) -> None:
        with pytest.raises(errors.InvalidRequestError, match="temperature") as caught:
            client.chat(GREETING, temperature="hot")
        check_error(caught.value, 400)
        assert "must be number, but is string" in caught.value.message
        assert caught.value.type == "invalid_request_error"

    def test_context_overflow(self, client: Any) -> None:
        with pytest.raises(errors.ContextOverflowError, match="Too long for tiny-chat") as caught:
            client.chat(TOO_LONG, max_tokens=5)
        check_error(caught.value, 400)
        assert "exceeds the available context size (2048 tokens)" in caught.value.message

    def test_stream_context_overflow(self, client: Any) -> None:
        with pytest.raises(errors.ContextOverflowError, match="Too long for tiny-chat") as caught:
            client.stream_chat(TOO_LONG, max_tokens=5)
        check_error(caught.value, 400)
        assert caught.value.partial is None


def check_error(error: errors.OPEAError, status: int) -> None:
    """What every error of a server carries; asked once, as the tests say ``max_retries=0``."""
    assert error.status_code == status
    assert error.request_id
    assert error.body
    assert error.url is not None
    assert error.url.endswith("/v1/chat/completions")
    assert len(error.attempts) == 1
    assert error.attempts[0].status_code == status
    assert "1 attempt" in str(error)


Connect = Callable[..., Any]
