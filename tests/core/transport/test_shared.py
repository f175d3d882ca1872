"""One object, used by many threads and many event loops,
one after the other and at once, and after a fork.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref
from typing import Any

import pytest
from asking import PATIENCE, Sync, idle, made
from forking import FORKS, in_a_child
from leftovers import leaves_nothing

from opea_core import OPEA
from opea_core.testing import Hold, ScriptedServer, Wait, chat, error, stream

LOOPS, THREADS, LIMIT = 4, 8, 5


def test_a_limit_holds_over_loops_and_threads(server: ScriptedServer) -> None:
    server.latency = 0.003
    opea = made(server, max_concurrent=LIMIT)

    async def main() -> list[Any]:
        return await asyncio.gather(*(opea.achat(f"loop {number}") for number in range(20)))

    loops = [Sync().run(lambda: asyncio.run(main())) for _ in range(LOOPS)]
    threads = [
        Sync().run(lambda: [opea.chat(f"thread {number}") for number in range(5)])
        for _ in range(THREADS)
    ]
    answers = [answer for future in loops + threads for answer in future.result(PATIENCE)]
    assert len(answers) == LOOPS * 20 + THREADS * 5
    assert all(answer.content for answer in answers)
    assert server.max_in_flight == LIMIT
    assert idle(opea)
    assert opea.get_stats()["success"] == len(answers)


def test_streams_count_too(server: ScriptedServer) -> None:
    server.always(lambda seen: stream(["a", Wait(0.002), "b"]) if seen.body["stream"] else None)
    opea = made(server, max_concurrent=LIMIT)

    async def read() -> str:
        return "".join([chunk.content async for chunk in opea.astream_chat("Hello")])

    async def main() -> list[str]:
        return await asyncio.gather(*(read() for _ in range(10)))

    loops = [Sync().run(lambda: asyncio.run(main())) for _ in range(LOOPS)]
    threads = [
        Sync().run(lambda: ["".join(chunk.content for chunk in opea.stream_chat("Hello"))])
        for _ in range(THREADS)
    ]
    assert {text for future in loops + threads for text in future.result(PATIENCE)} == {"ab"}
    assert server.max_in_flight <= LIMIT
    assert idle(opea)


def test_a_place_freed_in_one_loop_is_taken_in_another(server: ScriptedServer) -> None:
    go = threading.Event()
    opea = made(server, max_concurrent=1)
    server.script(chat("x").after(Hold(go)))
    first = Sync().run(lambda: asyncio.run(opea.achat("first")))
    server.wait_seen(1)
    others = [Sync().run(lambda: asyncio.run(opea.achat("other"))) for _ in range(2)] + [
        Sync().run(lambda: opea.chat("thread"))
    ]
    time.sleep(0.02)
    assert [other.done() for other in others] == [False] * 3
    go.set()
    assert all(future.result(PATIENCE).content for future in [first, *others])


def test_a_loop_that_stands_still_holds_up_nobody_else(server: ScriptedServer) -> None:
    """As one does in a notebook whose cell was interrupted:
    its calls wait, and never look at the clock.
    """
    opea = made(server)
    server.script(error(503, "loading", headers={"retry-after": "0.1"}))
    assert Sync().ask(opea, "chat", "Hello", max_retries=0).error is not None
    loop = asyncio.new_event_loop()

    async def begin() -> list[asyncio.Task[Any]]:
        tasks = [asyncio.create_task(opea.achat("stands still")) for _ in range(5)]
        await asyncio.sleep(0.01)
        return tasks

    tasks = loop.run_until_complete(begin())
    assert Sync().start(opea, "chat", "goes on").result(PATIENCE).error is None
    loop.run_until_complete(asyncio.wait(tasks))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


# --- loops that come and go


@pytest.mark.parametrize("times", [2, 20])
def test_asyncio_run_again_and_again_leaves_nothing_behind(
    server: ScriptedServer, times: int
) -> None:
    opea = made(server)

    async def main() -> str:
        texts = [
            answer.content
            for answer in await asyncio.gather(*(opea.achat("Hello") for _ in range(3)))
        ]
        return texts[0] + "".join([chunk.content async for chunk in opea.astream_chat("Hello")])

    def work() -> None:
        for _ in range(times):
            assert "Hello" in asyncio.run(main())

    work()
    leaves_nothing(work)
    assert opea._engine.drivers._aio._places == {}  # type: ignore[union-attr]
    assert idle(opea)


def test_a_loop_that_ended_is_forgotten(server: ScriptedServer) -> None:
    opea = made(server)
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        await opea.achat("Hello")
        loops.append(weakref.ref(asyncio.get_running_loop()))

    for _ in range(3):
        asyncio.run(main())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 3


def test_a_loop_that_ended_without_a_word_is_forgotten_when_the_next_one_comes(
    server: ScriptedServer,
) -> None:
    """``run_until_complete`` and ``close`` alone, as older code has it."""
    opea = made(server)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(opea.achat("Hello"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # asyncio itself warns of the transport
        loop.close()
        assert asyncio.run(opea.achat("Hello")).content
        del loop
        gc.collect()
    assert opea._engine.drivers._aio._places == {}  # type: ignore[union-attr]
    server.wait(lambda: not server._open)


def test_no_task_is_left_in_a_loop(server: ScriptedServer) -> None:
    async def main() -> set[Any]:
        async with made(server) as opea:
            await opea.achat("Hello")
            async with opea.astream_chat("Hello") as chunks:
                await anext(chunks)
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(main()) == set()


def test_debug_mode_finds_nothing(server: ScriptedServer) -> None:
    async def main() -> None:
        async with made(server) as opea:
            await asyncio.gather(*(opea.achat("Hello") for _ in range(4)))
            async for _ in opea.astream_chat("Hello"):
                pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main(), debug=True)
        gc.collect()


def test_nested_use_of_sync_in_async_code(server: ScriptedServer) -> None:
    """Not wise, but it works: a sync call blocks the loop and no more."""

    async def main() -> None:
        async with made(server) as opea:
            assert (await opea.achat("Hello")).content == opea.chat("Hello").content

    asyncio.run(main())


# --- many objects


def test_many_objects_closed_leave_nothing_behind(server: ScriptedServer) -> None:
    def work() -> None:
        for _ in range(10):
            with made(server) as opea:
                opea.chat("Hello")

            async def main() -> None:
                async with made(server) as opea:
                    await opea.achat("Hello")

            asyncio.run(main())

    work()
    leaves_nothing(work)


def test_an_object_dropped_unclosed_closes_its_sockets_silently(server: ScriptedServer) -> None:
    def work() -> None:
        opea = made(server)
        opea.chat("Hello")
        asyncio.run(opea.achat("Hello"))
        del opea
        gc.collect()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        leaves_nothing(work)


def test_an_object_dropped_in_a_loop_that_goes_on(server: ScriptedServer) -> None:
    async def main() -> None:
        opea = made(server)
        await opea.achat("Hello")
        del opea
        gc.collect()
        for _ in range(100):
            if not server._open:
                break
            await asyncio.sleep(0.01)
        assert not server._open

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())


def test_probes_leave_nothing_behind(server: ScriptedServer) -> None:
    opea = made(server, api_key=lambda: "a-key")
    for _ in range(5):
        assert opea.test_endpoint()
    count = len(gc.get_objects())
    for _ in range(50):
        opea.test_endpoint()
    gc.collect()
    assert len(gc.get_objects()) < count + 500
    assert len(opea._engine.drivers.sync._key_locks) <= 1


# --- fork


@pytest.mark.skipif(not FORKS, reason="no os.fork here")
class TestFork:
    def test_a_used_object_works_in_parent_and_child(self, server: ScriptedServer) -> None:
        opea = made(server)
        assert opea.chat("Hello").content
        assert in_a_child(
            lambda: (
                bool(opea.chat("child").content) and bool(asyncio.run(opea.achat("child")).content)
            )
        )
        assert opea.chat("parent").content
        assert len({seen.connection for seen in server.seen if "child" in str(seen.body)}) == 2
        assert {seen.connection for seen in server.seen if "child" not in str(seen.body)} == {1}

    def test_the_parents_calls_are_not_the_childs(self, server: ScriptedServer) -> None:
        go = threading.Event()
        opea = made(server, max_concurrent=1)
        server.script(chat("x").after(Hold(go)))
        holder = Sync().start(opea, "chat", "holder")
        server.wait_seen(1)
        assert in_a_child(
            lambda: (
                bool(opea.chat("child", deadline=3).content) and opea.get_stats()["in_flight"] == 0
            )
        )
        assert opea.get_stats()["in_flight"] == 1
        go.set()
        assert holder.result(PATIENCE).error is None

    def test_a_stream_of_the_parent_goes_on(self, server: ScriptedServer) -> None:
        """The child drops its copy of the stream; that must not hang up on the parent."""
        go = threading.Event()
        opea = made(server)
        server.script(stream(["a", Hold(go), "b"]))
        chunks = opea.stream_chat("Hello")
        assert next(chunks).content == "a"
        box = [chunks]
        del chunks

        def drop() -> bool:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                box.clear()
                gc.collect()
            opea.close()
            return True

        assert in_a_child(drop)
        go.set()
        assert "".join(chunk.content for chunk in box[0]) == "b"
        assert not server.seen[0].disconnected

    def test_a_lock_held_by_another_thread_at_the_fork(self, server: ScriptedServer) -> None:
        """That thread is not there in the child, so nobody would ever release it."""
        opea = made(server)
        opea.chat("Hello")
        with opea._engine.limiter._lock, opea._engine.drivers.sync.slots._lock:
            child = in_a_child(
                lambda: bool(opea.chat("child").content) and opea.get_stats()["success"] >= 1
            )
        assert child

    def test_figures_and_close_first_in_the_child(self, server: ScriptedServer) -> None:
        opea = made(server)
        opea.chat("Hello")
        with opea._engine.limiter._lock, opea._engine.drivers.sync.slots._lock:
            child = in_a_child(lambda: isinstance(opea.get_stats(), dict) and opea.close() is None)
        assert child
        assert opea.chat("parent").content

    def test_created_endpoints_too(self, server: ScriptedServer) -> None:
        opea = made(server)
        created = opea.create_endpoint()
        data = {"messages": [{"role": "user", "content": "Hello"}]}
        opea.make_request_with_endpoint(created, data)
        assert in_a_child(lambda: "choices" in opea.make_request_with_endpoint(created, data))
        assert "choices" in opea.make_request_with_endpoint(created, data)

    def test_fork_inside_a_running_loop(self, server: ScriptedServer) -> None:
        async def main() -> bool:
            async with made(server) as opea:
                await opea.achat("Hello")
                child = in_a_child(lambda: bool(opea.chat("child").content))
                await opea.achat("Hello")
                return child

        assert asyncio.run(main())


def test_a_process_ends_at_once_with_an_object_in_use(server: ScriptedServer) -> None:
    """No thread of ours keeps an interpreter alive, and nothing is printed at its end."""
    code = f"""
        import asyncio, opea_core
        opea = opea_core.OPEA("{server.url}")
        opea.chat("Hello")
        asyncio.run(opea.achat("Hello"))
        kept = opea.stream_chat("Hello")
        next(kept)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,  # a thread that goes on would keep it for ever
        check=False,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_threads_that_make_the_first_async_call_together(server: ScriptedServer) -> None:
    opea: OPEA = made(server)
    together = threading.Barrier(6)

    def work() -> Any:
        together.wait()
        return asyncio.run(opea.achat("Hello"))

    answers = [future.result(PATIENCE) for future in [Sync().run(work) for _ in range(6)]]
    assert all(answer.content for answer in answers)
    assert opea._engine.drivers._aio._places == {}  # type: ignore[union-attr]
