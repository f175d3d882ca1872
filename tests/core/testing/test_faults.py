"""Each fault does on the wire what its line says:
looked at with a bare socket, and with a plain client.
"""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from callers import CHAT, Caller, Wire

from opea_core.testing import (
    ABSURD_WAITS,
    FAULTS,
    STATED_WAITS,
    Answer,
    ScriptedServer,
    chat,
    faults,
    in_turn,
    sometimes,
)
from opea_core.testing.rate_limits import rate_limit

PLAIN = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
STREAMED = PLAIN | {"stream": True}
RIGHT = 'This is the scripted model. You wrote: "Hello"'
RESET = b"(reset)"
STILL_OPEN = b"(open)"
ENDLESS = 2_000_000


def request(body: Any) -> bytes:
    data = json.dumps(body).encode()
    return f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data


def heard(server: ScriptedServer, body: Any, patience: float = 0.4) -> bytes:
    """All that comes until the connection ends, is reset (``RESET``),
    or nothing more comes (``STILL_OPEN``).
    """
    wire = Wire(server)
    wire.socket.settimeout(patience)
    wire.send(request(body))
    data = b""
    try:
        while len(data) < ENDLESS and (piece := wire.socket.recv(65536)):
            data += piece
            if (
                data.count(b"x-drip") > 3
                or data.count(b"keep-alive") > 3
                or data.endswith(b"1\r\n \r\n" * 4)
            ):
                return data + STILL_OPEN
    except TimeoutError:
        return data + STILL_OPEN
    except ConnectionResetError:
        return data + RESET
    finally:
        wire.socket.close()
    return data


def body_of(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[2]


def length_of(data: bytes) -> int:
    head = data.partition(b"\r\n\r\n")[0].lower()
    return int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])


ON_THE_WIRE: dict[str, Callable[[bytes], Any]] = {
    "close": lambda data: data == b"",
    "reset": lambda data: data == RESET,
    "hang": lambda data: data == STILL_OPEN,
    "cut-head": lambda data: (
        data.startswith(b"HTTP/1.1 200") and b"\r\n\r\n" not in data and RESET not in data
    ),
    "reset-head": lambda data: (
        data.startswith(b"HTTP/1.1 200") and b"\r\n\r\n" not in data and data.endswith(RESET)
    ),
    "drip-head": lambda data: (
        data.startswith(b"HTTP/1.1 200") and data.endswith(b"x-drip: 1\r\n" + STILL_OPEN)
    ),
    "huge-head": lambda data: len(data) >= ENDLESS and b"\r\n\r\n" not in data,
    "not-http": lambda data: data == b"SSH-2.0-OpenSSH_9.6\r\n",
    "cut": lambda data: 0 < len(body_of(data)) < length_of(data),
    "cut-early": lambda data: body_of(data) == b"" and length_of(data) > 0,
    "reset-body": lambda data: (
        data.endswith(RESET) and 0 < len(body_of(data)) - len(RESET) < length_of(data)
    ),
    "reset-early": lambda data: body_of(data) == RESET,
    "stall": lambda data: (
        data.endswith(STILL_OPEN) and 0 < len(body_of(data)) - len(STILL_OPEN) < length_of(data)
    ),
    "stall-early": lambda data: body_of(data) == STILL_OPEN,
    "keepalives": lambda data: data.endswith(b"1\r\n \r\n" + STILL_OPEN) and b"choices" not in data,
    "keepalives-late": lambda data: (
        data.endswith(b"1\r\n \r\n" + STILL_OPEN) and b"choices" in data
    ),
    "long-length": lambda data: length_of(data) == len(body_of(data)) + 100,
    "short-length": lambda data: length_of(data) == len(body_of(data)) // 2,
    "cut-chunk": lambda data: (
        b"transfer-encoding: chunked" in data
        and not data.endswith(b"0\r\n\r\n")
        and b"ffff\r\n" in data
    ),
    "bad-chunk": lambda data: data.endswith(b"size?\r\n"),
    "no-length-cut": lambda data: b"content-length" not in data and not data.endswith(b"}"),
    "html": lambda data: (
        data.startswith(b"HTTP/1.1 200") and b"text/html" in data and b"Please sign in" in data
    ),
    "html-502": lambda data: (
        data.startswith(b"HTTP/1.1 502") and b"<h1>502 Bad Gateway</h1>" in data
    ),
    "error-in-200": lambda data: (
        data.startswith(b"HTTP/1.1 200")
        and json_of(data)["error"]["message"] == "CUDA out of memory"
    ),
    "error-first": lambda data: json_of(data)["error"]["message"] == "CUDA out of memory",
    "error-midway": lambda data: json_of(data)["error"]["message"] == "CUDA out of memory",
    "unfinished": lambda data: (
        length_of(data) == len(complete(data)) and not complete(data).endswith(b"}")
    ),
    "broken-json": lambda data: (
        length_of(data) == len(complete(data)) and not complete(data).endswith(b"}")
    ),
    "deep-json": lambda data: complete(data).count(b"[") == 100_000,
    "empty": lambda data: length_of(data) == 0,
    "empty-object": lambda data: json_of(data) == {},
    "bomb": lambda data: b"content-encoding: gzip" in data and len(data) >= ENDLESS,
    "endless": lambda data: len(data) >= ENDLESS and body_of(data).find(b'"content":"') > 0,
    "long-line": lambda data: len(data) >= ENDLESS and b"\n\n" not in body_of(data),
    "busy": lambda data: data.startswith(b"HTTP/1.1 503") and b"retry-after: 1\r\n" in data,
    "no-model": lambda data: (
        data.startswith(b"HTTP/1.1 404") and json_of(data)["error"]["code"] == "model_not_found"
    ),
    "no-quota": lambda data: (
        data.startswith(b"HTTP/1.1 429") and json_of(data)["error"]["code"] == "insufficient_quota"
    ),
    "too-long": lambda data: (
        data.startswith(b"HTTP/1.1 400")
        and json_of(data)["error"]["code"] == "context_length_exceeded"
    ),
    "429": lambda data: data.startswith(b"HTTP/1.1 429") and b"retry-after: 1\r\n" in data,
    "redirect-302": lambda data: (
        data.startswith(b"HTTP/1.1 302") and b"location: http://elsewhere.invalid/v1\r\n" in data
    ),
}
"""What a plain question must hear."""
STREAMS: dict[str, Callable[[bytes], Any]] = {
    "cut": lambda data: b'"delta"' in data and b"[DONE]" not in data,
    "reset-body": lambda data: b'"delta"' in data and data.endswith(RESET),
    "stall": lambda data: b'"delta"' in data and data.endswith(STILL_OPEN),
    "keepalives": lambda data: b'"delta"' not in data and b": keep-alive\n\n" in data,
    "keepalives-late": lambda data: (
        b'"delta"' in data and b": keep-alive\n\n" in data and b"[DONE]" not in data
    ),
    "error-first": lambda data: b"CUDA out of memory" in data and b'"delta"' not in data,
    "error-midway": lambda data: (
        data.find(b'"delta"') < data.find(b"CUDA out of memory") and b"[DONE]" not in data
    ),
    "unfinished": lambda data: (
        data.endswith(b"0\r\n\r\n" + STILL_OPEN) and b"[DONE]" not in data and b'"stop"' not in data
    ),
    "broken-json": lambda data: b'data: {"id"' in data and b'"delta"' not in data,
    "endless": lambda data: data.count(b'"delta"') > 5,
    "long-line": lambda data: len(data) >= ENDLESS and b"\n\n" not in body_of(data),
}


