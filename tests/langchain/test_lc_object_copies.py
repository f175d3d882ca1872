"""Pickles, event loops, threads and workers: one model used from everywhere."""

from __future__ import annotations

import asyncio
import copy
import pickle
import ssl
import threading
from typing import Any

import httpx
import pytest
from langchain_core.runnables import ConfigurableField, RunnableLambda
from lc_object_support import WAYS, ask, made
from waiting import in_threads, joined

from langchain_opea import ChatOPEA
from opea_core import OPEA, Capabilities, ConfigurationError, Endpoint, Timeouts
from opea_core.testing import Hold, ScriptedServer, chat, error


def _key() -> str:
    return "sk-from-a-function"


# --- pickles and copies


@pytest.mark.parametrize("way", WAYS)
def test_a_pickled_model_answers(server: ScriptedServer, way: str) -> None:
    model = pickle.loads(pickle.dumps(made(server, temperature=0.5, api_key="sk-secret")))
    assert ask(way, model).text
    assert server.seen[-1].headers["authorization"] == "Bearer sk-secret"
    assert server.seen[-1].body["temperature"] == 0.5


def test_a_model_can_be_pickled_after_calls(server: ScriptedServer) -> None:
    model = made(server)
    model.invoke("x")
    asyncio.run(model.ainvoke("x"))
    assert pickle.loads(pickle.dumps(model)).invoke("x").text


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"api_key": _key}, id="a function as key"),
        pytest.param(
            {"timeout": (1, 2), "max_retries": 3, "deadline": 9, "recovery_wait": 1}, id="times"
        ),
        pytest.param(
            {"capabilities": Capabilities(max_tokens_field="max_completion_tokens")},
            id="capabilities",
        ),
        pytest.param(
            {"default_headers": {"X-A": "b"}, "default_query": {"a": "b"}, "organization": "o"},
            id="headers",
        ),
        pytest.param({"extra_body": {"a": 1}, "model_kwargs": {"b": 2}, "stop": ["x"]}, id="body"),
    ],
)
def test_what_was_set_survives_pickling(server: ScriptedServer, options: dict[str, Any]) -> None:
    model = made(server, **options)
    other = pickle.loads(pickle.dumps(model))
    model.invoke("x", max_tokens=5, request_id="r")
    other.invoke("x", max_tokens=5, request_id="r")
    one, two = server.seen
    assert (one.body, one.query, one.headers) == (two.body, two.query, two.headers)
    assert other.client.settings.timeouts == model.client.settings.timeouts
    assert other.client.settings.retry == model.client.settings.retry


def test_endpoints_survive_pickling(server: ScriptedServer) -> None:
    endpoints = [
        {"base_url": server.url, "model": "a", "api_key": "k"},
        Endpoint(base_url="http://localhost:1", tier=1),
    ]
    model = pickle.loads(pickle.dumps(ChatOPEA(endpoints=endpoints, max_retries=0)))
    model.invoke("x")
    assert (server.seen[-1].body["model"], server.seen[-1].headers["authorization"]) == (
        "a",
        "Bearer k",
    )
    assert [endpoint.tier for endpoint in model.client.endpoints] == [0, 1]


def test_a_pickled_model_and_its_copies_share_one_object(server: ScriptedServer) -> None:
    model = pickle.loads(pickle.dumps(made(server)))
    configured, _ = model.configurable_fields(temperature=ConfigurableField(id="t"))._prepare(
        {"configurable": {"t": 0.3}}
    )
    assert configured.client is copy.deepcopy(model).client is model.client


def test_a_model_with_a_given_object_can_be_pickled(server: ScriptedServer) -> None:
    model = pickle.loads(
        pickle.dumps(ChatOPEA(client=OPEA(server.url, model="object's"), timeout=3))
    )
    model.invoke("x")
    assert server.seen[-1].body["model"] == "object's"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("verify", ssl.create_default_context()),
        ("http_client", httpx.Client()),
        ("hooks", [lambda e: None]),
    ],
)
def test_what_cannot_be_pickled_is_named(server: ScriptedServer, name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"because of {name}="):
        pickle.dumps(made(server, **{name: value}))


