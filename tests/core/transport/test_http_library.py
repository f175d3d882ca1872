"""``http_library=``: what OPEA's own connections are made of. The others behave as httpx does.

All tests of this folder run over httpx2, too: ``make test-httpx2``.
"""

from __future__ import annotations

import contextlib
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import Any, Literal

import httpcore
import httpcore2
import httpx
import httpx2
import pytest
import trustme
from asking import PATIENCE, WAYS, Way, made
from doors import door, tls_to

from langchain_opea import ChatOPEA
from llama_index_opea import OPEALLM
from opea_core import (
    OPEA,
    ConfigurationError,
    EndpointConnectionError,
    EndpointTimeout,
    StreamInterrupted,
    Timeouts,
)
from opea_core.testing import ScriptedServer, faults, stream

Name = Literal["httpx", "httpx2"]
NAMES: dict[Name, Any] = {"httpx": httpcore, "httpx2": httpcore2}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Sync or async."""
    way = WAYS[request.param]()
    yield way
    way.close()


class Connections:
    """How many connections each library made."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.made = {"httpx": 0, "httpx2": 0}
        for name, core in NAMES.items():
            for pool in (core.ConnectionPool, core.AsyncConnectionPool):
                patch.setattr(pool, "create_connection", self._counted(name, pool))

    def _counted(self, name: str, pool: Any) -> Callable[..., Any]:
        create = pool.create_connection

        def counted(pool: Any, origin: Any) -> Any:
            self.made[name] += 1
            return create(pool, origin)

        return counted


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    return Connections(monkeypatch)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "make",
    [
        lambda url, name: OPEA(url, model="m", http_library=name),
        lambda url, name: ChatOPEA(base_url=url, model="m", http_library=name).client,
        lambda url, name: OPEALLM(api_base=url, model="m", http_library=name).client,
    ],
    ids=["OPEA", "ChatOPEA", "OPEALLM"],
)
def test_the_library_that_is_named_makes_the_connections(
    way: Way, server: ScriptedServer, connections: Connections, name: Name, make: Any
) -> None:
    opea = make(server.url, name)
    for method in ("chat", "stream_chat", "chat"):
        assert way.ask(opea, method, "Hello").error is None
    assert connections.made == {"httpx": 0, "httpx2": 0} | {name: 1}
    way.run(opea.close if way.name == "sync" else opea.aclose).result(PATIENCE)


def test_over_httpx2_what_breaks_is_told_in_the_same_words(
    way: Way, server: ScriptedServer
) -> None:
    brief = Timeouts(connect=1, first_event=0.5, idle=0.5)
    said = {}
    for name in NAMES:
        opea = made(server, max_retries=0, recovery_wait=0, timeouts=brief, http_library=name)
        cut = stream(["Hel"], finish_reason=None, done=False, end="cut")
        server.script(faults.reset, faults.hang, faults.bad_chunk, cut)
        errors = [way.ask(opea, m, "Hello").error for m in (*["chat"] * 3, "stream_chat")]
        assert isinstance(errors[0], EndpointConnectionError)
        assert isinstance(errors[1], EndpointTimeout)
        assert isinstance(errors[3], StreamInterrupted)
        closed = made(server, base_url="http://127.0.0.1:1", max_retries=0, http_library=name)
        errors.append(way.ask(closed, "chat", "Hello").error)
        said[name] = [re.sub(r"id \w+|[\d.]+ s|:\d+", "", str(error)) for error in errors]
    assert said["httpx"] == said["httpx2"]


@pytest.mark.parametrize("verify", ["a file", "nothing"])
def test_httpx2_verifies_as_it_is_told(way: Way, server: ScriptedServer, verify: str) -> None:
    authority = trustme.CA()
    with authority.cert_pem.tempfile() as path, tls_door(server, authority) as url:
        trusted: Any = path if verify == "a file" else False
        fine = made(server, base_url=url, http_library="httpx2", verify=trusted)
        assert way.ask(fine, "chat", "Hello").error is None
        strange = made(server, base_url=url, http_library="httpx2")
        assert "certificate" in str(way.ask(strange, "chat", "Hello").error)


def tls_door(server: ScriptedServer, authority: trustme.CA) -> Any:
    """``https`` before a server, as a context manager that gives the URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    @contextlib.contextmanager
    def opened() -> Iterator[str]:
        with door(tls_to(server.origin, context)) as it:
            yield f"https://127.0.0.1:{it.port}/v1"

    return opened()


def test_a_client_of_one_goes_with_own_connections_of_the_other(
    server: ScriptedServer, connections: Connections
) -> None:
    """``http_library`` is for the side that nobody lent a client for."""
    with httpx.Client() as client:
        opea = OPEA(server.url, model="m", http_client=client, http_library="httpx2")
        assert opea.chat("Hello").content
        asynchronous = WAYS["async"]()
        assert asynchronous.ask(opea, "chat", "Hello").error is None
        asynchronous.close()
    assert connections.made == {"httpx": 1, "httpx2": 1}


def test_with_clients_for_both_sides_nothing_is_left_to_name_a_library_for(
    server: ScriptedServer,
) -> None:
    with (
        httpx2.Client() as client,
        pytest.raises(ConfigurationError, match="leave none"),
    ):
        OPEA(
            server.url,
            http_client=client,
            async_http_client=httpx2.AsyncClient(),
            http_library="httpx2",
        )


@pytest.mark.parametrize("model", [ChatOPEA, OPEALLM])
def test_a_library_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, model: Any
) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    for make in (OPEA, model):
        with pytest.raises(ConfigurationError, match=r"pip install 'opea-core\[httpx2\]'"):
            make(model="m", http_library="httpx2")


def test_where_only_httpx2_is_installed_it_is_used(server: ScriptedServer) -> None:
    program = """
        import asyncio, sys
        sys.modules["httpx"] = sys.modules["httpcore"] = None
        from opea_core import OPEA, EndpointConnectionError
        from opea_core.transports import HTTPX2Transport
        import httpx2

        opea = OPEA(sys.argv[1], model="m")
        assert opea.chat("Hello").content
        assert asyncio.run(opea.achat("Hello")).content
        assert "".join(chunk.content for chunk in opea.stream_chat("Hello"))
        with httpx2.Client(transport=HTTPX2Transport(opea), base_url="http://opea.invalid/v1") as c:
            assert c.get("/models").status_code == 200
            assert c.get("/files").status_code == 404
        with httpx2.Client() as client:
            assert OPEA(sys.argv[1], model="m", http_client=client).chat("Hello").content
        try:
            OPEA("http://127.0.0.1:1", model="m", max_retries=0).chat("Hello")
        except EndpointConnectionError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(program), server.url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert "connection refused" in done.stdout
