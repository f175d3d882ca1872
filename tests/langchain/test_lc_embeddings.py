"""``OPEAEmbeddings``: batches, order, prefixes, what is checked,
and the same object behind copies.
"""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core import exceptions as lc
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from waiting import in_threads, joined, until

import opea_core as core
from langchain_opea import OPEAEmbeddings
from langchain_opea.errors import OPEAConfigurationError
from opea_core import OPEA
from opea_core.testing import Answer, Hold, ScriptedServer, error, html, json_answer

WAYS = ("sync", "async")


@pytest.fixture
def second() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def made(server: ScriptedServer, **options: Any) -> OPEAEmbeddings:
    """Embeddings at this server that try everything once and wait for nothing."""
    return OPEAEmbeddings(
        **{"base_url": server.url, "model": "m", "max_retries": 0, "recovery_wait": 0} | options
    )


def documents(way: str, model: OPEAEmbeddings, texts: Any, **options: Any) -> list[list[float]]:
    """Vectors of documents."""
    return (
        model.embed_documents(texts, **options)
        if way == "sync"
        else asyncio.run(model.aembed_documents(texts, **options))
    )


def query(way: str, model: OPEAEmbeddings, text: Any) -> list[float]:
    """The vector of a query."""
    return model.embed_query(text) if way == "sync" else asyncio.run(model.aembed_query(text))


def inputs(server: ScriptedServer) -> list[list[str]]:
    """The texts of every request."""
    return [seen.body["input"] for seen in server.seen]


# --- batches


@pytest.mark.parametrize("way", WAYS)
def test_texts_go_in_batches_of_limited_count(server: ScriptedServer, way: str) -> None:
    found = documents(way, made(server, chunk_size=2), ["a", "b", "c", "d", "e"])
    assert inputs(server) == [["a", "b"], ["c", "d"], ["e"]]
    assert len(found) == 5


@pytest.mark.parametrize("way", WAYS)
def test_texts_go_in_batches_of_limited_size(server: ScriptedServer, way: str) -> None:
    documents(way, made(server, max_request_bytes=4), ["ab", "cd", "e", "much too long", "ää", "f"])
    assert inputs(server) == [["ab", "cd"], ["e"], ["much too long"], ["ää"], ["f"]]


@pytest.mark.parametrize("way", WAYS)
def test_the_count_of_a_call_wins(server: ScriptedServer, way: str) -> None:
    documents(way, made(server), ["a", "b", "c"], chunk_size=2)
    assert inputs(server) == [["a", "b"], ["c"]]


@pytest.mark.parametrize("way", WAYS)
def test_vectors_come_in_the_order_of_the_texts(server: ScriptedServer, way: str) -> None:
    def backwards(seen: Any) -> Answer:
        data = [
            {"index": number, "embedding": [float(text)]}
            for number, text in enumerate(seen.body["input"])
        ]
        return json_answer({"data": data[::-1]})

    server.always(backwards)
    texts = [str(number) for number in range(7)]
    assert documents(way, made(server, chunk_size=3), texts) == [[float(text)] for text in texts]


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_that_is_too_large_is_split(server: ScriptedServer, way: str) -> None:
    server.script(error(413, "input is too large"))
    assert len(documents(way, made(server), ["a", "b", "c"])) == 3
    assert inputs(server) == [["a", "b", "c"], ["a"], ["b", "c"]]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", ["m", None])
def test_no_text_no_request(server: ScriptedServer, model: str | None, way: str) -> None:
    assert documents(way, made(server, model=model), []) == []
    assert server.seen == []


# --- what is sent


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_sent_but_texts_and_model(server: ScriptedServer, way: str) -> None:
    query(way, made(server), "x")
    assert server.seen[-1].body == {"model": "m", "input": ["x"]}


@pytest.mark.parametrize("way", WAYS)
def test_prefixes_of_queries_and_documents(server: ScriptedServer, way: str) -> None:
    model = made(server, query_prefix="query: ", document_prefix="passage: ")
    query(way, model, "x")
    documents(way, model, ["y", "z"])
    assert inputs(server) == [["query: x"], ["passage: y", "passage: z"]]


@pytest.mark.parametrize("way", WAYS)
def test_dimensions_and_further_fields(server: ScriptedServer, way: str) -> None:
    model = made(
        server,
        dimensions=4,
        model_kwargs={"user": "u", "truncate": "END"},
        extra_body={"user": "v"},
    )
    assert len(query(way, model, "x")) == 4
    assert server.seen[-1].body == {
        "model": "m",
        "input": ["x"],
        "dimensions": 4,
        "user": "v",
        "truncate": "END",
    }


