"""``OPEARerank``: order, copies, what is sent and checked, and the same object behind copies."""

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
from langchain_core.documents import BaseDocumentCompressor, Document
from lc_object_support import ranked
from waiting import in_threads, joined, until

import opea_core as core
from langchain_opea import OPEARerank
from langchain_opea.errors import OPEAConfigurationError
from opea_core import OPEA, Capabilities
from opea_core.testing import Answer, Hold, ScriptedServer, error, html, json_answer

WAYS = ("sync", "async")
TEXTS = ("a", "b", "c")


@pytest.fixture
def second() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def made(server: ScriptedServer, **options: Any) -> OPEARerank:
    """A reranker at this server that tries everything once and waits for nothing."""
    usual: dict[str, Any] = {"base_url": server.url, "max_retries": 0, "recovery_wait": 0}
    return OPEARerank(**{**usual, "model": "r"} | options)


def compress(way: str, model: OPEARerank, documents: Any, query: Any = "q") -> list[Document]:
    """Documents in their new order."""
    if way == "sync":
        return model.compress_documents(documents, query)
    return asyncio.run(model.acompress_documents(documents, query))


def rerank(way: str, model: OPEARerank, documents: Any, **options: Any) -> list[dict[str, Any]]:
    """Places and scores."""
    query = options.pop("query", "q")
    if way == "sync":
        return model.rerank(query, documents, **options)
    return asyncio.run(model.arerank(query, documents, **options))


def documents(*texts: str) -> list[Document]:
    """Documents with these texts."""
    return [Document(text, id=f"id of {text}", metadata={"of": [text]}) for text in texts]


def told(found: list[Document]) -> list[tuple[str, float]]:
    """Text and score of each."""
    return [(document.page_content, document.metadata["relevance_score"]) for document in found]


def placed(*scores: tuple[int, float]) -> list[dict[str, Any]]:
    """Places and scores as ``rerank`` gives them."""
    return [{"index": index, "relevance_score": score} for index, score in scores]


# --- order


ORDERS: dict[str, Answer] = {
    "in order": ranked((2, 0.9), (0, 0.5), (1, 0.1)),
    "in no order": ranked((1, 0.1), (0, 0.5), (2, 0.9)),
    "as Voyage says it": json_answer({"data": placed((0, 0.5), (2, 0.9))}),
    "with documents": json_answer(
        {"results": [{**found, "document": {"text": "x"}} for found in placed((2, 0.9), (0, 0.5))]},
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ORDERS)
def test_the_best_come_first_with_their_scores(server: ScriptedServer, case: str, way: str) -> None:
    server.always(ORDERS[case])
    model = made(server, top_n=2)
    assert told(compress(way, model, documents(*TEXTS))) == [("c", 0.9), ("a", 0.5)]
    assert rerank(way, model, TEXTS) == placed((2, 0.9), (0, 0.5))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (2, 2), (3, 3), (99, 4), (None, 4)])
def test_top_n_limits_them(server: ScriptedServer, top_n: Any, count: int, way: str) -> None:
    server.always(ranked((0, 0.4), (1, 0.3), (2, 0.2), (3, 0.1)))
    model = made(server, top_n=top_n)
    assert len(compress(way, model, documents("a", "b", "c", "d"))) == count
    assert len(rerank(way, model, ["a", "b", "c", "d"])) == count
    assert len(rerank(way, made(server), ["a", "b", "c", "d"], top_n=top_n)) == count


def test_three_come_back_if_nothing_is_said(server: ScriptedServer) -> None:
    assert len(compress("sync", made(server), documents("a", "b", "c", "d"))) == 3
    assert server.seen[-1].body["top_n"] == 3


@pytest.mark.parametrize("way", WAYS)
def test_the_top_n_of_a_call_wins(server: ScriptedServer, way: str) -> None:
    assert len(rerank(way, made(server, top_n=1), TEXTS, top_n=2)) == 2
    assert server.seen[-1].body["top_n"] == 2


@pytest.mark.parametrize("way", WAYS)
def test_scores_below_zero_and_equal_ones_are_kept(server: ScriptedServer, way: str) -> None:
    server.always(ranked((0, -3.5), (1, -3.5), (2, -7)))
    found = compress(way, made(server), documents(*TEXTS))
    assert told(found) == [("a", -3.5), ("b", -3.5), ("c", -7.0)]


# --- copies of documents


class WithState(Document):
    """A document as LangChain's transformers make them."""

    state: dict[str, Any]


