"""Many calls: results in order or as they come, errors as values, nothing left behind."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asking import made

from opea_core import OPEA, AuthenticationError, ConfigurationError, InvalidRequestError
from opea_core.batch.result import Result
from opea_core.batch.window import Window
from opea_core.testing import Answer, ScriptedServer, Seen, chat, error, faults


def echo(seen: Seen) -> Answer:
    """The last message comes back; one that says "bad" is refused."""
    said = seen.body["messages"][-1]["content"]
    return error(400, "no such thing") if said == "bad" else chat(said)


@pytest.fixture
def opea(server: ScriptedServer) -> Iterator[OPEA]:
    server.always(echo)
    with made(server, max_retries=0) as made_:
        yield made_


def idle(opea: OPEA) -> bool:
    figures = opea.get_stats()
    return (figures["in_flight"], figures["queued"]) == (0, 0)


def collected(opea: OPEA, way: str, requests: Any, **options: Any) -> list[Result[Any]]:
    """All results, by one of the four methods."""
    results = getattr(opea, way)(requests, **options)
    if not way.startswith("a"):
        return list(results)

    async def run() -> list[Result[Any]]:
        return [result async for result in results]

    return asyncio.run(run())


WAYS = ("chat_many", "chat_as_completed", "achat_many", "achat_as_completed")


@pytest.mark.parametrize("way", WAYS)
def test_each_request_has_its_result(opea: OPEA, way: str) -> None:
    wanted = [f"p{number}" for number in range(60)]
    found = collected(opea, way, (prompt for prompt in wanted), temperature=0.5)
    if way.endswith("many"):
        assert [result.index for result in found] == list(range(60))
    assert [
        result.unwrap().content for result in sorted(found, key=lambda result: result.index)
    ] == wanted
    assert idle(opea)


@pytest.mark.parametrize("way", ["chat_as_completed", "achat_many"])
def test_an_error_is_a_value(opea: OPEA, way: str) -> None:
    found = {
        result.index: result for result in collected(opea, way, ["a", "bad", 3, {"x": 1}, "b"])
    }
    assert [found[index].ok for index in range(5)] == [True, False, False, False, True]
    assert isinstance(found[1].error, InvalidRequestError)
    assert isinstance(found[2].error, ConfigurationError)
    with pytest.raises(InvalidRequestError):
        found[1].unwrap()


def test_requests_of_every_form(opea: OPEA, server: ScriptedServer) -> None:
    message = [{"role": "user", "content": "m"}]
    line = {
        "custom_id": "c2",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"messages": message, "seed": 2},
    }
    found = list(
        opea.chat_many(["t", message, {"custom_id": 7, "prompt": "p", "seed": 1}, line], seed=9)
    )
    assert [(result.id, result.unwrap().content) for result in found] == [
        (None, "t"),
        (None, "m"),
        ("7", "p"),
        ("c2", "m"),
    ]
    assert sorted(seen.body["seed"] for seen in server.seen) == [1, 2, 9, 9]
    assert all("custom_id" not in seen.body for seen in server.seen)


@pytest.mark.parametrize("way", ["chat_many", "achat_as_completed"])
def test_what_the_input_raises_comes_after_what_is_on_its_way(opea: OPEA, way: str) -> None:
    def broken() -> Iterator[str]:
        yield from ("a", "b", "c")
        raise LookupError("the input broke")

    seen: list[str] = []
    results = Noting(getattr(opea, way)(broken()), seen)
    with pytest.raises(LookupError, match="the input broke"):
        results.run(is_async=way.startswith("a"))
    assert sorted(seen) == ["a", "b", "c"]
    assert idle(opea)


class Noting:
    """Reads results to their end, and notes what each says."""

    def __init__(self, results: Any, seen: list[str]) -> None:
        self._results, self._seen = results, seen

    def run(self, is_async: bool) -> None:
        if is_async:
            asyncio.run(self._arun())
        else:
            for result in self._results:
                self._note(result)

    async def _arun(self) -> None:
        async for result in self._results:
            self._note(result)

    def _note(self, result: Result[Any]) -> None:
        self._seen.append(result.unwrap().content)


def test_an_endless_input_is_pulled_as_it_is_needed(opea: OPEA) -> None:
    pulled = itertools.count()
    results = opea.chat_many(f"p{number}" for number in pulled)
    assert [next(results).index for _ in range(30)] == list(range(30))
    results.close()
    assert next(pulled) < 30 + 300
    assert next(results, None) is None
    assert idle(opea)


def test_leaving_the_loop_cancels_what_is_on_its_way(server: ScriptedServer) -> None:
    server.always(faults.hang)
    opea = made(server, max_retries=0)

    async def run() -> None:
        results = opea.achat_as_completed(["a", "b"])
        waiting = asyncio.ensure_future(anext(results))
        while server.in_flight < 2:  # noqa: ASYNC110 - it is another thread that counts
            await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await results.aclose()

    asyncio.run(run())
    assert idle(opea)


def test_an_async_input_may_be_slow(opea: OPEA) -> None:
    async def slow() -> AsyncIterator[str]:
        for number in range(4):
            await asyncio.sleep(0)
            yield f"p{number}"

    assert [result.index for result in collected(opea, "achat_many", slow())] == [0, 1, 2, 3]


def test_it_ends_early_where_nothing_can_work(server: ScriptedServer) -> None:
    server.always(error(401, "bad key"))
    results = made(server).chat_as_completed(f"p{number}" for number in itertools.count())
    found = list(results)
    assert all(isinstance(result.error, AuthenticationError) for result in found)
    assert len(found) < 100
    assert "all failed alike" in (results.stopped or "")


def test_no_more_are_on_their_way_than_may_be(server: ScriptedServer) -> None:
    server.always(chat("a"))
    assert len(list(made(server).chat_many(["p"] * 20, max_concurrent=2))) == 20
    assert server.max_in_flight <= 2


@pytest.mark.parametrize("given", ["a text", b"bytes", {"a": 1}, 7, None])
def test_what_is_no_iterable_of_requests_is_told_at_once(opea: OPEA, given: Any) -> None:
    with pytest.raises(ConfigurationError, match="requests must be an iterable"):
        opea.chat_many(given)


@pytest.mark.parametrize("most", [0, -1, 1.5, True, "3"])
def test_a_limit_that_is_none_is_told_at_once(opea: OPEA, most: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_concurrent"):
        opea.chat_many(["a"], max_concurrent=most)


# --- input that blocks or breaks


def _then(what: Any) -> Iterator[str]:
    yield "a"
    what()


def _raise(error: BaseException) -> None:
    raise error


def test_the_end_does_not_wait_for_input_that_blocks(opea: OPEA) -> None:
    left = threading.Event()
    results = opea.chat_as_completed(_then(left.wait))
    assert next(results).ok
    results.close()
    assert list(results) == []
    left.set()


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()],
    ids=repr,
)
def test_what_the_input_raises_comes_once(opea: OPEA, error: BaseException) -> None:
    results = opea.chat_many(_then(lambda: _raise(error)))
    assert next(results).ok
    with pytest.raises(type(error)):
        next(results)
    assert list(results) == []


def test_two_threads_share_the_results(opea: OPEA) -> None:
    results = opea.chat_as_completed(f"p{number}" for number in range(30))
    with ThreadPoolExecutor(3) as pool:
        shares = list(pool.map(lambda _: [result.index for result in results], range(3)))
    assert sorted(itertools.chain(*shares)) == list(range(30))


def test_results_that_were_closed_early_ask_nothing(opea: OPEA, server: ScriptedServer) -> None:
    results = opea.chat_many(["a", "b"])
    results.close()
    assert list(results) == []
    assert server.seen == []


# --- the window


def test_only_so_many_wait_for_a_place() -> None:
    window = Window(ordered=False)
    started = 0
    while window.has_room():
        window.start()
        started += 1
    assert started == 8
    window.place(0, has_one=True)
    assert window.has_room()
    window.place(0, has_one=False)
    assert not window.has_room()


def test_results_in_order_are_kept_for_one_that_is_late() -> None:
    window = Window(ordered=True)
    for _ in range(3):
        window.start()
    window.end(Result(2, None, "c"))
    window.end(Result(1, None, "b"))
    assert list(window.ready()) == []
    window.end(Result(0, None, "a"))
    assert [result.index for result in window.ready()] == [0, 1, 2]
