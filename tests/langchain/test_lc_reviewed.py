"""What a review found broken once, in the words of what holds now."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps
from lc_asking import ModelWith, merged
from lc_object_support import CLASSES, Listener, made, use
from pydantic import Field
from thorough import some

from langchain_opea import ChatOPEA, OPEAEmbeddings
from langchain_opea.errors import OPEAConfigurationError
from opea_core import OPEA, OPEAError
from opea_core.testing import ScriptedServer, chat, error, stream

SCHEMA = {
    "title": "City",
    "type": "object",
    "properties": {"name": {"type": "string"}, "type": {"type": "string"}},
}


@pytest.mark.parametrize("name", ["api_key", "hooks"])
def test_a_model_is_freed_although_its_settings_refer_to_it(name: str) -> None:
    class App:
        def __init__(self) -> None:
            given: Any = {"api_key": self.key} if name == "api_key" else {"hooks": [self.hook]}
            self.model = ChatOPEA(base_url="http://localhost:1", model="m", **given)

        def key(self) -> str:
            return "k"

        def hook(self, event: Any) -> None:
            pass

    gone = weakref.ref(App())
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("cls", some(["OPEA", "ChatOPEA"], kept=["ChatOPEA"]))
def test_first_objects_may_be_made_in_several_threads(
    cls: str,
) -> None:  # fails with pydantic 2.11.0, at times with 2.12.0
    lines = (
        "import threading, sys; sys.setswitchinterval(1e-6)",
        "from opea_core import OPEA; from langchain_opea import ChatOPEA",
        "barrier, made = threading.Barrier(8), []",
        f"def make(): barrier.wait(); made.append({cls}(base_url='http://localhost:1', model='m'))",
        "threads = [threading.Thread(target=make) for _ in range(8)]",
        "[t.start() for t in threads]; [t.join() for t in threads]",
        "assert len(made) == 8",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --- copies


def test_a_copy_takes_the_name_the_constructor_takes(server: ScriptedServer) -> None:
    made(server).model_copy(update={"model": "other"}).invoke("x")
    assert server.seen[-1].body["model"] == "other"


def test_a_copy_knows_no_unknown_option(server: ScriptedServer) -> None:
    with pytest.raises(OPEAConfigurationError, match="temperature"):
        made(server).model_copy(update={"temprature": 1})


def test_a_copy_with_another_pause_between_pieces_keeps_to_it(server: ScriptedServer) -> None:
    assert (
        made(server).model_copy(update={"stream_chunk_timeout": 1}).client.settings.timeouts.idle
        == 1
    )


def test_a_key_does_not_follow_to_another_origin(server: ScriptedServer) -> None:
    copied = made(server, api_key="sk-own").model_copy(update={"base_url": "http://elsewhere.test"})
    assert copied.client.endpoints[0].api_key is None


# --- subclasses


@pytest.mark.parametrize("cls", CLASSES)
def test_a_default_factory_of_a_subclass_counts(server: ScriptedServer, cls: Any) -> None:
    class House(cls):  # type: ignore[misc]
        api_key: Any = Field(default_factory=lambda: "sk-house", exclude=True, repr=False)

    model = House(model="m", base_url=server.url)
    use(model)
    assert server.seen[-1].headers.get("authorization") == "Bearer sk-house"


# --- secrets


def test_headers_among_model_kwargs_are_shown_nowhere(server: ScriptedServer) -> None:
    listener = Listener()
    model = made(server, model_kwargs={"extra_headers": {"x-a": "hdr-secret"}})
    model.invoke("x", listener.config)
    shown = (
        repr(model),
        dumps(model),
        str(model.model_dump()),
        model._get_llm_string(),
        str(listener.told),
    )
    assert [text for text in shown if "hdr-secret" in text] == []


def test_headers_of_a_call_are_no_part_of_the_cache_key(server: ScriptedServer) -> None:
    cache = InMemoryCache()
    model = made(server, cache=cache)
    for number in ("1", "2"):
        model.invoke(
            "x", extra_headers={"x-a": "hdr-secret"}, request_id=number, timeout=5, priority=1
        )
    assert "hdr-secret" not in str(cache._cache)
    assert len(server.seen) == 1


# --- answers


@pytest.mark.parametrize("depth", [5_000])
def test_deeply_nested_arguments_are_an_invalid_call_in_a_stream_too(
    server: ScriptedServer, model_with: ModelWith, depth: int
) -> None:
    call = {
        "index": 0,
        "id": "1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"a":' * depth},
    }
    server.always(stream([{"tool_calls": [call]}], finish_reason="tool_calls"))
    assert len(merged(model_with().stream("x")).invalid_tool_calls) == 1


def test_deeply_nested_text_is_a_parsing_error(server: ScriptedServer) -> None:
    server.always(chat("[" * 100_000))
    assert (
        made(server).with_structured_output(SCHEMA, include_raw=True).invoke("x")["parsing_error"]
        is not None
    )


def test_an_answer_that_has_the_name_of_its_schema_is_an_answer(server: ScriptedServer) -> None:
    server.always(chat('{"name": "City", "type": "town"}'))
    assert made(server).with_structured_output(SCHEMA).invoke("x") == {
        "name": "City",
        "type": "town",
    }


def test_thoughts_are_no_pieces_of_the_answer(server: ScriptedServer) -> None:
    server.always(stream(["<think>perhaps ", '{"name": "a"}', "</think>", '{"name": ', '"b"}']))
    assert next(made(server).with_structured_output(SCHEMA).stream("x")).get("name") != "a"


# --- errors of others


# --- what is asked, what is told


def test_embeddings_named_in_model_kwargs_are_not_asked_for(server: ScriptedServer) -> None:
    OPEAEmbeddings(base_url=server.url, model_kwargs={"model": "bge"}).embed_query("x")
    assert len(server.seen) == 1


def test_a_complaint_about_one_schema_teaches_nothing_about_all(server: ScriptedServer) -> None:
    server.script(
        error(400, "The provided JSON schema contains features not supported by xgrammar.")
    )
    opea = OPEA(server.url, model="m", max_retries=0)
    for _ in range(2):
        try:
            opea.chat("x", output_schema={"name": "City", "schema": SCHEMA})
        except OPEAError:
            continue
    assert "response_format" in server.seen[-1].body


def test_the_priority_of_embeddings_is_checked_at_once() -> None:
    with pytest.raises(ValueError, match="priority"):
        OPEAEmbeddings(model="m", priority=42)


class OfTheUser(OPEAError):
    """An error of the program's own, in the core's family."""


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_an_error_of_a_handler_comes_out_as_it_is(server: ScriptedServer, way: str) -> None:
    class Handler(BaseCallbackHandler):
        raise_error = True

        def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
            raise OfTheUser("enough")

    model = ChatOPEA(model="m", base_url=server.url, callbacks=[Handler()])
    with pytest.raises(OfTheUser) as caught:
        list(model.stream("Hi")) if way == "stream" else [
            chunk async for chunk in model.astream("Hi")
        ]
    assert type(caught.value) is OfTheUser
