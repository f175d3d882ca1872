"""A real Redis server on a free port, where it is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from waiting import until


@contextmanager
def running_redis() -> Iterator[str]:
    """Its URL; skips the test, with the reason, where there is none."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed (Debian: apt install redis-server)")
    pytest.importorskip("redis", reason="the extra [redis] is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [server, "--port", str(port), "--save", "", "--appendonly", "no"]

    def answers() -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", port)) == 0

    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            until(answers, "redis-server", patience=30)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
