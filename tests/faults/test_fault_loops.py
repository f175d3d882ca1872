"""Objects used by loops that come and go, by loops and threads at once, and after a fork;
in the three packages.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asking import idle
from fault_table import of
from fault_ways import CROWDS, RIGHT, Crowd, Session, Way, core_of
from forking import FORKS, in_a_child
from leftovers import leaves_nothing
from waiting import until

from opea_core import ConfigurationError
from opea_core.testing import Hold, ScriptedServer, chat

Made = Callable[..., Any]
PAIRS = [
    pytest.param(sync, other, id=sync.package)
    for sync, other in zip(CROWDS[::2], CROWDS[1::2], strict=True)
]
"""The sync and the async way of each package."""


@of("loops")
@pytest.mark.parametrize(("sync", "other"), PAIRS)
def test_a_limit_holds_over_loops_and_threads(
    sync: Way, other: Way, server: ScriptedServer, made: Made
) -> None:
    server.latency = 0.003
    it = made(sync, server, max_concurrent=5)
    crowds = [Crowd(other, it, 10) for _ in range(4)] + [Crowd(sync, it, 8, rounds=4)]
    assert [crowd.errors() for crowd in crowds] == [[]] * 5
    assert server.max_in_flight == 5
    assert len(server.seen) == 4 * 10 + 8 * 4
    assert idle(core_of(it))


@of("loops")
@pytest.mark.parametrize(("sync", "other"), PAIRS)
def test_asyncio_run_a_hundred_times(
    sync: Way, other: Way, server: ScriptedServer, made: Made
) -> None:
    it = made(other, server)

    def work() -> None:
        for _ in range(100):
            told = asyncio.run(other.aask(it))
            assert (told.text, told.error) == (RIGHT, None)

    asyncio.run(other.aask(it))
    leaves_nothing(work)
    assert core_of(it)._engine.drivers._aio._places == {}
    assert sync.ask(it).text == RIGHT


@of("loops")
@pytest.mark.filterwarnings(
    "ignore", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # asyncio itself warns of tasks and transports of a loop that was closed on them
@pytest.mark.parametrize(("sync", "other"), PAIRS)
def test_a_loop_closed_with_calls_waiting(
    sync: Way, other: Way, server: ScriptedServer, made: Made
) -> None:
    it, go = made(other, server, max_concurrent=1), threading.Event()
    server.script(chat("held").after(Hold(go)))
    holder = Crowd(sync, it, 1)
    server.wait_seen(1)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)

    async def begin() -> list[asyncio.Task[Any]]:
        tasks = [asyncio.ensure_future(other.aask(it)) for _ in range(3)]
        await asyncio.to_thread(
            until, lambda: core_of(it).get_stats()["queued"] == 3, "three to wait"
        )
        return tasks

    tasks = loop.run_until_complete(begin())
    loop.close()
    crowd = Crowd(sync, it, 2)
    until(lambda: core_of(it).get_stats()["queued"] >= 2, "others to wait")
    go.set()
    assert (holder.errors(), crowd.errors()) == ([], [])
    del tasks, loop
    gc.collect()  # what the frameworks say of it is told here


@of("loops")
@pytest.mark.skipif(not FORKS, reason="no os.fork here")
@pytest.mark.parametrize("way", CROWDS, ids=str)
def test_a_fork_shares_nothing(way: Way, server: ScriptedServer, made: Made) -> None:
    it = made(way, server, max_concurrent=1)
    session = Session(way, it)
    assert session.ask("parent").error is None

    def child() -> bool:
        return Session(way, it).ask("child").error is None

    assert in_a_child(child)
    assert session.ask("parent").error is None
    of_child = {seen.connection for seen in server.seen if "child" in str(seen.body)}
    assert len(of_child) == 1
    assert (
        of_child & {seen.connection for seen in server.seen if "child" not in str(seen.body)}
        == set()
    )
    session.close()


BAD_KEYS = {
    "a newline": "sk-SECRET\n",
    "a newline inside": "sk-SEC\nRET",
    "a space before": " sk-SECRET",
    "a space after": "sk-SECRET ",
}
BAD_KEYS |= {"a letter that is not ASCII": "sk-SECRET-é", "a zero byte": "sk-SECRET\0"}


@of("key")
@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
@pytest.mark.parametrize("way", CROWDS[::2], ids=lambda way: way.package)
def test_a_key_that_cannot_be_sent_is_refused_at_once(way: Way, key: str) -> None:
    for options in (
        {"api_key": key},
        {"endpoints": [{"base_url": "http://gpu1", "api_key": key}]},
        {"default": key},
    ):
        if "default" in options and way.package == "core":
            continue
        given = {"default_headers": {"x-key": key + "\n"}} if "default" in options else options
        with pytest.raises(ConfigurationError) as raised:
            way.make(**given)
        assert "SEC" not in f"{raised.value} {raised.value!r} {vars(raised.value)}"
