"""Fields set later, copies, event loops and threads: one object used from everywhere."""

from __future__ import annotations

import asyncio
import copy
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from li_object_support import (
    CLASSES,
    MAKERS,
    WAYS,
    Counter,
    Listener,
    ask,
    embedding,
    in_threads,
    joined,
    llm,
    question,
    ranked,
    reranker,
    says,
)
from llama_index.core.rate_limiter import TokenBucketRateLimiter
from llama_index.core.schema import NodeWithScore, TextNode

from langchain_opea import ChatOPEA
from llama_index_opea import OPEALLM, OPEAEmbedding
from opea_core import ConfigurationError
from opea_core.testing import Answer, Hold, ScriptedServer, chat, stream

COPIERS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda made: made.model_copy(),
    "model_copy, deep": lambda made: made.model_copy(deep=True),
}


@pytest.fixture
def second() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def _key() -> str:
    return "sk-from-a-function"


def _shout(prompt: str) -> str:
    return prompt.upper()


# --- set later


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("model", "other", "other"),
        ("temperature", 0.9, 0.9),
        ("max_tokens", 7, 7),
        ("top_p", 0.5, 0.5),
        ("seed", 3, 3),
        ("stop", ["x"], ["x"]),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_fields_of_the_request_may_be_set(
    server: ScriptedServer, way: str, name: str, value: Any, sent: Any
) -> None:
    made = llm(server)
    setattr(made, name, value)
    ask(way, made)
    assert server.seen[-1].body[name] == sent


def test_temperature_may_be_set_to_none(server: ScriptedServer) -> None:
    made = llm(server)
    made.temperature = None
    made.complete("x")
    assert "temperature" not in server.seen[-1].body


@pytest.mark.parametrize("kind", CLASSES)
def test_a_callback_manager_may_be_set(server: ScriptedServer, kind: str) -> None:
    made, listener = MAKERS[kind](server), Listener()
    made.callback_manager = manager = listener.manager
    assert made.callback_manager is manager


@pytest.mark.parametrize("kind", ["llm", "embedding"])
def test_a_rate_limiter_may_be_set(server: ScriptedServer, kind: str) -> None:
    made, limiter = MAKERS[kind](server), Counter()
    made.rate_limiter = limiter
    made.complete("x") if kind == "llm" else made.get_text_embedding("x")
    assert limiter.total == 1


def test_system_prompt_and_prompt_functions_may_be_set(server: ScriptedServer) -> None:
    made = llm(server, is_chat_model=False)
    made.completion_to_prompt = _shout
    made.system_prompt = "Be brief."
    made.complete("hello")
    assert server.seen[-1].body["prompt"] == "HELLO"
    assert made.system_prompt == "Be brief."


@pytest.mark.parametrize(
    ("name", "value"),
    [("embed_batch_size", 2), ("num_workers", 3), ("query_prefix", "q: "), ("dimensions", 4)],
)
def test_fields_of_embeddings_may_be_set(server: ScriptedServer, name: str, value: Any) -> None:
    made = embedding(server)
    setattr(made, name, value)
    assert getattr(made, name) == value


def test_another_embedding_model_may_be_set(server: ScriptedServer) -> None:
    made = embedding(server)
    made.model_name = "other"
    made.get_text_embedding("x")
    assert server.seen[-1].body["model"] == "other"


def test_another_count_of_nodes_may_be_set(server: ScriptedServer) -> None:
    server.always(ranked((0, 1.0)))
    made = reranker(server)
    made.top_n = 1
    made.postprocess_nodes([NodeWithScore(node=TextNode(text="a"))] * 3, query_str="q")
    assert server.seen[-1].body["top_n"] == 1


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", "sk-new"),
        ("api_base", "http://localhost:1"),
        ("timeout", 3),
        ("max_retries", 3),
        ("default_headers", {}),
        ("client", None),
    ],
)
def test_what_the_connections_were_made_of_may_not_be_set(
    server: ScriptedServer, kind: str, name: str, value: Any
) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} cannot be changed afterwards") as caught:
        setattr(MAKERS[kind](server), name, value)
    assert "model_copy" in str(caught.value)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_unknown_field_cannot_be_set(server: ScriptedServer, kind: str) -> None:
    with pytest.raises((ValueError, AttributeError), match="frobnicate"):
        MAKERS[kind](server).frobnicate = 1


# --- copies


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("copier", COPIERS)
def test_copies_share_connections_and_limits(
    server: ScriptedServer, copier: str, kind: str
) -> None:
    made = MAKERS[kind](server, api_key=lambda: "k", verify=ssl.create_default_context())
    assert COPIERS[copier](made).client is made.client


@pytest.mark.parametrize("copier", COPIERS)
def test_copies_answer_and_are_independent(server: ScriptedServer, copier: str) -> None:
    made = llm(server, temperature=0.5)
    other = COPIERS[copier](made)
    other.temperature = 0.9
    other.complete("x")
    made.complete("x")
    assert [seen.body["temperature"] for seen in server.seen] == [0.9, 0.5]


def test_a_deep_copy_has_dicts_of_its_own(server: ScriptedServer) -> None:
    made = llm(server, extra_body={"a": {"b": 1}}, additional_kwargs={"c": [1]})
    other = copy.deepcopy(made)
    other.extra_body["a"]["b"] = 2
    other.additional_kwargs["c"].append(2)
    assert (made.extra_body, made.additional_kwargs) == ({"a": {"b": 1}}, {"c": [1]})


