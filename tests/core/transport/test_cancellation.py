"""A call cancelled wherever it waits, or interrupted with Ctrl-C, gives everything back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from asking import idle, made
from stepping import CancelledAt, interrupted_after
from thorough import in_turn

from opea_core import OPEA, BreakerPolicy, events
from opea_core.testing import Answer, ScriptedServer, Wait, chat, error, raw, sse, stream

NO_MODEL = error(404, "The model `scripted-model` does not exist", code="model_not_found")
DRAINS_SLOWLY = sse(
    {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]},
    "[DONE]",
    Wait(0.03),
    b": bye\n\n",
    done=False,
)
LONG = stream(["a", Wait(60), "b"])


async def _key() -> str:
    await asyncio.sleep(0)
    return "a-key"


async def _read(opea: OPEA) -> str:
    async with opea.astream_chat("Hello") as chunks:
        return "".join([chunk.content async for chunk in chunks])


async def _chat(opea: OPEA) -> str:
    return (await opea.achat("Hello")).content


@dataclass(frozen=True)
class Scene:
    """What is under way when the call is cancelled."""

    name: str
    answers: tuple[Answer, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    call: Callable[[OPEA], Awaitable[str]] = _chat
    before: tuple[str, ...] = ()
    """``used``: a connection is kept; ``full``: another call holds the place;
    ``dead``: nobody listens.
    """

    def __str__(self) -> str:
        return self.name


SCENES = [
    Scene("a first call"),
    Scene("a call on a kept connection", before=("used",)),
    Scene("a stale connection", (chat("x").replace(before="close"),), before=("used",)),
    Scene("an answer that comes slowly", (chat("x").after(Wait(0.01), b" ", Wait(0.01)),)),
    Scene("a stream", call=_read),
    Scene("a stream that comes slowly", (stream(["a", Wait(0.01), "b", Wait(0.01)]),), call=_read),
    Scene("a stream whose body goes on after its end", (DRAINS_SLOWLY,), call=_read),
    Scene("a plain answer whose body goes on after its end", (DRAINS_SLOWLY,)),
    Scene("a wait for a place", options=(("max_concurrent", 1),), before=("full",)),
    Scene("a wait between two attempts", (error(503, "busy"),)),
    Scene(
        "a wait that the server asked for",
        (error(429, "slow down", headers={"retry-after-ms": "10"}),),
    ),
    Scene("a broken connection", (chat("x").replace(before="reset"),)),
    Scene(
        "a refused parameter",
        (error(400, "seed is not supported", param="seed"),),
        call=lambda opea: opea.achat("Hello", seed=1),
    ),
    Scene("the list of models after a 404", (NO_MODEL,), (("max_retries", 0),)),
    Scene("a key function", options=(("api_key", _key),)),
    Scene("a key function in a thread", options=(("api_key", lambda: "a-key"),)),
    Scene(
        "an outage",
        options=(("breaker", BreakerPolicy(break_duration=0.01)), ("recovery_wait", 0.03)),
        before=("used", "dead"),
    ),
    Scene("texts to embed", call=lambda opea: opea.aembed(["a", "b"])),
    Scene("the models", call=lambda opea: opea.amodels()),
]


class Stage:
    """A scene set up: an object, its server,
    and what hooks were told of the call that is cancelled.
    """

    def __init__(self, scene: Scene, server: ScriptedServer) -> None:
        self.scene, self.server = scene, server
        self.heard: list[events.Event] = []
        self.opea = made(server, **dict(scene.options), hooks=[self.heard.append])
        self.answers = list(scene.answers)
        self._holder: asyncio.Task[Any] | None = None

    async def set_up(self) -> None:
        if "used" in self.scene.before:
            await self.opea.achat("before")
        if "dead" in self.scene.before:
            self.server.pause()
        if "full" in self.scene.before:
            self.server.script(chat("x").after(Wait(0.02)))
            self._holder = asyncio.create_task(self.opea.achat("holder"))
            await asyncio.to_thread(self.server.wait_seen, 1)
        self.server.always(lambda seen: self.answers.pop(0) if self.answers else None)
        self._others = {event.call_id for event in self.heard}

    async def settle(self) -> None:
        """Let other calls and connections that are being closed end."""
        if self._holder is not None:
            await self._holder
        await asyncio.to_thread(self.server.wait, lambda: not self.server.in_flight)
        for _ in range(100):
            if idle(self.opea) and len(asyncio.all_tasks()) == 1:
                return
            await asyncio.sleep(0.002)

    def count(self, kind: type[events.Event]) -> int:
        """So often the hooks were told of this, about our call."""
        return sum(
            isinstance(event, kind) for event in self.heard if event.call_id not in self._others
        )

    async def check(self) -> None:
        """Nothing is left over, and the next call goes well."""
        assert idle(self.opea)
        assert len(asyncio.all_tasks()) == 1
        assert self.opea._engine.limiter._scheduler.waiting == 0
        assert self.count(events.CallStarted) == self.count(events.CallEnded)
        assert self.count(events.AttemptStarted) == self.count(events.AttemptEnded)
        if "dead" not in self.scene.before:
            self.answers.clear()
            assert (await self.opea.achat("afterwards")).content


async def cancel_at(scene: Scene, number: int, late: bool) -> bool:
    """Cancel the scene's call when it waits for the n-th time; gives whether it waited so often."""
    with ScriptedServer() as server:
        stage = Stage(scene, server)
        async with stage.opea as opea:
            await stage.set_up()
            steps = CancelledAt(scene.call(opea), number, late)  # type: ignore[arg-type]

            async def run() -> None:
                await steps

            task = asyncio.create_task(run())
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # it may as well have ended, well or not
            await stage.settle()
            await stage.check()
        return steps.reached


