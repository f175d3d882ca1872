"""One ``OPEA`` object behind a model, its copies and bindings: limits hold over all of them."""

from __future__ import annotations

import asyncio
import copy
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from langchain_core.runnables import ConfigurableField
from lc_object_support import WAYS, ask, made
from waiting import in_threads, joined, until

from langchain_opea import ChatOPEA, OPEAEmbeddings
from langchain_opea.errors import OPEAConfigurationError
from opea_core import OPEA, Endpoint, EndpointTimeout, StreamInterrupted, Timeouts
from opea_core.testing import Hold, ScriptedServer, chat, json_answer, stream


@pytest.fixture
def second() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def _configurable(model: ChatOPEA) -> Any:
    return model.configurable_fields(
        temperature=ConfigurableField(id="temperature"),
        model_name=ConfigurableField(id="model"),
        base_url=ConfigurableField(id="base_url"),
    )


VARIANTS: dict[str, Callable[[ChatOPEA], Any]] = {
    "itself": lambda model: model,
    "bind": lambda model: model.bind(temperature=0.1),
    "bind_tools": lambda model: model.bind_tools([]),
    "with_structured_output": lambda model: model.with_structured_output(
        {"title": "A", "type": "object"}, include_raw=True
    ),
    "with_config": lambda model: model.with_config(tags=["a"]),
    "with_retry": lambda model: model.with_retry(stop_after_attempt=1),
    "model_copy": lambda model: model.model_copy(update={"temperature": 0.2}),
    "model_copy, deep": lambda model: model.model_copy(deep=True),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "configured": lambda model: _configurable(model).with_config(
        configurable={"temperature": 0.3, "model": "other"}
    ),
    "alternative": lambda model: model.configurable_alternatives(
        ConfigurableField(id="which"), other=model.model_copy(update={"temperature": 0.4})
    ).with_config(configurable={"which": "other"}),
}


# --- one limit


def test_a_limit_holds_over_every_form_of_a_model(server: ScriptedServer) -> None:
    model = made(server, max_concurrent=1)
    held = threading.Event()
    server.script(chat("{}").after(Hold(held)))
    threads, results = in_threads(
        *(lambda form=form: form(model).invoke("x") for form in VARIANTS.values())
    )
    until(lambda: model.client.get_stats()["queued"] == len(VARIANTS) - 1, "the others to queue")
    server.wait_seen(1)
    assert server.in_flight == 1
    held.set()
    joined(threads)
    assert len(results) == len(server.seen) == len(VARIANTS)
    assert server.max_in_flight == 1


async def test_a_limit_holds_over_every_form_of_a_model_in_a_loop(server: ScriptedServer) -> None:
    model = made(server, max_concurrent=1)
    held = threading.Event()
    server.script(chat("{}").after(Hold(held)))
    calls = [asyncio.ensure_future(form(model).ainvoke("x")) for form in VARIANTS.values()]
    await asyncio.to_thread(
        until,
        lambda: model.client.get_stats()["queued"] == len(VARIANTS) - 1,
        "the others to queue",
    )
    held.set()
    assert len(await asyncio.gather(*calls)) == len(VARIANTS)
    assert server.max_in_flight == 1


async def test_a_limit_holds_over_threads_and_loops_together(server: ScriptedServer) -> None:
    model = made(server, max_concurrent=1)
    held = threading.Event()
    server.script(chat("x").after(Hold(held)))
    threads, results = in_threads(*[lambda: model.invoke("x")] * 3)
    calls = [asyncio.ensure_future(model.ainvoke("x")) for _ in range(3)]
    await asyncio.to_thread(
        until, lambda: model.client.get_stats()["queued"] == 5, "the others to queue"
    )
    held.set()
    await asyncio.gather(*calls)
    await asyncio.to_thread(joined, threads)
    assert len(results) == 3
    assert server.max_in_flight == 1


def test_a_stream_takes_its_place_until_its_end(server: ScriptedServer) -> None:
    model = made(server, max_concurrent=1)
    for chunk in model.stream("x"):
        first = chunk
        break
    assert first.text
    assert model.bind(temperature=0).invoke("x").text  # abandoned: the place is free again


