"""Calls that go well, and what they send."""

from __future__ import annotations

import gzip
import json
from typing import Any

from table import BAD, GOT, ONE_GOOD, Row

from opea_core.testing import Wait, chat, chunk, error, json_answer, raw, sse, stream, tool_call

HELLO = 'This is the scripted model. You wrote: "Hello"'
PART = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
}


def _gzipped(document: Any) -> Any:
    data = gzip.compress(json.dumps(document).encode())
    return json_answer({}, headers={"content-encoding": "gzip"}).replace(steps=(data,))


_CHAT = json.loads(
    chat("Hello there", usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}).body
)

PLAIN = [
    Row(
        "chat",
        gives=HELLO,
        has={
            "finish_reason": "stop",
            "role": "assistant",
            "model": "scripted-model",
            "endpoint": "one",
        },
        events=ONE_GOOD,
    ),
    Row(
        "chat of messages",
        args=([{"role": "user", "content": "Hello"}],),
        gives=HELLO,
        sent={"path": "/v1/chat/completions"},
    ),
    Row(
        "complete",
        method="complete",
        gives=HELLO,
        events=ONE_GOOD,
        sent={"path": "/v1/completions", "body": {"prompt": "Hello"}},
    ),
    Row(
        "embed",
        method="embed",
        args=(["a", "b"],),
        gives=lambda r: len(r.embeddings) == 2 and r.dimensions == 8,
        events=ONE_GOOD,
    ),
    Row(
        "embed one text",
        method="embed",
        args=("a",),
        gives=lambda r: len(r.embeddings) == 1,
        sent={"body": {"input": ["a"]}},
    ),
    Row(
        "embed nothing",
        method="embed",
        args=([],),
        gives=lambda r: r.embeddings == [],
        requests=(0,),
        attempts=0,
        events=None,
    ),
    Row(
        "models",
        method="models",
        args=(),
        gives=lambda r: [m.id for m in r] == ["scripted-model"],
        events=ONE_GOOD,
        sent={"method": "GET", "path": "/v1/models"},
    ),
    Row(
        "usage",
        [chat("x", usage=_CHAT["usage"])],
        gives=lambda r: (r.usage.prompt_tokens, r.usage.completion_tokens) == (3, 2),
        stats={"prompt_tokens": 3, "completion_tokens": 2},
    ),
    Row(
        "two answers",
        call={"n": 2},
        gives=lambda r: (
            [c.index for c in r.choices] == [0, 1] and r.choices[1].content.endswith("(answer 2)")
        ),
    ),
    Row(
        "a tool call",
        [chat(None, tool_calls=[tool_call("add", {"a": 1})])],
        call={"tools": [PART]},
        gives=lambda r: r.tool_calls[0].args == {"a": 1},
        has={"finish_reason": "tool_calls", "content": ""},
    ),
    Row("reasoning", [chat("x", reasoning="because")], gives="x", has={"reasoning": "because"}),
    Row("gzip", [_gzipped(_CHAT)], gives="Hello there"),
    Row(
        "an event stream as the answer to a plain call",
        [stream(["Hel", "lo"])],
        gives="Hello",
        events=ONE_GOOD,
    ),
    Row(
        "no length: the body ends with the connection",
        [chat("Hello").replace(length="none")],
        gives="Hello",
    ),
    Row("chunked", [chat("Hello").replace(length="chunked")], gives="Hello"),
    Row(
        "an answer with text in place of a message",
        [json_answer({"choices": [{"text": "Hello", "finish_reason": "stop"}]})],
        gives="Hello",
    ),
    Row("a null content", [chat(None)], gives=""),
    Row(
        "an interim answer first",
        [raw(b"HTTP/1.1 100 Continue\r\n\r\n", chat("Hello").head, chat("Hello").body, end="keep")],
        gives="Hello",
    ),
    Row(
        "HTTP/1.0",
        [
            raw(
                chat("Hello").head.replace(b"HTTP/1.1", b"HTTP/1.0"),
                chat("Hello").body,
                end="close",
            )
        ],
        gives="Hello",
    ),
    Row(
        "letters of all kinds",
        args=("Grüße 🙂 你好",),
        gives=HELLO.replace("Hello", "Grüße 🙂 你好"),
    ),
    Row("on a connection that is used again", before=1, gives=HELLO, events=ONE_GOOD),
]