@pytest.mark.parametrize("way", WAYS)
def test_the_given_documents_stay_as_they_are(server: ScriptedServer, way: str) -> None:
    server.always(ranked((1, 0.9), (0, 0.1)))
    given = documents("a", "b")
    found = compress(way, made(server), given)
    for document in found:
        document.metadata["of"].append("more")
    assert given == documents("a", "b")
    assert not any(new is old for new in found for old in given)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_has_everything_but_another_score(server: ScriptedServer, way: str) -> None:
    server.always(ranked((0, 0.9)))
    metadata = {"source": "s", "relevance_score": 0.1}
    given = WithState("a", id="7", metadata=metadata, state={"v": 1})
    [found] = compress(way, made(server), [given])
    expected = {"source": "s", "relevance_score": 0.9}
    assert found == WithState("a", id="7", metadata=expected, state={"v": 1})
    assert given.metadata["relevance_score"] == 0.1


@pytest.mark.parametrize("way", WAYS)
def test_the_same_document_twice(server: ScriptedServer, way: str) -> None:
    server.always(ranked((1, 0.9), (0, 0.1)))
    [one] = documents("a")
    assert told(compress(way, made(server), [one, one])) == [("a", 0.9), ("a", 0.1)]


# --- what is sent


@pytest.mark.parametrize("way", WAYS)
def test_query_documents_and_top_n_are_sent(server: ScriptedServer, way: str) -> None:
    compress(way, made(server, top_n=1), documents("a", "b"), "which?")
    rerank(way, made(server, top_n=1), [Document("a"), "b"], query="which?")
    body = {"model": "r", "query": "which?", "documents": ["a", "b"], "top_n": 1}
    assert [seen.path for seen in server.seen] == ["/v1/rerank"] * 2
    assert [seen.body for seen in server.seen] == [body] * 2


@pytest.mark.parametrize("way", WAYS)
def test_further_fields(server: ScriptedServer, way: str) -> None:
    further = {"model_kwargs": {"user": "u", "a": 1}, "extra_body": {"user": "v"}}
    rerank(way, made(server, top_n=None, priority=3, **further), ["a"])
    sent = {"model": "r", "query": "q", "documents": ["a"], "user": "v", "a": 1}
    assert server.seen[-1].body == sent


def test_a_field_wins_over_further_fields_of_the_request(server: ScriptedServer) -> None:
    compress("sync", made(server, top_n=2, model_kwargs={"top_n": 1}), documents(*TEXTS))
    assert server.seen[-1].body["top_n"] == 2


@pytest.mark.parametrize("way", WAYS)
def test_headers_query_and_key(server: ScriptedServer, way: str) -> None:
    given = {"default_headers": {"x-a": "b"}, "default_query": {"q": "1"}, "organization": "o"}
    rerank(way, made(server, api_key="k", **given), ["a"])
    seen = server.seen[-1]
    names = ("authorization", "x-a", "openai-organization")
    assert [seen.headers[name] for name in names] == ["Bearer k", "b", "o"]
    assert seen.query == {"q": "1"}


@pytest.mark.parametrize("way", WAYS)
def test_a_model_nobody_named_is_asked_for_once(server: ScriptedServer, way: str) -> None:
    model = made(server, model=None)
    for _ in range(2):
        rerank(way, model, ["a"])
    asked = [seen.path.rpartition("/")[2] for seen in server.seen]
    assert asked == ["models", "rerank", "rerank"]
    assert server.seen[-1].body["model"] == model.model == "scripted-model"


