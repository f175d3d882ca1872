"""Outages, overload and TLS of the scripted server; its pytest fixtures;
``opea fake``: with plain clients and subprocesses.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme
from callers import CHAT, Caller, port_of
from waiting import in_threads, joined, until

from opea_core.testing import ScriptedServer, chat, error, faults

ROOT = Path(__file__).parents[3]
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def connect(server: ScriptedServer, patience: float = 5) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(server)), timeout=patience)


# --- outages


def test_refuse(server: ScriptedServer) -> None:
    server.pause("refuse")
    with pytest.raises(ConnectionRefusedError):
        connect(server)


def test_ignore_is_a_black_hole(server: ScriptedServer) -> None:
    server.pause("ignore")
    with pytest.raises(TimeoutError):
        connect(server, 0.2)


def test_reset_at_the_first_byte(server: ScriptedServer) -> None:
    server.pause("reset")
    with connect(server) as wire:
        wire.sendall(b"G")
        with pytest.raises(ConnectionResetError):
            wire.recv(1)


def test_close_at_the_first_byte(server: ScriptedServer) -> None:
    server.pause("close")
    with connect(server) as wire:
        wire.sendall(b"G")
        assert wire.recv(1) == b""


def test_hang_takes_everything_and_says_nothing(server: ScriptedServer) -> None:
    server.pause("hang")
    with connect(server, 0.2) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            wire.recv(1)
    assert server.seen == []


def is_cut_off(caller: Caller) -> bool:
    try:
        caller.post(BODY)
    except OSError:
        return True
    return False


@pytest.mark.parametrize("how", ["refuse", "ignore", "reset", "close", "hang"])
def test_an_outage_ends_open_connections_and_is_over_after_resume(
    server: ScriptedServer, caller: Caller, how: str
) -> None:
    server.script(faults.hang)
    threads, results = in_threads(lambda: is_cut_off(caller))
    server.wait_seen(1)
    server.pause(how)  # type: ignore[arg-type]
    joined(threads)
    assert results == [True]
    server.resume()
    assert httpx.get(server.url + "/models").status_code == 200


@pytest.mark.parametrize("first", ["refuse", "ignore", "reset", "close", "hang"])
def test_one_outage_after_another(server: ScriptedServer, first: str) -> None:
    for how in (first, "refuse", first, "reset"):
        server.pause(how)  # type: ignore[arg-type]
    with connect(server) as wire:
        wire.sendall(b"G")
        with pytest.raises(ConnectionResetError):
            wire.recv(1)
    server.resume()
    assert httpx.get(server.url + "/models").status_code == 200


# --- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ScriptedServer(tls=context) as server:
        yield server


@pytest.fixture
def client(authority: trustme.CA) -> Iterator[httpx.Client]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with httpx.Client(verify=context) as client:
        yield client


def test_it_speaks_tls(secure: ScriptedServer, client: httpx.Client) -> None:
    assert secure.url.startswith("https://127.0.0.1:")
    for _ in range(2):
        assert client.post(secure.origin + CHAT, json=BODY).json()["choices"]
    assert secure.connections == 1
    assert "[DONE]" in client.post(secure.origin + CHAT, json=BODY | {"stream": True}).text


def test_it_is_not_trusted_without_its_ca(secure: ScriptedServer) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(secure.url + "/models")


def test_faults_come_through_tls(secure: ScriptedServer, client: httpx.Client) -> None:
    secure.script(faults.cut, faults.status(503))
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(secure.origin + CHAT, json=BODY)
    assert client.post(secure.origin + CHAT, json=BODY).status_code == 503


@pytest.mark.parametrize("how", ["reset", "close"])
def test_an_outage_of_a_tls_server_begins_with_the_first_byte(
    secure: ScriptedServer, client: httpx.Client, how: str
) -> None:
    """The greeting is the first byte: there is no handshake."""
    secure.pause(how)  # type: ignore[arg-type]
    with pytest.raises(httpx.ConnectError):
        client.get(secure.url + "/models")
    secure.resume()
    assert client.get(secure.url + "/models").status_code == 200


def test_a_plain_request_to_a_tls_server_is_no_answer(secure: ScriptedServer) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(secure.url.replace("https", "http") + "/models")


def test_a_greeting_in_tls_to_a_plain_server_gets_400(server: ScriptedServer) -> None:
    with connect(server) as wire:
        wire.sendall(b"\x16\x03\x01")
        assert wire.recv(100).startswith(b"HTTP/1.1 400")
    assert server.seen == []


# --- capacity


def statuses(server: ScriptedServer, count: int) -> list[int]:
    threads, results = in_threads(
        *[lambda: httpx.post(server.origin + CHAT, json=BODY).status_code] * count
    )
    joined(threads, 10)
    return sorted(results)


@pytest.mark.parametrize(
    ("overload", "status"), [(None, 429), (faults.status(503), 503), (error(529, "full"), 529)]
)
def test_what_is_above_the_capacity_is_refused(overload: object, status: int) -> None:
    with ScriptedServer(capacity=3, latency=1, overload=overload) as server:  # type: ignore[arg-type]
        assert statuses(server, 8) == [200] * 3 + [status] * 5


def test_what_is_above_the_capacity_waits() -> None:
    with ScriptedServer(capacity=2, latency=0.05, overload="wait") as server:
        assert statuses(server, 6) == [200] * 6
        server.wait(lambda: server.in_flight == 0)
        assert (
            max(seen.ended_at for seen in server.seen) - min(seen.at for seen in server.seen)
            >= 3 * 0.05e9
        )


def test_a_client_that_leaves_while_it_waits_frees_its_turn() -> None:
    with ScriptedServer(capacity=1, latency=0.2, overload="wait") as server:
        with connect(server) as wire:
            wire.sendall(f"GET {CHAT} HTTP/1.1\r\n\r\n".encode())
            server.wait_seen(1)
        server.wait(lambda: server.seen[0].disconnected)
        assert statuses(server, 1) == [200]


def test_who_hung_up_and_who_did_not(server: ScriptedServer, caller: Caller) -> None:
    server.script(faults.hang, faults.close, chat("x"))
    with connect(server) as wire:
        wire.sendall(f"POST {CHAT} HTTP/1.1\r\n\r\n".encode())
        server.wait_seen(1)
    server.wait(lambda: server.seen[0].ended_at > 0)
    with pytest.raises(OSError, match=r"closed|reset"):
        caller.post(BODY)
    caller.connection.close()
    caller.post(BODY)
    server.wait(lambda: server.seen[2].ended_at > 0)
    assert [(seen.answer, seen.disconnected) for seen in server.seen] == [
        ("hang", True),
        ("close", False),
        ("200", False),
    ]
    assert all(seen.at <= seen.ended_at for seen in server.seen)


# --- the fixtures of pytest

TESTS = """
import httpx, threading
from opea_core.testing import faults

