"""Waiting for a place: limits, order, deadlines, a full queue,
and rate limits that many callers meet.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from asking import PATIENCE, Async, Told, Way, idle, made

from opea_core import (
    OPEA,
    ConfigurationError,
    DeadlineExceeded,
    QueueFull,
    RateLimited,
    RetryPolicy,
    events,
)
from opea_core.policy import SECOND
from opea_core.testing import Hold, ScriptedServer, Seen, Wait, chat, error, stream


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """Lets answers that hold go on; set at the end whatever happens."""
    event = threading.Event()
    yield event
    event.set()


def waiting(opea: OPEA, count: int) -> None:
    """Block until so many calls wait."""
    for _ in range(2000):
        if opea.get_stats()["queued"] == count:
            return
        threading.Event().wait(0.002)
    raise TimeoutError(f"{opea.get_stats()['queued']} calls wait, not {count}")


def resting(opea: OPEA) -> None:
    """Block until the endpoint was told to rest."""
    for _ in range(2000):
        if opea.get_stats("one")["closed_for"] is not None:
            return
        threading.Event().wait(0.002)
    raise TimeoutError("the endpoint does not rest")


def said(seen: Seen) -> str:
    text: str = seen.body["messages"][0]["content"]
    return text


def fine(calls: list[Told]) -> bool:
    return [told.error for told in calls] == [None] * len(calls)


@pytest.mark.parametrize("method", ["chat", "stream_chat"])
def test_no_more_than_the_limit_are_in_flight(
    way: Way, server: ScriptedServer, method: str
) -> None:
    server.latency = 0.005
    opea = made(server, max_concurrent=3)
    calls = [way.start(opea, method, f"call {number}") for number in range(20)]
    assert fine([call.result(PATIENCE) for call in calls])
    assert server.max_in_flight == 3
    assert len(server.seen) == 20
    assert idle(opea)


def test_a_limit_is_per_endpoint(way: Way, server: ScriptedServer, second: ScriptedServer) -> None:
    server.latency = second.latency = 0.01
    endpoints = [
        {"base_url": server.url, "max_concurrent": 2},
        {"base_url": second.url, "max_concurrent": 4},
    ]
    opea = OPEA(endpoints=endpoints)
    calls = [way.start(opea, "chat", "Hello") for _ in range(24)]
    assert fine([call.result(PATIENCE) for call in calls])
    assert (server.max_in_flight, second.max_in_flight) == (2, 4)


def test_a_stream_holds_its_place_to_its_end(
    way: Way, server: ScriptedServer, go: threading.Event
) -> None:
    opea = made(server, max_concurrent=1)
    server.script(stream(["a", Hold(go), "b"]))
    first = way.start(opea, "stream_chat", "first")
    server.wait_seen(1)
    second = way.start(opea, "chat", "second")
    waiting(opea, 1)
    assert not second.done()
    go.set()
    assert fine([first.result(PATIENCE), second.result(PATIENCE)])
    assert server.max_in_flight == 1


def test_who_came_first_goes_first(way: Way, server: ScriptedServer, go: threading.Event) -> None:
    opea = made(server, max_concurrent=1)
    server.script(chat("x").after(Hold(go)))
    calls = [way.start(opea, "chat", "holder")]
    server.wait_seen(1)
    for number in range(5):
        calls.append(way.start(opea, "chat", str(number)))
        waiting(opea, number + 1)
    go.set()
    assert fine([call.result(PATIENCE) for call in calls])
    assert [said(seen) for seen in server.seen] == ["holder", "0", "1", "2", "3", "4"]


def test_urgent_calls_go_first(way: Way, server: ScriptedServer, go: threading.Event) -> None:
    opea = made(server, max_concurrent=1)
    server.script(chat("x").after(Hold(go)))
    calls = [way.start(opea, "chat", "holder")]
    server.wait_seen(1)
    for count, (name, priority) in enumerate(
        [("later", 9), ("usual", None), ("soon", 1), ("now", 0), ("usual too", 5)]
    ):
        calls.append(way.start(opea, "chat", name, priority=priority))
        waiting(opea, count + 1)
    go.set()
    assert fine([call.result(PATIENCE) for call in calls])
    assert [said(seen) for seen in server.seen] == [
        "holder",
        "now",
        "soon",
        "usual",
        "usual too",
        "later",
    ]


def test_a_deadline_that_passes_in_the_queue(
    way: Way, server: ScriptedServer, go: threading.Event
) -> None:
    heard: list[events.Event] = []
    opea = made(server, max_concurrent=1, hooks=[heard.append])
    server.script(chat("x").after(Hold(go)))
    first = way.start(opea, "chat", "holder")
    server.wait_seen(1)
    heard.clear()
    told = way.ask(opea, "chat", "late", deadline=0.05)
    assert isinstance(told.error, DeadlineExceeded)
    assert told.seconds >= 0.05
    assert [type(event).__name__ for event in heard] == [
        "CallStarted",
        "CallQueued",
        "CallRejected",
        "CallEnded",
    ]
    assert len(server.seen) == 1
    assert opea.get_stats()["queued"] == 0
    go.set()
    assert first.result(PATIENCE).error is None


def test_a_deadline_in_the_queue_says_nothing_of_the_endpoint(
    way: Way, server: ScriptedServer, go: threading.Event
) -> None:
    opea = made(server, max_concurrent=1)
    server.script(chat("x").after(Hold(go)))
    first = way.start(opea, "chat", "holder")
    server.wait_seen(1)
    for _ in range(12):
        way.ask(opea, "chat", "late", deadline=0.002)
    assert opea.get_stats()["errors"] == 0
    assert opea.get_stats("one")["breaker"] == "closed"
    go.set()
    first.result(PATIENCE)


def test_a_full_queue_refuses_at_once(
    way: Way, server: ScriptedServer, go: threading.Event
) -> None:
    opea = made(server, max_concurrent=1, max_queued=1)
    server.script(chat("x").after(Hold(go)))
    calls = [way.start(opea, "chat", "holder")]
    server.wait_seen(1)
    calls.append(way.start(opea, "chat", "waits"))
    waiting(opea, 1)
    told = way.ask(opea, "chat", "too many")
    assert isinstance(told.error, QueueFull)
    assert told.error.attempts == ()
    go.set()
    assert fine([call.result(PATIENCE) for call in calls])
    assert [said(seen) for seen in server.seen] == ["holder", "waits"]
    assert idle(opea)


def test_a_queue_of_none_never_waits(way: Way, server: ScriptedServer, go: threading.Event) -> None:
    opea = made(server, max_concurrent=1, max_queued=0)
    server.script(chat("x").after(Hold(go)))
    first = way.start(opea, "chat", "holder")
    server.wait_seen(1)
    assert isinstance(way.ask(opea, "chat", "no").error, QueueFull)
    go.set()
    assert first.result(PATIENCE).error is None
    assert way.ask(opea, "chat", "yes").error is None


def test_a_retry_is_never_refused_by_a_full_queue(way: Way, server: ScriptedServer) -> None:
    opea = made(server, max_concurrent=1, max_queued=0)
    server.script(error(503, "busy"))
    assert way.ask(opea, "chat", "Hello").error is None


def test_queue_timeout(way: Way, server: ScriptedServer, go: threading.Event) -> None:
    opea = made(server, max_concurrent=1, queue_timeout=0.05)
    server.script(chat("x").after(Hold(go)))
    first = way.start(opea, "chat", "holder")
    server.wait_seen(1)
    told = way.ask(opea, "chat", "late")
    assert isinstance(told.error, QueueFull)
    assert "queue_timeout" in str(told.error)
    assert told.seconds >= 0.05
    assert len(server.seen) == 1
    go.set()
    assert first.result(PATIENCE).error is None


def test_a_call_that_waits_may_be_cancelled(server: ScriptedServer, go: threading.Event) -> None:
    async def main() -> None:
        async with made(server, max_concurrent=1) as opea:
            server.script(chat("x").after(Hold(go)))
            first = asyncio.create_task(opea.achat("holder"))
            await asyncio.to_thread(server.wait_seen, 1)
            gone, last = (
                asyncio.create_task(opea.achat("gone")),
                asyncio.create_task(opea.achat("last")),
            )
            await asyncio.sleep(0.01)
            gone.cancel()
            go.set()
            await asyncio.gather(first, last)
            assert gone.cancelled()
            assert idle(opea)

    asyncio.run(main())
    assert [said(seen) for seen in server.seen] == ["holder", "last"]


def test_how_long_it_waited_is_told(way: Way, server: ScriptedServer, go: threading.Event) -> None:
    opea = made(server, max_concurrent=1)
    server.script(chat("x").after(Hold(go)))
    calls = [way.start(opea, "chat", "Hello") for _ in range(2)]
    waiting(opea, 1)
    time.sleep(0.3)
    go.set()
    queued = sorted(call.result(PATIENCE).response.meta.queued for call in calls)
    assert queued[0] < queued[1]
    assert queued[1] >= 0.3


# --- a sync call inside a running event loop


def test_a_sync_call_that_would_wait_for_its_own_loop_raises_at_once(
    server: ScriptedServer, go: threading.Event
) -> None:
    async def main() -> None:
        async with made(server, max_concurrent=1) as opea:
            server.script(stream(["a", Hold(go), "b"]))
            holder = opea.astream_chat("holder")
            await anext(holder)
            with pytest.raises(ConfigurationError, match="achat"):
                opea.chat("would hang")
            go.set()
            assert "".join([chunk.content async for chunk in holder]) == "b"
            assert opea.chat("a place is free, so no wait").content
            assert idle(opea)

    asyncio.run(main())
    assert len(server.seen) == 2


def test_a_sync_call_in_a_loop_may_wait_between_its_attempts(
    server: ScriptedServer, go: threading.Event
) -> None:
    """It waits for time to pass, not for the loop."""

    async def main() -> None:
        async with made(server) as opea:
            server.script(stream(["a", Hold(go), "b"]), error(503, "busy"))
            async with opea.astream_chat("holder"):
                assert opea.chat("Hello").meta.attempts == 2

    asyncio.run(main())


def test_a_sync_call_in_a_loop_may_wait_for_other_threads(server: ScriptedServer) -> None:
    server.latency = 0.02

    async def main() -> None:
        with made(server, max_concurrent=1) as opea:
            thread = threading.Thread(target=opea.chat, args=("another thread",))
            thread.start()
            await asyncio.to_thread(server.wait_seen, 1)
            assert opea.chat("Hello").content
            thread.join()

    asyncio.run(main())


# --- rate limits


def test_a_storm_of_429_everybody_waits_as_long_as_asked_and_all_are_served(
    way: Way, server: ScriptedServer
) -> None:
    """The first burst is turned away with a wait of 0.15 s;
    nobody comes back earlier, nor all at once.
    """
    all_there = threading.Event()
    turned_away = error(429, "slow down", headers={"retry-after": "0.15"})

    def answer(seen: Seen) -> object:
        if len(server.seen) > 50:
            return None
        if len(server.seen) == 50:
            all_there.set()
        return turned_away.replace(steps=(Hold(all_there), *turned_away.steps))

    server.always(answer)  # type: ignore[arg-type]
    opea = made(server, max_concurrent=50)
    calls = [way.start(opea, "chat", "Hello") for _ in range(50)]
    assert fine([call.result(PATIENCE) for call in calls])
    first, later = server.seen[:50], server.seen[50:]
    assert len(later) == 50
    assert min(seen.at for seen in later) >= max(seen.at for seen in first) + 0.15 * SECOND
    assert opea.get_stats("one")["breaker"] == "closed"
    assert idle(opea)


def test_nobody_is_sent_while_the_endpoint_rests(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    server.script(error(429, "slow down", headers={"retry-after": "0.1"}))
    calls = [way.start(opea, "chat", "first")]
    resting(opea)
    calls += [way.start(opea, "chat", "Hello") for _ in range(5)]
    assert fine([call.result(PATIENCE) for call in calls])
    first, *others = [seen.at for seen in server.seen]
    assert min(others) >= first + SECOND // 10
    assert len(others) == 6


def test_it_opens_again_with_few_calls(
    way: Way, server: ScriptedServer, go: threading.Event
) -> None:
    """Those who waited do not come back as one burst:
    what the server answers decides how many are next.
    """
    opea = made(server)
    server.script(error(429, "slow down", headers={"retry-after": "0.08"}))
    server.always(chat("x").after(Hold(go)))
    calls = [way.start(opea, "chat", "first")]
    resting(opea)
    calls += [way.start(opea, "chat", "Hello") for _ in range(12)]
    server.wait_seen(2)
    assert len(server.seen) <= 4, "one, and one or two as that was not refused"
    go.set()
    assert fine([call.result(PATIENCE) for call in calls])


def test_a_wait_that_is_too_long_fails_every_caller_without_a_request(
    way: Way, server: ScriptedServer
) -> None:
    opea = made(server)
    server.script(error(429, "tomorrow", headers={"retry-after": "3600"}))
    assert isinstance(way.ask(opea, "chat", "Hello").error, RateLimited)
    told = way.ask(opea, "chat", "Hello")
    assert isinstance(told.error, RateLimited)
    assert 3500 < told.error.retry_after < 4400
    assert len(server.seen) == 1


def test_the_wait_counts_against_the_deadline(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    server.script(error(429, "slow down", headers={"retry-after": "55"}))
    told = way.ask(opea, "chat", "Hello", deadline=30)
    assert isinstance(told.error, RateLimited)
    assert (told.error.deadline_exceeded, told.error.retry_after) == (True, 55.0)
    told = way.ask(opea, "chat", "Hello", deadline=20)
    assert isinstance(told.error, DeadlineExceeded | RateLimited)
    assert len(server.seen) == 1


def test_a_wait_that_the_server_asked_for_costs_no_budget(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    server.script(
        error(429, "slow down", headers={"retry-after": "0.02"}),
        error(429, "slow down", headers={"retry-after": "0.02"}),
    )
    assert way.ask(opea, "chat", "Hello").error is None
    budget = opea._engine.limiter.endpoints[0].budget
    assert budget.tokens(time.monotonic_ns()) == budget.capacity
    server.script(error(503, "busy"))
    assert way.ask(opea, "chat", "Hello").error is None
    assert budget.tokens(time.monotonic_ns()) < budget.capacity - 0.5, (
        "a lone call has room: that is a failure"
    )


def test_the_budget_bounds_the_retries(way: Way, server: ScriptedServer) -> None:
    server.always(error(504, "late"))
    opea = made(
        server,
        max_concurrent=4,
        breaker=False,
        retry=RetryPolicy(initial_delay=0.001, max_delay=0.001, max_retries=9),
    )
    told = [way.ask(opea, "chat", "Hello") for _ in range(5)]
    assert opea.get_stats()["retries"] == 20  # max(20, 2 x max_concurrent)
    assert [t.error.retry_suppressed for t in told] == [None, None, "budget", "budget", "budget"]  # type: ignore[union-attr]
    assert len(server.seen) == 25


def test_tasks_of_one_loop_are_not_starved(server: ScriptedServer) -> None:
    """A loop whose calls all wait goes on with other work."""
    way = Async()
    opea = made(server, max_concurrent=1)
    server.script(chat("x").after(Wait(0.05)))
    calls = [way.start(opea, "chat", "Hello") for _ in range(5)]
    assert way.run(lambda: asyncio.sleep(0, "alive")).result(PATIENCE) == "alive"
    assert fine([call.result(PATIENCE) for call in calls])
    way.close()
