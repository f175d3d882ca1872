"""Real processes that share limits, some of them killed, over both stores."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from redis_server import running_redis
from waiting import until

from opea_core.testing import ScriptedServer

PROCESSES, KILLED = 6, 2
PLACES, TAKES = 8, 0.05
WORKER = Path(__file__).with_name("shared_worker.py")


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'limits.db'}"
        return
    with running_redis() as url:
        yield url


def serving(times: list[float]) -> ScriptedServer:
    """A server that takes its time, and notes when each request came."""
    return ScriptedServer(latency=TAKES, on_end=lambda seen: times.append(seen.at / 1e9))


@contextmanager
def workers(url: str, store: str, places: int, rpm: int) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, str(WORKER), url, store, str(places), str(rpm)]
    with ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            for _ in range(PROCESSES)
        ]
        try:
            for process in started:
                assert process.stdout is not None
                assert process.stdout.readline() == "asking\n"
            yield started
        finally:
            for process in started:
                process.kill()


def grown(times: list[float], count: int, seconds: float) -> None:
    """Wait until so many requests came in all."""
    until(lambda: len(times) >= count, f"{count} requests", patience=seconds)


@pytest.mark.slow
def test_places_are_shared_and_come_back_from_the_dead(store: str) -> None:
    times: list[float] = []
    with serving(times) as server, workers(server.url, store, PLACES, 0) as started:
        for process in started:  # each has been served
            assert process.stdout is not None
            assert process.stdout.readline() == "answered\n"
        for process in started[:KILLED]:
            process.kill()
        grown(times, len(times) + 1500, 150)
        assert server.max_in_flight <= PLACES + KILLED, "what the dead had in flight may still run"
        last = sorted(times)[-800:]
        used = len(last) / ((last[-1] - last[0]) * PLACES / TAKES)
        assert used > 0.5, "their share is used by the others (0.9 on an idle machine)"


@pytest.mark.slow
def test_requests_a_minute_are_never_more_than_the_limit(store: str) -> None:
    """The first minute's are sent within seconds, and the next ones as those come to an end."""
    rpm, times = 120, list[float]()
    with serving(times) as server, workers(server.url, store, 0, rpm) as started:
        grown(times, rpm // 2, 60)
        for process in started[:KILLED]:
            process.kill()
        grown(times, rpm + rpm // 2, 150)
    most = max(sum(at < one <= at + 60 for one in times) for at in times)
    assert most <= rpm * 1.01