@pytest.mark.parametrize("way", WAYS)
def test_a_given_object_and_what_wins_over_it(server: ScriptedServer, way: str) -> None:
    opea = OPEA(server.url, model="object's")
    rerank(way, OPEARerank(client=opea), ["a"])
    rerank(way, OPEARerank(client=opea, model="mine", timeout=3, max_retries=1), ["a"])
    assert [seen.body["model"] for seen in server.seen] == ["object's", "mine"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", ["r", None])
@pytest.mark.parametrize("given", [[], (), iter(())], ids=["list", "tuple", "iterator"])
def test_no_document_no_request(server: ScriptedServer, given: Any, model: Any, way: str) -> None:
    assert compress(way, made(server, model=model), given) == []
    assert rerank(way, made(server, model=model), given) == []
    assert server.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_an_iterator_is_read_once(server: ScriptedServer, way: str) -> None:
    server.always(ranked((1, 0.9), (0, 0.1)))
    found = compress(way, made(server), iter(documents("a", "b")))
    assert told(found) == [("b", 0.9), ("a", 0.1)]


# --- where the server listens


@pytest.mark.parametrize("way", WAYS)
def test_a_server_without_v1_rerank_is_asked_beside_it(server: ScriptedServer, way: str) -> None:
    server.always(lambda seen: ranked((0, 1.0)) if seen.path == "/rerank" else error(404, "no"))
    model = made(server)
    for _ in range(2):
        assert rerank(way, model, ["a"]) == placed((0, 1.0))
    assert [seen.path for seen in server.seen] == ["/v1/rerank", "/rerank", "/rerank"]


def test_it_can_be_said_where_the_server_listens(server: ScriptedServer) -> None:
    rerank("sync", made(server, capabilities=Capabilities(rerank_beside_v1=True)), ["a"])
    assert [seen.path for seen in server.seen] == ["/rerank"]


# --- wrong input and errors


NO_DOCUMENTS = ("text", [1], [b"x"], None, [None], {"a": 1}, 5, Document("a"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", ["r", None])
@pytest.mark.parametrize("given", NO_DOCUMENTS, ids=repr)
def test_only_lists_are_ranked(server: ScriptedServer, given: Any, model: Any, way: str) -> None:
    for ranks in (compress, rerank):
        with pytest.raises(OPEAConfigurationError, match="Only a list of Document"):
            ranks(way, made(server, model=model), given)
    assert server.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_strings_are_no_documents_that_could_be_copied(server: ScriptedServer, way: str) -> None:
    with pytest.raises(OPEAConfigurationError, match="Only a list of Document can"):
        compress(way, made(server), ["a"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", ["r", None])
@pytest.mark.parametrize("query", ["", None, 5, ["q"], b"q"], ids=repr)
def test_only_a_string_is_a_query(server: ScriptedServer, query: Any, model: Any, way: str) -> None:
    with pytest.raises(OPEAConfigurationError, match="query"):
        compress(way, made(server, model=model), documents("a"), query)
    with pytest.raises(OPEAConfigurationError, match="query"):
        rerank(way, made(server, model=model), ["a"], query=query)
    assert server.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_the_order_of_other_packages_is_told(server: ScriptedServer, way: str) -> None:
    with pytest.raises(OPEAConfigurationError) as caught:
        rerank(way, made(server), "q", query=["a"])
    assert "rerank(query, documents)" in (caught.value.hint or "")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("top_n", [0, -1, 1.5, True, "2"])
def test_top_n_is_a_whole_number_above_zero(server: ScriptedServer, top_n: Any, way: str) -> None:
    with pytest.raises(OPEAConfigurationError, match="top_n"):
        rerank(way, made(server), ["a"], top_n=top_n)
    assert server.seen == []


@pytest.mark.parametrize(("name", "value"), [("top_n", 0), ("top_n", -1), ("priority", 42)])
def test_fields_are_checked_at_once(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        OPEARerank(model="r", **{name: value})


NOT_FITTING: dict[str, Answer] = {
    "HTML": html(200),
    "an index that is none": ranked((5, 0.9)),
    "the same index twice": ranked((0, 0.9), (0, 0.1)),
    "no score": json_answer({"results": [{"index": 0}]}),
    "no results": json_answer({"nothing": []}),
}
ERRORS: dict[str, tuple[Answer, Any, Any]] = {
    "400": (error(400, "no"), core.InvalidRequestError, lc.ModelInvalidRequestError),
    "401": (error(401, "no"), core.AuthenticationError, lc.ModelAuthenticationError),
    "404": (error(404, "no"), core.NotFoundError, lc.ModelNotFoundError),
    "429": (error(429, "no"), core.RateLimited, lc.ModelRateLimitError),
    "500": (error(500, "no"), core.ServerError, lc.ModelAPIError),
    "no answer": (Answer(before="close"), core.EndpointConnectionError, lc.ModelConnectionError),
    **{name: (it, core.BadAnswerError, lc.ModelAPIError) for name, it in NOT_FITTING.items()},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_langchains_too(server: ScriptedServer, case: str, way: str) -> None:
    answer, in_core, in_langchain = ERRORS[case]
    server.always(answer)
    for ranks, given in ((compress, documents("a", "b")), (rerank, ["a", "b"])):
        with pytest.raises(in_core) as caught:
            ranks(way, made(server), given)
        assert isinstance(caught.value, in_langchain)


def test_connection_keywords_beside_an_object_are_an_error() -> None:
    with pytest.raises(OPEAConfigurationError, match=r"client= and base_url="):
        OPEARerank(client=OPEA("http://localhost:1"), base_url="http://localhost:2")


# --- the object


COPIERS = (copy.copy, copy.deepcopy, lambda model: model.model_copy(update={"top_n": 1}))


def test_it_is_langchains_compressor(server: ScriptedServer) -> None:
    assert isinstance(made(server), BaseDocumentCompressor)


@pytest.mark.parametrize("way", WAYS)
def test_callbacks_of_a_retriever_are_taken(server: ScriptedServer, way: str) -> None:
    """As ``ContextualCompressionRetriever`` gives them."""
    model, given = made(server), documents("a")
    if way == "sync":
        found = model.compress_documents(given, "a", callbacks=[])
    else:
        found = asyncio.run(model.acompress_documents(given, "a", callbacks=[]))
    assert told(found) == [("a", 1.0)]


@pytest.mark.parametrize(
    ("name", "own", "value"),
    [
        ("model_name", "model_name", "r"),
        ("top_k", "top_n", 7),
        ("request_timeout", "timeout", 7),
        ("api_base", "base_url", "http://localhost:1"),
        ("openai_api_base", "base_url", "http://localhost:1"),
    ],
)
def test_other_names(name: str, own: str, value: Any) -> None:
    assert getattr(OPEARerank(**{name: value}), own) == value


@pytest.mark.parametrize("copier", COPIERS)
def test_copies_share_the_object(server: ScriptedServer, copier: Any) -> None:
    model = made(server, api_key=lambda: "k")
    assert copier(model).client is model.client


def test_a_copy_with_another_url_asks_there(server: ScriptedServer, second: ScriptedServer) -> None:
    copied = made(server, top_n=1).model_copy(update={"base_url": second.url})
    assert len(copied.rerank("q", TEXTS)) == 1
    assert (len(server.seen), len(second.seen)) == (0, 1)


def test_a_pickled_one_answers_the_same(server: ScriptedServer) -> None:
    model = made(server, top_n=2, api_key="k", model_kwargs={"user": "u"})
    other = pickle.loads(pickle.dumps(model))
    assert other.rerank("a", TEXTS) == model.rerank("a", TEXTS)
    assert server.seen[0].body == server.seen[1].body
    assert server.seen[0].headers["authorization"] == server.seen[1].headers["authorization"]


def test_failover(server: ScriptedServer, second: ScriptedServer) -> None:
    endpoints = [server.url, {"base_url": second.url, "tier": 1}]
    model = OPEARerank(model="r", endpoints=endpoints, initial_retry_delay=0)
    server.pause()
    assert told(model.compress_documents(documents("a"), "a")) == [("a", 1.0)]
    assert len(second.seen) == 1


def test_a_representation_says_model_and_server(server: ScriptedServer) -> None:
    model = made(server, api_key="sk-secret")
    assert repr(model).startswith(f"OPEARerank(model='r', base_url='{server.url}'")
    assert "sk-secret" not in repr(model) + json.dumps(model.model_dump())


# --- threads and loops


def test_several_event_loops_and_threads(server: ScriptedServer) -> None:
    model = made(server)
    first = model.rerank("a", TEXTS)
    assert [rerank("async", model, TEXTS, query="a") for _ in range(3)] == [first] * 3
    calls = [lambda way=way: rerank(way, model, TEXTS, query="a") for way in WAYS * 4]
    threads, results = in_threads(*calls)
    joined(threads)
    assert results == [first] * 8


def test_a_limit_holds_over_copies(server: ScriptedServer) -> None:
    model = made(server, max_concurrent=1)
    held = threading.Event()
    server.script(ranked((0, 1.0)).after(Hold(held)))
    copies = (model, copy.deepcopy(model), model.model_copy())
    threads, results = in_threads(*(lambda m=m: m.rerank("a", ["a"]) for m in copies))
    until(lambda: model.client.get_stats()["queued"] == 2, "the others to queue")
    held.set()
    joined(threads)
    assert results == [placed((0, 1.0))] * 3
    assert server.max_in_flight == 1


async def test_async_calls_need_no_thread(server: ScriptedServer) -> None:
    release = threading.Event()
    server.always(ranked((0, 1.0)).after(Hold(release)))
    model = made(server)
    await asyncio.to_thread(int)  # the thread that waits below
    before = set(threading.enumerate())
    given = documents("a")
    calls = [asyncio.ensure_future(model.acompress_documents(given, "q")) for _ in range(5)]
    await asyncio.to_thread(server.wait, lambda: server.in_flight == 5)
    started = {thread.name for thread in set(threading.enumerate()) - before}
    release.set()
    assert [told(found) for found in await asyncio.gather(*calls)] == [[("a", 1.0)]] * 5
    assert started == set()


async def test_cancelling_a_call_ends_its_request(server: ScriptedServer) -> None:
    server.always(ranked((0, 1.0)).after(Hold(threading.Event())))
    call = asyncio.ensure_future(made(server).acompress_documents(documents("a"), "q"))
    await asyncio.to_thread(server.wait_seen, 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(server.wait, lambda: server.seen[0].disconnected)
