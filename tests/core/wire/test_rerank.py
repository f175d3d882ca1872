"""Rerank answers of every shape servers send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opea_core.errors import BadAnswerError
from opea_core.types import RerankResult
from opea_core.wire.rerank import read_rerank

ONE, TWO = {"index": 0, "relevance_score": 0.25}, {"index": 1, "relevance_score": 0.75}
SORTED = [RerankResult(1, 0.75), RerankResult(0, 0.25)]


@pytest.mark.parametrize(
    "raw",
    [
        {"results": [ONE, TWO]},
        {"results": [TWO, ONE]},
        {"object": "list", "data": [ONE, TWO]},
        [ONE, TWO],
        {"results": [{"index": 0, "score": 0.25}, {"index": 1, "score": 0.75}]},
        {"results": [{**ONE, "document": None}, TWO]},
    ],
    ids=["in order of input", "best first", "Voyage", "TEI", "score", "null document"],
)
def test_the_best_comes_first(raw: Any) -> None:
    assert read_rerank(raw, 2).results == SORTED


@pytest.mark.parametrize("document", ["a text", {"text": "a text"}])
def test_a_document_that_came_back_is_text(document: Any) -> None:
    assert (
        read_rerank({"results": [{**ONE, "document": document}]}, 1).results[0].document == "a text"
    )


def test_no_results_are_no_results() -> None:
    assert read_rerank({"results": []}, 3).results == []


def test_no_more_than_asked_for() -> None:
    assert read_rerank({"results": [ONE, TWO]}, 2, top_n=1).results == SORTED[:1]


def test_model_usage_and_the_servers_json_are_kept() -> None:
    raw = {"model": "m", "results": [ONE], "usage": {"total_tokens": 7}}
    response = read_rerank(raw, 1)
    assert (response.model, response.raw) == ("m", raw)
    assert response.usage is not None
    assert response.usage.total_tokens == 7


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"results": "none"},
        None,
        {"results": [{"relevance_score": 1.0}]},
        {"results": [{"index": 2, "relevance_score": 1.0}]},
        {"results": [{"index": -1, "relevance_score": 1.0}]},
        {"results": [{"index": True, "relevance_score": 1.0}]},
        {"results": [{"index": "0", "relevance_score": 1.0}]},
        {"results": [ONE, ONE]},
        {"results": [{"index": 0}]},
        {"results": [{"index": 0, "relevance_score": "high"}]},
        {"results": [{"index": 0, "relevance_score": float("nan")}]},
        {"results": [7]},
    ],
)
def test_what_does_not_fit_is_an_error(raw: Any) -> None:
    with pytest.raises(BadAnswerError):
        read_rerank(raw, 2)


@given(st.lists(st.floats(-1e6, 1e6), max_size=20), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_ranking(scores: list[float], chance: Any) -> None:
    entries = [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]
    chance.shuffle(entries)
    results = read_rerank({"results": entries}, len(scores)).results
    assert [result.relevance_score for result in results] == sorted(scores, reverse=True)
    assert all(scores[result.index] == result.relevance_score for result in results)