def test_two_models_share_a_given_object(server: ScriptedServer) -> None:
    opea = OPEA(server.url, model="m", max_concurrent=1)
    one, two, vectors = (
        ChatOPEA(client=opea),
        ChatOPEA(client=opea, temperature=0.5),
        OPEAEmbeddings(client=opea),
    )
    held = threading.Event()
    vector = json_answer({"data": [{"index": 0, "embedding": [1.0]}]})
    server.script(
        lambda seen: (vector if seen.path.endswith("embeddings") else chat("x")).after(Hold(held))
    )
    threads, results = in_threads(
        lambda: one.invoke("x"), lambda: two.invoke("x"), lambda: vectors.embed_query("x")
    )
    until(lambda: opea.get_stats()["queued"] == 2, "the others to queue")
    held.set()
    joined(threads)
    assert len(results) == 3
    assert server.max_in_flight == 1


# --- which object


@pytest.mark.parametrize("form", ["model_copy", "model_copy, deep", "copy", "deepcopy"])
def test_a_copy_has_the_same_object(server: ScriptedServer, form: str) -> None:
    model = made(
        server,
        timeout=httpx.Timeout(3),
        api_key=lambda: "k",
        default_headers={"a": "b"},
        organization="o",
    )
    assert VARIANTS[form](model).client is model.client


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            {"http_client": httpx.Client(), "http_async_client": httpx.AsyncClient()},
            id="http clients",
        ),
        pytest.param({"verify": ssl.create_default_context()}, id="ssl context"),
        pytest.param({"hooks": [print]}, id="hooks"),
        pytest.param(
            {
                "base_url": None,
                "endpoints": ["http://one", {"base_url": "http://two", "api_key": "k"}],
            },
            id="endpoints",
        ),
        pytest.param(
            {"base_url": None, "endpoints": [Endpoint(base_url="http://one", model="a")]},
            id="Endpoint objects",
        ),
        pytest.param({"stream_chunk_timeout": 5, "timeout": Timeouts(idle=3)}, id="timeouts"),
        pytest.param({"api_key": None, "api_keys": ["a", "b"]}, id="api_keys"),
    ],
)
@pytest.mark.parametrize("form", ["model_copy", "deepcopy", "configured"])
def test_copies_share_whatever_the_object_was_made_of(
    server: ScriptedServer, form: str, options: dict[str, Any]
) -> None:
    model = made(server, **options)
    if form == "configured":
        copied, _ = _configurable(model)._prepare({"configurable": {"temperature": 0.3}})
    else:
        copied = VARIANTS[form](model)
    assert copied.client is model.client


@pytest.mark.parametrize("way", WAYS)
def test_a_configured_model_name_and_temperature_are_sent(server: ScriptedServer, way: str) -> None:
    model = _configurable(made(server, temperature=0.9))
    ask(way, model, config={"configurable": {"temperature": 0.3, "model": "other"}})
    assert (server.seen[-1].body["model"], server.seen[-1].body["temperature"]) == ("other", 0.3)


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_configured_model_still_streams(server: ScriptedServer, way: str) -> None:
    ask(way, _configurable(made(server)), config={"configurable": {"temperature": 0.3}})
    assert server.seen[-1].body["stream"] is True


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_copy_with_another_url_still_streams(server: ScriptedServer, way: str) -> None:
    ask(way, made(server).model_copy(update={"base_url": server.url + "/"}))
    assert server.seen[-1].body["stream"] is True


@pytest.mark.parametrize("way", WAYS)
def test_a_configured_url_is_another_object(
    server: ScriptedServer, second: ScriptedServer, way: str
) -> None:
    model = made(server)
    ask(way, _configurable(model), config={"configurable": {"base_url": second.url}})
    assert (len(server.seen), len(second.seen)) == (0, 1)


@pytest.mark.parametrize("name", ["base_url", "timeout", "default_headers"])
def test_a_copy_with_another_connection_is_another_object(
    server: ScriptedServer, name: str
) -> None:
    update = {"base_url": "http://elsewhere", "timeout": 7, "default_headers": {"a": "b"}}
    model = made(server)
    copied = model.model_copy(update={name: update[name]})
    assert copied.client is not model.client
    assert getattr(model, name) != getattr(copied, name)


