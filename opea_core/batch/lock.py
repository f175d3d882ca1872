"""One writer at a time: a lock that the system takes back when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from opea_core.errors import ConfigurationError

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_BYTE = 1 << 30
"""Windows locks bytes, and nobody can read a locked one: it is far behind the text."""


class Lock:
    """Holds a file locked; what is written in it only tells others who holds it.

    The system ends the lock with its process, so one that was killed leaves nothing to clear away.
    """

    def __init__(self, path: Path, output: Path) -> None:
        """Take it, or raise ConfigurationError that names the holder."""
        self._path = path
        self.problem: str | None = None
        """Why nothing is locked, where the folder's file system has no locks."""
        while True:
            self._file = _opened(path)
            try:
                _lock(self._file)
            except OSError as error:
                # The folder can be written all the same, so a warning has to do.
                if error.errno in _UNSUPPORTED:
                    self.problem = (
                        f"Files cannot be locked in {path.parent}: "
                        f"see to it that no other run writes to {output.name}."
                    )
                else:
                    holder = _holder(self._file)
                    os.close(self._file)
                    raise ConfigurationError(
                        f"{output} is being written by {holder}.",
                        "Wait for its end, or end it; or choose another output.",
                    ) from None
            # A lock on a file that was unlinked keeps nobody away.
            if _is_same(self._file, path):
                break
            os.close(self._file)  # the holder before us took its file away
        self._sign()

    def _sign(self) -> None:
        text = json.dumps(
            {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
        ).encode()
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        # A full disk must not keep a run from being told so where it writes answers.
        with contextlib.suppress(OSError):
            os.write(self._file, text)

    def release(self) -> None:
        """Give it back and take its file away."""
        with contextlib.suppress(OSError):  # Windows keeps a file that is open
            os.unlink(self._path)
        os.close(self._file)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    except OSError as error:
        raise ConfigurationError(
            f"Nothing can be written in {path.parent}: {error.strerror or error}.",
            "Nothing was sent. Choose an output in a folder that exists and that you may write to.",
        ) from None


def _lock(file: int) -> None:
    if sys.platform == "win32":  # untested: written after Python's documentation
        import msvcrt

        os.lseek(file, _BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_same(file: int, path: Path) -> bool:
    """Whether the file that is locked is still the one that others find."""
    try:
        there = os.stat(path)
    except OSError:
        return False
    ours = os.fstat(file)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _holder(file: int) -> str:
    """Who holds a lock, as far as the file tells."""
    os.lseek(file, 0, os.SEEK_SET)
    try:
        found: Any = json.loads(os.read(file, 4096))
        return f"process {int(found['pid'])} on {found['host']} (since {found['since']})"
    except (ValueError, KeyError, TypeError, OSError):
        return "another process"