@pytest.mark.parametrize("way", WAYS)
def test_headers_query_and_key(server: ScriptedServer, way: str) -> None:
    query(
        way,
        made(
            server,
            api_key="k",
            default_headers={"x-a": "b"},
            default_query={"q": "1"},
            organization="o",
        ),
        "x",
    )
    seen = server.seen[-1]
    assert (
        seen.headers["authorization"],
        seen.headers["x-a"],
        seen.headers["openai-organization"],
    ) == ("Bearer k", "b", "o")
    assert seen.query == {"q": "1"}


@pytest.mark.parametrize("way", WAYS)
def test_a_model_nobody_named_is_asked_for_once(server: ScriptedServer, way: str) -> None:
    model = made(server, model=None)
    for _ in range(2):
        query(way, model, "x")
    assert [seen.path.rpartition("/")[2] for seen in server.seen] == [
        "models",
        "embeddings",
        "embeddings",
    ]
    assert server.seen[-1].body["model"] == model.model == "scripted-model"


@pytest.mark.parametrize("way", WAYS)
def test_a_given_object_and_what_wins_over_it(server: ScriptedServer, way: str) -> None:
    opea = OPEA(server.url, model="object's")
    query(way, OPEAEmbeddings(client=opea), "x")
    query(way, OPEAEmbeddings(client=opea, model="mine", timeout=3, max_retries=1), "x")
    assert [seen.body["model"] for seen in server.seen] == ["object's", "mine"]


def test_connection_keywords_beside_an_object_are_an_error() -> None:
    with pytest.raises(OPEAConfigurationError, match=r"client= and base_url="):
        OPEAEmbeddings(client=OPEA("http://localhost:1"), base_url="http://localhost:2")


# --- what comes back


@pytest.mark.parametrize("way", WAYS)
def test_whole_numbers_become_floats(server: ScriptedServer, way: str) -> None:
    server.script(json_answer({"data": [{"index": 0, "embedding": [0, 1, -2]}]}))
    found = query(way, made(server), "x")
    assert found == [0.0, 1.0, -2.0]
    assert all(type(value) is float for value in found)


@pytest.mark.parametrize("way", WAYS)
def test_base64_is_read_although_nobody_asked_for_it(server: ScriptedServer, way: str) -> None:
    server.script(json_answer({"data": [{"index": 0, "embedding": "AACAPwAAAAA="}]}))
    assert query(way, made(server), "x") == [1.0, 0.0]


