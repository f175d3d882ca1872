"""Ctrl-C at a chosen place of the code: wherever CPython looks for signals."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import opea_core

_OURS = str(Path(opea_core.__file__).parent)
_LOOKED_AFTER = frozenset({"RESUME", "JUMP_BACKWARD", "CALL", "CALL_FUNCTION_EX", "CALL_KW"})
"""After these the interpreter looks for signals;
after a call only if it was no call of a Python function.
"""


class CtrlC:
    """Runs work in this thread, and raises KeyboardInterrupt at the n-th place
    in our code at which a signal may arrive.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._calls = 0
        self._names: dict[CodeType, dict[int, str]] = {}
        self.count = 0
        self.where = ""
        """Where it struck; empty if there are fewer places."""

    def run(self, work: Callable[[], object]) -> BaseException | None:
        """What the work raised."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is what the test looks at
            return error
        finally:
            sys.settrace(before)
        return None

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_OURS) or "testing" in name or frame.f_code.co_name == "__del__":
            return None  # what is raised in a finaliser, Python itself swallows
        self._calls += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        names = self._names.get(frame.f_code)
        if names is None:
            names = self._names[frame.f_code] = {
                i.offset: i.opname for i in dis.get_instructions(frame.f_code)
            }
        last, calls = "", self._calls

        def step(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal last, calls
            if event == "opcode":
                if last in _LOOKED_AFTER and (calls == self._calls or not last.startswith("CALL")):
                    self._place(frame)
                last, calls = names.get(frame.f_lasti, ""), self._calls
            return step

        return step

    def _place(self, frame: FrameType) -> None:
        self.count += 1
        if self.count == self._number:
            caller = frame.f_back
            self.where = f"{_shown(frame)}" + (f" in {_shown(caller)}" if caller else "")
            sys.settrace(None)
            raise KeyboardInterrupt


def _shown(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}:{frame.f_lineno}"