STREAMS = [
    Row(
        "a stream",
        method="stream_chat",
        gives=HELLO,
        has={"finish_reason": "stop"},
        events=ONE_GOOD,
    ),
    Row(
        "a stream of a completion",
        method="stream_complete",
        gives=HELLO,
        events=ONE_GOOD,
        sent={"path": "/v1/completions"},
    ),
    Row(
        "a stream with usage",
        [stream(["a", "b"], usage=_CHAT["usage"])],
        method="stream_chat",
        gives="ab",
        stats={"prompt_tokens": 3, "completion_tokens": 2},
    ),
    Row(
        "a stream on a used connection",
        before=1,
        method="stream_chat",
        gives=HELLO,
        events=ONE_GOOD,
    ),
    Row(
        "a stream piece by piece",
        [stream(["a", Wait(0.01), "b", Wait(0.01), "c"])],
        method="stream_chat",
        gives="abc",
    ),
    Row(
        "slow and steady, longer than any one limit",
        [stream([piece for i in range(7) for piece in (str(i), Wait(0.03))])],
        method="stream_chat",
        opea={"timeout": 0.13},
        gives="0123456",
        seconds=0.18,
    ),
    Row(
        "reasoning first",
        [stream([{"reasoning_content": "hm"}, "yes"])],
        method="stream_chat",
        gives="yes",
        has={"reasoning": "hm"},
    ),
    Row(
        "tools streamed",
        method="stream_chat",
        call={"tools": [PART]},
        gives=lambda r: (r.tool_calls[0].name, r.tool_calls[0].args) == ("add", {}),
    ),
    Row(
        "two answers streamed",
        method="stream_chat",
        call={"n": 2},
        gives=lambda r: [c.content for c in r.choices] == [HELLO, HELLO + " (answer 2)"],
    ),
    Row(
        "a JSON answer to a stream",
        [chat("Hello")],
        method="stream_chat",
        gives="Hello",
        events=ONE_GOOD,
    ),
    Row(
        "an end without [DONE]",
        [stream(["a"], done=False)],
        method="stream_chat",
        gives="a",
        has={"warnings": ["the stream ended without [DONE]", "usage was asked for, and none came"]},
    ),
    Row(
        "cut after the finish reason",
        [stream(["a"], done=False, end="cut")],
        method="stream_chat",
        gives="a",
    ),
    Row(
        "reset after the finish reason",
        [sse(chunk({"content": "a"}), chunk({}, "stop"), Wait(0.02), done=False, end="reset")],
        method="stream_chat",
        gives="a",
    ),
    Row(
        "[DONE] without a finish reason",
        [stream(["a"], finish_reason=None)],
        method="stream_chat",
        gives="a",
        has={"finish_reason": None},
    ),
    Row(
        "comments and keep-alives between",
        [sse(b": hi\n\n", chunk({"content": "a"}), b": hi\n\n", chunk({}, "stop"))],
        method="stream_chat",
        gives="a",
    ),
    Row(
        "a role-only event first",
        [
            sse(
                chunk({"role": "assistant", "content": ""}),
                chunk({"content": "a"}),
                chunk({}, "stop"),
            )
        ],
        method="stream_chat",
        gives="a",
    ),
    Row(
        "glued and torn events",
        [
            sse(
                b'data: {"choices":[{"delta":{"con',
                (
                    b'tent":"a"}}]}\n\ndata: {"choices":[{"delta":{"content":"b"},'
                    b'"finish_reason":"stop"}]}\n\n'
                ),
            )
        ],
        method="stream_chat",
        gives="ab",
    ),
]

