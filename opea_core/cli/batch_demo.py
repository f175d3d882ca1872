"""A part of ``opea demo``: a batch whose process is killed in the middle, and goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opea_core.cli.demo import Stage

_LEAST = 100
"""With fewer rows the batch would be over before it could be killed."""
_LOOK = 0.005
_PATIENCE = 60.0


def batch(stage: Stage) -> None:
    """Rows out of a file, their answers into another, over a kill."""
    rows = stage.calls
    if not stage.servers:
        stage.console.fact("skipped", "It asks hundreds of rows; try it yourself with: opea batch")
        return
    if rows < _LEAST:
        stage.console.fact("skipped", f"It needs {_LEAST} rows to be killed in the middle.")
        return
    with tempfile.TemporaryDirectory() as folder:
        _Batch(stage, Path(folder), rows).show()


class _Batch:
    def __init__(self, stage: Stage, folder: Path, rows: int) -> None:
        self._console = stage.console
        self._folder = folder
        self._rows = rows
        self._output = folder / "answers.jsonl"
        urls = [word for server in stage.servers.values() for word in ("--url", server.url)]
        self._line = [sys.executable, "-m", "opea_core", "batch", "prompts.jsonl"]
        self._line += ["-o", self._output.name, *urls, "--progress", "none"]
        self._line += ["--max-concurrent", str(8 * len(stage.servers)), "--summary-json"]

    def show(self) -> None:
        """Run it, kill it, run it again, and count."""
        say = self._console.say
        with (self._folder / "prompts.jsonl").open("w") as file:
            for number in range(self._rows):
                file.write(json.dumps({"id": f"r{number}", "prompt": f"Row {number}."}) + "\n")
        say("opea batch prompts.jsonl -o answers.jsonl --url north --url south --url west")
        self._run_and_kill()
        there = self._answered()
        say(f"killed     with {there.total()} of {self._rows} rows in answers.jsonl (kill -9)")
        say("the same command again")
        done = self._start().communicate(timeout=_PATIENCE)[0]
        summary = json.loads(done)
        found = self._answered()
        twice = sum(count > 1 for count in found.values())
        for warning in summary["warnings"]:
            self._console.fact("mended", warning)
        before = summary["there_before"]
        self._console.fact(
            "summary",
            f"{summary['answered']} of {summary['rows']} rows answered "
            f"({before} before, {summary['answered'] - before} now)",
        )
        self._console.fact(
            "the file", f"{len(found)} rows, missing {self._rows - len(found)}, twice {twice}"
        )
        if len(found) != self._rows or twice:
            raise RuntimeError("The batch lost or doubled a row.")

    def _start(self) -> subprocess.Popen[bytes]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("OPEA_")}
        return subprocess.Popen(  # noqa: S603 - the line is our own
            self._line,
            cwd=self._folder,
            env=plain,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def _run_and_kill(self) -> None:
        """Kill it when a third of the rows is answered."""
        until = time.monotonic() + _PATIENCE
        with self._start() as running:
            while running.poll() is None and time.monotonic() < until:
                if self._output.exists() and self._lines() >= self._rows // 3:
                    break
                time.sleep(_LOOK)
            running.kill()

    def _lines(self) -> int:
        return self._output.read_bytes().count(b"\n")

    def _answered(self) -> Counter[str]:
        """How often each row is in the output; a torn last line is none."""
        lines = self._output.read_bytes().split(b"\n")[:-1]
        return Counter(json.loads(line)["custom_id"] for line in lines)
