"""Calls cancelled in the rarer places: a handshake, a tunnel, a probe, a rate limit,
between two endpoints, and by what surrounds them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import trustme
from asking import idle
from doors import Door, door, proxy, silent, tls_to
from striking import WAYS, World, at, by_task, cancelled_at_each_event, cancelled_everywhere, holds
from test_tls import context_of
from thorough import in_turn

from opea_core import BreakerPolicy, EndpointConnectionError
from opea_core.policy import SECOND
from opea_core.testing import Answer, Hold, ScriptedServer, Wait, chat, error, stream


async def chat_once(world: World) -> None:
    await world.opea.achat("Hello")


async def read_all(world: World) -> None:
    async with world.opea.astream_chat("Hello") as chunks:
        async for _ in chunks:
            pass


CALLS = {"chat": chat_once, "stream": read_all}


@pytest.fixture
def tls(server: ScriptedServer) -> Iterator[Door]:
    """A TLS door to the server."""
    with door(tls_to(server.origin, context_of(trustme.CA().issue_cert("127.0.0.1")))) as it:
        yield it


@pytest.mark.parametrize("name", CALLS)
def test_in_a_tls_handshake(server: ScriptedServer, tls: Door, name: str) -> None:
    make = at(server, base_url=f"https://127.0.0.1:{tls.port}/v1", verify=False)
    assert cancelled_everywhere(make, CALLS[name]) > 2


def test_in_a_tls_handshake_that_does_not_go_on(server: ScriptedServer) -> None:
    with door(silent) as it:
        make = at(server, base_url=f"https://127.0.0.1:{it.port}/v1", verify=False)
        asyncio.run(_cancelled_once(make, lambda: it.connections > 0))


@pytest.mark.parametrize("name", CALLS)
def test_in_a_proxys_tunnel(server: ScriptedServer, tls: Door, name: str) -> None:
    with door(proxy) as between:
        make = at(
            server,
            base_url=f"https://127.0.0.1:{tls.port}/v1",
            verify=False,
            proxy=f"http://127.0.0.1:{between.port}",
        )
        assert cancelled_everywhere(make, CALLS[name]) > 3


def test_before_a_proxy_says_anything(server: ScriptedServer) -> None:
    with door(silent) as it:
        make = at(server, base_url="https://127.0.0.1:9/v1", proxy=f"http://127.0.0.1:{it.port}")
        asyncio.run(_cancelled_once(make, lambda: it.connections > 0))


async def _cancelled_once(make: Any, ready: Callable[[], bool]) -> None:
    """Cancel a call once something is the case."""
    async with make() as world:
        task = asyncio.ensure_future(chat_once(world))
        await holds(ready)
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await world.check()


# --- between endpoints and attempts

FAILOVERS: dict[str, tuple[Answer, ...]] = {
    "busy": (error(503, "busy"),),
    "reset": (chat("x").replace(before="reset"),),
    "rate limited": (error(429, "slow down", headers={"retry-after-ms": "20"}),),
    "wrong key": (error(401, "no"),),
    "broken off": (chat("x").replace(length=5000, end="close"),),
    "no first content": (stream([]).replace(steps=(b": wait\n\n",), end="cut"),),
}


@pytest.mark.parametrize(("call", "why"), in_turn(CALLS, FAILOVERS))
def test_in_a_failover(server: ScriptedServer, second: ScriptedServer, why: str, call: str) -> None:
    make = at(server, second, script=FAILOVERS[why])
    assert cancelled_everywhere(make, CALLS[call]) >= 4


@pytest.mark.parametrize(("call", "way"), in_turn(CALLS, WAYS))
def test_in_a_retry_by_whatever_surrounds_it(server: ScriptedServer, call: str, way: str) -> None:
    make = at(
        server,
        script=(error(503, "busy"), error(429, "slow down", headers={"retry-after-ms": "5"})),
    )
    assert cancelled_everywhere(make, CALLS[call], WAYS[way]) >= 5


async def two_in_turn(world: World) -> None:
    """The second waits in the queue, then at the gate that the first one's answer sets."""
    await asyncio.gather(chat_once(world), chat_once(world))


def test_in_the_queue_and_at_a_gate(server: ScriptedServer) -> None:
    make = at(
        server, max_concurrent=1, script=(error(429, "slow down", headers={"retry-after-ms": "5"}),)
    )
    assert cancelled_at_each_event(make, two_in_turn) > 8


def test_in_discovery(server: ScriptedServer) -> None:
    async def discover(world: World) -> None:
        await world.opea.adiscover()

    assert cancelled_everywhere(at(server, model=None), discover) >= 2


def test_in_discovery_of_two(server: ScriptedServer, second: ScriptedServer) -> None:
    async def discover(world: World) -> None:
        await world.opea.adiscover()

    assert cancelled_everywhere(at(server, second, model=None), discover) >= 1


def test_in_a_rerank(server: ScriptedServer) -> None:
    async def rerank(world: World) -> None:
        await world.opea.arerank("Hello", ["a", "b"])

    assert cancelled_everywhere(at(server), rerank) >= 2


# --- a rate limit's gate


