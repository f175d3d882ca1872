"""A batch in a process of its own that is killed at an instruction, or whose disk is full.

``python killed.py URL SOURCE OUTPUT KILL_AT LARGEST``: after that many instructions in the modules
that write, the process kills itself as the system would, with nothing run any more; 0 lets it live.
No file may get larger than ``LARGEST`` bytes; 0 is no limit. Prints how many instructions ran.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from opea_core import OPEA, ConfigurationError
from opea_core.batch import run

WRITING = ("journal", "files", "manifest", "lock", "ledger", "work", "outcome")


class Killer:
    """Counts the instructions of all threads in the modules that write."""

    def __init__(self, kill_at: int) -> None:
        self.count = 0
        self._kill_at = kill_at

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Called for each new frame."""
        name = frame.f_code.co_filename
        if not name.endswith(tuple(f"/batch/{module}.py" for module in WRITING)):
            return None
        frame.f_trace_opcodes = True
        return self._each

    def _each(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self.count += 1
            if self.count == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._each


def main() -> int:
    """Run the batch; gives its exit code."""
    url, source, output, kill_at, largest = sys.argv[1:6]
    if int(largest):
        sys.dont_write_bytecode = True  # a compiled file cut off there would break other processes
        import resource  # Windows has none

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
    killer = Killer(int(kill_at))
    if int(kill_at) >= 0:
        threading.settrace(killer.trace)
        sys.settrace(killer.trace)
    options = {"recovery_wait": 5}
    with OPEA(base_url=url, model="scripted-model", retry={"initial_delay": 0.01}) as opea:
        try:
            summary = run(opea, source, output, options=options)
        except ConfigurationError as error:
            print(error, file=sys.stderr)
            return 2
    sys.settrace(None)
    print(killer.count, summary.answered, summary.stopped, file=sys.stderr)
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(main())
