"""A scripted server, and plain clients of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from callers import Caller, Wire

from opea_core.testing import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def caller(server: ScriptedServer) -> Iterator[Caller]:
    caller = Caller(server)
    yield caller
    caller.connection.close()


@pytest.fixture
def wire(server: ScriptedServer) -> Iterator[Wire]:
    wire = Wire(server)
    yield wire
    wire.socket.close()
