"""What fails under somebody else's client: tried again below it, and told in its own words."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from asking import FAST
from sdk_clients import ASKED, CHAT, SDK, STREAMED, Client

from opea_core import OPEA, ClientClosed, RetryPolicy
from opea_core.testing import (
    Answer,
    Hold,
    ScriptedServer,
    chat,
    chunk,
    error,
    faults,
    html,
    sse,
    stream,
)

ONCE = RetryPolicy(max_retries=1, initial_delay=0.005, max_delay=0.01, jitter="none")
EMPTY_THEN_CUT = sse(chunk({"role": "assistant", "content": ""}), done=False, end="cut")


@pytest.mark.parametrize("body", [ASKED, STREAMED], ids=["plain", "stream"])
def test_it_is_tried_again_until_content_has_come(
    client: Client, server: ScriptedServer, body: object
) -> None:
    broken = EMPTY_THEN_CUT if body is STREAMED else faults.cut
    server.script(faults.status(503), broken, faults.reset)
    with OPEA(server.url, retry=FAST) as opea:
        got = client.ask(opea, body=body)
    assert (got.error, got.status, len(server.seen)) == (None, 200, 4)
    assert got.body == server.model.answer(server.seen[3]).body


def test_a_stream_that_is_cut_is_never_a_short_answer(
    client: Client, server: ScriptedServer, second: ScriptedServer
) -> None:
    server.always(stream(["Hel", "lo"], finish_reason=None, done=False, end="cut"))
    second.always(stream(["Hel", "lo"], finish_reason=None, done=False, end="cut"))
    with OPEA(endpoints=[server.url, second.url], retry=FAST) as opea:
        got = client.ask(opea, body=STREAMED)
    assert isinstance(got.error, client.library.RemoteProtocolError)
    assert "broke off after 5 characters" in str(got.error)
    assert (got.status, b'"lo"' in got.body) == (200, True)
    assert len(server.seen + second.seen) == 1


@pytest.mark.parametrize("done", [True, False], ids=["mark", "no mark"])
def test_a_stream_without_a_finish_reason_is_an_error_and_its_end_mark_does_not_come(
    client: Client, server: ScriptedServer, done: bool
) -> None:
    server.script(stream(["Hel", "lo"], finish_reason=None, done=done))
    with OPEA(server.url, retry=FAST) as opea:
        got = client.ask(opea, body=STREAMED)
    assert isinstance(got.error, client.library.RemoteProtocolError)
    assert (b'"lo"' in got.body, b"[DONE]" in got.body) == (True, False)


def test_silence_in_a_stream_ends_at_the_clients_own_limit(
    client: Client, server: ScriptedServer
) -> None:
    release = threading.Event()
    server.script(stream(["Hel", Hold(release), "lo"]))
    with OPEA(server.url) as opea:
        got = client.ask(opea, body=STREAMED, timeout=0.2)
        release.set()
    assert isinstance(got.error, client.library.ReadTimeout)
    assert b'"Hel"' in got.body


def test_an_error_in_the_middle_comes_as_the_server_said_it(
    client: Client, server: ScriptedServer
) -> None:
    event = {"error": {"message": "CUDA out of memory", "code": 500}}
    server.script(sse(chunk({"content": "Hel"}), event, done=False))
    with OPEA(server.url) as opea:
        got = client.ask(opea, body=STREAMED)
    assert got.error is not None
    assert json.loads(got.body.split(b"data: ")[-1]) == event


@pytest.mark.parametrize("body", [ASKED, STREAMED], ids=["plain", "stream"])
def test_the_last_error_is_the_servers_own_answer_and_says_not_to_retry(
    client: Client, server: ScriptedServer, body: object
) -> None:
    last = error(503, "the last words", code="own_code", headers={"x-own": "1"})
    server.script(
        faults.status(503), last.replace(headers={**last.headers, "x-should-retry": "true"})
    )
    with OPEA(server.url, retry=ONCE) as opea:
        got = client.ask(opea, body=body)
    assert (got.error, got.status, got.body) == (None, 503, last.body)
    assert {name: got.headers[name] for name in ("x-own", "content-type", "x-should-retry")} == {
        "x-own": "1",
        "content-type": "application/json",
        "x-should-retry": "false",
    }
    assert got.headers.get_list("x-should-retry") == ["false"]
    assert len(server.seen) == 2


def test_a_stated_wait_is_kept_and_the_answer_comes(client: Client, server: ScriptedServer) -> None:
    server.script(error(429, "Slow down.", headers={"retry-after-ms": "200"}))
    with OPEA(server.url) as opea:
        got = client.ask(opea)
    assert (got.status, len(server.seen)) == (200, 2)
    assert server.seen[1].at - server.seen[0].ended_at >= 0.15e9


NO_ANSWERS = {
    "an error object": (chat().replace(steps=(b'{"error":{"message":"m","code":429}}',)), 429),
    "a page": (html(200), 502),
    "nothing": (Answer(200, {"content-type": "application/json"}), 502),
}


@pytest.mark.parametrize("case", NO_ANSWERS)
@pytest.mark.parametrize("body", [ASKED, STREAMED], ids=["plain", "stream"])
def test_a_success_that_is_no_answer_comes_as_an_error(
    client: Client, server: ScriptedServer, body: object, case: str
) -> None:
    answer, status = NO_ANSWERS[case]
    server.always(answer)
    with OPEA(server.url, retry=RetryPolicy(max_retries=0)) as opea:
        got = client.ask(opea, body=body)
    assert (got.error, got.status, got.headers["x-should-retry"]) == (None, status, "false")
    assert server.origin.removeprefix("http://") in got.said["message"]


def test_no_answer_is_an_answer_of_ours_for_sdks_and_an_exception_for_others(
    client: Client, server: ScriptedServer
) -> None:
    server.pause()
    with OPEA(server.url, retry=ONCE, recovery_wait=0) as opea:
        plain, sdk = client.ask(opea), client.ask(opea, headers=SDK)
    assert isinstance(plain.error, client.library.ConnectError)
    assert "Nothing answers at" in str(plain.error)
    assert (sdk.error, sdk.status, sdk.headers["x-should-retry"]) == (None, 503, "false")
    assert (sdk.said["code"], sdk.said["type"]) == ("EndpointConnectionError", "opea_error")
    assert "Nothing answers at" in sdk.said["message"]


def test_a_limit_that_passes_is_a_timeout(client: Client, server: ScriptedServer) -> None:
    server.always(faults.hang)
    with OPEA(server.url, retry=RetryPolicy(max_retries=0)) as opea:
        plain = client.ask(opea, timeout=0.1)
        sdk = client.ask(opea, timeout=0.1, headers=SDK)
    assert isinstance(plain.error, client.library.ReadTimeout)
    assert (sdk.status, sdk.said["code"]) == (504, "EndpointTimeout")


def test_closing_the_client_leaves_the_object_open_and_the_other_way_round_is_told(
    client: Client, server: ScriptedServer
) -> None:
    opea = OPEA(server.url, model="scripted-model")
    assert client.ask(opea).status == client.ask(opea).status == 200  # each closes its client
    assert opea.chat("Hello").content
    opea.close()
    plain, sdk = client.ask(opea), client.ask(opea, headers=SDK)
    passed = client.ask(opea, "/files", headers=SDK)
    assert isinstance(plain.error, ClientClosed)
    assert (sdk.status, sdk.said["code"]) == (passed.status, passed.said["code"])
    assert (sdk.status, sdk.said["code"], len(server.seen)) == (503, "ClientClosed", 3)


def test_a_stream_that_is_left_gives_its_place_back(client: Client, server: ScriptedServer) -> None:
    release = threading.Event()
    server.script(stream(["Hel", Hold(release), "lo"]))
    with OPEA(server.url, max_concurrent=1, queue_timeout=5) as opea:
        left = client.ask(opea, body=STREAMED, most=1)
        assert (left.error, client.ask(opea).status) == (None, 200)
        release.set()


ONE_AT_A_TIME: Any = {"model": "scripted-model", "max_concurrent": 1}


def test_clients_and_direct_calls_wait_in_one_queue(client: Client) -> None:
    with ScriptedServer(latency=0.05) as server, OPEA(server.url, **ONE_AT_A_TIME) as opea:
        asked = [threading.Thread(target=client.ask, args=(opea,)) for _ in range(3)]
        for thread in asked:
            thread.start()
        opea.chat("Hello")
        for thread in asked:
            thread.join()
        assert (len(server.seen), server.max_in_flight) == (4, 1)


CREATED = {"type": "response.created", "response": {"id": "r"}}
TEXT = {"type": "response.output_text.delta", "delta": "Hello"}
COMPLETED = {"type": "response.completed", "response": {"id": "r", "status": "completed"}}
FAILED = {
    "type": "response.failed",
    "response": {"error": {"code": "server_error", "message": "m"}},
}


def test_streams_of_the_responses_api_are_known(client: Client, server: ScriptedServer) -> None:
    asked = {"model": "m", "input": "Hello", "stream": True}
    whole = sse(CREATED, TEXT, COMPLETED, done=False)
    server.script(sse(CREATED, FAILED, done=False), sse(CREATED, done=False), whole)
    server.script(sse(CREATED, TEXT, done=False))
    with OPEA(server.url, retry=FAST) as opea:
        got, cut = (client.ask(opea, "/responses", asked) for _ in range(2))
    assert (got.error, got.body) == (None, whole.body)
    assert isinstance(cut.error, client.library.RemoteProtocolError)
    assert {seen.path for seen in server.seen} == {"/v1/responses"}


def test_other_answers_of_the_responses_api_are_taken_as_they_are(
    client: Client, server: ScriptedServer
) -> None:
    body = b'{"id":"r","object":"response","status":"queued","output":[],"error":null}'
    server.script(Answer(200, {"content-type": "application/json"}, (body,)))
    with OPEA(server.url) as opea:
        got = client.ask(opea, "/responses", {"model": "m", "input": "a", "background": True})
    assert (got.status, got.body, len(server.seen)) == (200, body, 1)


def test_only_an_opea_object_is_taken(client: Client) -> None:
    got = client.ask("http://localhost:8000")  # type: ignore[arg-type]
    assert "takes an OPEA object, not str" in str(got.error)


def test_the_path_alone_says_what_is_a_call(client: Client, server: ScriptedServer) -> None:
    with OPEA(server.url) as opea:
        assert client.ask(opea, f"{CHAT}/", headers=SDK).status == 200
        client.ask(opea, "/chat/completions/chatcmpl-1", None, method="GET")
        assert opea.get_stats()["requests"] == 1
