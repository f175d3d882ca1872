"""Loops, threads, children and ``asyncio.run`` again and again over one object:
its limits hold at every moment.
"""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest
from inspection import Inspector, Patrol
from leftovers import leaves_nothing
from mixing import Mix, answers, child_of, in_a_child, mixed, together
from storm import Calls, settled

from opea_core.testing import ScriptedServer

SEED = 7_001
LOOPS, THREADS = 4, 8

pytestmark = pytest.mark.filterwarnings(
    "ignore:a stream was dropped before its end:ResourceWarning"
)


def stir(server: ScriptedServer, second: ScriptedServer, work: Any, seed: int = SEED) -> Mix:
    """Do the work under inspection; nothing may be wrong at any moment,
    and nothing left at the end.
    """
    for one in (server, second):
        one.always(answers(seed))
    gc.collect()
    gc.freeze()  # what other tests left need not be swept again and again
    inspector, calls = Inspector(each=3), Calls()
    with mixed(server, second, hooks=[inspector, calls]) as opea:
        inspector.watch(opea)
        mix, over = Mix(opea, seed), threading.Event()
        sweeper = threading.Thread(target=mix.sweep, args=(over,))
        sweeper.start()
        try:
            with Patrol(inspector):
                wrong = work(mix, inspector)
        finally:
            over.set()
            sweeper.join(30)
        gc.collect()
        assert wrong + settled(opea, inspector) + mix.errors == [], f"seed {seed}"
        assert {(n, calls.ended[id_]) for id_, n in calls.started.items()} == {(1, 1)}, (
            f"seed {seed}"
        )
        # no more than LIMIT at a server is the inspector's to see: a server hears of a cancelled
        # request after its successor
        assert inspector.looks > 100
    return mix


def test_loops_and_threads(server: ScriptedServer, second: ScriptedServer) -> None:
    def work(mix: Mix, inspector: Inspector) -> list[str]:
        loops = [
            lambda number=number: [mix.loop(number * 10 + i, 25) for i in range(3)]
            for number in range(LOOPS)
        ]
        threads = [lambda number=number: mix.thread(number, 25) for number in range(THREADS)]
        together([*loops, *threads])
        return []

    mix = stir(server, second, work)
    assert mix.ends.total() == LOOPS * 3 * 25 + THREADS * 25
    assert mix.ends["well"] > 250
    assert mix.ends["CancelledError"] > 10


def test_asyncio_run_a_hundred_times(server: ScriptedServer, second: ScriptedServer) -> None:
    def work(mix: Mix, inspector: Inspector) -> list[str]:
        together(
            [lambda: mix.thread(0, 30), lambda: [mix.loop(number, 3) for number in range(100)]]
        )
        return []

    mix: list[Mix] = []
    leaves_nothing(lambda: mix.append(stir(server, second, work)))
    assert mix[0].ends.total() == 330
    assert mix[0].opea._engine.drivers._aio._places == {}  # type: ignore[union-attr]


def test_children_forked_while_others_call(server: ScriptedServer, second: ScriptedServer) -> None:
    """Each child has the limits for itself, so the server may see more than five at once."""

    def work(mix: Mix, inspector: Inspector) -> list[str]:
        # a child forked in the middle of a collection never collects again, as CPython has it
        mix.knots = False
        wrong: list[str] = []

        def fork() -> None:
            for _ in range(3):
                wrong.extend(in_a_child(lambda: child_of(mix, inspector)))

        together(
            [
                lambda: mix.thread(0, 30),
                lambda: mix.thread(1, 30),
                lambda: [mix.loop(number, 15) for number in range(2)],
                fork,
            ]
        )
        server._record.max_in_flight = second._record.max_in_flight = 0
        return wrong

    mix = stir(server, second, work)
    assert mix.ends.total() == 90
