"""Fixtures for pytest: ``opea_server`` and ``opea_servers``.

They are there as soon as opea-core is installed.

def test_my_chain(opea_server):
    opea_server.script(faults.cut, faults.status(503))
    assert my_chain(base_url=opea_server.url) == "an answer after all"
    assert len(opea_server.seen) == 3
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from opea_core.testing import ScriptedServer


@pytest.fixture
def opea_server(opea_servers: Callable[..., ScriptedServer]) -> ScriptedServer:
    """A ``ScriptedServer`` that is running."""
    return opea_servers()


@pytest.fixture
def opea_servers() -> Iterator[Callable[..., ScriptedServer]]:
    """Starts a ``ScriptedServer`` with each call, which takes its options.

    All are stopped after the test.
    """
    from opea_core.testing import ScriptedServer  # here: every run of pytest imports this module

    with ExitStack() as stack:

        def start(**options: Any) -> ScriptedServer:
            return stack.enter_context(ScriptedServer(**options))

        yield start