@pytest.mark.parametrize(
    ("late", "scene"),
    in_turn([False, True], SCENES),
    ids=lambda it: (
        ("as it resumes" if it else "while it waits") if isinstance(it, bool) else str(it)
    ),
)
def test_a_call_cancelled_wherever_it_waits_gives_everything_back(scene: Scene, late: bool) -> None:
    number = 1
    while asyncio.run(cancel_at(scene, number, late)):
        number += 1
        assert number < 200
    assert number > 2


def test_a_cancelled_call_hangs_up(server: ScriptedServer) -> None:
    async def main(call: Callable[[OPEA], Awaitable[str]]) -> None:
        async with made(server) as opea:
            task = asyncio.ensure_future(call(opea))
            await asyncio.to_thread(server.wait_seen, 1)
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.wait([task])
            await asyncio.to_thread(server.wait, lambda: server.seen[0].disconnected)

    for call, answer in ((_chat, chat("x").after(Wait(60))), (_read, LONG)):
        server.seen.clear()
        server.script(answer)
        asyncio.run(main(call))


def test_a_place_that_was_offered_to_a_cancelled_call_goes_to_the_next(
    server: ScriptedServer,
) -> None:
    server.latency = 0.002

    async def main() -> None:
        async with made(server, max_concurrent=1) as opea:
            tasks = [asyncio.create_task(opea.achat(str(number))) for number in range(30)]
            await asyncio.sleep(0.01)
            for task in tasks[1::2]:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(d).__name__ for d in done[0::2]] == ["ChatResponse"] * 15
            assert idle(opea)

    asyncio.run(main())
    assert server.max_in_flight == 1


def test_wait_for_is_a_time_limit_like_any_other(server: ScriptedServer) -> None:
    async def main() -> None:
        async with made(server) as opea:
            server.script(chat("x").after(Wait(60)))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(opea.achat("Hello"), 0.05)
            assert (await opea.achat("Hello")).content
            assert idle(opea)
            assert opea.get_stats("one")["errors"] == 0

    asyncio.run(main())


