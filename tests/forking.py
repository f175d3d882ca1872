"""Work in a forked child."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable

FORKS = hasattr(os, "fork")


def in_a_child(work: Callable[[], bool]) -> bool:
    """Whether the work goes well in a forked child."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 3.12 warns of forks in a process with threads: the server is one
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
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
