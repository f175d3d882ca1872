"""A batch over three replicas in other processes, beside a plain gather.

Each is a scripted server with 64 places. A call takes 0.05 to 1.25 s, at one replica four times as
long, and another one is gone for a while. How much of what the places allow does each way use?

``python -m benchmarks.batch replicas [ROWS [SCALE]]``: all times are SCALE times as long. With 4
calls take 0.2 to 5 s, and what a busy machine adds to each counts less.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ROWS = 12_000
PLACES = 64
TAKES = (0.05, 1.25)
"""Seconds of a call, all between them alike often."""
SLOWER = 4
GONE = (15.0, 30.0)
"""From when to when the third replica refuses connections, in seconds."""
_MOSTLY = 0.95
"""The share of the rows until which is measured: at the very end places stay free for all."""
_LONGEST = 400.0
"""Seconds after which a way is stopped, whatever it has."""
_MEAN = sum(TAKES) / 2
_SDK = "openai SDK"
WAYS = ("opea batch", "gather over OPEA", _SDK)
BEYOND = {"refused (503)": "refuse", "left waiting": "wait"}


class Found(NamedTuple):
    """What came of one way."""

    way: str
    answered: int
    seconds: float
    share: float
    """What was answered until 95 % of the answers were there, of what the places allow."""
    requests: float
    """For each answer."""


def allowed(end: float, scale: float) -> float:
    """How many calls the places of the three replicas can answer in so many seconds."""
    start, back = GONE
    end /= scale
    there = end - max(0.0, min(end, back) - start)
    return (end + end / SLOWER + there) * PLACES / _MEAN


# --- a replica, in a process of its own


def serve(beyond: str, factor: float) -> None:
    """Answer until standard input ends; its lines say ``pause`` and ``resume``."""
    from opea_core.testing import ScriptedServer, error

    class Replica(ScriptedServer):
        """Each request takes another time."""

        @property
        def latency(self) -> float:
            return factor * random.uniform(*TAKES)  # noqa: S311

        @latency.setter
        def latency(self, _: float) -> None:
            """It is drawn."""

    full: Any = "wait" if beyond == "wait" else error(503, "All places are taken.")
    with Replica(capacity=PLACES, overload=full) as server:
        print(server.url, flush=True)
        for line in sys.stdin:
            server.pause() if line.strip() == "pause" else server.resume()
        ends = [seen.ended_at for seen in server.seen if seen.answer == "200" and seen.finished]
        print(json.dumps({"requests": len(server.seen), "ends": ends}), flush=True)


@contextmanager
def replicas(beyond: str, scale: float) -> Iterator[list[subprocess.Popen[str]]]:
    """The three; the second one is slow."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(_python(sys.executable, "serve", beyond, str(factor * scale)))
            for factor in (1, SLOWER, 1)
        ]
        for one in started:
            stack.callback(one.kill)
        yield started


def _python(python: str, *words: str) -> subprocess.Popen[str]:
    line = [python, "-m", "benchmarks.replicas", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)  # noqa: S603


# --- those who ask, in a process of their own


def by_batch(urls: list[str], rows: int) -> int:
    """A file in, a file out."""
    from opea_core import OPEA
    from opea_core.batch import run

    with tempfile.TemporaryDirectory() as folder, OPEA(endpoints=urls, model="m") as opea:
        source = Path(folder) / "in.jsonl"
        lines = (json.dumps({"prompt": f"Row {number}."}) + "\n" for number in range(rows))
        source.write_text("".join(lines), "utf-8")
        return run(opea, source, Path(folder) / "out.jsonl").answered


def by_gather(urls: list[str], rows: int) -> int:
    """All at once over one object."""
    from opea_core import OPEA

    async def ask() -> list[Any]:
        async with OPEA(endpoints=urls, model="m") as opea:
            calls = (opea.achat(f"Row {number}.") for number in range(rows))
            return await asyncio.gather(*calls, return_exceptions=True)

    return sum(not isinstance(one, BaseException) for one in asyncio.run(ask()))


