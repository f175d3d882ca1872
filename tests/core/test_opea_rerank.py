"""Documents by relevance, and where servers have the path."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from opea_core import OPEA, BadAnswerError, ConfigurationError, NotFoundError, RerankResponse
from opea_core.testing import ScriptedServer, error, json_answer

RANKED = json_answer(
    {
        "model": "m",
        "results": [{"index": 0, "relevance_score": 0.1}, {"index": 1, "relevance_score": 0.9}],
    }
)
TEXTS = ["a train", "an apple"]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        yield scripted


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest) -> str:
    way: str = request.param
    return way


def rerank(
    way: str, opea: OPEA, query: Any = "fruit", texts: Any = TEXTS, **options: Any
) -> RerankResponse:
    if way == "sync":
        return opea.rerank(query, texts, **options)
    return asyncio.run(opea.arerank(query, texts, **options))


def test_the_best_comes_first_with_its_place(server: ScriptedServer, way: str) -> None:
    server.script(RANKED)
    with OPEA(server.url, model="m") as opea:
        response = rerank(way, opea, top_n=2)
    assert [(result.index, result.relevance_score) for result in response.results] == [
        (1, 0.9),
        (0, 0.1),
    ]
    assert (response.endpoint, response.meta.attempts) == (opea.endpoints[0].label, 1)
    assert server.seen[0].path == "/v1/rerank"
    assert server.seen[0].body == {"model": "m", "query": "fruit", "documents": TEXTS, "top_n": 2}


def test_a_path_beside_v1_is_found_once_and_remembered(server: ScriptedServer, way: str) -> None:
    server.script(error(404, "Not Found"), RANKED, RANKED)
    with OPEA(server.url, model="m") as opea:
        first, second = rerank(way, opea), rerank(way, opea)
    assert [seen.path for seen in server.seen] == ["/v1/rerank", "/rerank", "/rerank"]
    assert (first.meta.dropped, second.meta.dropped) == (("/v1/rerank -> /rerank",), ())


def test_a_server_that_has_it_nowhere_is_an_error(server: ScriptedServer, way: str) -> None:
    server.always(error(404, "Not Found"))
    with OPEA(server.url, model="m") as opea, pytest.raises(NotFoundError):
        rerank(way, opea)
    assert [seen.path for seen in server.seen] == ["/v1/rerank", "/rerank"]


def test_a_path_that_was_not_found_is_not_remembered(server: ScriptedServer, way: str) -> None:
    server.script(error(404, "Not Found"), error(404, "Not Found"), RANKED)
    with OPEA(server.url, model="m") as opea:
        with pytest.raises(NotFoundError):
            rerank(way, opea)
        rerank(way, opea)
    assert server.seen[-1].path == "/v1/rerank"


def test_an_unknown_model_is_not_looked_for_elsewhere(server: ScriptedServer, way: str) -> None:
    server.always(error(404, "The model `m` does not exist.", code="model_not_found"))
    with OPEA(server.url, model="m") as opea, pytest.raises(NotFoundError):
        rerank(way, opea)
    assert [seen.path for seen in server.seen if seen.method == "POST"] == ["/v1/rerank"]


def test_no_document_no_request(server: ScriptedServer, way: str) -> None:
    with OPEA(server.url, model="m") as opea:
        assert rerank(way, opea, texts=[]).results == []
    assert server.seen == []


def test_an_answer_that_does_not_fit_says_where_it_came_from(
    server: ScriptedServer, way: str
) -> None:
    server.script(json_answer({"results": [{"index": 7, "relevance_score": 1}]}))
    with (
        OPEA(server.url, model="m") as opea,
        pytest.raises(BadAnswerError, match=r"names document 7, and 2 were sent") as caught,
    ):
        rerank(way, opea)
    assert caught.value.endpoint == opea.endpoints[0].label


@pytest.mark.parametrize(
    ("query", "texts", "top_n"),
    [("", TEXTS, None), (7, TEXTS, None), ("q", [1], None), ("q", TEXTS, 0), ("q", TEXTS, True)],
)
def test_what_makes_no_sense_is_refused(
    server: ScriptedServer, way: str, query: Any, texts: Any, top_n: Any
) -> None:
    with OPEA(server.url, model="m") as opea, pytest.raises(ConfigurationError):
        rerank(way, opea, query, texts, top_n=top_n)
    assert server.seen == []