def test_a_copy_of_a_model_with_a_given_object_keeps_it(server: ScriptedServer) -> None:
    opea = OPEA(server.url)
    model = ChatOPEA(client=opea, model="m", timeout=3)
    copied, _ = model.configurable_fields(temperature=ConfigurableField(id="t"))._prepare(
        {"configurable": {"t": 0.3}}
    )
    assert (
        copied.client
        is copy.deepcopy(model).client
        is model.model_copy(update={"timeout": 4}).client
        is opea
    )


# --- client=


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", "http://elsewhere"),
        ("openai_api_base", "http://elsewhere"),
        ("api_key", "k"),
        ("endpoints", ["http://elsewhere"]),
        ("default_headers", {"a": "b"}),
        ("default_query", {"a": "b"}),
        ("organization", "o"),
        ("http_client", httpx.Client()),
        ("http_async_client", httpx.AsyncClient()),
        ("proxy", "http://proxy:1"),
        ("verify", False),
        ("max_concurrent", 3),
        ("capabilities", {}),
        ("hooks", [print]),
    ],
)
def test_connection_keywords_beside_an_object_are_an_error_that_names_both(
    name: str, value: Any
) -> None:
    with pytest.raises(OPEAConfigurationError, match=r"client=") as caught:
        ChatOPEA(client=OPEA("http://localhost:1"), model="m", **{name: value})
    shown = {"openai_api_base": "base_url"}.get(name, name)
    assert f"{shown}=" in str(caught.value)


@pytest.mark.parametrize("value", [httpx.Client(), "http://localhost:1", object()])
def test_another_kind_of_client_is_refused(value: Any) -> None:
    with pytest.raises(OPEAConfigurationError, match=r"client= takes an opea_core.OPEA"):
        ChatOPEA(client=value, model="m")


def test_options_of_a_call_beside_an_object(server: ScriptedServer) -> None:
    opea = OPEA(server.url, model="object's")
    ChatOPEA(
        client=opea,
        model="mine",
        temperature=0.5,
        priority=1,
        timeout=3,
        max_retries=1,
        deadline=9,
        recovery_wait=1,
    ).invoke("x")
    assert (server.seen[-1].body["model"], server.seen[-1].body["temperature"]) == ("mine", 0.5)
    assert server.seen[-1].body.keys() == {"model", "messages", "temperature", "stream"}


@pytest.mark.parametrize("way", WAYS)
def test_retries_and_timeouts_beside_an_object_are_those_of_the_model(
    server: ScriptedServer, way: str
) -> None:
    opea = OPEA(server.url, max_retries=5, initial_retry_delay=0)
    server.always(chat("x").after(Hold(threading.Event())))
    with pytest.raises(EndpointTimeout, match=r"within 0.2 s"):
        ask(way, ChatOPEA(client=opea, model="m", max_retries=0, timeout=0.2))
    server.wait_seen(1)
    assert len(server.seen) == 1


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_the_idle_limit_beside_an_object_is_that_of_the_model(
    server: ScriptedServer, way: str
) -> None:
    opea = OPEA(server.url, max_retries=0)
    server.script(stream(["Hel", Hold(threading.Event()), "lo"]))
    with pytest.raises(StreamInterrupted, match=r"within 0.2 s \(idle\)"):
        ask(way, ChatOPEA(client=opea, model="m", stream_chunk_timeout=0.2, deadline=5))


def test_the_name_of_the_model_beside_an_object_wins_over_an_endpoints(
    server: ScriptedServer,
) -> None:
    opea = OPEA(endpoints=[{"base_url": server.url, "model": "endpoint's"}], model="m")
    ChatOPEA(client=opea, model="m").invoke("x")
    assert server.seen[-1].body["model"] == "m"


def test_a_given_object_is_never_closed(server: ScriptedServer) -> None:
    opea = OPEA(server.url, model="m")
    model = ChatOPEA(client=opea)
    model.invoke("x")
    asyncio.run(model.ainvoke("x"))
    del model
    assert opea.chat("x").text
