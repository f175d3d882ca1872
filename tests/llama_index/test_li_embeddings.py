"""``OPEAEmbedding``: what is sent, in which batches, and that each text gets its own vector."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from li_object_support import Counter, embedding
from llama_index.core.base.embeddings.base import SimilarityMode
from llama_index.core.schema import Document, TextNode

from llama_index_opea import OPEAEmbedding
from opea_core import (
    BadAnswerError,
    Capabilities,
    ConfigurationError,
    ContextOverflowError,
    InvalidRequestError,
    OPEAError,
)
from opea_core.testing import Answer, ScriptedServer, error, html, json_answer
from opea_core.testing.model import vector

WAYS = ("sync", "async")


def batch(way: str, made: OPEAEmbedding, texts: Any, **options: Any) -> list[list[float]]:
    """Vectors of texts."""
    if way == "sync":
        return made.get_text_embedding_batch(texts, **options)
    return asyncio.run(made.aget_text_embedding_batch(texts, **options))


def text(way: str, made: OPEAEmbedding, one: Any) -> list[float]:
    """The vector of a text."""
    return (
        made.get_text_embedding(one)
        if way == "sync"
        else asyncio.run(made.aget_text_embedding(one))
    )


def query(way: str, made: OPEAEmbedding, one: Any) -> list[float]:
    """The vector of a query."""
    return (
        made.get_query_embedding(one)
        if way == "sync"
        else asyncio.run(made.aget_query_embedding(one))
    )


SINGLE: dict[str, Callable[..., list[float]]] = {"text": text, "query": query}


def inputs(server: ScriptedServer) -> list[list[str]]:
    """The texts of every request, in an order of their own."""
    return sorted(seen.body["input"] for seen in server.seen)


def backwards(seen: Any) -> Answer:
    """Right vectors in the wrong order: each is the number the text is."""
    data = [
        {"index": number, "embedding": [float(one), 1.0]}
        for number, one in enumerate(seen.body["input"])
    ]
    return json_answer({"data": data[::-1]})


# --- one text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", SINGLE)
def test_a_text_or_query_is_one_input(server: ScriptedServer, kind: str, way: str) -> None:
    assert SINGLE[kind](way, embedding(server), "hello") == vector("hello")
    assert server.seen[-1].body == {"model": "e", "input": ["hello"]}
    assert server.seen[-1].path == "/v1/embeddings"


@pytest.mark.parametrize("way", WAYS)
def test_prefixes_of_queries_and_texts(server: ScriptedServer, way: str) -> None:
    made = embedding(server, query_prefix="query: ", text_prefix="passage: ")
    query(way, made, "a")
    text(way, made, "b")
    batch(way, made, ["c", "d"])
    assert [seen.body["input"] for seen in server.seen] == [
        ["query: a"],
        ["passage: b"],
        ["passage: c", "passage: d"],
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "one",
    ["a\nb", "a\r\n\r\nb", "  a  ", "\n", "", "ä€🙂", "x" * 10000],
    ids=lambda one: repr(one[:9]),
)
def test_texts_are_sent_as_they_are(server: ScriptedServer, one: str, way: str) -> None:
    text(way, embedding(server), one)
    batch(way, embedding(server), [one, "b"])
    assert [seen.body["input"][0] for seen in server.seen] == [one, one]


@pytest.mark.parametrize("way", WAYS)
def test_dimensions_shorten_vectors(server: ScriptedServer, way: str) -> None:
    assert len(text(way, embedding(server, dimensions=4), "x")) == 4
    assert server.seen[-1].body["dimensions"] == 4


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", SINGLE)
@pytest.mark.parametrize("one", [["x"], 5, None, b"x", {"a": 1}], ids=str)
def test_only_a_string_is_a_text(server: ScriptedServer, one: Any, kind: str, way: str) -> None:
    with pytest.raises(ConfigurationError, match="Only strings"):
        SINGLE[kind](way, embedding(server), one)
    assert server.seen == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("texts", [[1, 2], ["a", None], [b"x"], [["a"]]], ids=str)
def test_only_lists_of_strings_are_texts(server: ScriptedServer, texts: Any, way: str) -> None:
    with pytest.raises(ConfigurationError, match="Only strings"):
        batch(way, embedding(server), texts)
    assert server.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_one_string_is_no_list_of_texts(server: ScriptedServer, way: str) -> None:
    with pytest.raises(ConfigurationError, match="list of texts"):
        batch(way, embedding(server), "hello")
    assert server.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_a_tuple_of_texts_will_do(server: ScriptedServer, way: str) -> None:
    assert batch(way, embedding(server), ("a", "b")) == [vector("a"), vector("b")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", [{}, {"model_name": "unknown"}, {"num_workers": 4}], ids=str)
def test_no_text_no_request(server: ScriptedServer, options: dict[str, Any], way: str) -> None:
    assert batch(way, embedding(server, **options), []) == []
    assert server.seen == []


# --- batches


@pytest.mark.parametrize("way", WAYS)
def test_texts_go_in_batches(server: ScriptedServer, way: str) -> None:
    found = batch(way, embedding(server, embed_batch_size=2), ["a", "b", "c", "d", "e"])
    assert inputs(server) == [["a", "b"], ["c", "d"], ["e"]]
    assert found == [vector(one) for one in "abcde"]


@pytest.mark.parametrize("way", WAYS)
def test_batches_hold_10_texts_if_nothing_else_is_said(server: ScriptedServer, way: str) -> None:
    batch(way, OPEAEmbedding(model="e", api_base=server.url), [str(n) for n in range(25)])
    assert sorted(map(len, inputs(server))) == [5, 10, 10]


@pytest.mark.parametrize("way", WAYS)
def test_batches_are_limited_in_bytes_too(server: ScriptedServer, way: str) -> None:
    found = batch(
        way, embedding(server, max_request_bytes=4), ["ab", "cd", "e", "much too long", "ää", "f"]
    )
    assert inputs(server) == sorted([["ab", "cd"], ["e"], ["much too long"], ["ää"], ["f"]])
    assert found == [vector(one) for one in ("ab", "cd", "e", "much too long", "ää", "f")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("workers", [None, 1, 3])
def test_every_text_gets_its_own_vector_whatever_the_servers_order(
    server: ScriptedServer, workers: int | None, way: str
) -> None:
    server.always(backwards)
    texts = [str(number) for number in range(20)]
    found = batch(way, embedding(server, embed_batch_size=3, num_workers=workers), texts)
    assert found == [[float(one), 1.0] for one in texts]


@pytest.mark.parametrize("way", WAYS)
def test_the_same_text_twice_is_asked_twice_and_right(server: ScriptedServer, way: str) -> None:
    assert batch(way, embedding(server), ["a", "b", "a"]) == [vector("a"), vector("b"), vector("a")]


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_that_is_too_large_is_split(server: ScriptedServer, way: str) -> None:
    server.always(
        lambda seen: error(413, "input is too large") if len(seen.body["input"]) > 2 else None
    )
    texts = [str(number) for number in range(8)]
    assert batch(way, embedding(server, embed_batch_size=8), texts) == [
        vector(one) for one in texts
    ]
    assert max(len(seen.body["input"]) for seen in server.seen[1:]) < 8


@pytest.mark.parametrize("way", WAYS)
def test_the_size_a_server_takes_is_remembered(server: ScriptedServer, way: str) -> None:
    server.always(
        lambda seen: error(413, "input is too large") if len(seen.body["input"]) > 2 else None
    )
    made = embedding(server, embed_batch_size=8)
    batch(way, made, [str(number) for number in range(8)])
    count = len(server.seen)
    batch(way, made, [str(number) for number in range(8)])
    assert all(len(seen.body["input"]) <= 2 for seen in server.seen[count:])


@pytest.mark.parametrize("way", WAYS)
def test_too_many_inputs_in_words_split_a_batch_too(server: ScriptedServer, way: str) -> None:
    refused = error(422, "batch size 4 > maximum allowed batch size 2", type="Validation")
    server.always(lambda seen: refused if len(seen.body["input"]) > 2 else None)
    assert batch(way, embedding(server, embed_batch_size=4), list("abcd")) == [
        vector(one) for one in "abcd"
    ]


@pytest.mark.parametrize("way", WAYS)
def test_one_text_that_is_too_long_is_an_error(server: ScriptedServer, way: str) -> None:
    server.always(error(413, "input is too large"))
    with pytest.raises(OPEAError):
        batch(way, embedding(server), ["a", "b"])


# --- what comes back


@pytest.mark.parametrize("way", WAYS)
def test_whole_numbers_become_floats(server: ScriptedServer, way: str) -> None:
    server.script(json_answer({"data": [{"index": 0, "embedding": [0, 1, -2]}]}))
    found = query(way, embedding(server), "x")
    assert found == [0.0, 1.0, -2.0]
    assert all(type(value) is float for value in found)


@pytest.mark.parametrize("way", WAYS)
def test_base64_is_read_although_nobody_asked_for_it(server: ScriptedServer, way: str) -> None:
    server.script(json_answer({"data": [{"index": 0, "embedding": "AACAPwAAAAA="}]}))
    assert query(way, embedding(server), "x") == [1.0, 0.0]


@pytest.mark.parametrize("way", WAYS)
def test_base64_may_be_asked_for(server: ScriptedServer, way: str) -> None:
    made = embedding(server, additional_kwargs={"encoding_format": "base64"})
    assert batch(way, made, ["a", "b"]) == [vector("a"), vector("b")]
    assert server.seen[-1].body["encoding_format"] == "base64"


def test_a_server_that_counts_in_bytes(server: ScriptedServer) -> None:
    server.script(json_answer({"data": [{"index": 0, "embedding": "AQL/"}]}))
    assert query(
        "sync", embedding(server, capabilities=Capabilities(embedding_dtype="int8")), "x"
    ) == [1.0, 2.0, -1.0]


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
    server.always(json_answer(WRONG[case]))
    with pytest.raises(BadAnswerError):
        batch(way, embedding(server), ["a", "b"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (error(400, "no"), InvalidRequestError),
        (html(200), BadAnswerError),
        (
            error(
                400,
                (
                    "This model's maximum context length is 512 tokens. However, you "
                    "requested 600 tokens."
                ),
            ),
            ContextOverflowError,
        ),
    ],
    ids=["400", "HTML", "overflow"],
)
def test_errors_are_the_cores(
    server: ScriptedServer, answer: Answer, raised: Any, way: str
) -> None:
    server.always(answer)
    with pytest.raises(raised):
        query(way, embedding(server), "x")


# --- the rest of LlamaIndex's interface


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_mean_of_several_queries(server: ScriptedServer, asynchronous: bool) -> None:
    server.always(backwards)
    made = embedding(server)
    found = (
        asyncio.run(made.aget_agg_embedding_from_queries(["1", "3"]))
        if asynchronous
        else made.get_agg_embedding_from_queries(["1", "3"])
    )
    assert found == [2.0, 1.0]


def test_similarity(server: ScriptedServer) -> None:
    made = embedding(server)
    one, other = made.get_text_embedding_batch(["a", "b"])
    assert made.similarity(one, one) == pytest.approx(1)
    assert made.similarity(one, other) < 1
    assert made.similarity(one, one, mode=SimilarityMode.EUCLIDEAN) == pytest.approx(0)


@pytest.mark.parametrize("way", WAYS)
def test_as_a_transformation_it_fills_the_nodes(server: ScriptedServer, way: str) -> None:
    nodes = [TextNode(text="a"), Document(text="b", metadata={"topic": "t"})]
    made = embedding(server)
    found = made(nodes) if way == "sync" else asyncio.run(made.acall(nodes))
    assert [node.embedding for node in found] == [vector("a"), vector("topic: t\n\nb")]


@pytest.mark.parametrize("way", WAYS)
def test_progress_is_shown_when_asked_for(
    server: ScriptedServer, way: str, capfd: pytest.CaptureFixture[str]
) -> None:
    batch(way, embedding(server, embed_batch_size=1), ["a", "b"], show_progress=True)
    assert "Generating embeddings" in capfd.readouterr().err
    batch(way, embedding(server, embed_batch_size=1), ["a", "b"])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("way", WAYS)
def test_a_rate_limiter_is_asked_once_for_each_batch(server: ScriptedServer, way: str) -> None:
    limiter = Counter()
    batch(way, embedding(server, embed_batch_size=2, rate_limiter=limiter), list("abcde"))
    assert (limiter.sync, limiter.asynchronous) == ((3, 0) if way == "sync" else (0, 3))
    text(way, embedding(server, rate_limiter=limiter), "x")
    assert limiter.total == 4
