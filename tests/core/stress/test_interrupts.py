"""Ctrl-C in a sync call: at every place at which Python may raise it,
and from outside at any moment.
"""

from __future__ import annotations

import ctypes
import gc
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asking import made
from inspection import Inspector
from interrupting import CtrlC
from storm import Calls, settled
from thorough import most

from opea_core import OPEA, BreakerPolicy, ServerError
from opea_core.testing import ScriptedServer, chat, error, stream

pytestmark = [
    pytest.mark.filterwarnings("ignore:a stream was dropped before its end:ResourceWarning"),
    # struck while Python itself opens one: nobody but the garbage collector has it
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What was struck is collected here: in another test its warning would be an error."""
    yield
    gc.collect()


def _stream(opea: OPEA) -> None:
    with opea.stream_chat("Hello") as chunks:
        for _ in chunks:
            pass


CALLS: dict[str, tuple[Callable[[OPEA], Any], tuple[Any, ...]]] = {
    "chat": (lambda opea: opea.chat("Hello"), (chat("x"),)),
    "a retry": (lambda opea: opea.chat("Hello"), (error(503, "busy"), chat("x"))),
    "a stream": (_stream, (stream(["a", "b"]),)),
    "texts to embed": (lambda opea: opea.embed(["a", "b"]), ()),
    "a stale connection": (
        lambda opea: opea.chat("Hello"),
        (chat("x").replace(before="close"), chat("x")),
    ),
}
STEP = most(61, 127)
"""Every so-manieth place is tried."""


class Struck:
    """One call struck at one place, by an object of its own."""

    def __init__(self, server: ScriptedServer, name: str, number: int) -> None:
        call, answers = CALLS[name]
        self.calls, self.inspector = Calls(), Inspector(each=10**9)
        self.opea = made(server, max_concurrent=1, hooks=[self.calls, self.inspector])
        self.inspector.watch(self.opea)
        self.opea.chat("before")
        server.script(*answers)
        self.ctrl_c = CtrlC(number)
        gc.collect(1)
        gc.disable()  # it might end the objects of earlier strikes, and be struck in that
        try:
            self.raised = self.ctrl_c.run(lambda: call(self.opea))
        finally:
            gc.enable()
        server._script.clear()

    def left(self) -> list[str]:
        """What is left of it; the object is as good as new."""
        found = settled(self.opea, self.inspector, 0.05)
        if not isinstance(self.raised, KeyboardInterrupt) and self.ctrl_c.where:
            found.append(f"raised {self.raised!r}")
        return [f"{what} (struck at {self.ctrl_c.where})" for what in found]

    def untold(self) -> list[str]:
        """Starts without an end."""
        calls = self.calls
        found = [
            f"started {n}, ended {calls.ended[id_]}"
            for id_, n in calls.started.items()
            if (n, calls.ended[id_]) != (1, 1)
        ]
        found += [f"{n} attempts open" for n in calls.attempts.values() if n]
        return [f"{what} (struck at {self.ctrl_c.where})" for what in found]


def strike(server: ScriptedServer, name: str, start: int, step: int) -> Iterator[Struck]:
    """The call again and again, each time struck a bit later."""
    number = start
    while True:
        struck = Struck(server, name, number)
        yield struck
        struck.opea.close()
        if not struck.ctrl_c.where:
            assert number > 300
            return
        number += step


@pytest.fixture(scope="module")
def struck() -> dict[str, list[tuple[list[str], list[str]]]]:
    """By call: what was left and what was not told, for each place that was struck."""
    with ScriptedServer() as server:
        return {
            name: [(one.left(), one.untold()) for one in strike(server, name, start, STEP)]
            for start, name in enumerate(CALLS, 1)
        }


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_anywhere_in_a_call_leaves_nothing_held(struck: dict[str, Any], name: str) -> None:
    assert [what for left, _ in struck[name] for what in left] == []


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_anywhere_in_a_call_tells_its_end(struck: dict[str, Any], name: str) -> None:
    assert [what for _, untold in struck[name] for what in untold] == []


# --- from another thread, at any moment, in anybody's code


def _interrupt(thread: threading.Thread) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
    )


class Victim(threading.Thread):
    """Makes calls one after the other; an interrupt ends the one under way and nothing else."""

    def __init__(self, work: Callable[[], Any], count: int) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.left = count
        self.interrupted = self.struck = 0
        self.errors: list[BaseException] = []
        self.busy = False

    def run(self) -> None:
        while self.left:
            try:
                self._one()
            except KeyboardInterrupt:
                self.interrupted += 1
            self.busy = False
            self.left -= 1

    def _one(self) -> None:
        try:
            self.busy = True
            self._work()
        except ServerError:
            pass  # busy each time
        except Exception as error:  # noqa: BLE001 - no other is expected
            self.errors.append(error)


HELD_UP = {
    "chat": (0.0, lambda opea: opea.chat("Hello")),
    "stream": (0.0, _stream),
    "embed": (0.0, lambda opea: opea.embed(["a", "b"])),
    "a retry wait": (0.3, lambda opea: opea.chat("Hello")),
}


@pytest.mark.parametrize("name", HELD_UP)
def test_threads_interrupted_at_any_moment_leave_nothing_held(
    server: ScriptedServer, name: str
) -> None:
    """Three threads and one place: most of them wait in the queue."""
    busy, call = HELD_UP[name]
    chance = random.Random(name)
    inspector = Inspector(each=5)
    with made(
        server, max_concurrent=1, hooks=[inspector], breaker=BreakerPolicy(enabled=False)
    ) as opea:
        inspector.watch(opea)
        server.always(lambda seen: error(503, "busy") if chance.random() < busy else None)
        victims = [Victim(lambda: call(opea), 40) for _ in range(3)]
        for victim in victims:
            victim.start()
        while any(victim.left > 2 for victim in victims):
            threading.Event().wait(chance.random() * 0.01)
            victim = chance.choice(victims)
            if victim.busy and victim.left > 2 and victim.struck != victim.left:
                victim.struck = victim.left  # once a call: a second one may strike what cleans up
                _interrupt(victim)
        for victim in victims:
            victim.join(20)
            assert not victim.is_alive()
        assert sum(victim.interrupted for victim in victims) > 10
        assert [error for victim in victims for error in victim.errors] == []
        assert settled(opea, inspector) == []
        server.always(None)
        assert opea.chat("afterwards").content
