"""Batches that are killed, cut and starved, over and over: nothing may be lost, nothing doubled.

``python tests/core/batch/torture.py [ROUNDS]`` prints a line for each round, and the sums at the
end. A round: some runs of one batch, each killed at a random instruction, or let on a full disk;
between them the output is cut at a random byte now and then; the server has outages and answers
429. A last run is let alone. Then every row is in the output once, or something is broken.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from jobs import answers, asked, echo, prompts

from opea_core.testing import Answer, ScriptedServer, Seen, error

KILLED = Path(__file__).with_name("killed.py")
_PATIENCE = 120


@dataclass
class Round:
    """One batch and what was done to it."""

    server: ScriptedServer
    folder: Path
    rows: int
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    """What was done, and how often."""
    is_mounted: bool = False

    @property
    def output(self) -> Path:
        """Where the answers are."""
        return self.folder / "answers.jsonl"

    def run(self, kill_at: int = 0, largest: int = 0) -> int:
        """One run in a process of its own; gives how it ended."""
        source = self.folder / "in.jsonl"
        if not source.exists():
            prompts(source, self.rows)
        line = [sys.executable, str(KILLED), self.server.url, str(source), str(self.output)]
        line += [str(kill_at), str(largest)]
        ended = subprocess.run(line, capture_output=True, text=True, check=False, timeout=_PATIENCE)
        full = any(words in ended.stderr for words in ("No space left", "File too large"))
        if ended.returncode not in (0, 1, 2 if full else 1, -signal.SIGKILL):
            raise AssertionError(f"a run ended with {ended.returncode}: {ended.stderr}")
        self.done["killed"] += ended.returncode == -signal.SIGKILL
        self.done["full"] += full
        return ended.returncode

    def run_on_small_disk(self) -> None:
        """One run on a disk that is full before its end; then there is room."""
        size = self.chance.randint(4, 48)
        if not self._mount(f"size={size}k"):
            self.run(largest=self.chance.randint(200, self.rows * 500))
            return
        self.run()
        self._mount("remount,size=16m")

    def _mount(self, options: str) -> bool:
        """Make the folder a file system of its own, or change it, where that is permitted."""
        line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        try:
            self.is_mounted = not subprocess.run(line, capture_output=True, check=False).returncode
        except OSError:
            self.is_mounted = False
        return self.is_mounted

    def close(self) -> None:
        """Take the file system away."""
        if self.is_mounted:
            subprocess.run(["umount", str(self.folder)], check=True)

    def cut(self) -> None:
        """Cut a file at a random byte, as a crash of the system would."""
        for name in ("answers.jsonl", "answers.errors.jsonl", "answers.manifest.json"):
            path = self.folder / name
            if path.exists() and self.chance.random() < 0.4:
                with suppress(OSError), path.open("rb+") as file:
                    file.truncate(self.chance.randint(0, path.stat().st_size))
                    self.done["cut"] += 1

    def check(self) -> tuple[int, int]:
        """Rows that are lost, and rows that are there twice or wrong."""
        text = self.output.read_bytes()
        wanted = {f"r{n}": f"p{n}" for n in range(self.rows)}
        found = answers(self.output)  # fails for an id that is there twice
        wrong = sum(wanted.get(row) != answer for row, answer in found.items())
        return len(wanted.keys() - found.keys()), wrong + (not text.endswith(b"\n"))


class Weather:
    """A server that is well, refuses or is broken, as chance will have it."""

    def __init__(self, server: ScriptedServer, chance: random.Random) -> None:
        self._server = server
        self._chance = chance
        self._lock = threading.Lock()
        self._outage_at = chance.randint(5, 200)

    def __call__(self, seen: Seen) -> Answer:
        """Called in the server's thread."""
        with self._lock:
            dice = self._chance.random()
            self._outage_at -= 1
            if self._outage_at == 0:
                self._server.pause()
                threading.Timer(0.3, self._server.resume).start()
        if dice < 0.05:
            return error(429, "too many", headers={"retry-after": "0.01"})
        return error(503, "out of order") if dice < 0.08 else echo(seen)


def instructions(server: ScriptedServer, folder: Path, rows: int) -> int:
    """How many instructions a whole run takes."""
    source = prompts(folder / "in.jsonl", rows)
    line = [
        sys.executable,
        str(KILLED),
        server.url,
        str(source),
        str(folder / "whole.jsonl"),
        "0",
        "0",
    ]
    ended = subprocess.run(line, capture_output=True, text=True, check=True, timeout=_PATIENCE)
    return int(ended.stderr.split()[0])


def play(server: ScriptedServer, folder: Path, rows: int, whole: int, seed: int) -> Round:
    """One round: some broken runs, then one that is let alone, twice if the first met an outage."""
    chance = random.Random(seed)
    found = Round(server, folder, rows, chance)
    server.always(Weather(server, random.Random(seed)))
    if chance.random() < 0.4:
        found.run_on_small_disk()
    for _ in range(chance.randint(1, 3)):
        found.run(kill_at=chance.randint(1, whole))
        found.cut()
    for _ in range(5):
        if found.run(kill_at=-1) == 0:
            break
    return found


def main(rounds: int = 50, rows: int = 60) -> int:
    """Play all rounds; gives 0 if nothing was lost and nothing doubled."""
    lost = doubled = 0
    totals = Counter[str]()
    with ScriptedServer() as server, tempfile.TemporaryDirectory() as base:
        server.always(echo)
        folder = Path(base) / "whole"
        folder.mkdir()
        whole = instructions(server, folder, rows)
        print(f"a whole run of {rows} rows takes {whole:,} instructions in what writes")
        for number in range(1, rounds + 1):
            folder = Path(base) / str(number)
            folder.mkdir()
            server.seen.clear()
            found = play(server, folder, rows, whole, number)
            missing, wrong = found.check()
            found.close()
            lost, doubled = lost + missing, doubled + wrong
            totals += found.done
            told = ", ".join(f"{count} {what}" for what, count in found.done.items() if count)
            again = sum(asked(server).values()) - rows
            print(f"round {number:3}: {told or 'nothing done'}; asked {again} times more than rows")
    told = ", ".join(f"{count} {what}" for what, count in totals.items())
    print(f"{rounds} rounds: {told}; lost {lost}, doubled {doubled}")
    return int(bool(lost or doubled))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
