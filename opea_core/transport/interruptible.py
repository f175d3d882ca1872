"""What may take longer than a call has time for, and cannot be interrupted.

It is done in a thread of its own.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


def within(seconds: float | None, function: Callable[[], ResultT]) -> ResultT:
    """The function's result; TimeoutError if it takes longer.

    It goes on then, with nobody waiting for it.
    """
    if seconds is None:
        return function()
    box: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def work() -> None:
        try:
            box.put((True, function()))
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for it
            box.put((False, error))

    threading.Thread(target=copy_context().run, args=(work,), daemon=True).start()
    try:
        went_well, result = box.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise TimeoutError from None
    if not went_well:
        raise result
    found: ResultT = result
    return found


def look_up(host: str, port: int, seconds: float | None) -> list[Any]:
    """The addresses of a host, as ``socket.getaddrinfo`` gives them.

    TimeoutError if that takes longer.
    """
    if host == "localhost" or _is_address(host):
        seconds = None
    return within(seconds, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
