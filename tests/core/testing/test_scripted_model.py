"""The default model: always the same, always valid."""

from __future__ import annotations

import base64
import json
import struct
import threading
import time
from typing import Any

import pytest
from callers import CHAT, Caller

from opea_core.testing import Hold, ScriptedServer, chat

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "examples": ["Bern"]},
                "days": {"type": "integer", "minimum": 1},
            },
            "required": ["city", "days"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
USER = [{"role": "user", "content": "Hello you"}]


def choice(document: Any) -> Any:
    return document["choices"][0]


def joined(events: list[Any], key: str = "content") -> str:
    return "".join(c["delta"].get(key) or "" for event in events for c in event["choices"])


class TestText:
    def test_it_answers_about_the_last_message(self, caller: Caller) -> None:
        document = caller.ask("Hello you")
        assert choice(document)["message"] == {
            "role": "assistant",
            "content": 'This is the scripted model. You wrote: "Hello you"',
        }
        assert choice(document)["finish_reason"] == "stop"
        assert document["usage"] == {"prompt_tokens": 2, "completion_tokens": 9, "total_tokens": 11}
        assert document["model"] == "scripted-model"

    def test_it_always_says_the_same(self, caller: Caller) -> None:
        assert caller.ask("x") == caller.ask("x")

    def test_text_parts_are_read(self, caller: Caller) -> None:
        parts = [
            {"type": "text", "text": "See"},
            {"type": "image_url", "image_url": {"url": "data:"}},
        ]
        assert '"See"' in choice(caller.ask(parts))["message"]["content"]  # type: ignore[arg-type]

    def test_a_long_message_is_quoted_in_part(self, caller: Caller) -> None:
        assert choice(caller.ask("a " * 50))["message"]["content"].endswith('a a a ..."')

    def test_a_stream_says_what_the_plain_answer_says(self, caller: Caller) -> None:
        events = caller.events({"messages": USER})
        assert joined(events) == choice(caller.ask("Hello you"))["message"]["content"]
        assert len(events) == 11
        assert choice(events[0])["delta"] == {"role": "assistant", "content": ""}
        assert choice(events[-1])["finish_reason"] == "stop"

    def test_a_stream_ends_with_usage_if_that_is_asked_for(self, caller: Caller) -> None:
        last = caller.events({"messages": USER, "stream_options": {"include_usage": True}})[-1]
        assert (last["choices"], last["usage"]["total_tokens"]) == ([], 11)

    def test_n_gives_so_many_different_choices(self, caller: Caller) -> None:
        choices = caller.ask("x", n=3)["choices"]
        assert [c["index"] for c in choices] == [0, 1, 2]
        assert len({c["message"]["content"] for c in choices}) == 3

    def test_streamed_choices_alternate(self, caller: Caller) -> None:
        events = caller.events({"messages": USER, "n": 2})
        assert [choice(event)["index"] for event in events[:4]] == [0, 1, 0, 1]

    @pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
    def test_a_token_limit_cuts(self, caller: Caller, name: str) -> None:
        cut = choice(caller.ask("x", **{name: 2}))
        assert (cut["message"]["content"], cut["finish_reason"]) == ("This is ", "length")

    @pytest.mark.parametrize("stop", [" model", [" model", "zzz"]])
    def test_stop_ends_before_it(self, caller: Caller, stop: Any) -> None:
        ended = choice(caller.ask("x", stop=stop))
        assert (ended["message"]["content"], ended["finish_reason"]) == (
            "This is the scripted",
            "stop",
        )

    def test_logprobs_cover_the_text(self, caller: Caller) -> None:
        answer = choice(caller.ask("x", logprobs=True, top_logprobs=2))
        tokens = answer["logprobs"]["content"]
        assert "".join(token["token"] for token in tokens) == answer["message"]["content"]
        assert {len(token["top_logprobs"]) for token in tokens} == {2}

    @pytest.mark.parametrize(
        "options",
        [{"reasoning_effort": "low"}, {"chat_template_kwargs": {"enable_thinking": True}}],
    )
    def test_it_thinks_when_asked(self, caller: Caller, options: Any) -> None:
        document = caller.ask("x", **options)
        thought = choice(document)["message"]["reasoning_content"]
        assert document["usage"]["completion_tokens_details"]["reasoning_tokens"] == len(
            thought.split()
        )
        assert joined(caller.events({"messages": USER, **options}), "reasoning_content") == thought

    def test_it_does_not_think_otherwise(self, caller: Caller) -> None:
        assert (
            "reasoning_content" not in choice(caller.ask("x", reasoning_effort="none"))["message"]
        )

    def test_json_object_is_an_object(self, caller: Caller) -> None:
        assert json.loads(
            choice(caller.ask("x", response_format={"type": "json_object"}))["message"]["content"]
        ) == {"about": "x"}

    def test_json_schema_is_an_instance(self, caller: Caller) -> None:
        schema = {
            "type": "object",
            "properties": {"n": {"type": "integer", "minimum": 3}},
            "required": ["n"],
        }
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        assert choice(caller.ask("x", response_format=wanted))["message"]["content"] == '{"n": 3}'


class TestTools:
    def test_the_first_tool_is_called_with_fitting_arguments(self, caller: Caller) -> None:
        answer = choice(caller.ask("x", tools=[WEATHER, CLOCK]))
        (call,) = answer["message"]["tool_calls"]
        assert (answer["finish_reason"], answer["message"]["content"]) == ("tool_calls", None)
        assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == (
            "weather",
            {"city": "Bern", "days": 1},
        )

    def test_a_forced_tool_is_called(self, caller: Caller) -> None:
        forced = {"type": "function", "function": {"name": "clock"}}
        (call,) = choice(caller.ask("x", tools=[WEATHER, CLOCK], tool_choice=forced))["message"][
            "tool_calls"
        ]
        assert call["function"] == {"name": "clock", "arguments": "{}"}

    def test_none_is_called_if_none_is_wanted(self, caller: Caller) -> None:
        assert (
            "tool_calls"
            not in choice(caller.ask("x", tools=[WEATHER], tool_choice="none"))["message"]
        )

    def test_a_streamed_call_comes_in_fragments(self, caller: Caller) -> None:
        events = caller.events({"messages": USER, "tools": [WEATHER]})
        pieces = [
            piece for event in events for piece in choice(event)["delta"].get("tool_calls", ())
        ]
        assert pieces[0] == {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": ""},
        }
        assert json.loads("".join(piece["function"]["arguments"] for piece in pieces)) == {
            "city": "Bern",
            "days": 1,
        }
        assert len(pieces) == 4
        assert choice(events[-1])["finish_reason"] == "tool_calls"

    def test_after_a_result_it_answers(self, caller: Caller) -> None:
        result = {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"}
        status, document = caller.post({"messages": [*USER, result], "tools": [WEATHER]})
        assert (status, choice(document)["message"]["content"]) == (
            200,
            'The tool says: "18 degrees"',
        )


class TestOtherPaths:
    def test_a_completion(self, caller: Caller) -> None:
        status, document = caller.post(
            {"prompt": ["Hello", [1, 2]], "n": 2, "max_tokens": 3}, "/v1/completions"
        )
        assert status == 200
        assert [(c["index"], c["text"], c["finish_reason"]) for c in document["choices"]] == [
            (i, "This is the ", "length") for i in range(4)
        ]

    def test_a_streamed_completion(self, caller: Caller) -> None:
        events = caller.events({"prompt": "Hello"}, "/v1/completions")
        assert (
            "".join(choice(event)["text"] for event in events)
            == 'This is the scripted model. You wrote: "Hello"'
        )
        assert choice(events[-1])["finish_reason"] == "stop"

    def test_embeddings_depend_on_the_text_alone(self, caller: Caller) -> None:
        _, document = caller.post({"input": ["a", "b", "a"]}, "/v1/embeddings")
        one, other, again = [entry["embedding"] for entry in document["data"]]
        assert one == again != other
        assert len(one) == 8
        assert sum(number * number for number in one) == pytest.approx(1)

    def test_base64_embeddings_are_the_same_vectors(self, caller: Caller) -> None:
        _, plain = caller.post({"input": "a", "dimensions": 20}, "/v1/embeddings")
        _, packed = caller.post(
            {"input": "a", "dimensions": 20, "encoding_format": "base64"}, "/v1/embeddings"
        )
        data = base64.b64decode(packed["data"][0]["embedding"])
        assert list(struct.unpack("<20f", data)) == plain["data"][0]["embedding"]

    def test_models(self, caller: Caller) -> None:
        status, document = caller.get("/v1/models")
        assert (status, document["data"][0]["id"], document["data"][0]["max_model_len"]) == (
            200,
            "scripted-model",
            8192,
        )

    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            pytest.param("/v1/nothing", {}, 404, id="unknown path"),
            pytest.param(CHAT, b"{broken", 400, id="broken JSON"),
            pytest.param(CHAT, [], 400, id="no object"),
            pytest.param(CHAT, {"messages": []}, 400, id="no messages"),
            pytest.param("/v1/completions", {}, 400, id="no prompt"),
            pytest.param("/v1/embeddings", {"input": []}, 400, id="no input"),
            pytest.param(
                "/v1/embeddings", {"input": "a", "dimensions": 0}, 400, id="no dimensions"
            ),
            pytest.param("/v1/models", {}, 405, id="wrong method"),
        ],
    )
    def test_what_it_cannot_answer_is_an_error(
        self, caller: Caller, path: str, body: Any, status: int
    ) -> None:
        got, document = caller.post(body, path)
        assert got == status
        assert document["error"]["message"]