def complete(data: bytes) -> bytes:
    return body_of(data).removesuffix(STILL_OPEN)


def json_of(data: bytes) -> Any:
    return json.loads(complete(data))


HARMLESS = [name for name, fault in FAULTS.items() if fault.harmless]


def test_every_fault_is_looked_at() -> None:
    assert set(FAULTS) == set(ON_THE_WIRE) | set(HARMLESS)


@pytest.mark.parametrize("name", ON_THE_WIRE)
def test_what_a_plain_question_hears(server: ScriptedServer, name: str) -> None:
    server.always(FAULTS[name])
    data = heard(server, PLAIN)
    assert ON_THE_WIRE[name](data), data[:500]
    assert server.seen[0].answer == name


@pytest.mark.parametrize("name", STREAMS)
def test_what_a_streamed_question_hears(server: ScriptedServer, name: str) -> None:
    server.always(FAULTS[name])
    data = heard(server, STREAMED)
    assert STREAMS[name](data), data[:500]


def said(response: httpx.Response) -> str:
    """The answer's text, streamed or not; of an interrupted stream what is there."""
    if "event-stream" not in response.headers["content-type"]:
        return str(response.json()["choices"][0]["message"]["content"])
    events = [
        line.removeprefix("data: ")
        for line in response.text.splitlines()
        if line.startswith("data: {")
    ]
    return "".join(
        choice["delta"].get("content") or ""
        for event in events
        for choice in json.loads(event)["choices"]
    )


@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["plain", "stream"])
@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_fault_is_right_for_a_plain_client(
    server: ScriptedServer, name: str, body: Any
) -> None:
    server.always(FAULTS[name])
    with httpx.Client() as client:
        for _ in range(1 if name in ("stray", "closing") else 2):
            assert said(client.post(server.origin + CHAT, json=body)) == RIGHT


ODD: dict[str, Callable[[bytes], Any]] = {
    "torn": lambda data: data.count(b"1\r\n") > 100,
    "comments": lambda data: body_of(data).startswith(b" " * 64),
    "gzipped": lambda data: json.loads(gzip.decompress(complete(data)))["choices"],
    "http10": lambda data: (
        data.startswith(b"HTTP/1.0 200") and b"content-length" not in data and data.endswith(b"}")
    ),
    "interim": lambda data: (
        data.startswith(b"HTTP/1.1 103 Early Hints") and b"HTTP/1.1 200" in data
    ),
    "no-length": lambda data: b"content-length" not in data and data.endswith(b"}"),
    "stray": lambda data: data.endswith(b"stray" + STILL_OPEN) and data.count(b"HTTP/1.1") == 2,
    "closing": lambda data: length_of(data) == len(body_of(data)),
    "stream-for-json": lambda data: b"event-stream" in data and b"[DONE]" in data,
}


