"""A caller's own client or transport of httpx2 is taken as httpx's is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from asking import PATIENCE, WAYS, Way, made

from opea_core import (
    ConfigurationError,
    EndpointConnectionError,
    EndpointTimeout,
    StreamInterrupted,
    Timeouts,
)
from opea_core.testing import ScriptedServer, faults, stream

KINDS: dict[tuple[str, str], tuple[str, Any]] = {
    ("sync", "client"): ("http_client", httpx2.Client),
    ("async", "client"): ("async_http_client", httpx2.AsyncClient),
    ("sync", "transport"): ("transport", httpx2.HTTPTransport),
    ("async", "transport"): ("async_transport", httpx2.AsyncHTTPTransport),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Sync or async; aiohttp makes connections of its own."""
    way = WAYS[request.param]()
    yield way
    way.close()


@pytest.fixture(params=["client", "transport"])
def own(request: pytest.FixtureRequest, way: Way) -> Iterator[dict[str, Any]]:
    """The keyword, with a client or transport of httpx2 that is open."""
    keyword, make = KINDS[way.name, request.param]
    client = make()
    yield {keyword: client}
    way.run(client.close if way.name == "sync" else client.aclose).result(PATIENCE)


def test_calls_go_over_it_and_it_stays_open(
    way: Way, server: ScriptedServer, own: dict[str, Any]
) -> None:
    for opea in (made(server, api_key="a-key", **own), made(server, **own)):
        for method in ("chat", "stream_chat", "complete", "embed"):
            assert way.ask(opea, method, "Hello").error is None
        way.run(opea.close if way.name == "sync" else opea.aclose).result(PATIENCE)
    assert {seen.connection for seen in server.seen} == {1}
    assert server.seen[0].headers["authorization"] == "Bearer a-key"


def test_what_breaks_is_told_as_over_our_own_connections(
    way: Way, server: ScriptedServer, own: dict[str, Any]
) -> None:
    brief = Timeouts(connect=1, first_event=0.5, idle=0.5)
    opea = made(server, max_retries=0, recovery_wait=0, timeouts=brief, **own)
    server.script(
        faults.reset, faults.hang, stream(["Hel"], finish_reason=None, done=False, end="cut")
    )
    found = [way.ask(opea, method, "Hello").error for method in ("chat", "chat", "stream_chat")]
    assert [type(error) for error in found] == [
        EndpointConnectionError,
        EndpointTimeout,
        StreamInterrupted,
    ]
    server.pause()
    assert "connection refused" in str(way.ask(opea, "chat", "Hello").error)


def test_its_headers_and_credentials_go_only_to_the_servers_of_the_object(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    keyword, make = KINDS[way.name, "client"]
    client = make(headers={"x-team": "internal"}, auth=("ann", "s3cret"))
    opea = made(server, **{keyword: client})
    data = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    for url in (server.url, second.url):
        assert way.ask(opea, "make_post_request_opea", url, data).error is None
    server.script(faults.status(400, "no x-team internal, please"))
    assert "internal" not in str(way.ask(opea, "chat", "Hello").error)
    way.run(client.close if way.name == "sync" else client.aclose).result(PATIENCE)
    sent = [
        (seen.headers.get("x-team"), seen.headers.get("authorization"))
        for seen in (server.seen[0], second.seen[0])
    ]
    assert sent == [("internal", "Basic YW5uOnMzY3JldA=="), (None, None)]
    assert "is closed" in str(way.ask(opea, "chat", "Hello").error)


@pytest.mark.parametrize(
    ("keyword", "wrong"),
    [
        ("http_client", httpx2.AsyncClient),
        ("async_http_client", httpx2.Client),
        ("transport", httpx2.AsyncHTTPTransport),
        ("async_transport", httpx2.HTTPTransport),
    ],
)
def test_one_of_the_other_kind_is_refused(server: ScriptedServer, keyword: str, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"or one of httpx2.* not "):
        made(server, **{keyword: wrong()})
