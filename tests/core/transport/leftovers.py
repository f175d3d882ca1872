"""What a piece of work leaves behind in the process."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path


def sockets() -> Counter[str]:
    """The open sockets of this process."""
    found: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:"):
            found[target] += 1
    return found


def open_files() -> int:
    """How many file descriptors are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def leaves_nothing(work: Callable[[], object]) -> None:
    """Do the work; fail if descriptors or threads are left over a moment later."""
    gc.collect()
    files, threads = open_files(), threading.active_count()
    work()
    deadline = time.monotonic() + 1
    while (open_files(), threading.active_count()) != (files, threads) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert (open_files(), threading.active_count()) == (files, threads)
