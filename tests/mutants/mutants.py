"""Does a test notice? Breaks one rule at a time in a copy, and runs the tests that must fail.

``python tests/mutants/mutants.py [words of names] [-j 2] [--list]``: exit code 1 if a variant is
missed, if its text is no longer there, or if its tests fail without any change.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import variants_adapters
import variants_answers
import variants_batch
import variants_doctor
import variants_flow
import variants_limits
import variants_origins
import variants_policy
import variants_ray
import variants_refusals
import variants_responses
import variants_scheduler
import variants_shared
import variants_transport
import variants_transports
import variants_unread_bytes
import variants_wire
import variants_woken
from variant import Variant

ROOT = Path(__file__).parents[2]
PARTS = ("opea_core", "langchain_opea", "llama_index_opea", "tests", "pyproject.toml")
PATIENCE = 60.0
"""Seconds for the tests of one variant; whoever hangs for longer is caught."""
VARIANTS: list[Variant] = [
    *variants_policy.VARIANTS,
    *variants_limits.VARIANTS,
    *variants_scheduler.VARIANTS,
    *variants_flow.VARIANTS,
    *variants_wire.VARIANTS,
    *variants_refusals.VARIANTS,
    *variants_ray.VARIANTS,
    *variants_responses.VARIANTS,
    *variants_transport.VARIANTS,
    *variants_transports.VARIANTS,
    *variants_unread_bytes.VARIANTS,
    *variants_answers.VARIANTS,
    *variants_adapters.VARIANTS,
    *variants_woken.VARIANTS,
    *variants_origins.VARIANTS,
    *variants_batch.VARIANTS,
    *variants_shared.VARIANTS,
    *variants_doctor.VARIANTS,
]


def broken(variant: Variant, root: Path = ROOT) -> str:
    """The text of the file with the rule broken;
    ValueError if the rule is not there exactly once.
    """
    text = (root / variant.file).read_text("utf-8")
    if text.count(variant.old) != 1:
        raise ValueError(f"its text occurs {text.count(variant.old)} times in {variant.file}")
    return text.replace(variant.old, variant.new)


def copied(to: Path) -> Path:
    """A copy of the project that may be broken."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, to / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, to / part)
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", *PARTS[:4]],
        cwd=to,
        check=False,
        stdout=subprocess.DEVNULL,
    )
    return to


@contextlib.contextmanager
def applied(variant: Variant, copy: Path) -> Iterator[None]:
    """The rule is broken in here."""
    path = copy / variant.file
    before, times = path.read_bytes(), path.stat()
    path.write_text(broken(variant, copy), "utf-8")
    try:
        yield
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def run(tests: str, copy: Path, patience: float = PATIENCE) -> tuple[str, str]:
    """What becomes of the tests (``passed``, ``failed``, ``hang`` or what went wrong),
    and the first that failed.
    """
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--tb=no",
        "-p",
        "no:cacheprovider",
        *shlex.split(tests),
    ]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command,
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "hang", f"no end after {patience:g} s"
    first = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    status = {0: "passed", 1: "failed"}.get(
        process.returncode, f"pytest ended with {process.returncode}"
    )
    return status, first.group(1) if first else output.strip().splitlines()[
        -1
    ] if output.strip() else ""


class Workshop:
    """Copies of the project, one for each that works at a time."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.workers = workers
        self._copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(workers):
            self._copies.put(copied(folder / f"copy{number}"))

    def try_out(self, tests: str, variant: Variant | None = None) -> tuple[str, str, float]:
        """Run tests on a copy, as it is or broken; status, first failure, seconds."""
        copy, start = self._copies.get(), time.monotonic()
        try:
            with applied(variant, copy) if variant else contextlib.nullcontext():
                status, why = run(tests, copy, PATIENCE if variant else 10 * PATIENCE)
        except ValueError as error:
            status, why = "stale", str(error)
        finally:
            self._copies.put(copy)
        return status, why, time.monotonic() - start


def chosen(words: list[str]) -> list[Variant]:
    """The variants whose names hold one of the words; all if there are none."""
    return [
        variant
        for variant in VARIANTS
        if not words or any(word.lower() in variant.name.lower() for word in words)
    ]


def main() -> int:
    """Try out the variants; 0 if every one is caught."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("words", nargs="*", help="only variants whose names hold one of these")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="only tell their names")
    options = parser.parse_args()
    variants = chosen(options.words)
    if options.list:
        print("\n".join(variant.name for variant in variants))
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        ThreadPoolExecutor(options.jobs) as pool,
    ):
        return report(variants, Workshop(Path(folder), options.jobs), pool)


def in_groups(tests: set[str], count: int) -> list[str]:
    """The tests, spread over so many runs."""
    listed = sorted(tests)
    return [" ".join(group) for group in (listed[n::count] for n in range(count)) if group]


def report(variants: list[Variant], workshop: Workshop, pool: ThreadPoolExecutor) -> int:
    """Tests first without any change, then with each; tells what came out."""
    groups = in_groups(
        {
            part
            for variant in variants
            for part in shlex.split(variant.tests)
            if part.startswith("tests/")
        },
        workshop.workers,
    )
    bad = [
        f"fails without any change ({status}): {why}"
        for status, why, _ in pool.map(workshop.try_out, groups)
        if status != "passed"
    ]
    caught = 0
    tried = pool.map(lambda variant: workshop.try_out(variant.tests, variant), variants)
    for variant, (status, why, seconds) in zip(variants, tried, strict=True):
        good = status in ("failed", "hang")
        caught += good
        word = (
            "HANG"
            if status == "hang"
            else "caught"
            if good
            else "MISSED"
            if status == "passed"
            else status.upper()
        )
        print(f"{word} {variant.name} | {why} ({seconds:.1f} s)", flush=True)
        if not good:
            bad.append(f"{word}: {variant.name} ({why})")
    print(f"{caught} of {len(variants)} caught", *bad, sep="\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
