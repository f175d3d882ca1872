"""Many texts: how many requests at once, events of each batch, errors amid them,
the cache, and ingestion.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import pytest
from li_object_support import Counter, Events, Listener, embedding, in_threads, instrumented, joined
from llama_index.core import VectorStoreIndex
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore

from llama_index_opea import OPEAEmbedding
from opea_core import OPEA, ConfigurationError, Endpoint, InvalidRequestError
from opea_core.policy import SECOND
from opea_core.testing import Hold, ScriptedServer, error, stream
from opea_core.testing.model import ScriptedModel, vector
from opea_core.transport import limiter, waking

WAYS = ("sync", "async")
TEXTS = [f"text {number}" for number in range(20)]
VECTORS = [vector(text) for text in TEXTS]


def batch(way: str, made: OPEAEmbedding, texts: list[str], **options: Any) -> list[list[float]]:
    """Vectors of texts."""
    if way == "sync":
        return made.get_text_embedding_batch(texts, **options)
    return asyncio.run(made.aget_text_embedding_batch(texts, **options))


def held(event: threading.Event) -> Any:
    """The right answer, when the event is set."""
    model = ScriptedModel("m")
    return lambda seen: model.answer(seen).after(Hold(event))


# --- at once


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("options", "at_once"),
    [
        ({"num_workers": 3}, 3),
        ({"num_workers": 1}, 1),
        ({}, 8),
        ({"max_concurrent": 2}, 2),
        ({"max_concurrent": 12}, 12),
        ({"num_workers": 12}, 12),
        ({"num_workers": 12, "max_concurrent": 4}, 4),
        ({"num_workers": 99}, 20),
    ],
    ids=str,
)
def test_so_many_batches_are_under_way_at_once(
    server: ScriptedServer, options: dict[str, Any], at_once: int, way: str
) -> None:
    release = threading.Event()
    server.always(held(release))
    made = embedding(server, embed_batch_size=1, **options)
    threads, results = in_threads(lambda: batch(way, made, TEXTS))
    server.wait(lambda: server.in_flight == at_once)
    release.set()
    joined(threads)
    assert results == [VECTORS]
    assert server.max_in_flight == at_once


@pytest.mark.parametrize("way", WAYS)
def test_the_limit_of_a_shared_object_holds(server: ScriptedServer, way: str) -> None:
    release = threading.Event()
    server.always(held(release))
    made = OPEAEmbedding(
        client=OPEA(server.url, max_concurrent=2), model="e", embed_batch_size=1, num_workers=8
    )
    threads, results = in_threads(lambda: batch(way, made, TEXTS))
    server.wait(lambda: server.in_flight == 2)
    release.set()
    joined(threads)
    assert results == [VECTORS]
    assert server.max_in_flight == 2


@pytest.mark.parametrize("way", WAYS)
def test_with_several_endpoints_all_of_them_work(server: ScriptedServer, way: str) -> None:
    with ScriptedServer() as second:
        release = threading.Event()
        for one in (server, second):
            one.always(held(release))
        endpoints = [Endpoint(base_url=one.url, max_concurrent=4) for one in (server, second)]
        made = OPEAEmbedding(endpoints=endpoints, model="e", embed_batch_size=1, num_workers=8)
        threads, results = in_threads(lambda: batch(way, made, TEXTS))
        for one in (server, second):
            one.wait(lambda one=one: one.in_flight == 4)
        release.set()
        joined(threads)
        assert results == [VECTORS]


@pytest.mark.parametrize("way", WAYS)
def test_vectors_stay_in_order_when_the_first_batch_is_the_last_to_come(
    server: ScriptedServer, way: str
) -> None:
    release = threading.Event()
    server.script(held(release))
    made = embedding(server, embed_batch_size=5, num_workers=4)
    threads, results = in_threads(lambda: batch(way, made, TEXTS))
    server.wait(lambda: sum(seen.finished for seen in server.seen) == 3)
    release.set()
    joined(threads)
    assert results == [VECTORS]


@pytest.mark.parametrize("workers", [0, -1])
def test_workers_must_be_some(server: ScriptedServer, workers: int) -> None:
    made = embedding(server, embed_batch_size=1, num_workers=workers)
    assert batch("sync", made, TEXTS[:3]) == VECTORS[:3]
    assert batch("async", made, TEXTS[:3]) == VECTORS[:3]


async def test_a_batch_within_a_running_loop(server: ScriptedServer) -> None:
    made = embedding(server, embed_batch_size=2)
    assert (
        made.get_text_embedding_batch(TEXTS)
        == await made.aget_text_embedding_batch(TEXTS)
        == VECTORS
    )


# --- events


def _told(events: Events, listener: Listener, batches: list[list[str]]) -> None:
    ends = events.of("EmbeddingEndEvent")
    assert [end.chunks for end in ends] == batches
    assert [end.embeddings for end in ends] == [
        [vector(text) for text in texts] for texts in batches
    ]
    assert len(events.of("EmbeddingStartEvent")) == len(batches)
    assert [payload[EventPayload.CHUNKS] for _, payload, _ in listener.ended] == batches
    assert [id_ for _, _, id_ in listener.started] == [id_ for _, _, id_ in listener.ended]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("workers", [1, 4])
def test_each_batch_has_its_events_in_order(server: ScriptedServer, workers: int, way: str) -> None:
    listener = Listener()
    made = embedding(
        server, embed_batch_size=5, num_workers=workers, callback_manager=listener.manager
    )
    with instrumented() as (events, spans):
        batch(way, made, TEXTS)
    _told(events, listener, [TEXTS[start : start + 5] for start in range(0, 20, 5)])
    assert spans.open_spans == {}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_one_batch_ends_the_rest_and_balances_the_events(
    server: ScriptedServer, workers: int, way: str
) -> None:
    server.always(lambda seen: error(400, "no") if seen.body["input"] == ["text 3"] else None)
    listener = Listener()
    made = embedding(
        server, embed_batch_size=1, num_workers=workers, callback_manager=listener.manager
    )
    with instrumented() as (events, spans), pytest.raises(InvalidRequestError):
        batch(way, made, TEXTS)
    starts, ends = listener.counts["embedding"]
    assert starts == ends
    assert len(server.seen) < 20
    assert len(events.of("EmbeddingEndEvent")) == 3
    assert spans.open_spans == {}
    assert spans.dropped_spans


async def test_cancelling_a_batch_ends_its_requests_and_balances_the_events(
    server: ScriptedServer,
) -> None:
    server.always(held(threading.Event()))
    listener = Listener()
    made = embedding(server, embed_batch_size=1, num_workers=3, callback_manager=listener.manager)
    call = asyncio.ensure_future(made.aget_text_embedding_batch(TEXTS))
    await asyncio.to_thread(server.wait, lambda: server.in_flight == 3)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(server.wait, lambda: server.in_flight == 0)
    starts, ends = listener.counts["embedding"]
    assert starts == ends
    assert len(server.seen) == 3


# --- the cache


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("workers", [1, 4])
def test_cached_texts_are_not_asked_for_again(
    server: ScriptedServer, workers: int, way: str
) -> None:
    made = embedding(
        server, embed_batch_size=5, num_workers=workers, embeddings_cache=SimpleKVStore()
    )
    first = batch(way, made, TEXTS[:10])
    count = len(server.seen)
    assert batch(way, made, TEXTS) == first + VECTORS[10:] == VECTORS
    assert sorted(text for seen in server.seen[count:] for text in seen.body["input"]) == sorted(
        TEXTS[10:]
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_partly_cached_keeps_its_order(server: ScriptedServer, way: str) -> None:
    made = embedding(server, embeddings_cache=SimpleKVStore())
    batch(way, made, ["b", "d"])
    assert batch(way, made, list("abcde")) == [vector(one) for one in "abcde"]
    assert server.seen[-1].body["input"] == ["a", "c", "e"]


@pytest.mark.parametrize("way", WAYS)
def test_single_texts_and_queries_are_cached(server: ScriptedServer, way: str) -> None:
    made = embedding(server, embeddings_cache=SimpleKVStore())
    for _ in range(2):
        made.get_text_embedding("x") if way == "sync" else asyncio.run(
            made.aget_text_embedding("x")
        )
        made.get_query_embedding("y") if way == "sync" else asyncio.run(
            made.aget_query_embedding("y")
        )
    assert len(server.seen) == 2


@pytest.mark.parametrize("way", WAYS)
def test_the_limiter_is_asked_with_a_cache_too(server: ScriptedServer, way: str) -> None:
    limiter = Counter()
    batch(
        way,
        embedding(
            server, embed_batch_size=2, rate_limiter=limiter, embeddings_cache=SimpleKVStore()
        ),
        list("abcde"),
    )
    assert limiter.total == 3


# --- ingestion and indices


DOCUMENTS = [Document(text=f"Document {number}.", id_=str(number)) for number in range(6)]


@pytest.mark.parametrize("way", WAYS)
def test_in_an_ingestion_pipeline(server: ScriptedServer, way: str) -> None:
    pipeline = IngestionPipeline(
        transformations=[
            SentenceSplitter(tokenizer=str.split),
            embedding(server, embed_batch_size=2),
        ]
    )
    found = (
        pipeline.run(documents=DOCUMENTS)
        if way == "sync"
        else asyncio.run(pipeline.arun(documents=DOCUMENTS))
    )
    assert [node.embedding for node in found] == [vector(document.text) for document in DOCUMENTS]


def test_a_second_run_asks_nothing_again(server: ScriptedServer) -> None:
    pipeline = IngestionPipeline(transformations=[embedding(server)])
    pipeline.run(documents=DOCUMENTS)
    count = len(server.seen)
    pipeline.run(documents=DOCUMENTS)
    assert len(server.seen) == count


@pytest.mark.slow
def test_ingestion_in_two_processes(server: ScriptedServer) -> None:
    made = embedding(server, api_key="sk-secret")
    made.get_text_embedding("warm")
    asyncio.run(made.aget_text_embedding("warm"))
    pipeline = IngestionPipeline(transformations=[made], disable_cache=True)
    found = pipeline.run(documents=DOCUMENTS, num_workers=2)
    assert [node.embedding for node in found] == [vector(document.text) for document in DOCUMENTS]
    assert {seen.headers["authorization"] for seen in server.seen} == {"Bearer sk-secret"}


def test_in_an_index_with_many_nodes(server: ScriptedServer) -> None:
    nodes = [TextNode(text=text) for text in TEXTS]
    index = VectorStoreIndex(nodes, embed_model=embedding(server, embed_batch_size=3))
    [found] = index.as_retriever(similarity_top_k=1).retrieve("text 7")
    assert found.node.get_content() == "text 7"
    assert found.score == pytest.approx(1)


async def test_in_an_index_by_async_code(server: ScriptedServer) -> None:
    nodes = [TextNode(text=text) for text in TEXTS]
    index = await asyncio.to_thread(
        VectorStoreIndex, nodes, embed_model=embedding(server), use_async=True
    )
    [found] = await index.as_retriever(similarity_top_k=1).aretrieve("text 3")
    assert found.node.get_content() == "text 3"


def test_loops_and_threads_share_one_object(server: ScriptedServer) -> None:
    made = embedding(server, embed_batch_size=2, max_concurrent=3)
    threads, results = in_threads(
        *[lambda way=way: batch(way, made, TEXTS) for way in [*WAYS, *WAYS]]
    )
    joined(threads)
    assert results == [VECTORS] * 4
    assert server.max_in_flight <= 3


@pytest.mark.parametrize("way", WAYS)
def test_query_and_text_do_not_share_a_cache_entry_where_their_prefixes_differ(
    server: ScriptedServer, way: str
) -> None:
    made = embedding(
        server, embeddings_cache=SimpleKVStore(), query_prefix="query: ", text_prefix="passage: "
    )
    batch(way, made, ["x"])
    found = (
        made.get_query_embedding("x")
        if way == "sync"
        else asyncio.run(made.aget_query_embedding("x"))
    )
    assert found == vector("query: x")


@pytest.mark.parametrize("count", [1, 3])
def test_hooks_run_in_the_callers_context(server: ScriptedServer, count: int) -> None:
    mark: ContextVar[str] = ContextVar("mark", default="lost")
    seen: list[str] = []
    made = embedding(server, embed_batch_size=1, hooks=[lambda event: seen.append(mark.get())])
    mark.set("kept")
    made.get_text_embedding_batch([str(number) for number in range(count)])
    assert set(seen) == {"kept"}


@pytest.mark.parametrize("way", WAYS)
def test_batches_inside_of_a_stream_that_holds_the_only_place_are_told_so(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    for module in (limiter, waking):
        monkeypatch.setattr(module, "LOOKS_EVERY", SECOND // 20)
    go = threading.Event()
    server.always(stream(["a", Hold(go), "b"]))
    opea = OPEA(server.url, model="m", max_concurrent=1)
    made = OPEAEmbedding(model_name="e", client=opea, embed_batch_size=1, num_workers=2)

    def inside() -> None:
        with opea.stream_chat("outer") as chunks:
            next(chunks)
            made.get_text_embedding_batch(["a", "b"])

    async def ainside() -> None:
        async with opea.astream_chat("outer") as chunks:
            await anext(chunks)
            await made.aget_text_embedding_batch(["a", "b"])

    def work() -> str:
        with pytest.raises(ConfigurationError, match="it would wait for itself") as told:
            inside() if way == "sync" else asyncio.run(ainside())
        return type(told.value).__name__

    threads, results = in_threads(work)
    joined(threads)
    go.set()
    assert len(results) == 1
