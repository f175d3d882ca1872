"""What a piece of work leaves behind in the process."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path


def open_files() -> int:
    """How many file descriptors are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def leaves_nothing(work: Callable[[], object]) -> None:
    """Do the work; fail if descriptors or threads are left over a moment later."""
    gc.collect()
    files, threads = open_files(), threading.active_count()
    work()
    deadline = time.monotonic() + 2
    while (
        open_files() > files or threading.active_count() > threads
    ) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert max(0, open_files() - files) == max(0, threading.active_count() - threads) == 0
