"""Certificates: which are accepted, how ours is named, and what is said of those that are not."""

from __future__ import annotations

import datetime
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from asking import Way, made
from doors import Door, black_hole, door, plain_http, resetting, silent, tls_to

from opea_core import (
    BreakerPolicy,
    CertificateError,
    ConfigurationError,
    EndpointConnectionError,
    EndpointTimeout,
    OPEAError,
    Timeouts,
)
from opea_core.testing import ScriptedServer

OFF = BreakerPolicy(enabled=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A CA of our own, as companies have it."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def tls(server: ScriptedServer, authority: trustme.CA) -> Iterator[Door]:
    """A TLS door to the scripted server, with a certificate of our CA."""
    with door(
        tls_to(server.origin, context_of(authority.issue_cert("127.0.0.1", "localhost")))
    ) as it:
        yield it


def at(it: Door, host: str = "127.0.0.1") -> str:
    return f"https://{host}:{it.port}/v1"


def test_our_own_ca_as_a_path(way: Way, server: ScriptedServer, tls: Door, ca_file: str) -> None:
    told = way.ask(made(server, base_url=at(tls), verify=ca_file), "chat", "Hello")
    assert told.error is None
    assert len(server.seen) == 1


def test_our_own_ca_as_a_pathlib_path(
    way: Way, server: ScriptedServer, tls: Door, ca_file: str
) -> None:
    assert (
        way.ask(made(server, base_url=at(tls), verify=Path(ca_file)), "chat", "Hello").error is None
    )


def test_our_own_ca_as_a_context(way: Way, server: ScriptedServer, tls: Door, ca_file: str) -> None:
    context = ssl.create_default_context(cafile=ca_file)
    opea = made(server, base_url=at(tls), verify=context)
    assert way.ask(opea, "stream_chat", "Hello").error is None
    assert way.ask(opea, "chat", "Hello").error is None
    assert {seen.connection for seen in server.seen} == {1}


def test_our_own_ca_in_the_environment(
    way: Way, server: ScriptedServer, tls: Door, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the hint of a CertificateError says;
    also for somebody who sets it after the first failure.
    """
    assert isinstance(
        way.ask(made(server, base_url=at(tls)), "chat", "Hello").error, CertificateError
    )
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    assert way.ask(made(server, base_url=at(tls)), "chat", "Hello").error is None
    told = way.ask(made(server, base_url=at(tls), trust_env=False), "chat", "Hello")
    assert isinstance(told.error, CertificateError)


def test_our_own_ca_in_a_directory_of_the_environment(
    way: Way,
    server: ScriptedServer,
    tls: Door,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    done = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", str(pem)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("no openssl here")
    authority.cert_pem.write_to_path(str(tmp_path / f"{done.stdout.strip()}.0"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert way.ask(made(server, base_url=at(tls)), "chat", "Hello").error is None


def test_what_the_system_trusts(
    way: Way, server: ScriptedServer, tls: Door, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Linux that is what OpenSSL reads by default, which SSL_CERT_FILE replaces."""
    told = way.ask(made(server, base_url=at(tls), verify="system"), "chat", "Hello")
    assert isinstance(told.error, CertificateError)
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    assert way.ask(made(server, base_url=at(tls), verify="system"), "chat", "Hello").error is None


def test_verification_may_be_off(way: Way, server: ScriptedServer, tls: Door) -> None:
    assert way.ask(made(server, base_url=at(tls), verify=False), "chat", "Hello").error is None


def test_an_unknown_ca(way: Way, server: ScriptedServer, tls: Door) -> None:
    opea = made(server, base_url=at(tls), api_key="our-secret")
    told = way.ask(opea, "chat", "Hello")
    assert type(told.error) is CertificateError
    assert "verify=" in str(told.error)
    assert "SSL_CERT_FILE" in str(told.error)
    assert len(told.error.attempts) == 1
    assert not told.error.is_transient_error
    assert (server.seen, tls.connections) == ([], 1)
    assert opea.get_stats("one")["breaker"] == "closed"


def test_a_certificate_for_another_name(
    way: Way, server: ScriptedServer, authority: trustme.CA, ca_file: str
) -> None:
    with door(tls_to(server.origin, context_of(authority.issue_cert("elsewhere.example")))) as it:
        told = way.ask(made(server, base_url=at(it), verify=ca_file), "chat", "Hello")
        assert type(told.error) is CertificateError
        assert it.connections == 1
    assert server.seen == []


def test_an_expired_certificate(
    way: Way, server: ScriptedServer, authority: trustme.CA, ca_file: str
) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    old = authority.issue_cert(
        "127.0.0.1", not_before=past, not_after=past + datetime.timedelta(days=1)
    )
    with door(tls_to(server.origin, context_of(old))) as it:
        told = way.ask(made(server, base_url=at(it), verify=ca_file), "chat", "Hello")
        assert type(told.error) is CertificateError
        assert "expired" in str(told.error)


def test_another_endpoint_serves_meanwhile(
    way: Way, server: ScriptedServer, second: ScriptedServer, tls: Door
) -> None:
    """A certificate that is not accepted is a matter of configuration:
    it is told, not worked around.
    """
    opea = made(
        server,
        second,
        endpoints=[
            {"base_url": at(tls), "label": "one", "tier": 0},
            {"base_url": second.url, "label": "two", "tier": 1},
        ],
    )
    told = way.ask(opea, "chat", "Hello")
    assert type(told.error) is CertificateError
    assert second.seen == []


@pytest.fixture
def strict(authority: trustme.CA) -> ssl.SSLContext:
    """A server that asks for the client's certificate."""
    context = context_of(authority.issue_cert("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    return context


@pytest.fixture
def mine(authority: trustme.CA, tmp_path: Path) -> str:
    """The client's certificate and its key."""
    path = tmp_path / "me.pem"
    authority.issue_cert("me@example.com").private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


def test_a_client_certificate(
    way: Way, server: ScriptedServer, strict: ssl.SSLContext, ca_file: str, mine: str
) -> None:
    with door(tls_to(server.origin, strict)) as it:
        assert (
            way.ask(made(server, base_url=at(it), verify=ca_file, cert=mine), "chat", "Hello").error
            is None
        )
        without = way.ask(
            made(server, base_url=at(it), verify=ca_file, max_retries=0), "chat", "Hello"
        )
        assert isinstance(without.error, OPEAError)


def test_a_client_certificate_stays_with_the_server_it_was_given_for(
    way: Way,
    server: ScriptedServer,
    second: ScriptedServer,
    strict: ssl.SSLContext,
    ca_file: str,
    mine: str,
) -> None:
    data = {"messages": [{"role": "user", "content": "Hello"}]}
    with door(tls_to(server.origin, strict)) as it, door(tls_to(second.origin, strict)) as other:
        opea = made(server, base_url=at(it), verify=ca_file, cert=mine, max_retries=0)
        without, given = (
            opea.create_endpoint(base_url=at(other)),
            opea.create_endpoint(base_url=at(other), cert=mine),
        )
        assert isinstance(way.ask(opea, "make_post_request_opea", at(other), data).error, OPEAError)
        assert isinstance(
            way.ask(opea, "make_request_with_endpoint", without, data).error, OPEAError
        )
        assert second.seen == []
        assert way.ask(opea, "make_request_with_endpoint", given, data).error is None
        assert (
            way.ask(opea, "make_request_with_endpoint", opea.create_endpoint(), data).error is None
        )
    assert (len(server.seen), len(second.seen)) == (1, 1)


def test_https_to_a_plain_port(way: Way, server: ScriptedServer) -> None:
    """Nothing can come of trying again: one request, and an error that says what to change."""
    with door(plain_http) as it:
        told = way.ask(made(server, base_url=at(it)), "chat", "Hello")
        assert isinstance(told.error, CertificateError | ConfigurationError), repr(told.error)
        assert "http" in str(told.error)
        assert len(told.error.attempts) == 1
        assert it.connections == 1


def test_http_to_a_tls_port(way: Way, server: ScriptedServer, tls: Door) -> None:
    told = way.ask(
        made(server, base_url=at(tls).replace("https", "http"), breaker=OFF, max_retries=0),
        "chat",
        "Hello",
    )
    assert isinstance(told.error, EndpointConnectionError)


def test_a_handshake_that_is_reset(way: Way, server: ScriptedServer) -> None:
    with door(resetting) as it:
        told = way.ask(made(server, base_url=at(it), breaker=OFF), "chat", "Hello")
        assert isinstance(told.error, EndpointConnectionError)
        assert [attempt.phase for attempt in told.error.attempts] == ["not_sent"] * 4


def test_a_handshake_without_an_answer(way: Way, server: ScriptedServer) -> None:
    with door(silent) as it:
        told = way.ask(
            made(server, base_url=at(it), timeouts=Timeouts(connect=0.1), max_retries=0),
            "chat",
            "Hello",
        )
        assert isinstance(told.error, EndpointTimeout), repr(told.error)
        assert "within 0.1 s (connect)" in str(told.error)
        assert told.seconds >= 0.1


def test_a_black_hole(way: Way, server: ScriptedServer) -> None:
    with black_hole() as port:
        opea = made(
            server,
            base_url=f"http://127.0.0.1:{port}",
            timeouts=Timeouts(connect=0.1),
            max_retries=0,
        )
        told = way.ask(opea, "chat", "Hello")
        assert isinstance(told.error, EndpointTimeout), repr(told.error)
        assert "took no connection within 0.1 s (connect)" in str(told.error)
        assert [attempt.phase for attempt in told.error.attempts] == ["not_sent"]
        assert told.seconds >= 0.1


def test_a_black_hole_and_a_deadline(way: Way, server: ScriptedServer) -> None:
    with black_hole() as port:
        told = way.ask(
            made(server, base_url=f"http://127.0.0.1:{port}"), "chat", "Hello", deadline=0.1
        )
        assert isinstance(told.error, EndpointTimeout), repr(told.error)
        assert told.error.deadline_exceeded
        assert told.seconds >= 0.1


def test_a_black_hole_and_another_endpoint(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    with black_hole() as port:
        endpoints = [
            {"base_url": f"http://127.0.0.1:{port}", "label": "one"},
            {"base_url": second.url, "label": "two", "tier": 1},
        ]
        told = way.ask(
            made(server, second, endpoints=endpoints, timeouts=Timeouts(connect=0.1)),
            "chat",
            "Hello",
        )
        assert told.error is None
        assert told.response.endpoint == "two"


@pytest.mark.parametrize(
    "option", [{"verify": "/nowhere/ca.pem"}, {"verify": True, "cert": "/nowhere/me.pem"}]
)
def test_files_that_are_not_there(
    way: Way, server: ScriptedServer, tls: Door, option: dict[str, object]
) -> None:
    opea = made(server, base_url=at(tls), **option)
    told = way.ask(opea, "chat", "Hello")
    assert isinstance(told.error, ConfigurationError)
    assert opea.get_stats()["in_flight"] == 0
