"""Embedding answers: vectors in the order of the inputs, whatever form they come in."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from opea_core.errors import BadAnswerError
from opea_core.types import Json
from opea_core.wire.embeddings import read_embeddings


def floats(*values: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def int8s(*values: int) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}b", *values)).decode()


def answer(*vectors: Any, **more: Any) -> Json:
    return {
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ],
        **more,
    }


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        pytest.param([0.5, -1.0], [0.5, -1.0], id="floats"),
        pytest.param([0, 1], [0.0, 1.0], id="ints are coerced"),
        pytest.param(floats(1.0, 0.0), [1.0, 0.0], id="base64, little-endian float32"),
        pytest.param("AACAPwAAAAA=", [1.0, 0.0], id="base64, typed out"),
    ],
)
def test_a_vector_is_read_by_the_type_of_its_value(vector: Any, expected: list[float]) -> None:
    response = read_embeddings(answer(vector), 1)
    assert response.embeddings == [expected]
    assert [type(number) for number in response.embeddings[0]] == [float, float]
    assert response.dimensions == 2


def test_lists_and_base64_may_be_mixed() -> None:
    raw = {"data": [{"index": 1, "embedding": [0, 1]}, {"index": 0, "embedding": "AACAPwAAAAA="}]}
    assert read_embeddings(raw, 2).embeddings == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("indices", "order"),
    [
        pytest.param([2, 0, 1], [1, 2, 0], id="a permutation"),
        pytest.param([0, 0, 0], [0, 1, 2], id="all zero"),
        pytest.param([1, 2, 3], [0, 1, 2], id="from 1"),
        pytest.param([2, 0, None], [0, 1, 2], id="one missing"),
        pytest.param([None, None, None], [0, 1, 2], id="all missing"),
        pytest.param(["2", "0", "1"], [0, 1, 2], id="as text"),
        pytest.param([2, False, True], [0, 1, 2], id="as booleans"),
    ],
)
def test_the_order_is_that_of_the_indices_if_they_are_a_permutation(
    indices: list[Any], order: list[int]
) -> None:
    entries = [
        {"embedding": [float(n)]} | ({} if index is None else {"index": index})
        for n, index in enumerate(indices)
    ]
    assert read_embeddings({"data": entries}, 3).embeddings == [[float(n)] for n in order]


def test_what_else_an_answer_says_may_be_missing() -> None:
    response = read_embeddings({"data": [{"embedding": [1.0]}]}, 1)
    assert (response.embeddings, response.model, response.usage) == ([[1.0]], "", None)


def test_usage_may_have_the_total_only() -> None:
    response = read_embeddings(answer([1.0], model="m", usage={"total_tokens": 3}), 1)
    assert response.usage is not None
    assert (response.model, response.usage.total_tokens, response.usage.prompt_tokens) == (
        "m",
        3,
        None,
    )


def test_int8_vectors_are_read_when_configured() -> None:
    assert read_embeddings(answer(int8s(1, -128, 127)), 1, "int8").embeddings == [
        [1.0, -128.0, 127.0]
    ]


def test_int8_vectors_are_told_by_their_length_when_the_dimensions_are_known() -> None:
    assert read_embeddings(answer(int8s(1, 2, 3, 4)), 1, dimensions=4).embeddings == [
        [1.0, 2.0, 3.0, 4.0]
    ]


def test_known_dimensions_fit_float32() -> None:
    assert read_embeddings(answer(floats(1.0, 2.0)), 1, dimensions=2).embeddings == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        pytest.param({}, 1, id="no data"),
        pytest.param({"data": None}, 1, id="data null"),
        pytest.param({"data": {}}, 1, id="data an object"),
        pytest.param([], 1, id="a list"),
        pytest.param(None, 1, id="null"),
        pytest.param(answer([1.0]), 2, id="fewer vectors than inputs"),
        pytest.param(answer([1.0], [2.0]), 1, id="more vectors than inputs"),
        pytest.param(answer([1.0, None]), 1, id="null inside"),
        pytest.param(answer([1.0, float("nan")]), 1, id="NaN inside"),
        pytest.param(answer([1.0, float("inf")]), 1, id="infinity inside"),
        pytest.param(answer(floats(1.0, float("nan"))), 1, id="NaN inside base64"),
        pytest.param(answer([1.0, "x"]), 1, id="text inside"),
        pytest.param(answer([1.0, 10**400]), 1, id="a number beyond float"),
        pytest.param(answer([]), 1, id="an empty vector"),
        pytest.param(answer(None), 1, id="no vector"),
        pytest.param(answer(""), 1, id="empty base64"),
        pytest.param(answer("!!!!"), 1, id="no base64"),
        pytest.param(answer("é"), 1, id="text outside ASCII"),
        pytest.param(answer("AACAPw"), 1, id="base64 without padding"),
        pytest.param(answer(int8s(1, 2, 3)), 1, id="base64 of no whole floats"),
        pytest.param(answer([[1.0], [2.0]]), 1, id="one vector per token"),
        pytest.param(answer([1.0], [1.0, 2.0]), 2, id="vectors of different lengths"),
        pytest.param({"data": [None]}, 1, id="entry null"),
    ],
)
def test_what_does_not_fit_the_inputs_is_refused(raw: Any, count: int) -> None:
    with pytest.raises(BadAnswerError):
        read_embeddings(raw, count)


def test_base64_that_does_not_fit_the_dimensions_is_refused() -> None:
    with pytest.raises(BadAnswerError, match="3"):
        read_embeddings(answer(floats(1.0, 2.0)), 1, dimensions=3)


def test_vectors_per_token_are_explained() -> None:
    with pytest.raises(BadAnswerError, match="pooling"):
        read_embeddings(answer([[1.0]]), 1)


def test_the_counts_are_said() -> None:
    with pytest.raises(BadAnswerError, match=r"2 inputs.* 1 vector"):
        read_embeddings(answer([1.0]), 2)