class TestOptions:
    def test_a_key_is_asked_for(self) -> None:
        with ScriptedServer(api_key="k", model="m") as server:
            caller = Caller(server)
            assert caller.get("/v1/models")[0] == 401
            assert caller.get("/v1/models", authorization="Bearer other")[0] == 401
            assert caller.get("/v1/models", authorization="Bearer k")[0] == 200
            assert caller.get("/v1/models", **{"api-key": "k"})[0] == 200
            caller.connection.close()

    def test_beyond_its_capacity_it_refuses(self) -> None:
        with ScriptedServer(capacity=1) as server:
            event = threading.Event()
            server.script(chat("x").after(Hold(event)))
            first, second = Caller(server), Caller(server)
            thread = threading.Thread(target=first.post, args=({},))
            thread.start()
            server.wait_seen(1)
            status, document = second.post({"messages": USER})
            assert (status, document["error"]["code"]) == (429, "rate_limit_exceeded")
            event.set()
            thread.join()
            server.wait(lambda: server.in_flight == 0)
            assert second.post({"messages": USER})[0] == 200
            first.connection.close()
            second.connection.close()

    def test_latency_holds_each_default_answer_back(self) -> None:
        with ScriptedServer(latency=0.05) as server:
            caller = Caller(server)
            before = time.monotonic_ns()
            caller.ask("x")
            assert time.monotonic_ns() - before >= 50_000_000
            caller.connection.close()
