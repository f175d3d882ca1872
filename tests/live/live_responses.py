"""What every server must give in the Responses dialect, asked directly or through a proxy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from live_cases import (
    GREETING,
    STEADY,
    TOO_LONG,
    WEATHER,
    Connect,
    check_chunks,
    check_usage,
    check_whole,
)

from opea_core import errors

TOOLS: dict[str, Any] = {"tools": [WEATHER], "temperature": 0, "max_tokens": 90}
ASKED = "Weather in Paris?"
RESULT = '{"forecast": ["sunny", "rain"]}'


class ResponsesCases:
    """One test per thing a server can do; the subclass gives the ``server``.

    The names begin with ``responses``, as their cassettes do.
    """

    @pytest.fixture
    def client(self, connect: Connect) -> Any:
        """A client that speaks this dialect."""
        return connect(dialect="responses")

    def test_responses_chat(self, client: Any) -> None:
        response = client.chat(GREETING, **STEADY)
        check_whole(response)
        check_usage(response)
        assert response.raw["object"] == "response"
        assert response.raw["output"][-1]["content"][0]["text"] == response.content

    def test_responses_stream(self, client: Any) -> None:
        response = check_chunks(client.stream_chat(GREETING, **STEADY))
        check_whole(response)
        check_usage(response)
        assert response.content == client.chat(GREETING, **STEADY).content

    def test_responses_tools(self, client: Any) -> None:
        response = client.chat(ASKED, **TOOLS)
        (call,) = response.tool_calls
        assert response.finish_reason == "tool_calls"
        assert (call.name, call.args) == ("get_weather", {"city": "Paris", "days": 2})
        check_usage(response)

    def test_responses_stream_tools(self, client: Any) -> None:
        chunks = client.stream_chat(ASKED, **TOOLS)
        response = check_chunks(chunks)
        (call,) = response.tool_calls
        assert response.finish_reason == "tool_calls"
        assert (call.name, call.args) == ("get_weather", {"city": "Paris", "days": 2})
        deltas = [delta for chunk in chunks for delta in chunk.tool_calls]
        assert [delta.id for delta in deltas if delta.id] == [call.id]
        assert "".join(delta.arguments for delta in deltas) == call.arguments

    def test_responses_tool_loop(self, client: Any) -> None:
        messages: list[dict[str, Any]] = [{"role": "user", "content": ASKED}]
        (call,) = client.chat(messages, **TOOLS).tool_calls
        # The id is the server's own, another one each time.
        function = {"name": call.name, "arguments": json.dumps(call.args)}
        calls = [{"id": "call_1", "type": "function", "function": function}]
        messages += [
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_1", "content": RESULT},
        ]
        answer = client.chat(messages, tools=[WEATHER], **STEADY)
        check_whole(answer)
        assert answer.tool_calls == []

    def test_responses_as_it_is(self, connect: Connect) -> None:
        document = connect().responses("Say hello.", temperature=0, max_output_tokens=40)
        assert (document["object"], document["status"]) == ("response", "completed")

    def test_responses_events(self, connect: Connect) -> None:
        found = connect().stream_responses("Say hello.", temperature=0, max_output_tokens=40)
        assert found[0]["type"] == "response.created"
        assert found[-1]["type"] == "response.completed"

    def test_responses_bad_body(self, client: Any) -> None:
        with pytest.raises(errors.InvalidRequestError, match="temperature") as caught:
            client.chat(GREETING, temperature="hot")
        assert caught.value.url is not None
        assert caught.value.url.endswith("/v1/responses")

    def test_responses_context_overflow(self, client: Any) -> None:
        with pytest.raises(errors.ContextOverflowError, match="Too long for tiny-chat"):
            client.chat(TOO_LONG, max_tokens=5)

    def test_responses_stream_context_overflow(self, client: Any) -> None:
        with pytest.raises(errors.ContextOverflowError, match="Too long for tiny-chat") as caught:
            client.stream_chat(TOO_LONG, max_tokens=5)
        assert caught.value.partial is None
