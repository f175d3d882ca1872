"""The four clients."""

from __future__ import annotations

import pytest
from sdk_clients import CLIENTS, Client


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    """A plain client of httpx or httpx2, sync or async."""
    return CLIENTS[request.param]
