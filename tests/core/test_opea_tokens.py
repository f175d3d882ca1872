"""Counting tokens by the server's own tokenizer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from opea_core import OPEA, BadAnswerError, ConfigurationError, NotFoundError
from opea_core.testing import ScriptedServer, error, json_answer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        yield scripted


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest) -> str:
    way: str = request.param
    return way


def count(way: str, opea: OPEA, text: Any) -> int:
    with opea:
        return opea.count_tokens(text) if way == "sync" else asyncio.run(opea.acount_tokens(text))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"tokens": [1, 2, 3]}, 3),
        ({"tokens": []}, 0),
        ({"count": 4, "max_model_len": 9, "tokens": [1]}, 4),
        ({"count": 0}, 0),
    ],
    ids=["llama.cpp", "llama.cpp, nothing", "vLLM", "vLLM, nothing"],
)
def test_it_is_the_servers_count(
    server: ScriptedServer, way: str, answer: Any, expected: int
) -> None:
    server.script(json_answer(answer))
    assert count(way, OPEA(server.url, model="m"), "a text") == expected


def test_the_text_goes_beside_v1_under_both_names(server: ScriptedServer, way: str) -> None:
    server.script(json_answer({"tokens": [1]}))
    count(way, OPEA(server.origin + "/behind/v1", model="m"), "a text")
    assert [(seen.path, seen.body) for seen in server.seen] == [
        ("/behind/tokenize", {"model": "m", "prompt": "a text", "content": "a text"})
    ]


def test_a_server_without_a_tokenizer(server: ScriptedServer, way: str) -> None:
    server.script(error(404, "no such path"))
    with pytest.raises(NotFoundError):
        count(way, OPEA(server.url, model="m"), "a text")


@pytest.mark.parametrize(
    "answer", [{}, {"tokens": "many"}, {"count": "3"}, {"count": True}, [1, 2]]
)
def test_an_answer_without_a_count(server: ScriptedServer, way: str, answer: Any) -> None:
    server.script(json_answer(answer))
    with pytest.raises(BadAnswerError, match="neither a count nor tokens"):
        count(way, OPEA(server.url, model="m"), "a text")


def test_only_text_is_counted(server: ScriptedServer, way: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a string"):
        count(way, OPEA(server.url, model="m"), ["a"])
    assert server.seen == []
