"""Work in a forked child."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable

FORKS = hasattr(os, "fork")


def in_a_child(work: Callable[[], bool]) -> bool:
    """Whether the work goes well in a forked child."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # 3.12 warns of forks in a process with threads: the server is one
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            threading.Timer(8, os._exit, (9,)).start()
            status = 0 if work() else 1
        except BaseException:  # noqa: BLE001 - a child of a test must not go on with the tests
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    end = time.monotonic() + 15
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:  # it hangs in the fork itself
            os.kill(pid, signal.SIGKILL)
        threading.Event().wait(0.002)
    return os.waitstatus_to_exitcode(ended[1]) == 0