SENT = [
    Row(
        "what is always sent",
        gives=HELLO,
        sent={
            "body": {"model": "scripted-model", "stream": False},
            "headers": {
                "accept": "application/json",
                "content-type": "application/json",
                "authorization": None,
            },
        },
    ),
    Row(
        "a stream asks for events",
        method="stream_chat",
        gives=HELLO,
        sent={
            "body": {"stream": True},
            "headers": {
                "accept": "text/event-stream, application/json",
                "accept-encoding": "identity",
            },
        },
    ),
    Row(
        "any option goes into the body",
        call={"temperature": 0.5, "top_k": 40},
        gives=HELLO,
        sent={"body": {"temperature": 0.5, "top_k": 40}},
    ),
    Row(
        "extra_body is merged",
        call={"extra_body": {"guided": {"a": 1}}, "seed": 1},
        gives=HELLO,
        sent={"body": {"guided": {"a": 1}, "seed": 1, "extra_body": None}},
    ),
    Row(
        "extra_headers",
        call={"extra_headers": {"X-Team": "blue"}},
        opea={"headers": {"x-team": "red", "x-org": "o"}},
        gives=HELLO,
        sent={"headers": {"x-team": "blue", "x-org": "o"}},
    ),
    Row(
        "extra_query",
        call={"extra_query": {"a": "b c"}},
        opea={"query": {"q": "1"}},
        gives=HELLO,
        sent={"query": {"q": "1", "a": "b c"}},
    ),
    Row(
        "api_version",
        opea={"api_version": "2024-10-21"},
        gives=HELLO,
        sent={"query": {"api-version": "2024-10-21"}},
    ),
    Row(
        "a key",
        opea={"api_key": "sk-1234567"},
        gives=HELLO,
        sent={"headers": {"authorization": "Bearer sk-1234567"}},
    ),
    Row(
        "a key elsewhere",
        opea={"api_key": "sk-1234567", "auth_header": "api-key", "auth_scheme": None},
        gives=HELLO,
        sent={"headers": {"api-key": "sk-1234567", "authorization": None}},
    ),
    Row(
        "a key with a scheme of its own",
        opea={"api_key": "sk-1234567", "auth_scheme": "Token"},
        gives=HELLO,
        sent={"headers": {"authorization": "Token sk-1234567"}},
    ),
    Row(
        "request_id",
        call={"request_id": "mine-1"},
        gives=HELLO,
        has={"request_id": "mine-1"},
        sent={"headers": {"x-request-id": "mine-1"}, "body": {"request_id": None}},
    ),
    Row(
        "the server's request id",
        [chat("x").replace(headers={"content-type": "application/json", "x-request-id": "theirs"})],
        gives="x",
        has={"request_id": "theirs"},
    ),
    Row(
        "a model of its own",
        call={"model": "other"},
        gives=HELLO,
        sent={"body": {"model": "other"}},
    ),
    Row(
        "reserved options stay here",
        call={
            "timeout": 5,
            "deadline": 5,
            "max_retries": 1,
            "priority": 0,
            "endpoint": "one",
            "recovery_wait": 1,
        },
        gives=HELLO,
        sent={
            "body": dict.fromkeys(
                ("timeout", "deadline", "max_retries", "priority", "endpoint", "recovery_wait")
            )
        },
    ),
    Row(
        "options of complete",
        method="complete",
        call={"max_tokens": 2, "extra_headers": {"x-a": "b"}},
        gives="This is ",
        sent={"body": {"max_tokens": 2}, "headers": {"x-a": "b"}},
    ),
    Row(
        "options of embed",
        method="embed",
        args=(["a"],),
        call={"dimensions": 4, "extra_query": {"a": "b"}},
        gives=lambda r: r.dimensions == 4,
        sent={"body": {"dimensions": 4, "stream": None}, "query": {"a": "b"}},
    ),
    Row(
        "options of models",
        method="models",
        args=(),
        call={"extra_headers": {"x-a": "b"}},
        gives=lambda r: len(r) == 1,
        sent={"headers": {"x-a": "b"}},
    ),
    Row(
        "a parameter that is refused is dropped once",
        [error(400, "Unsupported parameter: 'seed'", param="seed")],
        call={"seed": 1},
        gives=HELLO,
        requests=(2,),
        events=(
            f"{GOT} {BAD} ParameterDropped AttemptStarted HeadersReceived FirstContent AttemptEnded"
        ),
        stats={"retries": 0, "requests": 1},
        sent={"body": {"seed": None}},
    ),
    Row(
        "reasoning that is wanted back",
        [error(400, "reasoning_content is missing in assistant tool call message")],
        args=(
            [
                {"role": "user", "content": "a"},
                {
                    "role": "assistant",
                    "tool_calls": [tool_call("f", {})],
                    "reasoning_content": "hm",
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "Hello"},
            ],
        ),
        gives='The tool says: "Hello"',
        requests=(2,),
        sent={"messages": {1: {"reasoning_content": "hm"}}},
    ),
]
