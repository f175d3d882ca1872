"""Batches keep as many calls in flight as the ``OPEA`` object has places."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from typing import Any, cast

import pytest
from langchain_core.prompts import ChatPromptTemplate
from lc_object_support import made
from waiting import in_threads, joined, until

from langchain_opea import ChatOPEA
from opea_core import OPEA, ConfigurationError
from opea_core.policy import SECOND
from opea_core.testing import Hold, ScriptedServer, chat, stream
from opea_core.transport import limiter, waking

BATCHES: dict[str, Callable[..., Any]] = {
    "batch": lambda model, inputs, config: model.batch(inputs, config),
    "batch_as_completed": lambda model, inputs, config: list(
        model.batch_as_completed(inputs, config)
    ),
    "of a binding": lambda model, inputs, config: model.bind(temperature=0).batch(inputs, config),
    "of a chain": lambda model, inputs, config: (
        ChatPromptTemplate.from_messages([("human", "{x}")]) | model
    ).batch([{"x": text} for text in inputs], config),
}
ROWS: dict[str, tuple[dict[str, Any], int, Any, int]] = {
    "as many as there are places": ({"max_concurrent": 20}, 24, None, 20),
    "no more than there are inputs": ({"max_concurrent": 100}, 24, None, 24),
    "as the config says": ({"max_concurrent": 20}, 24, {"max_concurrency": 3}, 3),
    "as the first of several configs says": (
        {"max_concurrent": 20},
        24,
        [{"max_concurrency": 3}] * 24,
        3,
    ),
    "several configs that say nothing": ({"max_concurrent": 20}, 24, [{"tags": ["a"]}] * 24, 20),
    "where it is measured": ({}, 24, None, 24),
}
"""Options of the model, how many inputs, the config, and how many calls begin at once."""


def _begun(model: ChatOPEA, server: ScriptedServer) -> int:
    return int(model.client.get_stats()["queued"]) + server.in_flight


@pytest.mark.parametrize("row", ROWS)
def test_a_batch_takes_the_places_there_are(server: ScriptedServer, row: str) -> None:
    options, inputs, config, expected = ROWS[row]
    for name, batch in BATCHES.items():
        model, held = made(server, **options), threading.Event()
        server.always(chat("x").after(Hold(held)))

        threads, results = in_threads(
            lambda batch=batch, model=model: batch(model, ["Hi"] * inputs, config)
        )
        until(lambda model=model: _begun(model, server) == expected, f"{expected} calls of {name}")
        held.set()
        joined(threads)

        assert len(results[0]) == inputs
        assert server.max_in_flight <= expected
        model.client.close()


def test_the_places_of_all_endpoints_count(server: ScriptedServer) -> None:
    with ScriptedServer() as second:
        places = [
            {"base_url": place.url, "max_concurrent": most}
            for place, most in ((server, 9), (second, 7))
        ]
        with OPEA(endpoints=places, model="m") as opea:
            held = threading.Event()
            for place in (server, second):
                place.always(chat("x").after(Hold(held)))

            threads, results = in_threads(lambda: ChatOPEA(client=opea).batch(["Hi"] * 30))
            until(lambda: (server.in_flight, second.in_flight) == (9, 7), "all places to be taken")
            held.set()
            joined(threads)

    assert len(results[0]) == 30


def test_a_batch_of_nothing_asks_nothing(server: ScriptedServer) -> None:
    model = made(server)

    assert (model.batch([]), list(model.batch_as_completed([]))) == ([], [])
    assert server.seen == []


def test_errors_of_a_batch_are_given_where_they_are_asked_for(server: ScriptedServer) -> None:
    model = made(server)
    model.client.close()

    errors = model.batch(["a", "b"], return_exceptions=True)

    assert [type(error).__name__ for error in errors] == ["OPEAClientClosed"] * 2
    assert sorted(
        place for place, _ in model.batch_as_completed(["a", "b"], return_exceptions=True)
    ) == [0, 1]


# --- inside of a stream of the caller, which holds the only place


@pytest.fixture
def held(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatOPEA]:
    for module in (limiter, waking):
        monkeypatch.setattr(module, "LOOKS_EVERY", SECOND // 20)
    go = threading.Event()
    begun = stream(["a", Hold(go), "b"])
    server.always(lambda seen: begun if seen.body.get("stream") else chat("x"))
    yield made(server, max_concurrent=1)
    go.set()


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_inside_of_the_callers_stream_is_told_so(held: ChatOPEA, name: str) -> None:
    def work() -> Any:
        with closing(cast("Any", held.stream("outer"))) as chunks:
            next(chunks)
            with pytest.raises(ConfigurationError, match="it would wait for itself"):
                BATCHES[name](held, ["a", "b"], None)
            return True

    threads, results = in_threads(work)
    joined(threads)
    assert results == [True]


@pytest.mark.parametrize("as_completed", [False, True])
def test_an_async_batch_inside_of_the_callers_stream_is_told_so(
    held: ChatOPEA, as_completed: bool
) -> None:
    async def work() -> None:
        async with aclosing(cast("Any", held.astream("outer"))) as chunks:
            await anext(chunks)
            await (one_by_one() if as_completed else held.abatch(["a", "b"]))

    async def one_by_one() -> None:
        async for _ in held.abatch_as_completed(["a", "b"]):
            pass

    with pytest.raises(ConfigurationError, match="it would wait for itself"):
        asyncio.run(asyncio.wait_for(work(), 10))


def test_batches_as_completed_come_one_by_one_and_may_be_left(server: ScriptedServer) -> None:
    model = made(server, max_concurrent=4)
    results = model.batch_as_completed(["a"] * 4)
    assert sorted([next(results)[0], *(number for number, _ in results)]) == [0, 1, 2, 3]

    async def numbers() -> list[int]:
        return [number async for number, _ in model.abatch_as_completed(["a"] * 4)]

    assert sorted(asyncio.run(numbers())) == [0, 1, 2, 3]
    left = cast("Any", model.batch_as_completed(["a"] * 4))
    next(left)
    left.close()
