"""Servers, and the two ways to ask them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import plain_environment
import pytest
from asking import WAYS, Aiohttp, Way, made

from opea_core.testing import ScriptedServer
from opea_core.transport.http import library

if "OPEA_TEST_HTTP_LIBRARY" in os.environ:  # what every object here is made with that names none
    preferred = os.environ["OPEA_TEST_HTTP_LIBRARY"]
    library._CORES = {preferred: library._CORES[preferred]} | library._CORES


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set on the machine of whoever runs the tests does not matter."""
    plain_environment.forget(monkeypatch)


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    """What is imported at the first call does not count against the time limits of tests."""
    with ScriptedServer() as server:
        for make in WAYS.values():
            way, opea = make(), made(server)
            assert way.ask(opea, "chat", "warm").error is None
            opea.close()
            way.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def second() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=[*WAYS, "aiohttp"])
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Sync or async, or async with aiohttp."""
    way = Aiohttp() if request.param == "aiohttp" else WAYS[request.param]()
    yield way
    way.close()
