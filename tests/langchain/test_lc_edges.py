"""Edges of the adapter that no other test touched: each was found by breaking the code there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import HumanMessage
from lc_asking import ModelWith, amerged, merged
from lc_object_support import CLASSES, ask, body, made
from waiting import in_threads, joined, until

from langchain_opea import ChatOPEA, OPEAEmbeddings, register
from langchain_opea.errors import OPEATimeout
from opea_core import OPEA, Timeouts
from opea_core.testing import (
    Answer,
    Hold,
    ScriptedServer,
    chat,
    chunk,
    json_answer,
    sse,
    stream,
    tool_call,
)

SCHEMA = {"title": "City", "type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.fixture
def silent(server: ScriptedServer) -> Iterator[ScriptedServer]:
    """The server, which takes calls and does not answer them."""
    held = threading.Event()
    server.always(chat("x").after(Hold(held)))
    yield server
    held.set()


# --- test_lc_options_calls.py: the environment and defaults of subclasses


@pytest.mark.parametrize("cls", CLASSES)
def test_empty_variables_are_not_set(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPEA_API_URL", "")
    monkeypatch.setenv("OPEA_API_KEY", "")
    assert cls(model="m").client.endpoints == OPEA(model="m").endpoints


def test_the_key_of_a_subclass_never_goes_to_listed_endpoints(server: ScriptedServer) -> None:
    class House(ChatOPEA):
        base_url: str | None = "http://nowhere.test"
        api_key: Any = "sk-house"

    House(model="m", endpoints=[server.url]).invoke("x")
    assert "authorization" not in server.seen[-1].headers


def test_a_given_url_wins_over_the_endpoints_of_a_subclass(server: ScriptedServer) -> None:
    class House(ChatOPEA):
        endpoints: Any = ("http://nowhere.test",)

    House(model="m", base_url=server.url).invoke("x")
    assert len(server.seen) == 1


def test_a_second_name_that_is_none_takes_nothing_back() -> None:
    assert (
        ChatOPEA(
            timeout=7, request_timeout=None, model="m", max_tokens=5, max_completion_tokens=None
        ).max_tokens
        == 5
    )


# --- test_lc_options_calls.py: times beside a given object


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_times_of_a_given_object_hold_where_the_model_has_none(
    silent: ScriptedServer, way: str
) -> None:
    opea = OPEA(silent.url, model="m", timeout=Timeouts(first_event=0.1), max_retries=0, deadline=2)
    with pytest.raises(OPEATimeout):  # and not OPEADeadlineExceeded
        ask(way, ChatOPEA(client=opea))


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_the_pause_between_pieces_leaves_the_models_other_times_beside_a_given_object(
    silent: ScriptedServer, way: str
) -> None:
    opea = OPEA(silent.url, model="m", max_retries=0, deadline=2)
    with pytest.raises(OPEATimeout):
        ask(way, ChatOPEA(client=opea, timeout=0.1, stream_chunk_timeout=5))


def test_the_priority_of_a_call_wins_over_the_models(server: ScriptedServer) -> None:
    model = made(server, max_concurrent=1, priority=9)
    held = threading.Event()
    server.script(chat("x").after(Hold(held)))
    threads, _ = in_threads(lambda: model.invoke("first"))
    server.wait_seen(1)
    for number, call in enumerate(
        (lambda: model.invoke("later", priority=5), lambda: model.invoke("urgent", priority=0)), 1
    ):
        threads += in_threads(call)[0]
        until(
            lambda number=number: model.client.get_stats()["queued"] == number, "the call to queue"
        )  # type: ignore[misc]
    held.set()
    joined(threads)
    assert [seen.body["messages"][0]["content"] for seen in server.seen] == [
        "first",
        "urgent",
        "later",
    ]


# --- test_lc_options_body.py


def test_a_disabled_parameter_is_left_out_of_the_extra_body_too(server: ScriptedServer) -> None:
    made(server, extra_body={"user": "u", "seed": 1}, disabled_params={"user": None}).invoke("x")
    assert body(server) == {"model": "m", "seed": 1}


# --- test_lc_object_discovery.py


def test_a_model_named_in_model_kwargs_is_not_asked_for(server: ScriptedServer) -> None:
    ChatOPEA(base_url=server.url, model_kwargs={"model": "qwen3"}).invoke("x")
    assert [(seen.method, seen.body and seen.body["model"]) for seen in server.seen] == [
        ("POST", "qwen3")
    ]


def test_a_model_named_in_the_extra_body_of_a_call_is_not_asked_for(server: ScriptedServer) -> None:
    ChatOPEA(base_url=server.url).invoke("x", extra_body={"model": "qwen3"})
    assert [(seen.method, seen.body and seen.body["model"]) for seen in server.seen] == [
        ("POST", "qwen3")
    ]


def test_registering_leaves_an_entry_of_the_user_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain.chat_models import base

    mine = ("my_package", "MyChat", print)
    monkeypatch.setitem(base._BUILTIN_PROVIDERS, "opea", mine)
    register()
    assert base._BUILTIN_PROVIDERS["opea"] is mine


# --- test_lc_object_cache.py


def test_an_answer_of_a_model_nobody_named_is_not_found_for_another(server: ScriptedServer) -> None:
    cache = (
        InMemoryCache()
    )  # these servers tell no window, so that discovery changes nothing else of the model
    for name in ("qwen3", "llama3"):
        server.script(json_answer({"object": "list", "data": [{"id": name}]}), chat(name))
        assert ChatOPEA(base_url=server.url, cache=cache).invoke("x").text == name


# --- test_lc_streams.py


def _in_one_read(*events: Any) -> Answer:
    answer = sse(*events)
    return answer.replace(steps=(answer.body,))


def _call(arguments: str, **about: Any) -> dict[str, Any]:
    return {
        "index": 0,
        **about,
        "function": {"arguments": arguments, **({"name": "f"} if about else {})},
    }


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_text_beside_a_call_is_handed_on_although_more_has_come(
    server: ScriptedServer, model_with: ModelWith, asynchronous: bool
) -> None:
    first, second = (
        {"content": "a", "tool_calls": [_call("{", id="1")]},
        {"content": "b", "tool_calls": [_call("}")]},
    )
    server.always(_in_one_read(chunk(first), chunk(second), chunk({}, "tool_calls")))
    model = model_with()
    message = (
        asyncio.run(amerged(model.astream("x"))) if asynchronous else merged(model.stream("x"))
    )
    assert (message.text, [call["args"] for call in message.tool_calls]) == ("ab", [{}])


def test_chunks_share_no_lists(server: ScriptedServer, model_with: ModelWith) -> None:
    server.always(stream(["a", "b"]))
    one, two, *_ = model_with().stream("x")
    one.tool_calls.append({"name": "f", "args": {}, "id": "1"})
    one.invalid_tool_calls.append({"name": "f", "args": "", "id": "1", "error": ""})
    assert (two.tool_calls, two.invalid_tool_calls) == ([], [])


# --- test_lc_streams_tokens.py


def test_log_probabilities_of_a_token_without_text_are_kept(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    tokens = [
        {"token": token, "logprob": -0.5, "bytes": None, "top_logprobs": []}
        for token in ("Hi", "<|end|>")
    ]
    server.always(
        sse(
            chunk({"content": "Hi"}, logprobs={"content": tokens[:1]}),
            chunk({"content": ""}, logprobs={"content": tokens[1:]}),
            chunk({}, "stop"),
        )
    )
    assert merged(model_with().stream("x")).response_metadata["logprobs"] == {"content": tokens}


# --- test_lc_streams_arguments.py


def test_a_fragment_that_ends_in_a_backslash_escapes_one_character(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    fragments = ['{"a": "x\\', "n", '",\n', '"b": 1}']
    calls = [_call("", id="1"), *map(_call, fragments)]
    server.always(sse(*(chunk({"tool_calls": [call]}) for call in calls), chunk({}, "tool_calls")))
    assert merged(model_with().stream("x")).tool_calls[0]["args"] == {"a": "x\n", "b": 1}


# --- test_lc_structured_text.py


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_several_answers_are_none(server: ScriptedServer, way: str) -> None:
    server.always(
        chat('[{"a": 1}, {"a": 2}]') if way == "invoke" else stream(['[{"a": 1}, {"a": 2}]'])
    )
    with pytest.raises(OutputParserException):
        ask(way, made(server).with_structured_output(SCHEMA))


def test_a_dict_that_only_began_is_not_handed_on(server: ScriptedServer) -> None:
    server.always(stream(["{", '"a": 1', "}"]))
    assert list(made(server).with_structured_output(SCHEMA).stream("x")) == [{"a": 1}]


@pytest.mark.filterwarnings("ignore:Core Pydantic V1")
def test_an_answer_that_does_not_fit_a_class_of_pydantic_1_raises_with_the_text(
    server: ScriptedServer,
) -> None:
    from pydantic.v1 import BaseModel

    class City(BaseModel):
        a: int

    server.always(chat(None, tool_calls=[tool_call("City", {"a": "none"})]))
    with pytest.raises(OutputParserException, match="does not fit City"):
        made(server).with_structured_output(City).invoke("x")


# --- test_lc_messages.py, test_lc_tools.py


def test_the_index_of_a_part_is_not_sent(server: ScriptedServer) -> None:
    made(server).invoke(
        [HumanMessage([{"type": "image_url", "image_url": {"url": "http://x/y.png"}, "index": 0}])]
    )
    assert server.seen[-1].body["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    ]


def test_a_tool_of_anthropic_with_a_type_becomes_a_function(server: ScriptedServer) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    made(server).bind_tools(
        [
            {
                "type": "custom",
                "name": "weather",
                "description": "Weather.",
                "input_schema": parameters,
            }
        ]
    ).invoke("x")
    [tool] = server.seen[-1].body["tools"]
    assert (tool["type"], tool["function"]["name"], tool["function"]["parameters"]) == (
        "function",
        "weather",
        parameters,
    )


# --- test_lc_embeddings.py


def test_a_field_wins_over_further_fields_of_the_request(server: ScriptedServer) -> None:
    OPEAEmbeddings(
        base_url=server.url, model="m", dimensions=3, model_kwargs={"dimensions": 5}
    ).embed_query("x")
    assert server.seen[-1].body["dimensions"] == 3