@pytest.mark.parametrize("name", ODD)
def test_a_harmless_fault_is_odd(server: ScriptedServer, name: str) -> None:
    server.always(FAULTS[name])
    data = heard(server, PLAIN)
    assert ODD[name](data), data[:500]


def test_json_for_a_stream(server: ScriptedServer) -> None:
    server.always(faults.json_for_stream)
    assert "choices" in json_of(heard(server, STREAMED))


def test_a_bomb_is_a_thousand_times_what_it_weighs(server: ScriptedServer) -> None:
    server.always(faults.bomb)
    chunks = body_of(heard(server, PLAIN))[:200_000].split(b"\r\n")[1::2]
    inflated = zlib.decompressobj(31).decompress(b"".join(chunks), 60_000_000)
    assert len(inflated) >= 300 * 200_000


def test_slowly_takes_its_time(server: ScriptedServer) -> None:
    server.always(faults.slowly(0.02))
    assert said(httpx.post(server.origin + CHAT, json=PLAIN)) == RIGHT
    server.wait(lambda: bool(server.seen[0].ended_at))
    assert server.seen[0].ended_at - server.seen[0].at >= 7 * 0.02e9


# --- when


def answers(caller: Caller, count: int) -> list[int]:
    return [caller.post(PLAIN)[0] for _ in range(count)]


def test_in_turn_begins_again(server: ScriptedServer, caller: Caller) -> None:
    server.always(in_turn(faults.status(503), None, chat("x")))
    assert answers(caller, 5) == [503, 200, 200, 503, 200]


def test_sometimes_is_as_often_as_it_says_and_the_same_for_a_seed(
    server: ScriptedServer, caller: Caller
) -> None:
    runs = []
    for seed in (1, 1, 2):
        server.always(sometimes(0.3, faults.status(503), seed))
        runs.append(answers(caller, 200))
    assert runs[0] == runs[1] != runs[2]
    assert 40 <= runs[0].count(503) <= 80


@pytest.mark.parametrize(("share", "status"), [(0, 200), (1, 503)])
def test_never_and_always(
    server: ScriptedServer, caller: Caller, share: float, status: int
) -> None:
    server.always(sometimes(share, faults.status(503)))
    assert answers(caller, 20) == [status] * 20


def test_a_script_several_times(server: ScriptedServer, caller: Caller) -> None:
    server.script(faults.status(503), faults.status(500), times=2)
    assert answers(caller, 5) == [503, 500, 503, 500, 200]


# --- by name, and what may be set


def test_a_status_by_its_number_and_an_unknown_name() -> None:
    assert faults.find("cut") is faults.cut
    assert faults.find("418").name == "418"
    for name in ("nonsense", "200", "600"):
        with pytest.raises(ValueError, match=f"no fault '{name}'.*drip-head"):
            faults.find(name)


def test_what_a_status_says(server: ScriptedServer, caller: Caller) -> None:
    server.script(faults.status(529, "full", code_word="overloaded", headers={"x-a": "b"}))
    status, body = caller.post(PLAIN)
    assert (status, body["error"]["message"], body["error"]["code"]) == (529, "full", "overloaded")


def test_a_fault_fits_whatever_is_asked(server: ScriptedServer, caller: Caller) -> None:
    server.always(faults.broken_json)
    for path, body in (
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/completions", {"prompt": "a"}),
        (CHAT, PLAIN),
    ):
        with pytest.raises(json.JSONDecodeError):
            caller.post(body, path)


@pytest.mark.parametrize("form", STATED_WAITS)
def test_a_stated_wait_is_a_429_that_says_so(form: str) -> None:
    answer = rate_limit(20.0, form)
    assert answer.status == 429
    without = rate_limit(None)
    assert (dict(answer.headers), answer.body) != (dict(without.headers), without.body)


@pytest.mark.parametrize("text", ABSURD_WAITS)
def test_an_absurd_wait_is_sent_as_it_is(server: ScriptedServer, text: str) -> None:
    server.always(faults.rate_limited(text))
    assert httpx.post(server.origin + CHAT, json=PLAIN).headers["retry-after"] == text


def test_an_answer_of_ones_own_is_a_fault_too(server: ScriptedServer, caller: Caller) -> None:
    server.script(
        faults.Fault("mine", "my own", lambda answer: answer.replace(status=418)), Answer(204)
    )
    assert answers(caller, 2) == [418, 204]
    assert [seen.answer for seen in server.seen] == ["mine", "204"]


def test_a_bare_socket_is_reset_not_closed(server: ScriptedServer) -> None:
    server.always(faults.reset)
    with socket.create_connection(
        ("127.0.0.1", int(server.origin.rpartition(":")[2])), timeout=5
    ) as bare:
        bare.sendall(request(PLAIN))
        with pytest.raises(ConnectionResetError):
            bare.recv(1)