def by_sdk(urls: list[str], rows: int) -> int:
    """All at once, each replica in turn, with what the SDK does by default about failures."""
    from openai import AsyncOpenAI

    async def ask() -> list[Any]:
        clients = [AsyncOpenAI(base_url=url, api_key="none") for url in urls]
        calls = (
            clients[number % len(clients)].chat.completions.create(
                model="m", messages=[{"role": "user", "content": f"Row {number}."}]
            )
            for number in range(rows)
        )
        return await asyncio.gather(*calls, return_exceptions=True)

    return sum(not isinstance(one, BaseException) for one in asyncio.run(ask()))


_ASKS = dict(zip(WAYS, (by_batch, by_gather, by_sdk), strict=True))


def ask(way: str, rows: int, urls: list[str]) -> None:
    """Ask, and tell what came of it."""
    began = time.monotonic_ns()
    print(began, flush=True)
    answered = _ASKS[way](urls, rows)
    seconds = (time.monotonic_ns() - began) / 1e9
    print(json.dumps({"answered": answered, "seconds": seconds}), flush=True)


# --- one way after the other


def measured(way: str, python: str, beyond: str, rows: int, scale: float) -> Found | None:
    """What one way makes of fresh replicas; None if it does not come to its end in time."""
    with replicas(beyond, scale) as three:
        urls = [_line(one) for one in three]
        with _python(python, "ask", way, str(rows), *urls) as asking:
            began = int(_line(asking))
            timers = [
                threading.Timer(at * scale, _tell, (three[2], word))
                for at, word in zip(GONE, ("pause", "resume"), strict=True)
            ]
            timers.append(threading.Timer(_LONGEST * scale, asking.kill))
            for timer in timers:
                timer.start()
            said = asking.stdout.readline() if asking.stdout is not None else ""
            for timer in timers:
                timer.cancel()
        seen = [json.loads(_ended(one)) for one in three]
    ends = sorted((end - began) / 1e9 for one in seen for end in one["ends"])
    if not said:
        return None
    told = json.loads(said)
    last = max(0, int(len(ends) * _MOSTLY) - 1)
    share = (last + 1) / allowed(ends[last], scale) if ends else 0.0
    requests = sum(one["requests"] for one in seen) / max(1, told["answered"])
    return Found(way, told["answered"], told["seconds"], share, requests)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _tell(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def _ended(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    process.stdin.close()
    return _line(process)


def _with_sdk() -> str | None:
    """A Python that has the openai SDK: this one, or one of ``make compat``."""
    folder = ROOT / "build" / "compat"
    inner = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    for python in (sys.executable, *(str(folder / f"openai-{n}" / inner) for n in (3, 2))):
        look = [python, "-c", "import openai, opea_core"]
        if Path(python).exists():
            done = subprocess.run(look, stderr=subprocess.DEVNULL, check=False)  # noqa: S603
            if done.returncode == 0:
                return python
    return None


_COLUMNS = ("answered", "seconds", "share of the places", "requests per answer")


def main(rows: int = ROWS, scale: float = 1.0) -> None:
    """Measure each way and print the tables."""
    sdk = _with_sdk()
    for title, beyond in BEYOND.items():
        takes = " to ".join(f"{seconds * scale:g}" for seconds in TAKES)
        print(f"\nThree replicas, {rows:,} rows of {takes} s; beyond {PLACES} places: {title}")
        print(" " * 18 + "".join(f"{name:>21}" for name in _COLUMNS), flush=True)
        for way in WAYS:
            python = sdk if way == _SDK else sys.executable
            if python is None:
                print(f"{way:18}  skipped: not installed (make compat installs it)", flush=True)
                continue
            found = measured(way, python, beyond, rows, scale)
            if found is None:
                print(f"{way:18}  not done within {_LONGEST * scale:.0f} s", flush=True)
            else:
                _show(found)


def _show(found: Found) -> None:
    cells = (
        f"{found.answered:,}",
        f"{found.seconds:.0f}",
        f"{found.share:.0%}",
        f"{found.requests:.2f}",
    )
    print(f"{found.way:18}" + "".join(f"{cell:>21}" for cell in cells), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], float(sys.argv[3]))
    elif sys.argv[1:2] == ["ask"]:
        ask(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
