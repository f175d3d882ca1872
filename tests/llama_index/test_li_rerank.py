"""``OPEARerank``: order, new nodes, events, where the server listens, and errors."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from li_object_support import Listener, in_threads, instrumented, joined, ranked, reranker
from llama_index.core import VectorStoreIndex
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.schema import (
    ImageNode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)

from llama_index_opea import OPEARerank
from opea_core import (
    OPEA,
    AuthenticationError,
    BadAnswerError,
    Capabilities,
    ConfigurationError,
    NotFoundError,
    OPEAError,
    ServerError,
)
from opea_core.testing import Answer, Hold, ScriptedServer, error, html, json_answer

WAYS = ("sync", "async")


def nodes(*texts: str, score: float | None = 0.5) -> list[NodeWithScore]:
    """Nodes with these texts."""
    return [NodeWithScore(node=TextNode(text=text, id_=text), score=score) for text in texts]


def rank(
    way: str, made: OPEARerank, given: list[NodeWithScore], query: Any = "q"
) -> list[NodeWithScore]:
    """Nodes in their new order."""
    bundle = QueryBundle(query) if isinstance(query, str) else query
    if way == "sync":
        return made.postprocess_nodes(given, bundle)
    return asyncio.run(made.apostprocess_nodes(given, bundle))


def told(found: list[NodeWithScore]) -> list[tuple[str, float | None]]:
    """Text and score of each."""
    return [(node.node.get_content(), node.score) for node in found]


# --- order


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "answer",
    [
        ranked((2, 0.9), (0, 0.5), (1, 0.1)),
        ranked((1, 0.1), (0, 0.5), (2, 0.9)),
        json_answer(
            {"data": [{"index": 0, "relevance_score": 0.5}, {"index": 2, "relevance_score": 0.9}]}
        ),
        json_answer(
            {
                "results": [
                    {"index": i, "relevance_score": s, "document": {"text": "other"}}
                    for i, s in ((2, 0.9), (0, 0.5))
                ]
            }
        ),
    ],
    ids=["in order", "in no order", "as Voyage says it", "with documents"],
)
def test_the_best_nodes_come_first_with_the_rerankers_scores(
    server: ScriptedServer, answer: Answer, way: str
) -> None:
    server.always(answer)
    assert told(rank(way, reranker(server), nodes("a", "b", "c"))) == [("c", 0.9), ("a", 0.5)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (2, 2), (3, 3), (99, 3)])
def test_top_n_limits_what_comes_back(
    server: ScriptedServer, top_n: int, count: int, way: str
) -> None:
    server.always(ranked((0, 0.3), (1, 0.2), (2, 0.1)))
    assert len(rank(way, reranker(server, top_n=top_n), nodes("a", "b", "c"))) == count


@pytest.mark.parametrize("way", WAYS)
def test_scores_below_zero_and_equal_ones_are_kept(server: ScriptedServer, way: str) -> None:
    server.always(ranked((0, -3.5), (1, -3.5), (2, -7.0)))
    assert told(rank(way, reranker(server, top_n=3), nodes("a", "b", "c"))) == [
        ("a", -3.5),
        ("b", -3.5),
        ("c", -7.0),
    ]


@pytest.mark.parametrize("way", WAYS)
def test_the_given_nodes_stay_as_they_are(server: ScriptedServer, way: str) -> None:
    server.always(ranked((1, 0.9), (0, 0.1)))
    given = nodes("a", "b")
    before = list(given)
    found = rank(way, reranker(server), given)
    assert given == before
    assert told(given) == [("a", 0.5), ("b", 0.5)]
    assert not any(new is old for new in found for old in given)
    assert found[0].node is given[1].node


@pytest.mark.parametrize("way", WAYS)
def test_the_same_node_twice(server: ScriptedServer, way: str) -> None:
    server.always(ranked((1, 0.9), (0, 0.1)))
    [one] = nodes("a")
    assert told(rank(way, reranker(server), [one, one])) == [("a", 0.9), ("a", 0.1)]


# --- what is sent


@pytest.mark.parametrize("way", WAYS)
def test_query_documents_and_top_n_are_sent(server: ScriptedServer, way: str) -> None:
    server.always(ranked((0, 1.0)))
    rank(way, reranker(server, top_n=1), nodes("a", "b"), "which?")
    assert server.seen[-1].path == "/v1/rerank"
    assert server.seen[-1].body == {
        "model": "r",
        "query": "which?",
        "documents": ["a", "b"],
        "top_n": 1,
    }


@pytest.mark.parametrize("field", ["additional_kwargs", "extra_body"])
def test_what_the_call_says_is_no_further_field(server: ScriptedServer, field: str) -> None:
    for name, value, advice in (
        ("top_n", 1, "top_n= to OPEARerank"),
        ("query", "x", "Take it out"),
        ("documents", ["x"], "Take it out"),
    ):
        with pytest.raises(ConfigurationError, match=f"{name}(.|\n)*{advice}"):
            rank("sync", reranker(server, **{field: {name: value}}), nodes("a", "b"))
    rank("sync", reranker(server, **{field: {"return_documents": False}}), nodes("a", "b"))
    assert [seen.body["return_documents"] for seen in server.seen] == [False]


def test_metadata_goes_along_as_for_embeddings(server: ScriptedServer) -> None:
    server.always(ranked((0, 1.0)))
    node = TextNode(
        text="a", metadata={"topic": "t", "secret": "s"}, excluded_embed_metadata_keys=["secret"]
    )
    rank("sync", reranker(server), [NodeWithScore(node=node)])
    assert server.seen[-1].body["documents"] == ["topic: t\n\na"]


def test_a_query_with_embeddings_of_its_own_is_sent_as_text(server: ScriptedServer) -> None:
    server.always(ranked((0, 1.0)))
    rank(
        "sync",
        reranker(server),
        nodes("a"),
        QueryBundle("q", custom_embedding_strs=["other"], embedding=[1.0]),
    )
    assert server.seen[-1].body["query"] == "q"


def test_other_kinds_of_nodes(server: ScriptedServer) -> None:
    server.always(ranked((0, 1.0), (1, 0.5)))
    related = TextNode(
        text="a", relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="d")}
    )
    found = rank(
        "sync",
        reranker(server),
        [NodeWithScore(node=ImageNode(text="i")), NodeWithScore(node=related)],
    )
    assert [type(node.node).__name__ for node in found] == ["ImageNode", "TextNode"]


@pytest.mark.parametrize("way", WAYS)
def test_no_node_no_request_and_no_event(server: ScriptedServer, way: str) -> None:
    listener = Listener()
    with instrumented() as (events, _):
        assert rank(way, reranker(server, callback_manager=listener.manager), []) == []
    assert server.seen == []
    assert listener.started == listener.ended == []
    assert events.names == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", [[], nodes("a")], ids=["no node", "a node"])
def test_no_query_is_a_value_error(
    server: ScriptedServer, given: list[NodeWithScore], way: str
) -> None:
    with pytest.raises(ValueError, match="query"):
        rank(way, reranker(server), given, None)
    assert server.seen == []


def test_the_query_may_be_a_string(server: ScriptedServer) -> None:
    server.always(ranked((0, 1.0)))
    made = reranker(server)
    assert told(made.postprocess_nodes(nodes("a"), query_str="q")) == told(
        asyncio.run(made.apostprocess_nodes(nodes("a"), query_str="q"))
    )


# --- where the server listens


@pytest.mark.parametrize("way", WAYS)
def test_a_server_without_v1_rerank_is_asked_beside_it_and_remembered(
    server: ScriptedServer, way: str
) -> None:
    server.always(
        lambda seen: ranked((0, 1.0)) if seen.path == "/rerank" else error(404, "Not Found")
    )
    made = reranker(server)
    for _ in range(2):
        assert told(rank(way, made, nodes("a"))) == [("a", 1.0)]
    assert [seen.path for seen in server.seen] == ["/v1/rerank", "/rerank", "/rerank"]


@pytest.mark.parametrize("way", WAYS)
def test_a_server_without_any_is_an_error(server: ScriptedServer, way: str) -> None:
    server.always(error(404, "Not Found"))
    with pytest.raises(NotFoundError):
        rank(way, reranker(server), nodes("a"))
    assert [seen.path for seen in server.seen] == ["/v1/rerank", "/rerank"]


def test_it_can_be_said_where_the_server_listens(server: ScriptedServer) -> None:
    server.always(ranked((0, 1.0)))
    rank("sync", reranker(server, capabilities=Capabilities(rerank_beside_v1=True)), nodes("a"))
    assert [seen.path for seen in server.seen] == ["/rerank"]


# --- events


@pytest.mark.parametrize("way", WAYS)
def test_instrumentation_events(server: ScriptedServer, way: str) -> None:
    server.always(ranked((1, 0.9), (0, 0.1)))
    given = nodes("a", "b")
    with instrumented() as (events, spans):
        found = rank(way, reranker(server, top_n=1), given, "which?")
    [start], [end] = events.of("ReRankStartEvent"), events.of("ReRankEndEvent")
    assert (start.query.query_str, start.top_n, start.model_name, told(start.nodes)) == (
        "which?",
        1,
        "r",
        told(given),
    )
    assert told(end.nodes) == told(found) == [("b", 0.9)]
    assert spans.open_spans == {}


@pytest.mark.parametrize("way", WAYS)
def test_callback_events(server: ScriptedServer, way: str) -> None:
    server.always(ranked((1, 0.9), (0, 0.1)))
    listener = Listener()
    found = rank(
        way, reranker(server, callback_manager=listener.manager), nodes("a", "b"), "which?"
    )
    [(kind, start, _)], [(_, end, _)] = listener.started, listener.ended
    assert kind == CBEventType.RERANKING
    assert {
        key: start[key]
        for key in (EventPayload.MODEL_NAME, EventPayload.QUERY_STR, EventPayload.TOP_K)
    } == {
        EventPayload.MODEL_NAME: "r",
        EventPayload.QUERY_STR: "which?",
        EventPayload.TOP_K: 2,
    }
    assert told(start[EventPayload.NODES]) == [("a", 0.5), ("b", 0.5)]
    assert told(end[EventPayload.NODES]) == told(found)


@pytest.mark.parametrize("way", WAYS)
def test_the_discovered_model_is_told(server: ScriptedServer, way: str) -> None:
    server.script(lambda seen: None, ranked((0, 1.0)))
    with instrumented() as (events, _):
        rank(way, OPEARerank(api_base=server.url, max_retries=0), nodes("a"))
    assert server.seen[-1].body["model"] == "scripted-model"
    assert events.of("ReRankStartEvent")[0].model_name == "scripted-model"


# --- errors


BROKEN: dict[str, tuple[Answer, type[OPEAError]]] = {
    "401": (error(401, "no"), AuthenticationError),
    "500": (error(500, "no"), ServerError),
    "HTML": (html(200), BadAnswerError),
    "an index that is none": (ranked((5, 0.9)), BadAnswerError),
    "the same index twice": (ranked((0, 0.9), (0, 0.1)), BadAnswerError),
    "no score": (json_answer({"results": [{"index": 0}]}), BadAnswerError),
    "no results": (json_answer({"nothing": []}), BadAnswerError),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", BROKEN)
def test_errors_are_the_cores_and_events_are_balanced(
    server: ScriptedServer, case: str, way: str
) -> None:
    answer, raised = BROKEN[case]
    server.always(answer)
    listener = Listener()
    with instrumented() as (events, spans), pytest.raises(raised):
        rank(way, reranker(server, callback_manager=listener.manager), nodes("a", "b"))
    assert listener.counts == {"reranking": (1, 1)}
    assert events.names == ["ReRankStartEvent"]
    assert spans.open_spans == {}


@pytest.mark.parametrize("way", WAYS)
def test_no_result_is_no_node(server: ScriptedServer, way: str) -> None:
    server.always(ranked())
    assert rank(way, reranker(server), nodes("a")) == []


# --- async


async def test_async_calls_need_no_thread(server: ScriptedServer) -> None:
    release = threading.Event()
    server.always(ranked((0, 1.0)).after(Hold(release)))
    made = reranker(server)
    await asyncio.to_thread(int)  # the thread that waits below
    before = set(threading.enumerate())
    calls = [
        asyncio.ensure_future(made.apostprocess_nodes(nodes("a"), query_str="q")) for _ in range(5)
    ]
    await asyncio.to_thread(server.wait, lambda: server.in_flight == 5)
    started = {thread.name for thread in set(threading.enumerate()) - before}
    release.set()
    assert [told(found) for found in await asyncio.gather(*calls)] == [[("a", 1.0)]] * 5
    assert started == set()


async def test_cancelling_a_call_ends_its_request(server: ScriptedServer) -> None:
    listener = Listener()
    server.always(ranked((0, 1.0)).after(Hold(threading.Event())))
    call = asyncio.ensure_future(
        reranker(server, callback_manager=listener.manager).apostprocess_nodes(
            nodes("a"), query_str="q"
        )
    )
    await asyncio.to_thread(server.wait_seen, 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(server.wait, lambda: server.seen[0].disconnected)
    assert listener.counts == {"reranking": (1, 1)}


def test_loops_and_threads_share_the_limits_of_one_object(server: ScriptedServer) -> None:
    server.always(ranked((0, 1.0)))
    shared = OPEA(server.url, max_concurrent=1)
    calls = [
        lambda way=way: rank(way, OPEARerank(client=shared, model="r"), nodes("a"))
        for way in [*WAYS, *WAYS]
    ]
    threads, results = in_threads(*calls)
    joined(threads)
    assert [told(found) for found in results] == [[("a", 1.0)]] * 4
    assert server.max_in_flight == 1


# --- in an engine


@pytest.mark.parametrize("way", WAYS)
def test_among_the_postprocessors_of_a_retriever(server: ScriptedServer, way: str) -> None:
    server.always(ranked((1, 0.9), (0, 0.1)))
    index = VectorStoreIndex(
        [TextNode(text="a"), TextNode(text="b")], embed_model=MockEmbedding(embed_dim=3)
    )
    engine = index.as_query_engine(
        llm=MockLLM(), node_postprocessors=[reranker(server, top_n=1)], similarity_top_k=2
    )
    response = engine.query("q") if way == "sync" else asyncio.run(engine.aquery("q"))
    documents = server.seen[-1].body["documents"]
    assert [(node.node.get_content(), node.score) for node in response.source_nodes] == [
        (documents[1], 0.9)
    ]
