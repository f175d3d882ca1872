"""Proxies, ours and the environment's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trustme
from asking import Way, made
from doors import Door, door, proxy, refusing_proxy, tls_to
from test_tls import context_of

from opea_core import BreakerPolicy, ConfigurationError, EndpointConnectionError
from opea_core.testing import ScriptedServer


@pytest.fixture
def between() -> Iterator[Door]:
    """A proxy."""
    with door(proxy) as it:
        yield it


def url(it: Door, user: str = "") -> str:
    return f"http://{user}127.0.0.1:{it.port}"


def test_a_proxy_of_ours(way: Way, server: ScriptedServer, between: Door) -> None:
    told = way.ask(made(server, proxy=url(between)), "chat", "Hello")
    assert told.error is None
    assert between.heads[0].startswith(f"POST {server.url}/chat/completions HTTP/1.1")
    assert len(server.seen) == 1


def test_a_stream_through_a_proxy(way: Way, server: ScriptedServer, between: Door) -> None:
    told = way.ask(made(server, proxy=url(between)), "stream_chat", "Hello")
    assert "Hello" in told.text


def test_a_tunnel(way: Way, server: ScriptedServer, between: Door) -> None:
    authority = trustme.CA()
    with door(tls_to(server.origin, context_of(authority.issue_cert("127.0.0.1")))) as tls:
        opea = made(
            server,
            base_url=f"https://127.0.0.1:{tls.port}/v1",
            proxy=url(between),
            verify=False,
            api_key="our-secret",
        )
        assert way.ask(opea, "chat", "Hello").error is None
    assert between.heads[0].startswith(f"CONNECT 127.0.0.1:{tls.port} HTTP/1.1")
    assert "our-secret" not in between.heads[0]  # the key is inside the tunnel only


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"])
def test_the_environments_proxy(
    way: Way, server: ScriptedServer, between: Door, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, url(between))
    assert way.ask(made(server), "chat", "Hello").error is None
    assert len(between.heads) == 1


@pytest.mark.parametrize("exception", ["127.0.0.1", "*", "localhost,127.0.0.1", "127.0.0.1:PORT"])
def test_no_proxy(
    way: Way, server: ScriptedServer, between: Door, monkeypatch: pytest.MonkeyPatch, exception: str
) -> None:
    monkeypatch.setenv("http_proxy", url(between))
    monkeypatch.setenv("no_proxy", exception.replace("PORT", server.origin.rpartition(":")[2]))
    assert way.ask(made(server), "chat", "Hello").error is None
    assert between.heads == []


def test_trust_env_off(
    way: Way, server: ScriptedServer, between: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", url(between))
    assert way.ask(made(server, trust_env=False), "chat", "Hello").error is None
    assert between.heads == []


def test_ours_wins_over_the_environments(
    way: Way, server: ScriptedServer, between: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert way.ask(made(server, proxy=url(between)), "chat", "Hello").error is None
    assert len(between.heads) == 1


def test_a_proxy_per_endpoint(
    way: Way, server: ScriptedServer, second: ScriptedServer, between: Door
) -> None:
    endpoints = [
        {"base_url": server.url, "label": "one", "proxy": url(between)},
        {"base_url": second.url, "label": "two"},
    ]
    opea = made(server, second, endpoints=endpoints)
    way.ask(opea, "chat", "Hello", endpoint="two")
    assert between.heads == []
    way.ask(opea, "chat", "Hello", endpoint="one")
    assert len(between.heads) == 1


def test_a_proxys_password_goes_to_the_proxy_and_into_no_text(
    way: Way, server: ScriptedServer
) -> None:
    with door(refusing_proxy) as it:
        opea = made(
            server, base_url="https://gw.example/v1", proxy=url(it, "ann:s3cret@"), max_retries=0
        )
        told = way.ask(opea, "chat", "Hello")
        assert isinstance(told.error, EndpointConnectionError), repr(told.error)
        assert "proxy" in str(told.error).lower()
        assert "Proxy-Authorization: Basic YW5uOnMzY3JldA==" in it.heads[0]
        text = (
            f"{told.error} {told.error!r} {vars(told.error)} {opea!r} {opea.endpoints!r} "
            f"{opea.settings!r}"
        )
        assert ("s3cret" in text, "YW5uOnMzY3JldA" in text) == (False, False)


def test_a_proxy_that_is_not_there(way: Way, server: ScriptedServer) -> None:
    opea = made(server, proxy="http://ann:s3cret@127.0.0.1:9", breaker=BreakerPolicy(enabled=False))
    told = way.ask(opea, "chat", "Hello")
    assert isinstance(told.error, EndpointConnectionError)
    assert [attempt.phase for attempt in told.error.attempts] == ["not_sent"] * 4
    assert "s3cret" not in str(told.error)
    assert server.seen == []


@pytest.mark.parametrize(
    "bad",
    [
        "127.0.0.1:3128",
        "",
        "ftp://ann:s3cret@proxy",
        "http://ann:s3cret@[::",
        "http://ann:s3cret@proxy:port",
    ],
)
def test_what_is_no_proxy_is_refused_at_once(server: ScriptedServer, bad: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        made(server, proxy=bad).chat("Hello")
    assert "s3cret" not in str(raised.value)
    assert server.seen == []
