"""A caller's own HTTP client or transport: used as it is, never closed,
an async one in one loop only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from asking import PATIENCE, Way, idle, made

from opea_core import (
    OPEA,
    ClientClosed,
    ConfigurationError,
    EndpointConnectionError,
    EndpointTimeout,
    OPEAError,
    StreamInterrupted,
    Timeouts,
)
from opea_core.testing import ScriptedServer, Wait, chat, error, stream

ANSWER = json.loads(chat("Hello from a transport").body)


class Sent:
    """An httpx transport of either kind that keeps what it was given."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response] | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self.closed = False
        self._answer = answer or (lambda request: httpx.Response(200, json=ANSWER))
        self.sync = httpx.MockTransport(self._take)
        self.aio = httpx.MockTransport(self._atake)

    def _take(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        return self._answer(request)

    async def _atake(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        return self._answer(request)


KINDS: dict[str, type[Any]] = {
    "http_client": httpx.Client,
    "async_http_client": httpx.AsyncClient,
    "http_async_client": httpx.AsyncClient,
    "transport": httpx.HTTPTransport,
    "async_transport": httpx.AsyncHTTPTransport,
}


class Own:
    """A client or transport of the way's kind, and the keyword that takes it."""

    def __init__(self, way: Way, kind: str, **options: Any) -> None:
        keyword = {"client": "http_client", "transport": "transport"}[kind]
        keyword = keyword if way.name == "sync" else f"async_{keyword}"
        self.way = way
        self.client = KINDS[keyword](**options)
        self.keyword = {keyword: self.client}

    def close(self) -> None:
        self.way.run(self.client.close if self.way.name == "sync" else self.client.aclose).result(
            PATIENCE
        )


@pytest.fixture(params=["client", "transport"])
def own(request: pytest.FixtureRequest, way: Way) -> Any:
    it = Own(way, request.param)
    yield it
    it.close()


def test_its_headers_and_credentials_go_only_to_the_servers_of_the_object(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    own = Own(way, "client", headers={"x-team": "internal"}, auth=("ann", "s3cret"))
    opea = made(server, **own.keyword)
    data = {"messages": [{"role": "user", "content": "Hello"}]}
    assert way.ask(opea, "chat", "Hello").error is None
    assert way.ask(opea, "make_post_request_opea", second.url, data).error is None
    assert (
        way.ask(opea, "make_post_request_opea", second.url, data, api_key="their-key").error is None
    )
    own.close()
    sent = [
        (seen.headers.get("x-team"), seen.headers.get("authorization"))
        for seen in (*server.seen, *second.seen)
    ]
    assert sent == [
        ("internal", "Basic YW5uOnMzY3JldA=="),
        (None, None),
        (None, "Bearer their-key"),
    ]


def test_calls_go_over_it(way: Way, server: ScriptedServer, own: Own) -> None:
    opea = made(server, api_key="a-key", **own.keyword)
    for method in ("chat", "stream_chat", "complete", "embed"):
        assert way.ask(opea, method, "Hello").error is None
    assert len(opea._engine.drivers.sync.slots.busy) == 0
    assert {seen.connection for seen in server.seen} == {1}
    assert server.seen[0].headers["authorization"] == "Bearer a-key"


def test_it_is_never_closed_by_us(way: Way, server: ScriptedServer, own: Own) -> None:
    first = made(server, **own.keyword)
    assert way.ask(first, "chat", "Hello").error is None
    way.run(first.close if way.name == "sync" else first.aclose).result(PATIENCE)
    assert type(way.ask(first, "chat", "Hello").error) is ClientClosed
    assert way.ask(made(server, **own.keyword), "chat", "Hello").error is None


def test_it_is_retried_like_ours(way: Way, server: ScriptedServer, own: Own) -> None:
    server.script(error(503, "busy"), chat("x").replace(before="reset"))
    opea = made(server, **own.keyword)
    told = way.ask(opea, "chat", "Hello")
    assert told.error is None
    assert told.response.meta.attempts == 3
    assert idle(opea)


def test_a_broken_stream(way: Way, server: ScriptedServer, own: Own) -> None:
    server.script(stream(["a", "b"], finish_reason=None, done=False, end="cut"))
    opea = made(server, **own.keyword)
    told = way.ask(opea, "stream_chat", "Hello")
    assert isinstance(told.error, StreamInterrupted)
    assert told.error.partial is not None
    assert told.error.partial.content == "ab"
    assert idle(opea)


def test_refused(way: Way, server: ScriptedServer, own: Own) -> None:
    server.pause()
    told = way.ask(made(server, **own.keyword), "chat", "Hello")
    assert isinstance(told.error, EndpointConnectionError)


@pytest.mark.parametrize("method", ["chat", "stream_chat"])
def test_time_limits_hold_per_read(way: Way, server: ScriptedServer, own: Own, method: str) -> None:
    server.script(chat("x").replace(before="hang"))
    opea = made(server, timeouts=Timeouts(first_event=0.1, idle=0.1), max_retries=0, **own.keyword)
    told = way.ask(opea, method, "Hello")
    assert isinstance(told.error, EndpointTimeout)
    assert told.seconds >= 0.1


def test_a_stream_that_is_left_is_hung_up(way: Way, server: ScriptedServer, own: Own) -> None:
    server.script(stream(["a", Wait(60), "b"]))
    opea = made(server, **own.keyword)

    def leave() -> Any:
        with opea.stream_chat("Hello") as chunks:
            return next(chunks).content

    async def aleave() -> Any:
        async with opea.astream_chat("Hello") as chunks:
            return (await anext(chunks)).content

    assert way.run(leave if way.name == "sync" else aleave).result(PATIENCE) == "a"
    server.wait(lambda: server.seen[0].disconnected)
    assert way.ask(opea, "chat", "Hello").error is None


def test_closing_ends_a_running_call(way: Way, server: ScriptedServer, own: Own) -> None:
    """Its sockets are not ours to break; the call ends as soon as anything comes,
    and as ClientClosed.
    """
    server.script(chat("x").after(b" ", Wait(0.1)))
    opea = made(server, **own.keyword)
    call = way.start(opea, "chat", "Hello")
    server.wait_seen(1)
    opea.close()
    told = call.result(3)
    assert told.error is None or type(told.error) is ClientClosed


def test_a_clients_own_headers_are_sent_unless_we_have_them(
    way: Way, server: ScriptedServer
) -> None:
    own = Own(way, "client", headers={"x-mine": "yes", "user-agent": "mine/1"})
    assert way.ask(made(server, **own.keyword), "chat", "Hello").error is None
    assert server.seen[0].headers["x-mine"] == "yes"
    own.close()


def test_a_redirect_is_not_followed(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    own = Own(way, "client", follow_redirects=True)
    server.script(error(307, "go there", headers={"location": f"{second.url}/chat/completions"}))
    told = way.ask(made(server, api_key="our-secret", **own.keyword), "chat", "Hello")
    assert isinstance(told.error, ConfigurationError)
    assert second.seen == []
    own.close()


def test_a_transport_of_the_other_kind_is_made_by_us(server: ScriptedServer) -> None:
    """``transport=`` is for sync calls; async ones get connections of ours."""
    sent = Sent()
    opea = made(server, transport=sent.sync)
    assert opea.chat("Hello").content == "Hello from a transport"
    assert "scripted model" in asyncio.run(opea.achat("Hello")).content
    assert (len(sent.requests), len(server.seen)) == (1, 1)


def test_a_transport_that_needs_no_network(way: Way) -> None:
    sent = Sent()
    opea = OPEA(
        "http://nowhere.example/v1",
        transport=sent.sync,
        async_transport=sent.aio,
        api_key="a-key",
        model="m",
    )
    assert way.ask(opea, "chat", "Hello").text == "Hello from a transport"
    assert str(sent.requests[0].url) == "http://nowhere.example/v1/chat/completions"


def test_whatever_a_transport_raises_is_the_cause_of_our_error_and_not_tried_again(
    way: Way,
) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise LookupError("a bug of the transport")

    sent = Sent(broken)
    opea = OPEA("http://nowhere.example/v1", transport=sent.sync, async_transport=sent.aio)
    error = way.ask(opea, "chat", "Hello").error
    assert isinstance(error, EndpointConnectionError)
    assert isinstance(error.__cause__, LookupError)
    assert "LookupError" in error.message
    assert (len(sent.requests), idle(opea)) == (1, True)


@pytest.mark.parametrize(
    "problem",
    [
        httpx.ConnectError("x"),
        httpx.ConnectTimeout("x"),
        httpx.ReadError("x"),
        httpx.ReadTimeout("x"),
        httpx.WriteError("x"),
        httpx.WriteTimeout("x"),
        httpx.PoolTimeout("x"),
        httpx.RemoteProtocolError("x"),
        httpx.ProxyError("x"),
        httpx.CloseError("x"),
        httpx.DecodingError("x"),
        httpx.LocalProtocolError("x"),
        httpx.UnsupportedProtocol("x"),
        httpx.TooManyRedirects("x"),
        httpx.StreamClosed(),
        httpx.InvalidURL("x"),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_no_exception_of_httpx_reaches_a_caller(way: Way, problem: Exception) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise problem

    sent = Sent(broken)
    opea = OPEA(
        "http://nowhere.example/v1", transport=sent.sync, async_transport=sent.aio, max_retries=0
    )
    told = way.ask(opea, "chat", "Hello")
    assert isinstance(told.error, OPEAError), repr(told.error)
    assert len(told.error.attempts) == 1
    assert idle(opea)


def test_every_exception_of_httpx_is_among_them() -> None:
    known = {
        name
        for name in dir(httpx)
        if isinstance(getattr(httpx, name), type) and issubclass(getattr(httpx, name), Exception)
    }
    assert known - {"HTTPStatusError", "CookieConflict"} <= {
        cls.__name__
        for base in (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL)
        for cls in _tree(base)
    }


def _tree(cls: type) -> list[type]:
    return [cls, *(found for child in cls.__subclasses__() for found in _tree(child))]


# --- misuse


@pytest.mark.parametrize(
    ("one", "other"), [("http_client", "transport"), ("async_http_client", "async_transport")]
)
def test_two_ways_to_send_are_one_too_many(server: ScriptedServer, one: str, other: str) -> None:
    sent = Sent()
    given = {one: httpx.Client() if one == "http_client" else httpx.AsyncClient(), other: sent.sync}
    with pytest.raises(ConfigurationError, match="both"):
        made(server, **given)


@pytest.mark.parametrize(
    "option", [{"verify": False}, {"proxy": "http://p:1"}, {"cert": "x.pem"}], ids=str
)
@pytest.mark.parametrize("keyword", KINDS)
def test_what_it_has_of_its_own_is_not_said_again(
    server: ScriptedServer, keyword: str, option: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(option))):
        made(server, **{keyword: KINDS[keyword]()}, **option)


@pytest.mark.parametrize("keyword", KINDS)
def test_the_wrong_kind_is_refused_at_once(server: ScriptedServer, keyword: str) -> None:
    wrong: list[Any] = [
        object(),
        "http://x",
        httpx.Client() if "async" in keyword else httpx.AsyncClient(),
        httpx.Client,
    ]
    for value in wrong:
        with pytest.raises(ConfigurationError):
            made(server, **{keyword: value})
    assert server.seen == []


def test_a_closed_client_is_a_clear_error(way: Way, server: ScriptedServer) -> None:
    own = Own(way, "client")
    own.close()
    opea = made(server, **own.keyword)
    told = way.ask(opea, "chat", "Hello")
    assert isinstance(told.error, OPEAError), repr(told.error)
    assert "closed" in str(told.error)
    assert idle(opea)


def test_an_async_one_in_a_second_loop_is_a_clear_error(server: ScriptedServer) -> None:
    client = httpx.AsyncClient()
    opea = made(server, http_async_client=client)

    async def first() -> None:
        assert (await opea.achat("Hello")).content

    async def second() -> None:
        with pytest.raises(ConfigurationError, match="event loop"):
            await opea.achat("Hello")
        with pytest.raises(ConfigurationError, match="event loop"):
            await anext(opea.astream_chat("Hello"))
        assert idle(opea)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(first())
    asyncio.run(second())
    assert len(server.seen) == 1
    loop.run_until_complete(client.aclose())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
