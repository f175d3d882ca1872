"""The files of a batch from its beginning to its end: locked, made whole, appended to, tidied."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from array import array
from collections.abc import Callable, Mapping
from typing import IO, Any, Protocol

from opea_core.batch import tables
from opea_core.batch.identity import id_digest
from opea_core.batch.job import Job, Paths
from opea_core.batch.journal import (
    Appender,
    Entry,
    entries,
    read_entry,
    repair,
    replacement,
    replacing,
    rewrite,
)
from opea_core.batch.ledger import Ledger
from opea_core.batch.lock import Lock
from opea_core.batch.manifest import Manifest
from opea_core.batch.summary import FailureKind
from opea_core.display_text import fit
from opea_core.errors import ConfigurationError

# A loss of power costs a second of answers at most.
_SYNC_EVERY = 1.0
_SHOWN = 100
"""Characters of an id in the summary; they are of the input, and may be anything."""


class Files(Protocol):
    """Where answers and failures go."""

    warnings: list[str]
    problem: str | None
    """Why nothing can be written any more."""

    def answer(self, line: bytes, model: str) -> None:
        """Write the line of an answer; raises OSError."""

    def failure(self, line: bytes) -> None:
        """Write the line of a failure; raises OSError."""

    async def sync_often(self) -> None:
        """Have what was written put on disk now and then, without end."""

    def finish(self, columns: list[str] | None, tidily: bool, **more: Any) -> None:
        """Nothing more is written: close all, and with ``tidily`` put all in order."""

    def failures(self) -> dict[str, FailureKind]:
        """The rows that failed, by class of error."""
        ...


class Stdout:
    """Everything to standard output; nothing is kept, so no run can go on."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.problem: str | None = None
        self._failed: dict[str, FailureKind] = {}

    def answer(self, line: bytes, model: str) -> None:  # noqa: ARG002 - nothing is noted
        """Write the line of an answer."""
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    def failure(self, line: bytes) -> None:
        """Write the line of a failure: its ``error`` tells it from an answer."""
        self.answer(line, "")
        entry = read_entry(line)
        assert entry is not None
        _count(self._failed, entry)

    async def sync_often(self) -> None:
        """Standard output has nothing to put on disk."""

    def finish(self, columns: list[str] | None, tidily: bool, **more: Any) -> None:
        """It stays open: it is not ours."""

    def failures(self) -> dict[str, FailureKind]:
        """The rows that failed, by class of error."""
        return self._failed


class Folder:
    """The output and the files beside it."""

    def __init__(self, paths: Paths, job: Job, ledger: Ledger) -> None:
        """Lock, repair and read what is there; raises ConfigurationError before any row is sent."""
        self.warnings: list[str] = []
        self.problem: str | None = None
        self._paths = paths
        self._job = job
        self._ledger = ledger
        self._failed: dict[str, FailureKind] = {}
        self._lock = Lock(paths.lock, paths.output)
        with contextlib.ExitStack() as stack:
            stack.callback(self._lock.release)
            self._begin(stack)
            stack.pop_all()

    def _begin(self, stack: contextlib.ExitStack) -> None:
        """Open what is written to; ``stack`` closes it again if the run cannot begin."""
        paths = self._paths
        # Without its journal nobody knows what was answered, and the file would be overwritten.
        if paths.output != paths.journal and paths.output.exists() and not paths.journal.exists():
            raise ConfigurationError(
                f"{paths.output} is not the output of a run: {paths.journal.name} is missing.",
                "Choose another output, or move that file away.",
            )
        if self._lock.problem is not None:
            self.warnings.append(self._lock.problem)
        self._manifest = Manifest(paths.manifest, paths.output.name, self._job.conditions)
        try:
            for path in (paths.journal, paths.output, paths.errors, paths.manifest):
                replacement(path).unlink(missing_ok=True)  # a run was killed while it wrote that
            # What a crash left must be whole before anything is appended (M9).
            self._load()
            self._answers = stack.enter_context(contextlib.closing(Appender(paths.journal)))
            self._errors = stack.enter_context(contextlib.closing(Appender(paths.errors)))
            self._manifest.write()
        except OSError as error:
            raise ConfigurationError(
                f"{error.filename or paths.output} cannot be used: {error.strerror or error}.",
                "Nothing was sent.",
            ) from None
        if self._ledger.found:
            self.warnings += [f"going on: {text}" for text in self._manifest.differences]

    def _load(self) -> None:
        paths, ledger = self._paths, self._ledger
        for path, take in (
            (paths.journal, ledger.found_answer),
            (paths.errors, ledger.found_failure),
        ):
            mended = repair(path, paths.damaged, take)
            if mended.torn:
                self.warnings.append(f"the torn last line of {path.name} was cut off")
            if mended.damaged:
                self.warnings.append(
                    f"{mended.damaged} lines of {path.name} cannot be read; they are in "
                    f"{paths.damaged.name}, and their rows are asked again"
                )
        if self._job.ordered:
            # Eight bytes a row, where a list of numbers takes forty.
            ledger.order = array("Q")

    # --- while it runs

    def answer(self, line: bytes, model: str) -> None:
        """Append the line of an answer; raises OSError."""
        self._answers.append(line)
        told = self._manifest.answered_by(model)
        if told is not None:
            self.warnings.append(told)

    def failure(self, line: bytes) -> None:
        """Append the line of a failure; raises OSError."""
        self._errors.append(line)

    async def sync_often(self) -> None:
        """Have what was written put on disk every second; ends with ``problem`` if that fails."""
        while self.problem is None:
            await asyncio.sleep(_SYNC_EVERY)
            try:
                # A sync may take seconds on a slow disk, and the calls go on meanwhile.
                await asyncio.to_thread(self._sync)
            except OSError as error:
                self.problem = self.unwritable(error)

    def _sync(self) -> None:
        self._answers.sync()
        self._errors.sync()

    def unwritable(self, error: OSError) -> str:
        """What to say when something cannot be written."""
        return (
            f"{self._paths.journal} cannot be written: {error.strerror or error}. "
            "What was written is whole; make room, and run the same command again."
        )

    # --- at the end

    def finish(self, columns: list[str] | None, tidily: bool, **more: Any) -> None:
        """Close the files; with ``tidily`` put all in order, and write outputs of other forms."""
        try:
            for file in (self._answers, self._errors):
                try:
                    file.close()
                except OSError as error:
                    self.problem = self.problem or self.unwritable(error)
            if self.problem is None:
                self._tidy(columns, tidily, more)
        except OSError as error:
            self.problem = self.unwritable(error)
        finally:
            self._lock.release()

    def _tidy(self, columns: list[str] | None, tidily: bool, more: Mapping[str, Any]) -> None:
        paths, ledger = self._paths, self._ledger
        self._tidy_errors()
        if tidily and ledger.untidy:
            _supersede(paths, ledger)
        if tidily and ledger.order is not None:
            _sort(paths, ledger.order)
        if tidily and paths.output != paths.journal:
            tables.write(paths.output, self._job.form, self._job.schema, columns, paths.journal)
        self._manifest.write(ended=more)

    def _tidy_errors(self) -> None:
        """Leave the last line of each row that still has no answer, and count them."""
        path, last = self._paths.errors, dict[int, int]()
        for number, (_, entry) in enumerate(entries(path)):
            if entry is not None and self._ledger.is_failed(entry):
                last[id_digest(entry.id)] = number
        kept, count = set(last.values()), 0
        for number, (_, entry) in enumerate(entries(path)):
            count += 1
            if number in kept and entry is not None:
                _count(self._failed, entry)
        if not kept:
            path.unlink()
        elif len(kept) < count:
            numbers = iter(range(count))
            rewrite(path, lambda *_: next(numbers) in kept)

    def failures(self) -> dict[str, FailureKind]:
        """The rows that failed, by class of error; known when all is finished."""
        return self._failed


