"""A batch beside a plain gather: what each takes of memory and time.

``python -m benchmarks.batch [ROWS [WAY ...]]``: each way in a process of its own, against one
scripted server in another; prints a table. All ask the same rows with the same object.

``python -m benchmarks.batch replicas [ROWS [SCALE]]``: how much of the places of three replicas
each way makes use of (``benchmarks/replicas.py``).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from opea_core import OPEA, ChatResponse
from opea_core.batch import run
from opea_core.testing import ScriptedServer

ROWS = 20_000
_LATENCY = 0.05
_PAGE = 4096
_LOOK = 0.01


def resident() -> float:
    """MB of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * _PAGE / 1e6


class Watch:
    """Notes the most memory that is held, and when the output has its first row."""

    def __init__(self, output: Path) -> None:
        self.before = self.most = resident()
        self.first: float | None = None
        self._output = output
        self._over = threading.Event()
        self._started = time.perf_counter()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_LOOK):
            self.most = max(self.most, resident())
            if self.first is None and self._output.exists() and self._output.stat().st_size:
                self.first = time.perf_counter() - self._started


def by_gather(opea: OPEA, source: Path, output: Path) -> None:
    """What people write first: all at once, and the file at the end."""

    rows = [json.loads(line) for line in source.read_text("utf-8").splitlines()]

    async def ask() -> list[ChatResponse]:
        return await asyncio.gather(*(opea.achat(row["prompt"]) for row in rows))

    with output.open("w", encoding="utf-8") as file:
        for reply in asyncio.run(ask()):
            file.write(json.dumps(reply.raw) + "\n")


def by_batch(opea: OPEA, source: Path, output: Path) -> None:
    """The same as a batch."""
    run(opea, source, output)


WAYS = {"gather": by_gather, "batch": by_batch}


def measured(way: str, url: str, source: Path, output: Path) -> dict[str, Any]:
    """What one way takes; runs in a process of its own."""
    with OPEA(url, model="scripted-model") as opea:
        opea.chat("warm")
        started, used = time.perf_counter(), time.process_time()
        with Watch(output) as watch:
            WAYS[way](opea, source, output)
        seconds, cpu = time.perf_counter() - started, time.process_time() - used
    lines = output.read_bytes().count(b"\n")
    return {
        "way": way,
        "rows": lines,
        "seconds": seconds,
        "cpu": cpu,
        "before": watch.before,
        "most": watch.most,
        "first": watch.first,
    }


_COLUMNS = ("", "rows", "seconds", "CPU ms/row", "MB", "MB more", "first row")


def main(rows: int = ROWS, *ways: str) -> None:
    """Measure the ways, or all of them, and print the table."""
    with ScriptedServer(latency=_LATENCY) as server, tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.jsonl"
        lines = (json.dumps({"prompt": f"Row {number}."}) + "\n" for number in range(rows))
        source.write_text("".join(lines), "utf-8")
        print("".join(f"{name:>11}" for name in _COLUMNS), flush=True)
        for way in ways or WAYS:
            output = Path(folder) / f"{way}.jsonl"
            line = [sys.executable, "-m", "benchmarks.batch", "measure", way, server.url]
            line += [str(source), str(output)]
            done = subprocess.run(line, stdout=subprocess.PIPE, check=True)  # noqa: S603
            _show(json.loads(done.stdout))


def _show(found: dict[str, Any]) -> None:
    first = found["first"] or found["seconds"]
    cells = (
        found["way"],
        f"{found['rows']:,}",
        f"{found['seconds']:.1f}",
        f"{found['cpu'] / max(1, found['rows']) * 1000:.2f}",
        f"{found['most']:.0f}",
        f"{found['most'] - found['before']:.0f}",
        f"{first:.2f} s",
    )
    print("".join(f"{cell:>11}" for cell in cells), flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    if given[:1] == ["replicas"]:
        import_module("benchmarks.replicas").main(*map(int, given[1:2]), *map(float, given[2:3]))
    elif given[:1] == ["measure"]:
        print(json.dumps(measured(given[1], given[2], Path(given[3]), Path(given[4]))))
    else:
        main(int(given[0]) if given else ROWS, *given[1:])