@pytest.mark.parametrize(
    "copier",
    [
        copy.copy,
        copy.deepcopy,
        lambda model: model.model_copy(),
        lambda model: model.model_copy(deep=True),
    ],
)
def test_copies_answer_and_are_independent(server: ScriptedServer, copier: Any) -> None:
    with httpx.Client() as client:
        model = made(server, temperature=0.5, http_client=client)
        other = copier(model)
        other.temperature = 0.9
        assert other.invoke("x").text
        model.invoke("x")
    assert [seen.body["temperature"] for seen in server.seen] == [0.9, 0.5]


def test_a_deep_copy_has_its_own_dicts(server: ScriptedServer) -> None:
    model = made(server, extra_body={"a": {"b": 1}}, model_kwargs={"c": [1]})
    other = copy.deepcopy(model)
    other.extra_body["a"]["b"] = 2
    other.model_kwargs["c"].append(2)
    assert (model.extra_body, model.model_kwargs) == ({"a": {"b": 1}}, {"c": [1]})


# --- loops and threads


def test_several_event_loops_one_after_the_other(server: ScriptedServer) -> None:
    model = made(server)
    for _ in range(4):
        assert asyncio.run(model.ainvoke("x")).text
    assert len(server.seen) == 4


def test_sync_and_async_calls_by_turns(server: ScriptedServer) -> None:
    model = made(server)
    for way in [*WAYS, *WAYS]:
        assert ask(way, model).text
    assert len(server.seen) == 8


def test_a_loop_that_ended_amid_a_stream_does_not_matter(server: ScriptedServer) -> None:
    model = made(server)

    async def first() -> str:
        async for chunk in model.astream("x"):
            return str(chunk.text)
        return ""

    assert asyncio.run(first())
    assert asyncio.run(model.ainvoke("x")).text


async def test_a_sync_call_within_a_loop(server: ScriptedServer) -> None:
    model = made(server)
    assert model.invoke("x").text
    assert (await model.ainvoke("x")).text


def test_loops_in_several_threads_at_once(server: ScriptedServer) -> None:
    model = made(server, max_concurrent=2)
    threads, results = in_threads(*[lambda: asyncio.run(model.ainvoke("x")).text] * 6)
    joined(threads)
    assert len(results) == 6
    assert all(results)


def test_batches_use_threads(server: ScriptedServer) -> None:
    found = made(server).batch(["one", "two", "three"])
    assert [message.text.split('"')[1] for message in found] == ["one", "two", "three"]


async def test_batches_in_a_loop(server: ScriptedServer) -> None:
    found = await made(server).abatch(["one", "two", "three"])
    assert [message.text.split('"')[1] for message in found] == ["one", "two", "three"]


def test_a_batch_may_give_errors_back(server: ScriptedServer) -> None:
    server.always(
        lambda seen: (
            error(400, "no") if seen.body["messages"][0]["content"] == "two" else chat("yes")
        )
    )
    one, two, three = made(server).batch(["one", "two", "three"], return_exceptions=True)
    assert (one.text, three.text) == ("yes", "yes")
    assert isinstance(two, Exception)


async def test_cancelling_a_call_ends_its_request(server: ScriptedServer) -> None:
    model = made(server)
    server.script(lambda seen: chat("x").after(Hold(threading.Event())))
    call = asyncio.ensure_future(model.ainvoke("x"))
    await asyncio.to_thread(server.wait_seen, 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(server.wait, lambda: server.seen[0].disconnected)


def test_a_model_in_a_chain(server: ScriptedServer) -> None:
    chain = (
        RunnableLambda(lambda text: f"{text}!")
        | made(server)
        | RunnableLambda(lambda message: message.text.split('"')[1])
    )
    assert chain.invoke("one") == "one!"
    assert asyncio.run(chain.ainvoke("two")) == "two!"


@pytest.mark.parametrize("way", WAYS)
def test_timeouts_as_objects_of_other_libraries(server: ScriptedServer, way: str) -> None:
    model = made(server, timeout=httpx.Timeout(7, connect=2))
    assert model.client.settings.timeouts == Timeouts(connect=2, first_event=7, idle=7)
    assert ask(way, model).text


def test_a_copy_with_another_idle_limit_has_it(server: ScriptedServer) -> None:
    copy = ChatOPEA(base_url=server.url, model="m").model_copy(update={"stream_chunk_timeout": 7})
    assert copy.client.settings.timeouts.idle == 7
