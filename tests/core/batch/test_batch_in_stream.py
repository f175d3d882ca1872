"""W13: a batch whose caller holds the only place, which is waited for by nobody else."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asking import PATIENCE, Sync, made
from waiting import until

from opea_core import OPEA, ConfigurationError
from opea_core.batch import arun, run
from opea_core.policy import SECOND
from opea_core.testing import Hold, ScriptedServer, chat, stream
from opea_core.transport import limiter as limiters
from opea_core.transport import waking

ITSELF = "it would wait for itself"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits looks often whether it waits for itself."""
    for module in (limiters, waking):
        monkeypatch.setattr(module, "LOOKS_EVERY", SECOND // 20)


@pytest.fixture
def ends() -> Iterator[threading.Event]:
    """Lets the streams of the server end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def opea(server: ScriptedServer, ends: threading.Event) -> Iterator[OPEA]:
    """One place, at a server whose streams begin and do not end."""
    held = stream(["a", Hold(ends), "b"])
    server.always(lambda seen: held if seen.body.get("stream") else chat("x"))
    with made(server, max_concurrent=1) as opea_:
        yield opea_


def rows(path: Path) -> list[str]:
    """What the errors of a batch say."""
    lines = path.with_name("out.errors.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["error"]["message"] for line in lines]


def asks_meanwhile(opea: OPEA) -> Iterator[str]:
    """An input that asks the object itself."""
    yield opea.chat("for the input").content


Texts = Callable[[OPEA, Path], list[str]]
SYNC: dict[str, Texts] = {
    "chat_many": lambda opea, _: errors(opea.chat_many(["a", "b"])),
    "chat_as_completed": lambda opea, _: errors(opea.chat_as_completed(["a", "b"])),
    "embed_many": lambda opea, _: errors(opea.embed_many(["a", "b"])),
    "run": lambda opea, to: run(opea, ["a"], to) and rows(to),  # type: ignore[list-item, func-returns-value]
}


def errors(results: Any) -> list[str]:
    return [str(result.error) for result in results]


async def aerrors(results: Any) -> list[str]:
    return [str(result.error) async for result in results]


async def ran(opea: OPEA, to: Path) -> list[str]:
    await arun(opea, ["a"], to)
    return rows(to)


ASYNC: dict[str, Any] = {
    "achat_many": lambda opea, _: aerrors(opea.achat_many(["a", "b"])),
    "achat_as_completed": lambda opea, _: aerrors(opea.achat_as_completed(["a", "b"])),
    "aembed_many": lambda opea, _: aerrors(opea.aembed_many(["a", "b"])),
    "arun": ran,
}


def in_thread(work: Callable[[], Any]) -> Future[Any]:
    return Sync().run(work)


@pytest.mark.parametrize("way", SYNC)
def test_a_batch_inside_of_the_callers_stream_is_told_so(
    opea: OPEA, tmp_path: Path, way: str
) -> None:
    def work() -> list[str]:
        with opea.stream_chat("outer") as chunks:
            next(chunks)
            return SYNC[way](opea, tmp_path / "out.jsonl")

    found = in_thread(work).result(PATIENCE)
    assert found
    assert all(ITSELF in text for text in found)


@pytest.mark.parametrize("way", ASYNC)
def test_an_async_batch_inside_of_the_callers_stream_is_told_so(
    opea: OPEA, tmp_path: Path, way: str
) -> None:
    async def work() -> Any:
        async with opea.astream_chat("outer") as chunks:
            await anext(chunks)
            return await ASYNC[way](opea, tmp_path / "out.jsonl")

    found = in_thread(lambda: asyncio.run(work())).result(PATIENCE)
    assert found
    assert all(ITSELF in text for text in found)


@pytest.mark.parametrize("own", [True, False], ids=["own stream", "stream of another task"])
@pytest.mark.parametrize("way", SYNC)
def test_a_batch_that_blocks_the_loop_of_the_stream_is_told_so(
    opea: OPEA, tmp_path: Path, way: str, own: bool
) -> None:
    async def begin() -> Any:
        chunks = opea.astream_chat("outer")
        await anext(chunks)
        return chunks

    async def work() -> Any:
        chunks = await (begin() if own else asyncio.create_task(begin()))
        try:
            return SYNC[way](opea, tmp_path / "out.jsonl")
        finally:
            await chunks.aclose()

    found = in_thread(lambda: asyncio.run(work())).result(PATIENCE)
    assert found
    assert all(ITSELF in text for text in found)


def test_the_input_of_a_batch_asks_for_the_caller_too(opea: OPEA) -> None:
    def work() -> Any:
        with opea.stream_chat("outer") as chunks:
            next(chunks)
            return list(opea.chat_many(asks_meanwhile(opea)))

    with pytest.raises(ConfigurationError, match=ITSELF):
        in_thread(work).result(PATIENCE)


def test_a_batch_of_batches_asks_for_the_first_caller(opea: OPEA) -> None:
    async def inner(text: str) -> Any:
        return [result.error async for result in opea.achat_many([text])]

    def work() -> Any:
        with opea.stream_chat("outer") as chunks:
            next(chunks)
            return list(opea.chat_many(str(asyncio.run(inner(text))) for text in ["a"]))

    (result,) = in_thread(work).result(PATIENCE)
    assert ITSELF in result.request
    assert ITSELF in str(result.error)


def test_a_long_batch_stops_where_every_row_would_wait(opea: OPEA, server: ScriptedServer) -> None:
    def work() -> Any:
        with opea.stream_chat("outer") as chunks:
            next(chunks)
            results = opea.chat_many(f"{n}" for n in range(1000))
            return len(list(results)), results.stopped

    count, stopped = in_thread(work).result(PATIENCE)
    assert count < 50
    assert ITSELF in stopped
    assert len(server.seen) == 1


# --- and where it need not


@pytest.mark.parametrize("way", ["chat_many", "run"])
def test_a_batch_that_has_another_place_is_answered(
    server: ScriptedServer, opea: OPEA, tmp_path: Path, way: str
) -> None:
    def work() -> Any:
        with made(server, max_concurrent=2) as two, two.stream_chat("outer") as chunks:
            next(chunks)
            if way == "run":
                return run(two, ["a"], tmp_path / "out.jsonl").answered
            return sum(result.ok for result in two.chat_many(["a"]))

    assert in_thread(work).result(PATIENCE) == 1


def test_a_stream_that_another_thread_reads_is_waited_for(
    opea: OPEA, ends: threading.Event
) -> None:
    """A stream of the caller, which another thread reads to its end meanwhile."""

    def work() -> Any:
        with ThreadPoolExecutor() as pool:
            chunks = opea.stream_chat("outer")
            next(chunks)
            reading = pool.submit(list, chunks)
            until(lambda: next(iter(opea._engine.limiter._holders._held))[0] != me(), "the reader")
            results = opea.chat_many(["a", "b"])
            first = pool.submit(lambda: until(lambda: opea.get_stats()["queued"] == 2, "both"))
            first.add_done_callback(lambda _: ends.set())
            return [result.ok for result in results], bool(reading.result())

    assert in_thread(work).result(PATIENCE) == ([True, True], True)


def test_a_stream_that_is_read_between_results_is_no_wait(
    server: ScriptedServer, ends: threading.Event
) -> None:
    """While the caller reads, it waits for no result, and what waits for it is not refused."""
    with made(server, max_concurrent=1) as opea:
        server.always(
            lambda seen: stream(["a", Hold(ends), "b"]) if seen.body.get("stream") else chat("x")
        )

        def work() -> Any:
            results = opea.chat_many(f"{n}" for n in range(20))
            first = next(results).ok
            with opea.stream_chat("outer") as chunks:
                next(chunks)
                in_thread(lambda: (looks_often(opea), ends.set()))
                text = "".join(chunk.content for chunk in chunks)
            return first, text, [result.ok for result in results]

        assert in_thread(work).result(PATIENCE) == (True, "b", [True] * 19)


def looks_often(opea: OPEA) -> None:
    """Block until those who wait have looked some times, and go on waiting."""
    looked = set[int]()

    def some_times() -> bool:
        keepers = list(opea._engine.limiter._timekeepers.values())
        looked.update(at for tickets in keepers for at in list(tickets.values()))
        return len(looked) > 4

    until(some_times, "those who wait to look")


def me() -> int:
    return threading.get_ident()
