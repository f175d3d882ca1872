"""An event loop that was held: what passed meanwhile is not the server's time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from asking import made
from doors import black_hole

from opea_core import OPEA, EndpointTimeout, Timeouts
from opea_core.testing import ScriptedServer
from opea_core.transport.deadline import SocketState

LIMIT = 0.2


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("http_library", ["httpx", "httpx2", "aiohttp"])
def test_the_time_to_connect_begins_anew(
    server: ScriptedServer, http_library: Any, turns: int
) -> None:
    """As when a program starts thousands of calls in one turn of the loop."""

    async def main() -> str:
        timeouts = Timeouts(connect=LIMIT)
        async with made(
            server, timeouts=timeouts, max_retries=0, http_library=http_library
        ) as opea:
            call = asyncio.ensure_future(opea.achat("Hello"))
            for _ in range(turns):
                await asyncio.sleep(0)
            time.sleep(2 * LIMIT)  # noqa: ASYNC251 - nobody sees that the server took it
            return (await call).content

    assert asyncio.run(main())
    assert len(server.seen) == 1


@pytest.mark.parametrize("http_library", ["httpx", "aiohttp"])
def test_a_server_that_takes_no_connection_is_not_waited_for_any_longer(http_library: Any) -> None:
    async def main(url: str) -> None:
        timeouts = Timeouts(connect=LIMIT)
        opea = OPEA(url, model="m", timeouts=timeouts, max_retries=0, http_library=http_library)
        with pytest.raises(EndpointTimeout, match=r"0\.2 s \(connect\)"):
            await opea.achat("Hello")
        await opea.aclose()

    with black_hole() as port:
        asyncio.run(main(f"http://127.0.0.1:{port}"))


def test_a_loop_that_is_always_late_ends_as_well() -> None:
    line = SocketState()
    line.begin(0, None)
    long_ago = time.monotonic_ns() - 10**10
    assert [line.loop_was_held(long_ago, 1.0) for _ in range(5)] == [True] * 3 + [False] * 2
    line.begin(0, None)
    assert not line.loop_was_held(time.monotonic_ns(), 1.0)
    assert not line.loop_was_held(long_ago, None)
