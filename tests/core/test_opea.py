"""The interface of the original backend, name by name, and what ours adds; in sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asking import Way, made
from steady_ids import steady

import opea_core
from opea_core import OPEA, ConfigurationError, events
from opea_core.testing import (
    ScriptedServer,
    Seen,
    chat,
    chunk,
    error,
    html,
    json_answer,
    sse,
    stream,
    tool_call,
)

HELLO = 'This is the scripted model. You wrote: "Hello"'
DATA: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}


# --- chat and stream_chat


def test_chat_returns_content_role_model_and_usage(way: Way, server: ScriptedServer) -> None:
    response = way.ask(
        made(server), "chat", DATA["messages"], temperature=0.7, max_tokens=200
    ).response
    assert (response.content, response.text, response.role, response.model) == (
        HELLO,
        HELLO,
        "assistant",
        "scripted-model",
    )
    assert (
        response.usage.total_tokens
        == response.usage.prompt_tokens + response.usage.completion_tokens
    )
    assert response.raw["choices"][0]["message"]["content"] == HELLO
    assert server.seen[0].body == DATA | {
        "model": "scripted-model",
        "temperature": 0.7,
        "max_tokens": 200,
        "stream": False,
    }


def test_a_plain_string_is_one_user_message(way: Way, server: ScriptedServer) -> None:
    way.ask(made(server), "chat", "Hello")
    assert server.seen[0].body["messages"] == DATA["messages"]


def test_stream_chat_yields_tokens_and_at_the_end_the_whole(
    way: Way, server: ScriptedServer
) -> None:
    *tokens, last = way.ask(made(server), "stream_chat", "Hello").chunks
    assert {(chunk.type, chunk.done) for chunk in tokens} == {("token", False)}
    assert (last.type, last.done, last.content, last.response.content) == (
        "complete",
        True,
        "",
        HELLO,
    )
    assert all(chunk.response is None for chunk in tokens)
    assert {chunk.role for chunk in (*tokens, last)} == {"assistant"}


@pytest.mark.parametrize(
    "answer",
    [
        stream(["Hel", "lo"]),
        stream(["Hello"], usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}),
        stream([{"content": ""}, {"reasoning_content": "hm"}, "Hel", {"content": None}, "lo"]),
        sse(chunk({"content": "Hel"}), chunk({"content": "lo"}, "stop")),
        chat("Hello"),
        stream(["Hello"], done=False),
        sse(
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {"content": "Hello"},
                        "message": {"content": "Hello"},
                        "finish_reason": "stop",
                    }
                ]
            }
        ),
    ],
)
def test_joining_all_content_gives_the_answer_exactly_once(
    way: Way, server: ScriptedServer, answer: Any
) -> None:
    server.script(answer)
    chunks = way.ask(made(server), "stream_chat", "Hello").chunks
    assert "".join(chunk.content for chunk in chunks) == "Hello"
    assert [chunk.done for chunk in chunks].count(True) == 1
    assert chunks[-1].response.content == "Hello"
    assert all(isinstance(chunk.content, str) for chunk in chunks)


def test_a_stream_knows_its_answer_so_far(server: ScriptedServer) -> None:
    with made(server) as opea, opea.stream_chat("Hello") as chunks:
        text = ""
        for piece in chunks:
            text += piece.content
            assert chunks.response is not None
            assert chunks.response.content.startswith(text)
        assert (chunks.endpoint, chunks.response.content) == ("one", HELLO)
        assert chunks.request_id == server.seen[0].headers["x-request-id"]


def test_a_stream_is_sent_at_its_first_use_and_checked_at_the_call(server: ScriptedServer) -> None:
    with made(server) as opea:
        with pytest.raises(ConfigurationError):
            opea.stream_chat([])
        with pytest.raises(ConfigurationError):
            opea.astream_chat([])
        chunks = opea.stream_chat("Hello")
        assert isinstance(chunks, Iterator)
        assert isinstance(opea.astream_chat("Hello"), AsyncIterator)
        assert server.seen == []
        with chunks:
            assert len(server.seen) == 1
            next(chunks)
        assert len(server.seen) == 1


def test_a_stream_needs_no_await_before_async_for(server: ScriptedServer) -> None:
    async def main() -> str:
        async with made(server) as opea:
            return "".join([chunk.content async for chunk in opea.astream_chat("Hello")])

    assert asyncio.run(main()) == HELLO


# --- requests by dict


def test_make_post_request(way: Way, server: ScriptedServer) -> None:
    answer = way.ask(made(server), "make_post_request", DATA).value
    assert answer["choices"][0]["message"]["content"] == HELLO
    assert (answer["object"], answer["id"]) == ("chat.completion", "scripted-1")


def test_make_post_request_of_a_prompt(way: Way, server: ScriptedServer) -> None:
    answer = way.ask(made(server), "make_post_request", {"prompt": "Hello"}).value
    assert (server.seen[0].path, answer["choices"][0]["text"]) == ("/v1/completions", HELLO)


def test_make_post_request_with_options_and_a_key(way: Way, server: ScriptedServer) -> None:
    way.ask(
        made(server),
        "make_post_request",
        DATA,
        "a-key",
        temperature=0.1,
        extra_headers={"x-a": "b"},
    )
    seen = server.seen[0]
    assert (seen.body["temperature"], seen.headers["authorization"], seen.headers["x-a"]) == (
        0.1,
        "Bearer a-key",
        "b",
    )


def test_make_post_request_opea_to_the_exact_path(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    for path, sent in {
        "/v1/chat/completions": "/v1/chat/completions",
        "/v1": "/v1/chat/completions",
        "": "/v1/chat/completions",
        "/openai/v1/chat/completions": "/openai/v1/chat/completions",
        "/v1/chat/completions?a=b": "/v1/chat/completions",
    }.items():
        assert way.ask(opea, "make_post_request_opea", server.origin + path, DATA).error is None
        assert (server.seen[-1].path, server.seen[-1].query) == (
            sent,
            {"a": "b"} if "?" in path else {},
        )


def test_make_stream_request_ends_with_one_of_type_end(way: Way, server: ScriptedServer) -> None:
    chunks = way.ask(made(server), "make_stream_request", DATA).chunks
    assert [c["type"] for c in chunks] == ["token"] * (len(chunks) - 1) + ["end"]
    assert "".join(c["content"] for c in chunks) == HELLO
    assert {"content", "role", "type", "done"} <= set(chunks[0])
    assert [c["done"] for c in chunks] == [False] * (len(chunks) - 1) + [True]


def test_make_stream_request_tells_of_tools_and_reasoning(way: Way, server: ScriptedServer) -> None:
    server.script(
        stream(
            [{"reasoning_content": "hm"}, {"tool_calls": [{"index": 0, **tool_call("f", "{}")}]}],
            finish_reason="tool_calls",
        )
    )
    chunks = way.ask(made(server), "make_stream_request", DATA).chunks
    assert chunks[0]["reasoning"] == "hm"
    assert next(c["tool_calls"] for c in chunks if "tool_calls" in c)[0]["name"] == "f"
    assert chunks[-1]["finish_reason"] == "tool_calls"


def test_make_stream_request_opea_gives_the_servers_events(
    way: Way, server: ScriptedServer
) -> None:
    sent = [chunk({"content": "Hel"}, x_extra=1), chunk({"content": "lo"}), chunk({}, "stop")]
    server.script(sse(*sent))
    assert (
        way.ask(
            made(server), "make_stream_request_opea", f"{server.url}/chat/completions", DATA
        ).chunks
        == sent
    )
    assert server.seen[0].body["stream"] is True


def test_the_dict_forms_send_nothing_before_they_are_used(server: ScriptedServer) -> None:
    with made(server) as opea:
        opea.make_stream_request(DATA)
        opea.make_stream_request_opea(server.url, DATA)
        opea.amake_stream_request(DATA)
    assert server.seen == []


def test_create_endpoint_handler(way: Way, server: ScriptedServer) -> None:
    handler_of = "create_endpoint_handler" if way.name == "sync" else "acreate_endpoint_handler"
    handler = getattr(made(server), handler_of)(f"{server.url}/chat/completions")
    answer = way.run(lambda: handler(DATA | {"model": "mine", "temperature": 0.7})).result(5)
    assert answer["choices"][0]["message"]["content"] == HELLO
    assert server.seen[0].body["model"] == "mine"


def test_create_endpoint_handler_of_the_default_endpoint(way: Way, server: ScriptedServer) -> None:
    handler_of = "create_endpoint_handler" if way.name == "sync" else "acreate_endpoint_handler"
    handler = getattr(made(server, api_key="a-key"), handler_of)()
    assert "choices" in way.run(lambda: handler(DATA)).result(5)
    assert server.seen[0].headers["authorization"] == "Bearer a-key"


def test_an_error_of_a_dict_form_is_an_error(way: Way, server: ScriptedServer) -> None:
    server.always(error(400, "not like that"))
    for method, args in {
        "make_post_request": (DATA,),
        "make_post_request_opea": (server.url, DATA),
        "make_stream_request": (DATA,),
    }.items():
        assert isinstance(way.ask(made(server), method, *args).error, opea_core.InvalidRequestError)


# --- tests of an endpoint


def test_test_endpoint_asks_for_five_tokens(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    assert way.ask(opea, "test_endpoint").value is True
    assert way.ask(opea, "endpoint_problem").value is None
    body = server.seen[0].body
    assert (body["messages"], body["max_tokens"], body["stream"]) == (
        [{"role": "user", "content": "Hello"}],
        5,
        False,
    )


@pytest.mark.parametrize(
    ("answer", "works"),
    [
        (chat("Hi"), True),
        (chat("Hi", finish_reason="length"), True),
        (json_answer({"choices": [{"text": "Hi", "finish_reason": "stop"}]}), True),
        (json_answer({"choices": []}), False),
        (html(), False),
        (error(401, "wrong key"), False),
        (error(503, "busy"), False),
        (error(429, "slow down", headers={"retry-after": "60"}), False),
        (chat("x").replace(before="reset"), False),
        (error(404, "The model does not exist", code="model_not_found"), False),
    ],
)
def test_test_endpoint_is_true_if_there_is_an_answer(
    way: Way, server: ScriptedServer, answer: Any, works: bool
) -> None:
    opea = made(server)
    server.always(answer)
    assert way.ask(opea, "test_endpoint").value is works
    problem = way.ask(opea, "endpoint_problem").value
    assert (problem is None) is works
    assert works or isinstance(problem, opea_core.OPEAError)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9", "not a url", "", 5, "ftp://x", "http://[::", object()], ids=steady
)
def test_test_endpoint_never_raises(way: Way, server: ScriptedServer, url: Any) -> None:
    opea = made(server)
    assert way.ask(opea, "test_endpoint", url).value is False
    assert isinstance(way.ask(opea, "endpoint_problem", url).value, Exception)
    assert server.seen == []


def test_test_endpoint_never_raises_whatever_the_key_function_does(
    way: Way, server: ScriptedServer
) -> None:
    def broken() -> str:
        raise LookupError

    assert way.ask(made(server, api_key=broken), "test_endpoint").value is False


def test_test_endpoint_is_sent_at_once_and_does_not_count(way: Way, server: ScriptedServer) -> None:
    heard: list[events.Event] = []
    opea = made(server, max_concurrent=1, max_queued=0, hooks=[heard.append])
    server.script(stream(["a"], end="hang", finish_reason=None, done=False))
    with opea.stream_chat("holds the only place") as chunks:
        next(chunks)
        assert way.ask(opea, "test_endpoint").value is True
    server.always(chat("x").replace(before="reset"))
    for _ in range(4):
        assert way.ask(opea, "test_endpoint").value is False
    assert opea.get_stats("one")["breaker"] == "closed"
    assert opea.get_stats()["requests"] == 1
    assert len(opea.recent_requests()) == 1
    assert sum(isinstance(event, events.TestFailed) for event in heard) == 4


def test_test_endpoint_past_an_open_breaker(way: Way, server: ScriptedServer) -> None:
    opea = made(server, breaker=opea_core.BreakerPolicy(break_duration=30), recovery_wait=0)
    server.pause()
    way.ask(opea, "chat", "opens it")
    assert opea.get_stats("one")["breaker"] == "open"
    server.resume()
    started = len(server.seen)
    assert way.ask(opea, "test_endpoint").value is True
    assert len(server.seen) == started + 1


# --- endpoints of one's own


def test_create_endpoint_gives_ids(server: ScriptedServer, second: ScriptedServer) -> None:
    opea = made(server)
    assert [opea.create_endpoint(), opea.create_endpoint(base_url=second.url)] == [
        "endpoint_1",
        "endpoint_2",
    ]
    assert opea.endpoint_ids() == ["one", "endpoint_1", "endpoint_2"]


def test_an_endpoint_has_its_own_url_key_model_and_figures(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, api_key="our-key", headers={"x-ours": "1"})
    other = opea.create_endpoint(base_url=second.url, api_key="their-key", model="their-model")
    assert "choices" in way.ask(opea, "make_request_with_endpoint", other, DATA).value
    seen = second.seen[0]
    assert (seen.headers["authorization"], seen.body["model"], "x-ours" in seen.headers) == (
        "Bearer their-key",
        "their-model",
        False,
    )
    assert (opea.get_stats(other)["requests"], opea.get_stats("one")["requests"]) == (1, 0)
    assert opea.get_stats()["endpoints"][other]["success"] == 1
    assert server.seen == []


def test_an_endpoint_elsewhere_gets_no_key_of_ours(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, api_key="our-key", headers={"x-ours": "1"}, query={"code": "secret"})
    way.ask(opea, "make_request_with_endpoint", opea.create_endpoint(base_url=second.url), DATA)
    seen = second.seen[0]
    assert ("authorization" in seen.headers, "x-ours" in seen.headers, seen.query) == (
        False,
        False,
        {},
    )


def test_what_an_endpoint_is_not_given_is_as_the_object_has_it(
    way: Way, server: ScriptedServer
) -> None:
    opea = made(
        server,
        api_key="our-key",
        auth_header="api-key",
        auth_scheme=None,
        headers={"x-ours": "1"},
        query={"a": "b"},
        max_concurrent=3,
    )
    created = opea.create_endpoint()
    way.ask(opea, "make_request_with_endpoint", created, DATA)
    seen = server.seen[0]
    assert (
        seen.headers.get("api-key"),
        seen.headers.get("authorization"),
        seen.headers["x-ours"],
    ) == ("our-key", None, "1")
    assert (seen.query, seen.body["model"], seen.path) == (
        {"a": "b"},
        "scripted-model",
        "/v1/chat/completions",
    )
    assert opea.get_stats(created)["max_concurrent"] == 3


def test_an_endpoint_has_its_own_limits(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    created = opea.create_endpoint(max_concurrent=2, max_retries=1, timeout=5)
    server.latency = 0.01
    calls = [way.start(opea, "make_request_with_endpoint", created, DATA) for _ in range(8)]
    assert [call.result(5).error for call in calls] == [None] * 8
    assert server.max_in_flight == 2
    server.always(error(503, "busy"))
    told = way.ask(opea, "make_request_with_endpoint", created, DATA)
    assert len(told.error.attempts) == 2  # type: ignore[union-attr]


def test_a_configured_endpoint_by_its_label(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, second)
    way.ask(opea, "make_request_with_endpoint", "two", DATA)
    assert (len(server.seen), len(second.seen)) == (0, 1)


@pytest.mark.parametrize("method", ["make_request_with_endpoint", "get_stats"])
def test_an_unknown_id_is_an_error_that_names_the_nearest(
    server: ScriptedServer, method: str
) -> None:
    opea = made(server)
    opea.create_endpoint()
    with pytest.raises(ConfigurationError, match="endpoint_1"):
        getattr(opea, method)(*(("endpoint_7", DATA) if "make" in method else ("endpoint_7",)))
    with pytest.raises(ConfigurationError, match="one"):
        opea.chat("Hello", endpoint="won")
    assert server.seen == []


# --- models, embeddings, completions


def test_models_are_known_from_then_on(way: Way, server: ScriptedServer) -> None:
    server.model.name = "exotic-7b"
    opea = made(server, model=None)
    assert not opea.is_compatible_model("exotic-7b")
    assert [model.id for model in way.ask(opea, "models").value] == ["exotic-7b"]
    assert opea.is_compatible_model("exotic-7b")


@pytest.mark.parametrize(
    ("model", "compatible"),
    [
        ("gpt-4", True), ("GPT-4o", True), ("text-davinci-003", True), ("claude-3", True),
        ("llama-3", True), ("Mistral-7B", True), ("mixtral-8x7b", True), ("configured", True),
        ("bert-base", False), ("my-gpt-4", False), ("", False), (None, False), (5, False),
    ],
)  # fmt: skip
def test_is_compatible_model(model: Any, compatible: bool) -> None:
    assert OPEA(model="configured").is_compatible_model(model) is compatible


def test_prefixes_can_be_configured() -> None:
    opea = OPEA(compatible_prefixes=("qwen",))
    assert (opea.is_compatible_model("qwen3:8b"), opea.is_compatible_model("gpt-4")) == (
        True,
        False,
    )


def test_embed_keeps_the_order_and_splits_what_is_too_large(
    way: Way, server: ScriptedServer
) -> None:
    def limited(seen: Seen) -> Any:
        return (
            error(413, "batch size 5 > maximum allowed batch size 2")
            if len(seen.body["input"]) > 2
            else None
        )

    opea = made(server)
    whole = way.ask(opea, "embed", list("abcde")).value
    server.always(limited)
    parts = way.ask(opea, "embed", list("abcde")).value
    assert parts.embeddings == whole.embeddings
    assert parts.usage.prompt_tokens == whole.usage.prompt_tokens == 5
    assert (parts.endpoint, parts.dimensions) == ("one", 8)


def test_embed_one_text_that_is_too_large(way: Way, server: ScriptedServer) -> None:
    server.always(error(413, "input is too large"))
    assert isinstance(way.ask(made(server), "embed", ["a"]).error, opea_core.InvalidRequestError)
    assert len(server.seen) == 1


def test_embed_with_a_number_of_vectors_that_does_not_fit(way: Way, server: ScriptedServer) -> None:
    server.always(json_answer({"data": [{"index": 0, "embedding": [1.0]}]}))
    opea = made(server)
    told = way.ask(opea, "embed", ["a", "b"])
    assert isinstance(told.error, opea_core.BadAnswerError)
    assert opea.get_stats()["in_flight"] == 0


def test_complete_of_several_prompts(way: Way, server: ScriptedServer) -> None:
    response = way.ask(made(server), "complete", ["Hello", "you"]).response
    assert [choice.content for choice in response.choices] == [HELLO, HELLO.replace("Hello", "you")]