@pytest.mark.parametrize("way", WAYS)
def test_a_call_cancelled_at_a_gate_leaves_the_gate_as_it_is(
    server: ScriptedServer, way: str
) -> None:
    async def main() -> None:
        async with at(
            server, script=(error(429, "slow down", headers={"retry-after": "30"}),)
        )() as world:
            endpoint = world.opea._engine.limiter.endpoints[0]
            first = asyncio.ensure_future(chat_once(world))
            await holds(
                lambda: max(
                    (limits.cooldown_until for limits in endpoint._models.values()), default=0
                )
            )
            limiter = max(
                (limits.cooldown_until for limits in endpoint._models.values()), default=0
            )
            assert (await WAYS[way](chat_once(world), 1)).reached
            assert (
                max((limits.cooldown_until for limits in endpoint._models.values()), default=0)
                == limiter
            )
            assert world.opea.get_stats()["queued"] == 1
            first.cancel()
            await asyncio.wait([first])
            await world.check()
            assert len(server.seen) == 1

    asyncio.run(main())


# --- the probe of an open breaker

DOWN = BreakerPolicy(break_duration=0.01, connect_failure_threshold=1, probe_interval=30)


@contextlib.asynccontextmanager
async def broken(server: ScriptedServer, **options: Any) -> Any:
    """A world whose breaker is open; the server is back, and holds its answers until told."""
    async with at(server, breaker=DOWN, **options)() as world:
        await world.opea.achat("before")
        server.script(chat("x").replace(before="reset"), chat("x").replace(before="reset"))
        with contextlib.suppress(EndpointConnectionError):
            await world.opea.achat("fails", max_retries=0)
        endpoint = world.opea._engine.limiter.endpoints[0]
        await holds(lambda: endpoint.breaker.state.value != "closed")
        server._script.clear()
        yield world


async def _as_probe(world: World, work: Callable[[World], Coroutine[Any, Any, Any]]) -> None:
    """Start a call, wait until it probes, cancel it."""
    breaker = world.opea._engine.limiter.endpoints[0].breaker
    task = asyncio.ensure_future(work(world))
    await holds(lambda: breaker.probing)
    await holds(lambda: world.servers[0].in_flight or task.done())
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("call", CALLS)
def test_a_cancelled_probe_neither_closes_nor_holds_the_breaker(
    server: ScriptedServer, call: str
) -> None:
    """``probe_ttl`` is 30 s: were the probe's place kept, the next call would wait for it."""

    async def main() -> None:
        async with broken(server) as world:
            breaker = world.opea._engine.limiter.endpoints[0].breaker
            generation = breaker.generation
            server.script(chat("x").after(Wait(20)))
            await _as_probe(world, CALLS[call])
            assert (breaker.state.value, breaker.probing, breaker.generation) == (
                "half_open",
                False,
                generation,
            )
            assert (await world.opea.achat("next", deadline=10)).content
            assert breaker.state.value == "closed"
            await world.check()

    asyncio.run(main())


@pytest.mark.parametrize("call", CALLS)
def test_a_probe_cancelled_wherever_it_waits(server: ScriptedServer, call: str) -> None:
    async def one(number: int) -> bool:
        async with broken(server) as world:
            breaker = world.opea._engine.limiter.endpoints[0].breaker
            struck = await by_task(CALLS[call](world), number)
            if struck.reached and breaker.state.value != "closed":
                assert not breaker.probing
            assert (await world.opea.achat("next", deadline=10)).content
            await world.check()
        return struck.reached

    number = 1
    while asyncio.run(one(number)):
        number += 1
    assert number > 2


def test_who_waits_for_a_probe_takes_its_place_when_it_is_cancelled(server: ScriptedServer) -> None:
    async def main() -> None:
        async with broken(server) as world:
            endpoint = world.opea._engine.limiter.endpoints[0]
            server.script(chat("x").after(Wait(20)))
            probe = asyncio.ensure_future(chat_once(world))
            await holds(lambda: server.in_flight)
            assert endpoint.breaker.probing
            waiters = [asyncio.ensure_future(chat_once(world)) for _ in range(5)]
            await holds(lambda: world.opea.get_stats()["queued"] == 5)
            started = world.opea._engine.limiter.now()
            probe.cancel()
            await asyncio.wait_for(asyncio.gather(*waiters), 20)
            assert (
                world.opea._engine.limiter.now() - started < 15 * SECOND
            )  # not after ``probe_ttl``
            await asyncio.wait([probe])
            await world.check()

    asyncio.run(main())


# --- a stream's reader


def test_a_stream_closed_at_each_step(server: ScriptedServer) -> None:
    server.always(lambda seen: stream(["a", "b", "c"]))

    async def one(steps: int) -> bool:
        async with at(server, max_concurrent=1)() as world:
            chunks, more = world.opea.astream_chat("Hello"), True
            for _ in range(steps):
                more = await anext(chunks, None) is not None
            await chunks.aclose()
            assert [chunk async for chunk in chunks] == []
            await world.check()
        return more

    steps = 0
    while asyncio.run(one(steps)):
        steps += 1
    assert steps > 3


def test_a_stream_closed_by_another_task_while_it_is_read(server: ScriptedServer) -> None:
    async def main() -> None:
        go = threading.Event()
        async with at(server, script=(stream(["a", Hold(go), "b"]),))() as world:
            chunks = world.opea.astream_chat("Hello")
            assert (await anext(chunks)).content == "a"
            reader = asyncio.ensure_future(anext(chunks, None))
            await asyncio.sleep(0.01)
            await chunks.aclose()
            assert await asyncio.wait_for(reader, 10) is None
            await world.check()
            go.set()
        assert idle(world.opea)

    asyncio.run(main())
