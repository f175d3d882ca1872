"""A file of lines that is only ever appended to, and whole again after any end of its writer.

A line counts once its line end is in the file. What stands behind the last whole line was torn by
a crash and is cut off before anything is appended. Files are rewritten beside themselves and put
in place by renaming, so that at each moment the old or the new one is there, and both are whole.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from opea_core.errors import ConfigurationError

BEGIN = b'{"id":"batch_req_'
"""How each line of ours begins."""


class Entry(NamedTuple):
    """A line of ours."""

    id: str
    hash: str
    document: dict[str, Any]


def read_entry(line: bytes) -> Entry | None:
    """A line of ours, or None for anything else."""
    if not line.startswith(BEGIN):
        return None
    try:
        document = json.loads(line)
        found = Entry(document["custom_id"], document["opea"]["hash"], document)
        # The index needs it as a number.
        int(found.hash[:16], 16)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found.id, str) else None


def entries(path: Path) -> Iterator[tuple[bytes, Entry | None]]:
    """Each line of a file, and what it says; nothing where there is no file."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                yield line, read_entry(line)


class Repair(NamedTuple):
    """What was found in a file, and repaired."""

    torn: bool
    """Its last line was not whole."""
    damaged: int
    """Lines that cannot be read and were moved away."""


def repair(path: Path, aside: Path, take: Callable[[Entry], None]) -> Repair:
    """Make a file whole and hand each of its lines to ``take``.

    A torn last line is cut off. Other lines that cannot be read are moved to ``aside``: they may be
    of value to somebody. Raises ConfigurationError for a file that no run of ours wrote.
    """
    good, damaged, tail, entry = 0, list[bytes](), list[bytes](), None
    end, last = 0, b"\n"
    for line, entry in entries(path):
        end += len(line)
        if entry is None:
            tail.append(line)
            continue
        damaged, tail = damaged + tail, []
        good, last = end, line
        take(entry)
    # Nothing of it is ours: to repair it would destroy somebody's file.
    if not good and tail and not _may_be_ours(tail[0]):
        raise ConfigurationError(
            f"{path} is not the output of a run of ours, and nothing was written to it.",
            "Choose another output, or move that file away.",
        )
    is_torn = bool(tail) and not tail[-1].endswith(b"\n")
    lost = damaged + (tail[:-1] if is_torn else tail)
    # On disk there before it is gone here (M12).
    if lost:
        with aside.open("ab") as file:
            file.writelines(line if line.endswith(b"\n") else line + b"\n" for line in lost)
            _sync(file)
    # In the middle of the file, so cutting its end is not enough.
    if damaged:
        rewrite(path, lambda _, entry: entry is not None)
        return Repair(is_torn, len(lost))
    if tail:
        os.truncate(path, good)
    if good and not last.endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")  # cut right before its line end
    return Repair(is_torn, len(lost))


def _may_be_ours(line: bytes) -> bool:
    """Whether a line may begin as ours do, or is the zeros that a crash of the system leaves."""
    return line.startswith(BEGIN) or BEGIN.startswith(line) or not line.strip(b"\0")


def rewrite(path: Path, keeps: Callable[[bytes, Entry | None], bool]) -> None:
    """Leave out the lines that are not kept."""
    with replacing(path) as file:
        for line, entry in entries(path):
            if keeps(line, entry):
                file.write(line if line.endswith(b"\n") else line + b"\n")


def replacement(path: Path) -> Path:
    """The file that is written to take the place of another one."""
    return path.with_name(f"{path.name}.new")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of ``path`` at the end, if nothing went wrong."""
    new = replacement(path)
    try:
        with new.open("wb") as file:
            yield file
            _sync(file)
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    # The new name is in the folder, which is on disk only when the folder is.
    sync_folder(path.parent)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Have the names in a folder written to disk, where the system can do that."""
    if os.name == "posix":
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Appender:
    """Appends whole lines to a file."""

    def __init__(self, path: Path) -> None:
        """Open it; raises ConfigurationError if it cannot be written."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            # Without Python's buffer: each answer is one write, and in the file at once (M8).
            self._file = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o644)
        except OSError as error:
            raise ConfigurationError(
                f"{path} cannot be written: {error.strerror or error}.", "Nothing was sent."
            ) from None
        self._size = os.fstat(self._file).st_size
        self._is_synced = True

    def append(self, line: bytes) -> None:
        """Write a line; raises OSError if it does not fit, and leaves nothing of it then."""
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                # Half a line would spoil the next one (M15).
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)
        self._is_synced = False

    def sync(self) -> None:
        """Have all lines written to disk; raises OSError if that fails."""
        if not self._is_synced:
            # Before the sync: a line that is appended meanwhile counts as not synced.
            self._is_synced = True
            os.fsync(self._file)

    def close(self) -> None:
        """Have all lines written to disk, and close the file."""
        try:
            self.sync()
        finally:
            os.close(self._file)