def _count(failed: dict[str, FailureKind], entry: Entry) -> None:
    name = str(entry.document["opea"].get("class"))
    kind = failed.get(name)
    if kind is None:
        words = (entry.document.get("error") or {}).get("message", "")
        may_help = bool(entry.document["opea"].get("retryable"))
        failed[name] = FailureKind(1, fit(entry.id, _SHOWN), fit(str(words), 4 * _SHOWN), may_help)
    else:
        kind.count += 1


def _supersede(paths: Paths, ledger: Ledger) -> None:
    """Move the answers to requests that rows no longer have into a file of their own."""
    # A run that was killed here may have left a torn line.
    repair(paths.superseded, paths.damaged, lambda _: None)
    known = {hash(line) for line, _ in entries(paths.superseded)}
    seen = set[int]()

    def keeps(line: bytes, entry: Entry | None) -> bool:
        if entry is None:
            return False
        if not ledger.is_current(entry):
            if hash(line) not in known:  # a run that was killed right here moved it already
                old.write(line)
            return False
        digest = id_digest(entry.id)
        # An answer may be there twice, where a run was killed while it put the files in order.
        is_first = digest not in seen
        seen.add(digest)
        return is_first

    with paths.superseded.open("ab") as old:
        _rewrite_after(old, paths, keeps)
    if not paths.superseded.stat().st_size:
        paths.superseded.unlink()


def _rewrite_after(
    old: IO[bytes], paths: Paths, keeps: Callable[[bytes, Entry | None], bool]
) -> None:
    """Rewrite the output; what is moved away is on disk before it is gone from there."""
    with replacing(paths.journal) as file:
        for line, entry in entries(paths.journal):
            if keeps(line, entry):
                file.write(line)
        # In this order: a kill leaves an answer in both files, and never in none (M12).
        old.flush()
        os.fsync(old.fileno())


def _sort(paths: Paths, order: array[int]) -> None:
    """Bring the output into the order of the input; rows that are not of this input come last."""
    # Positions in the file and not its lines, which may be more than memory holds.
    offsets, at = dict[int, int](), 0
    for line, entry in entries(paths.journal):
        if entry is not None:
            offsets[id_digest(entry.id)] = at
        at += len(line)
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(paths.journal.open("rb"))
        new = stack.enter_context(replacing(paths.journal))
        for digest in order:
            _copy(old, new, offsets.pop(digest, None))
        # Answers to rows of another input, or beyond a limit, are not ours to drop.
        for offset in offsets.values():
            _copy(old, new, offset)


def _copy(old: Any, new: Any, offset: int | None) -> None:
    if offset is not None:
        old.seek(offset)
        new.write(old.readline())
