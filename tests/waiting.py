"""Threads of tests, and waiting for what must happen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


def until(predicate: Callable[[], bool], what: str, patience: float = 5) -> None:
    """Block until the predicate holds; TimeoutError otherwise."""
    end = time.monotonic() + patience
    while not predicate():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience:g} s for {what} in vain")
        threading.Event().wait(0.002)


def in_threads(*calls: Callable[[], Any]) -> tuple[list[threading.Thread], list[Any]]:
    """Start each call in a thread of its own;
    gives the threads and the list their results go to.
    """
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda call=call: results.append(call()), daemon=True)
        for call in calls
    ]
    for thread in threads:
        thread.start()
    return threads, results


def joined(threads: list[threading.Thread], patience: float = 5) -> None:
    """Wait for threads to end; TimeoutError for one that does not."""
    for thread in threads:
        thread.join(patience)
        if thread.is_alive():
            raise TimeoutError("a thread hangs")