def test_a_group_of_calls_of_which_one_fails(server: ScriptedServer) -> None:
    async def together(opea: OPEA) -> None:
        async with asyncio.TaskGroup() as group:
            for text in ("good", "good", "bad"):
                group.create_task(opea.achat(text))

    async def main() -> None:
        async with made(server) as opea:
            server.always(
                lambda seen: (
                    error(400, "no") if "bad" in str(seen.body) else chat("x").after(Wait(60))
                )
            )
            with pytest.raises(ExceptionGroup):
                await together(opea)
            await asyncio.to_thread(server.wait, lambda: not server.in_flight)
            assert idle(opea)

    asyncio.run(main())


# --- Ctrl-C


@pytest.fixture
def holder() -> Iterator[list[threading.Thread]]:
    threads: list[threading.Thread] = []
    yield threads
    for thread in threads:
        thread.join(5)


DRIP = raw(
    b"HTTP/1.1 200 OK\r\n", *[step for i in range(50) for step in (Wait(0.02), b"x: %d\r\n" % i)]
)
INTERRUPTED = {
    "no answer": (chat("x").replace(before="hang"), {}),
    "headers that drip": (DRIP, {}),
    "a body that stops": (chat("x").after(b" ", Wait(60)), {}),
    "a wait between two attempts": (error(429, "slow down", headers={"retry-after": "5"}), {}),
    "an outage": (chat("x").replace(before="reset"), {"breaker": BreakerPolicy(break_duration=5)}),
    "a key function": (chat("x"), {"api_key": lambda: threading.Event().wait(5) or "a-key"}),
}


@pytest.mark.parametrize("what", INTERRUPTED)
def test_ctrl_c_gives_everything_back(server: ScriptedServer, what: str) -> None:
    answer, options = INTERRUPTED[what]
    heard: list[events.Event] = []
    server.always(answer)
    with made(server, **options, hooks=[heard.append]) as opea:
        with pytest.raises(KeyboardInterrupt), interrupted_after(0.06):
            opea.chat("Hello")
        assert idle(opea)
        server.wait(lambda: not server.in_flight)
        kinds = [type(event).__name__ for event in heard]
        assert kinds.count("CallStarted") == kinds.count("CallEnded") == 1
        assert kinds.count("AttemptStarted") == kinds.count("AttemptEnded")


def test_ctrl_c_in_the_queue(server: ScriptedServer, holder: list[threading.Thread]) -> None:
    server.script(chat("x").after(Wait(0.2)))
    with made(server, max_concurrent=1) as opea:
        holder.append(threading.Thread(target=opea.chat, args=("holder",)))
        holder[0].start()
        server.wait_seen(1)
        with pytest.raises(KeyboardInterrupt), interrupted_after(0.05):
            opea.chat("Hello")
        assert opea.get_stats()["queued"] == 0
        assert opea.chat("Hello").content
        assert idle(opea)


def test_ctrl_c_in_a_stream_closes_it(server: ScriptedServer) -> None:
    server.script(LONG)
    with made(server) as opea:
        chunks = opea.stream_chat("Hello")
        got: list[str] = []
        with pytest.raises(KeyboardInterrupt), interrupted_after(0.06):
            got.extend(chunk.content for chunk in chunks)
        assert idle(opea)
        server.wait(lambda: server.seen[0].disconnected)
        assert list(chunks) == []
        assert chunks.response is not None
        assert chunks.response.content == "a"


def test_ctrl_c_while_the_rest_of_a_body_is_read(server: ScriptedServer) -> None:
    server.script(
        sse(
            {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]},
            "[DONE]",
            Wait(60),
            done=False,
        )
    )
    with made(server) as opea:
        chunks = opea.stream_chat("Hello")
        next(chunks)
        with pytest.raises(KeyboardInterrupt), interrupted_after(0.03):
            list(chunks)
        assert idle(opea)
