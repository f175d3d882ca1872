"""What goes out of somebody else's client, and what comes back: nothing is changed on the way."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from typing import Any

import httpx
import pytest
from asking import FAST
from sdk_clients import ASKED, CHAT, NOWHERE, SDK, STREAMED, Client

from opea_core import OPEA
from opea_core.testing import Answer, Forever, ScriptedServer, chat, faults, raw, stream
from opea_core.transports import AsyncHTTPXTransport

KEY = "sk-of-the-endpoint"


def test_status_headers_and_bytes_come_back_as_they_were_sent(
    client: Client, server: ScriptedServer
) -> None:
    body = b'{ "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}],  "own": 1.0}\n'
    sent = Answer(201, {"content-type": "application/json; own", "x-own": "1"}, (body,))
    server.script(sent)
    with OPEA(server.url) as opea:
        got = client.ask(opea)
    assert (got.error, got.status, got.body) == (None, 201, body)
    assert dict(got.headers) == {**sent.headers, "content-length": str(len(body))}


def test_a_header_that_comes_twice_comes_twice(client: Client, server: ScriptedServer) -> None:
    whole = chat("x")
    head = whole.head.replace(b"\r\n\r\n", b"\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\r\n")
    server.script(Answer(steps=(head, whole.body), bare=True, end="close"))
    with OPEA(server.url) as opea:
        got = client.ask(opea)
    assert got.headers.get_list("set-cookie") == ["a=1", "b=2"]


def test_a_stream_comes_as_it_was_sent(client: Client, server: ScriptedServer) -> None:
    sent = stream(["Hel", "lo", {"reasoning_content": "why"}], usage={"total_tokens": 3})
    server.script(sent)
    with OPEA(server.url) as opea:
        got = client.ask(opea, body=STREAMED)
        assert opea.get_stats()["success"] == 1
    assert (got.error, got.body, len(got.pieces) > 2) == (None, sent.body, True)


@pytest.mark.parametrize("body", [ASKED, STREAMED], ids=["plain", "stream"])
def test_a_packed_body_stays_packed(client: Client, server: ScriptedServer, body: object) -> None:
    server.script(faults.gzipped)
    with OPEA(server.url) as opea:
        got = client.ask(opea, body=body)
    assert (got.error, got.headers["content-encoding"]) == (None, "gzip")
    assert gzip.decompress(got.body) == server.model.answer(server.seen[0]).body


def test_bytes_keep_their_dialect(client: Client, server: ScriptedServer) -> None:
    with OPEA(server.url, dialect="responses") as opea:
        got = client.ask(opea, body=STREAMED)
    assert (got.error, server.seen[0].path) == (None, f"/v1{CHAT}")
    assert got.body.endswith(b"data: [DONE]\n\n")


def test_the_bytes_of_the_request_go_out_as_they_are(
    client: Client, server: ScriptedServer
) -> None:
    body = b'{"temperature":1E0 , "model" : "m","messages":[],"own":[1.50,"\\u00e4"],"seed":null}'
    with OPEA(server.url, model="another-model") as opea:
        client.ask(opea, body=body, headers={"content-type": "application/json; own"})
    assert server.seen[0].raw_body == body
    assert server.seen[0].headers["content-type"] == "application/json; own"


@pytest.mark.parametrize("path", [CHAT, "/files"])
def test_the_key_of_a_function_is_asked_for(
    client: Client, server: ScriptedServer, path: str
) -> None:
    with OPEA(server.url, api_key=lambda: KEY) as opea:
        client.ask(opea, path)
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("path", [CHAT, "/files"])
def test_it_goes_over_the_client_that_the_object_was_given(
    client: Client, server: ScriptedServer, path: str
) -> None:
    async def ask() -> None:
        async with httpx.AsyncClient(headers={"x-lent": "1"}) as lent:
            opea = OPEA(server.url, async_http_client=lent)
            async with httpx.AsyncClient(transport=AsyncHTTPXTransport(opea)) as outer:
                await outer.post(f"{NOWHERE}{path}", json=ASKED)
            assert not lent.is_closed
            await opea.aclose()

    if client.is_async:
        asyncio.run(ask())
    else:
        with httpx.Client(headers={"x-lent": "1"}) as lent:
            client.ask(OPEA(server.url, http_client=lent), path)
            assert not lent.is_closed
    assert [seen.headers["x-lent"] for seen in server.seen] == ["1"]


@pytest.mark.parametrize("path", [CHAT, "/files"])
def test_the_key_and_the_url_are_those_of_the_endpoint(
    client: Client, server: ScriptedServer, path: str
) -> None:
    secrets = {
        "Authorization": "Bearer sk-of-the-caller",
        "api-key": "sk-of-the-caller",
        "Cookie": "session=sk-of-the-caller",
        "OpenAI-Organization": "org-of-the-caller",
        "x-gateway": "sk-of-the-caller",
    }
    ours = {"x-gateway": "of-the-endpoint"}
    url = f"{server.origin}/deep/v1?api-version=ours"
    with OPEA(url, api_key=KEY, headers=ours) as opea:
        client.ask(
            opea,
            f"{path}?key=sk-of-the-caller&api-version=theirs&after=7",
            headers={**secrets, "x-own": "kept"},
        )
    seen = server.seen[0]
    assert (seen.path, seen.query) == (f"/deep/v1{path}", {"api-version": "ours", "after": "7"})
    assert seen.headers["host"] == server.origin.removeprefix("http://")
    assert (seen.headers["authorization"], seen.headers["x-own"]) == (f"Bearer {KEY}", "kept")
    assert "of-the-caller" not in json.dumps([seen.headers, seen.query])


def test_azures_paths_and_key_header_are_translated(client: Client, server: ScriptedServer) -> None:
    with OPEA(server.url, api_key=KEY, auth_header="api-key", auth_scheme=None) as opea:
        client.ask(
            opea,
            CHAT,
            base="http://opea.invalid/openai/deployments/gpt",
            headers={"api-key": "sk-of-the-caller"},
        )
    assert (server.seen[0].path, server.seen[0].headers["api-key"]) == (f"/v1{CHAT}", KEY)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/models", None),
        ("POST", "/embeddings", {"model": "m", "input": ["a", "b"]}),
        ("POST", "/rerank", {"model": "m", "query": "a", "documents": ["a", "b"]}),
        ("POST", "/completions", {"model": "m", "prompt": "a"}),
        ("POST", "/chat/completions", b"no JSON at all"),
    ],
)
def test_every_call_of_the_protocol_fails_over(
    client: Client,
    server: ScriptedServer,
    second: ScriptedServer,
    method: str,
    path: str,
    body: object,
) -> None:
    server.always(faults.reset)
    endpoints = [{"base_url": server.url}, {"base_url": second.url, "tier": 1}]
    with OPEA(endpoints=endpoints, retry=FAST) as opea:
        got = client.ask(opea, path, body, method=method)
    assert (got.error, got.status) == (None, 400 if isinstance(body, bytes) else 200)
    assert (len(server.seen), len(second.seen)) == (1, 1)


def test_what_is_no_call_of_the_protocol_goes_once_to_the_first_endpoint(
    client: Client, server: ScriptedServer, second: ScriptedServer
) -> None:
    server.script(faults.status(503), faults.status(503))
    upload = b"--b\r\ncontent-disposition: form-data; name=file; filename=a\r\n\r\nabc\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    with OPEA(endpoints=[server.url, second.url], api_key=KEY, model="scripted-model") as opea:
        got = client.ask(opea, "/files", upload, headers={"content-type": kind, **SDK})
        opea.chat("the breaker and the limits know nothing of it", endpoint=opea.endpoint_ids()[1])
        figures = opea.get_stats(opea.endpoint_ids()[0])
    assert (got.status, "x-should-retry" in got.headers) == (503, False)
    assert [(seen.path, seen.raw_body) for seen in server.seen] == [("/v1/files", upload)]
    assert server.seen[0].headers["content-type"] == kind
    assert (figures["requests"], len(second.seen)) == (0, 1)


def test_nothing_is_said_of_a_body_that_its_client_did_not_say(
    client: Client, server: ScriptedServer
) -> None:
    with OPEA(server.url) as opea:
        client.ask(opea, "/uploads/u/parts", b"abc")
    assert server.seen[0].raw_body == b"abc"
    assert "content-type" not in server.seen[0].headers


def test_what_is_passed_on_comes_in_pieces(client: Client, server: ScriptedServer) -> None:
    server.script(Answer(200, {"content-type": "audio/mpeg"}, (b"a", b"b" * 9), length="chunked"))
    with OPEA(server.url) as opea:
        got = client.ask(opea, "/audio/speech", {"input": "say it"})
    assert (got.error, got.body) == (None, b"a" + b"b" * 9)


def test_what_breaks_while_it_is_passed_on_is_an_error_of_the_clients_library(
    client: Client, server: ScriptedServer
) -> None:
    server.script(faults.cut(chat("a text")))
    with OPEA(server.url) as opea:
        got = client.ask(opea, "/files", {"a": 1})
        server.pause()
        refused = client.ask(opea, "/files", {"a": 1})
    assert isinstance(got.error, client.library.RemoteProtocolError)
    assert isinstance(refused.error, client.library.ConnectError)


@pytest.mark.parametrize("path", [CHAT, "/files/file-1/content"])
def test_no_redirect_is_followed(
    client: Client, server: ScriptedServer, second: ScriptedServer, path: str
) -> None:
    server.always(Answer(307, {"location": f"{second.url}{path}"}))
    with OPEA(server.url, api_key=KEY) as opea:
        got = client.ask(opea, path, headers=SDK, follow_redirects=True)
    assert (got.status, got.headers["x-should-retry"]) == (502, "false")
    assert "Redirects are not followed" in got.said["message"]
    assert (len(server.seen), second.seen) == (1, [])


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\r\n"


@pytest.mark.parametrize(
    "answer", [raw(HEAD, Forever(b"x", 0.02)), faults.drip_head], ids=["body", "head"]
)
def test_what_is_passed_on_keeps_to_the_deadline(
    client: Client, server: ScriptedServer, answer: Any
) -> None:
    server.always(answer)
    with OPEA(server.url, deadline=0.3) as opea:
        got = client.ask(opea, "/files", None, method="GET")
    assert got.status == 504 or "Timeout" in type(got.error).__name__


def test_a_key_function_of_what_is_passed_on_keeps_to_it_too(
    client: Client, server: ScriptedServer
) -> None:
    goes_on = threading.Event()

    def key() -> str:
        goes_on.wait(1.0)  # long after the deadline; ``asyncio.run`` waits for the thread to end
        return KEY

    with OPEA(server.url, deadline=0.2, api_key=key) as opea:
        got = client.ask(opea, "/files", None, method="GET")
        goes_on.set()
    assert got.status == 504 or "Timeout" in type(got.error).__name__
    assert server.seen == []