WRONG: dict[str, Any] = {
    "too few": {"data": [{"index": 0, "embedding": [1.0]}]},
    "too many": {"data": [{"index": n, "embedding": [1.0]} for n in range(3)]},
    "different lengths": {
        "data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]
    },
    "null inside": {
        "data": [{"index": 0, "embedding": [1.0, None]}, {"index": 1, "embedding": [1.0, 2.0]}]
    },
    "one vector per token": {
        "data": [{"index": 0, "embedding": [[1.0]]}, {"index": 1, "embedding": [[1.0]]}]
    },
    "no data": {"object": "list"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", WRONG)
def test_vectors_that_do_not_fit_the_texts_are_an_error(
    server: ScriptedServer, case: str, way: str
) -> None:
    server.script(json_answer(WRONG[case]))
    with pytest.raises(lc.ModelAPIError) as caught:
        documents(way, made(server), ["a", "b"])
    assert isinstance(caught.value, core.BadAnswerError)


# --- wrong input and errors


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", ["m", None])
@pytest.mark.parametrize(
    "texts", ["one text", [1, 2], [[1, 2]], [b"x"], None, [None], {"a": 1}, 5], ids=str
)
def test_only_lists_of_strings_are_documents(
    server: ScriptedServer, texts: Any, model: str | None, way: str
) -> None:
    with pytest.raises(OPEAConfigurationError, match="Only strings"):
        documents(way, made(server, model=model), texts)
    assert server.seen == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", [["x"], 5, None, b"x"], ids=str)
def test_only_a_string_is_a_query(server: ScriptedServer, text: Any, way: str) -> None:
    with pytest.raises(OPEAConfigurationError, match="Only strings"):
        query(way, made(server), text)
    assert server.seen == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("answer", "in_core", "in_langchain"),
    [
        pytest.param(
            error(400, "no"), core.InvalidRequestError, lc.ModelInvalidRequestError, id="400"
        ),
        pytest.param(
            error(401, "no"), core.AuthenticationError, lc.ModelAuthenticationError, id="401"
        ),
        pytest.param(error(404, "no"), core.NotFoundError, lc.ModelNotFoundError, id="404"),
        pytest.param(error(429, "no"), core.RateLimited, lc.ModelRateLimitError, id="429"),
        pytest.param(
            error(501, "embeddings are not enabled"), core.ServerError, lc.ModelAPIError, id="501"
        ),
        pytest.param(html(200), core.BadAnswerError, lc.ModelAPIError, id="HTML"),
        pytest.param(
            error(
                400,
                (
                    "This model's maximum context length is 512 tokens. However, you "
                    "requested 600 tokens in the input."
                ),
            ),
            core.ContextOverflowError,
            lc.ContextOverflowError,
            id="overflow",
        ),
        pytest.param(
            Answer(before="close"),
            core.EndpointConnectionError,
            lc.ModelConnectionError,
            id="no answer",
        ),
    ],
)
def test_errors_are_langchains_too(
    server: ScriptedServer, answer: Answer, in_core: Any, in_langchain: Any, way: str
) -> None:
    server.script(answer)
    with pytest.raises(in_core) as caught:
        query(way, made(server), "x")
    assert isinstance(caught.value, in_langchain)


@pytest.mark.parametrize("way", WAYS)
def test_a_failed_batch_is_an_error_of_the_whole(server: ScriptedServer, way: str) -> None:
    server.script(lambda seen: None, error(400, "no"))
    with pytest.raises(lc.ModelInvalidRequestError):
        documents(way, made(server, chunk_size=1), ["a", "b", "c"])
    assert len(server.seen) == 2


@pytest.mark.parametrize("name", ["chunk_size", "max_request_bytes"])
@pytest.mark.parametrize("value", [0, -1])
def test_batches_hold_something(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        OPEAEmbeddings(model="m", **{name: value})


# --- the object


def test_it_is_langchains_embeddings(server: ScriptedServer) -> None:
    model = made(server)
    assert isinstance(model, Embeddings)
    store = InMemoryVectorStore(model)
    store.add_texts(["one", "two"])
    assert store.similarity_search("one", k=1)[0].page_content == "one"


def test_several_event_loops_and_threads(server: ScriptedServer) -> None:
    model = made(server)
    first = query("sync", model, "x")
    assert [query("async", model, "x") for _ in range(3)] == [first] * 3
    threads, results = in_threads(
        *[lambda: asyncio.run(model.aembed_query("x"))] * 4, *[lambda: model.embed_query("x")] * 4
    )
    joined(threads)
    assert results == [first] * 8


@pytest.mark.parametrize(
    "copier", [copy.copy, copy.deepcopy, lambda model: model.model_copy(update={"chunk_size": 3})]
)
def test_copies_share_the_object(server: ScriptedServer, copier: Any) -> None:
    model = made(server, api_key=lambda: "k")
    assert copier(model).client is model.client


def test_a_limit_holds_over_copies(server: ScriptedServer) -> None:
    model = made(server, max_concurrent=1)
    held = threading.Event()
    server.script(json_answer({"data": [{"index": 0, "embedding": [1.0]}]}).after(Hold(held)))
    threads, results = in_threads(
        *(lambda m=m: m.embed_query("x") for m in (model, copy.deepcopy(model), model.model_copy()))
    )
    until(lambda: model.client.get_stats()["queued"] == 2, "the others to queue")
    held.set()
    joined(threads)
    assert len(results) == 3
    assert server.max_in_flight == 1


def test_a_copy_with_another_url_asks_there(server: ScriptedServer, second: ScriptedServer) -> None:
    made(server).model_copy(update={"base_url": second.url}).embed_query("x")
    assert (len(server.seen), len(second.seen)) == (0, 1)


def test_a_pickled_one_answers_the_same(server: ScriptedServer) -> None:
    model = made(server, dimensions=4, query_prefix="q: ", api_key="k")
    other = pickle.loads(pickle.dumps(model))
    assert other.embed_query("x") == model.embed_query("x")
    assert server.seen[0].body == server.seen[1].body


def test_failover(server: ScriptedServer, second: ScriptedServer) -> None:
    model = OPEAEmbeddings(
        model="m",
        endpoints=[server.url, {"base_url": second.url, "tier": 1}],
        initial_retry_delay=0,
    )
    server.pause()
    assert len(model.embed_documents(["a", "b"])) == 2
    assert len(second.seen) == 1


def test_a_representation_says_model_and_server(server: ScriptedServer) -> None:
    shown = repr(made(server, api_key="sk-secret"))
    assert shown.startswith(f"OPEAEmbeddings(model='m', base_url='{server.url}'")
    assert "sk-secret" not in shown + json.dumps(made(server, api_key="sk-secret").model_dump())