def test_one(opea_server):
    opea_server.script(faults.status(503))
    assert [httpx.get(opea_server.url + "/models").status_code for _ in range(2)] == [503, 200]

def test_several(opea_servers):
    one, other = opea_servers(model="a"), opea_servers(model="b", latency=0.01)
    assert one.url != other.url
    assert httpx.get(other.url + "/models").json()["data"][0]["id"] == "b"

def test_a_new_one_each_time(opea_server):
    assert opea_server.seen == []

def test_none_is_left():
    assert [t.name for t in threading.enumerate() if "scripted" in t.name] == []
"""


def test_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    plugin = ["-p", "opea_core.pytest_plugin"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:opea",
        *plugin,
        str(tmp_path),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=_environment(),
        check=False,
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr


# --- opea fake


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


class Fake:
    """``opea fake`` in a process of its own."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "opea_core", "fake", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environment()
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        until(
            lambda: (
                any("Serving" in line for line in self.lines) or self.process.poll() is not None
            ),
            "it to serve",
            30,
        )

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)

    @property
    def url(self) -> str:
        found = re.search(r"http://\S+", "".join(self.lines))
        assert found, self.lines
        return found[0]

    def statuses(self, count: int) -> list[int]:
        return [
            httpx.post(self.url + "/chat/completions", json=BODY).status_code for _ in range(count)
        ]

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@contextmanager
def fake(*options: str) -> Iterator[Fake]:
    it = Fake(*options)
    try:
        yield it
    finally:
        it.process.kill()
        it.process.wait()
        assert it.process.stdout is not None
        it.process.stdout.close()


def test_ctrl_c_ends_it_well_and_frees_the_port() -> None:
    with fake("--port", "0") as it:
        assert it.statuses(1) == [200]
        port = int(it.url.rpartition(":")[2].partition("/")[0])
        assert it.interrupt() == 0
    with fake("--port", str(port)) as again:
        assert again.statuses(1) == [200]
        assert f":{port}/" in again.url
        assert again.interrupt() == 0


def test_it_fails_as_it_is_told_and_tells_of_each_request() -> None:
    with fake("--port", "0", "--fault", "503", "--fault", "html-502", "--first", "3") as it:
        assert it.statuses(5) == [503, 502, 503, 200, 200]
        until(lambda: sum("POST" in line for line in it.lines) == 5, "its lines")
        marks = [line.split()[1] == "!" for line in it.lines if "POST" in line]
        assert marks == [True, True, True, False, False]
        assert "Faults: 503, html-502" in "".join(it.lines)


def test_a_share_of_the_requests() -> None:
    with fake("--port", "0", "--fault", "503", "--share", "0.5", "--seed", "7") as it:
        found = it.statuses(40)
    assert 8 <= found.count(503) <= 32


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "opea_core", "fake", *options]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=_environment(), check=False
    )


def test_the_list_of_faults() -> None:
    done = run("--list")
    assert done.returncode == 0
    assert [
        name
        for name in faults.FAULTS
        if not re.search(rf"^{re.escape(name)}\s", done.stdout, re.MULTILINE)
    ] == []


def test_an_unknown_fault() -> None:
    done = run("--fault", "nonsense")
    assert done.returncode == 1
    assert "There is no fault 'nonsense'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(server: ScriptedServer) -> None:
    done = run("--port", str(port_of(server)))
    assert done.returncode == 1
    assert f"cannot listen at 127.0.0.1:{port_of(server)}" in done.stderr
