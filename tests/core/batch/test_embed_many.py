"""Vectors of many texts: batches that fit, bad texts among good ones, slow and endless inputs."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asking import made

from opea_core import OPEA, AuthenticationError, ConfigurationError, InvalidRequestError
from opea_core.testing import Answer, ScriptedServer, Seen, error, json_answer


def lengths(seen: Seen) -> Answer:
    """The vector of a text is its length; "bad" is refused, and so are more than 16 texts."""
    texts = seen.body["input"]
    if len(texts) > 16:
        return error(400, "too many inputs: at most 16 texts")
    if "bad" in texts:
        return error(400, "one of these cannot be embedded")
    data = [{"index": at, "embedding": [float(len(text))]} for at, text in enumerate(texts)]
    return json_answer({"object": "list", "data": data, "model": "m"})


@pytest.fixture
def opea(server: ScriptedServer) -> Iterator[OPEA]:
    server.always(lengths)
    with made(server, max_retries=0) as made_:
        yield made_


def embedded(opea: OPEA, way: str, texts: Any, **options: Any) -> list[Any]:
    """All results, by one of the two methods."""
    results = getattr(opea, way)(texts, **options)
    if way == "embed_many":
        return list(results)

    async def collected() -> list[Any]:
        return [result async for result in results]

    return asyncio.run(collected())


@pytest.mark.parametrize("way", ["embed_many", "aembed_many"])
def test_each_text_has_its_vector_in_order(opea: OPEA, server: ScriptedServer, way: str) -> None:
    texts = ["x" * (number % 50) for number in range(300)]
    found = embedded(opea, way, texts)
    assert [result.index for result in found] == list(range(300))
    assert [result.request for result in found] == texts
    assert [result.unwrap() for result in found] == [[float(len(text))] for text in texts]
    taken = [len(seen.body["input"]) for seen in server.seen if seen.answer == "200"]
    assert max(taken) == 16
    assert len(taken) < 50


def test_one_bad_text_costs_the_others_nothing(opea: OPEA, server: ScriptedServer) -> None:
    texts = ["a", 7, "bad", *["b"] * 13]
    found = embedded(opea, "embed_many", texts, batch_size=16)
    wrong = {result.index: type(result.error) for result in found if not result.ok}
    assert wrong == {1: ConfigurationError, 2: InvalidRequestError}
    assert len(server.seen) < 2 * 5


def test_where_every_text_is_refused_no_further_batch_is_halved(
    opea: OPEA, server: ScriptedServer
) -> None:
    found = embedded(opea, "embed_many", ["bad"] * 64, batch_size=8, max_concurrent=1)
    assert {type(result.error) for result in found} == {InvalidRequestError}
    assert len(server.seen) == 15 + 7


def test_it_ends_early_where_nothing_can_work(opea: OPEA, server: ScriptedServer) -> None:
    server.always(error(401, "bad key"))
    results = opea.embed_many(f"t{number}" for number in itertools.count())
    assert {type(result.error) for result in results} == {AuthenticationError}
    assert "all failed alike" in (results.stopped or "")


def test_a_slow_input_is_not_waited_for(opea: OPEA, server: ScriptedServer) -> None:
    """The second text comes only when the first has its vector."""
    has_first = asyncio.Event()

    async def slow() -> AsyncIterator[str]:
        yield "a"
        await has_first.wait()
        yield "bb"

    async def run() -> list[Any]:
        found = []
        async for result in opea.aembed_many(slow()):
            has_first.set()
            found.append(result.unwrap())
        return found

    assert asyncio.run(run()) == [[1.0], [2.0]]


def test_what_the_input_raises_comes_after_what_was_taken(opea: OPEA) -> None:
    def broken() -> Iterator[str]:
        yield from ("a", "b")
        raise LookupError("the input broke")

    results = opea.embed_many(broken())
    assert [next(results).index, next(results).index] == [0, 1]
    with pytest.raises(LookupError, match="the input broke"):
        next(results)


def test_leaving_the_loop_leaves_nothing(opea: OPEA) -> None:
    results = opea.embed_many(f"t{number}" for number in itertools.count())
    assert next(results).ok
    results.close()
    assert opea.get_stats()["in_flight"] == 0


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"max_concurrent": 0}, {"batch_size": "x"}, {"timeout": -1}]
)
def test_what_makes_no_sense_is_told_at_once(opea: OPEA, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        opea.embed_many(["a"], **options)