def test_a_copy_with_another_url_asks_there(server: ScriptedServer, second: ScriptedServer) -> None:
    llm(server, api_key="sk-first").model_copy(update={"api_base": second.url}).complete("x")
    assert (len(server.seen), len(second.seen)) == (0, 1)
    assert "authorization" not in second.seen[0].headers


def test_a_copy_with_another_key_has_it(server: ScriptedServer) -> None:
    llm(server, api_key="sk-one").model_copy(update={"api_key": "sk-two"}).complete("x")
    assert server.seen[-1].headers["authorization"] == "Bearer sk-two"


def test_an_update_of_a_copy_may_use_other_names(server: ScriptedServer) -> None:
    llm(server).model_copy(update={"model_name": "other", "max_new_tokens": 5}).complete("x")
    assert (server.seen[-1].body["model"], server.seen[-1].body["max_tokens"]) == ("other", 5)


def test_a_copy_keeps_its_callback_manager_and_limiter(server: ScriptedServer) -> None:
    listener, limiter = Listener(), Counter()
    made = llm(server, callback_manager=listener.manager, rate_limiter=limiter)
    made.model_copy(update={"timeout": 9}).complete("x")
    assert listener.counts == {"llm": (1, 1)}
    assert limiter.total == 1


# --- loops and threads


def test_several_event_loops_one_after_the_other(server: ScriptedServer) -> None:
    made = llm(server)
    for way in [*WAYS, *WAYS]:
        assert ask(way, made)
    assert len(server.seen) == 16


def test_loops_in_several_threads_at_once(server: ScriptedServer) -> None:
    made = llm(server, max_concurrent=2)
    threads, results = in_threads(*[lambda: asyncio.run(made.acomplete("x")).text] * 6)
    joined(threads)
    assert len(results) == 6
    assert server.max_in_flight <= 2


async def test_sync_calls_within_a_loop(server: ScriptedServer) -> None:
    made = llm(server)
    assert made.complete("x").text
    assert (await made.acomplete("x")).text


def says_slowly() -> Answer:
    return stream(["a", "b", Hold(threading.Event()), "c"])


@pytest.mark.parametrize("way", ["stream_chat", "stream_complete"])
def test_an_abandoned_stream_ends_its_request(server: ScriptedServer, way: str) -> None:
    server.script(says_slowly())
    responses = getattr(llm(server), way)(question(way))
    next(responses)
    responses.close()
    server.wait(lambda: server.seen[0].disconnected)


@pytest.mark.parametrize("way", ["astream_chat", "astream_complete"])
async def test_an_abandoned_async_stream_ends_its_request(server: ScriptedServer, way: str) -> None:
    server.script(says_slowly())
    responses = await getattr(llm(server), way)(question(way))
    async for _ in responses:
        break
    await responses.aclose()
    await asyncio.to_thread(server.wait, lambda: server.seen[0].disconnected)


async def test_a_dropped_async_stream_ends_its_request(server: ScriptedServer) -> None:
    server.script(says_slowly())
    made = llm(server)

    async def first() -> str:
        async for response in await made.astream_complete("x"):
            return str(response.text)
        return ""

    assert await first() == "a"
    await asyncio.to_thread(server.wait, lambda: server.seen[0].disconnected)


async def test_cancelling_a_call_ends_its_request(server: ScriptedServer) -> None:
    server.script(chat("x").after(Hold(threading.Event())))
    call = asyncio.ensure_future(llm(server).acomplete("x"))
    await asyncio.to_thread(server.wait_seen, 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(server.wait, lambda: server.seen[0].disconnected)


def test_a_loop_that_ended_amid_a_stream_does_not_matter(server: ScriptedServer) -> None:
    made = llm(server)
    server.always(says())

    async def first() -> str:
        async for response in await made.astream_complete("x"):
            return str(response.text)
        return ""

    assert asyncio.run(first()) == "yes"
    assert asyncio.run(made.acomplete("x")).text == "yes"


@pytest.mark.parametrize("copier", ["deepcopy", "model_copy, deep"])
def test_a_deep_copy_shares_limiter_and_listeners(server: ScriptedServer, copier: str) -> None:
    listener = Listener()
    listener.lock = threading.Lock()  # type: ignore[attr-defined]
    limiter = TokenBucketRateLimiter(requests_per_minute=1000)
    other = COPIERS[copier](llm(server, callback_manager=listener.manager, rate_limiter=limiter))
    other.complete("x")
    assert other.rate_limiter is limiter
    assert listener.counts == {"llm": (1, 1)}


def test_the_object_of_another_model_is_shared(server: ScriptedServer) -> None:
    first = OPEALLM(model="a", api_base=server.url, api_key="sk-first")
    others = [
        OPEALLM(model="b", client=first.client),
        OPEAEmbedding(model="e", client=first.client, timeout=5),
        ChatOPEA(client=first.client),
    ]
    assert all(other.client is first.client for other in others)
    assert all(server.url in repr(other) for other in others)
    others[0].complete("Hello")  # type: ignore[attr-defined]
    assert server.seen[0].body["model"] == "b"
    assert server.seen[0].headers["authorization"] == "Bearer sk-first"
