"""Thousands of calls over two faulty servers: nothing leaks, nothing is answered twice or to
somebody else, and every call ends once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from inspection import Inspector, Patrol
from leftovers import open_files
from storm import ENDS, KINDS, RETRIES, Calls, Storm, settled, stormy
from storm_faults import CONNECT_CLASS, RIGHT, WRONG, Faults, number_of, right
from thorough import most
from waiting import until

from opea_core.testing import ScriptedServer, Seen

SEED = 20_240_229
CALLS = most(5_100, 900)
THREADS, TASKS = most((40, 400), (20, 150))
LIMITS = (12, 8)
GROWTH = 10_000
"""Blocks of memory between the first and the last third: three per call of the hundreds a call has;
the JSON parser keeps some strings.
"""

pytestmark = pytest.mark.filterwarnings(
    "ignore:a stream was dropped before its end:ResourceWarning"
)


@dataclass
class Report:
    """How a storm went."""

    problems: list[str]
    growth: int
    files: int
    threads: int
    told: str
    log: list[str]
    kinds: set[tuple[str, str]]
    drawn: set[str]
    requests: int
    free: int
    calls: int
    in_flight: list[int]
    looks: int


def blow(run: Callable[[Storm, int, int], None], log: list[str]) -> Report:
    """A storm in three parts, with a look at everything after each."""
    gc.collect()
    files, threads = open_files(), threading.active_count()
    faults, calls, inspector = Faults(SEED), Calls(), Inspector(each=50)
    problems, blocks, kinds, drawn, requests, free = [], [], set(), set(), 0, 0
    with (
        ScriptedServer() as one,
        ScriptedServer() as two,
        stormy(one, two, hooks=[calls, inspector], limits=LIMITS) as opea,
    ):
        inspector.watch(opea)
        for server in (one, two):
            server.always(faults)
        for third in range(3):
            storm = Storm(opea, SEED)
            with Patrol(inspector, every=0.05):
                run(storm, third * CALLS // 3, CALLS // 3)
            gc.collect()
            problems += settled(opea, inspector) + storm.problems(faults, calls)
            kinds |= {(part.kind, part.ends) for part in storm.parts}
            counts = faults.counts()
            drawn |= set(counts)
            requests, free = (
                requests + counts.total(),
                free + sum(counts[name] for name in CONNECT_CLASS),
            )
            del storm
            calls.clear()
            faults.given.clear()
            one.seen.clear()
            two.seen.clear()
            gc.collect()
            blocks.append(sys.getallocatedblocks())
        in_flight = [one.max_in_flight, two.max_in_flight]
    until(
        lambda: open_files() <= files and threading.active_count() <= threads,
        "sockets and threads to end",
        10,
    )
    return Report(
        problems, blocks[2] - blocks[0], open_files() - files, threading.active_count() - threads,
        f"seed {SEED}", log, kinds, drawn, requests, free, CALLS, in_flight, inspector.looks,
    )  # fmt: skip


def in_threads(storm: Storm, first: int, calls: int) -> None:
    storm.run_threads(first, calls, THREADS)


def in_a_loop(log: list[str]) -> Callable[[Storm, int, int], None]:
    def run(storm: Storm, first: int, calls: int) -> None:
        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: log.append(str(context))
            )
            await storm.run_tasks(first, calls, TASKS)
            for _ in range(500):
                if len(asyncio.all_tasks()) == 1:
                    return
                await asyncio.sleep(0.01)
            log.append(f"tasks left: {asyncio.all_tasks()}")

        asyncio.run(main())

    return run


@pytest.fixture(scope="module", params=["threads", "tasks"])
def report(request: pytest.FixtureRequest) -> Report:
    log: list[str] = []
    return blow(in_threads if request.param == "threads" else in_a_loop(log), log)


def test_every_call_ends_once_and_with_its_own_answer(report: Report) -> None:
    assert report.problems == [], report.told


def test_nothing_is_left_open(report: Report) -> None:
    assert (max(0, report.files), max(0, report.threads), report.log) == (0, 0, []), report.told


def test_memory_does_not_grow(report: Report) -> None:
    assert report.growth < GROWTH, report.told


def test_requests_stay_within_the_retries(report: Report) -> None:
    assert report.requests - report.free <= report.calls * (RETRIES + 1), report.told


def test_limits_hold_at_the_servers(report: Report) -> None:
    assert all(seen <= limit for seen, limit in zip(report.in_flight, LIMITS, strict=True)), (
        report.told
    )


def test_the_storm_was_one(report: Report) -> None:
    """Every kind of call ended in every way, every fault came, and the inspector looked."""
    plain = {"read", "cancel", "deadline"}
    assert report.kinds >= {
        (kind, ends) for kind in KINDS for ends in ENDS if kind == "stream" or ends in plain
    }, report.told
    assert report.drawn == {name for name, (weight, _) in {**RIGHT, **WRONG}.items() if weight}
    assert report.looks > most(150, 50)


def test_an_answer_to_another_question_is_found() -> None:
    """The check of the answers can fail."""
    with ScriptedServer() as server, stormy(server) as opea:
        server.always(lambda seen: right(question(number_of(seen.body) + 1, seen)))
        storm = Storm(opea, SEED)
        for number in range(12):
            storm.ask(number)
        told = storm.problems(Faults(SEED), Calls())
        assert {kind for kind in KINDS for problem in told if f"({kind}, " in problem} == set(KINDS)


def question(number: int, seen: Seen) -> Seen:
    """The same request with another number."""
    body = json.loads(re.sub(r"question \d+", f"question {number}", json.dumps(seen.body)))
    return dataclasses.replace(seen, body=body)
