"""Response bodies read as they arrive: streams, plain answers, errors, and what is neither."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from itertools import count, product
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thorough import most

from opea_core import errors
from opea_core.capabilities import Capabilities
from opea_core.types import ChatChunk, ChatResponse, Json
from opea_core.wire.inflate import Inflater
from opea_core.wire.response_reader import ResponseReader
from opea_core.wire.response_spec import Problem, ResponseSpec

BOM = b"\xef\xbb\xbf"


def read(
    *pieces: bytes | str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    stream: bool = True,
    shape: Literal["chat", "document"] = "chat",
    cut: bool = False,
    capabilities: Capabilities | None = None,
    max_response_bytes: int = 1_000_000,
    max_event_bytes: int = 100_000,
) -> ResponseReader:
    """A body read to its end, or to where the connection broke (``cut``)."""
    numbers = count(1)
    expected = ResponseSpec(
        shape=shape,
        stream=stream,
        model="asked",
        new_id=lambda: f"new{next(numbers)}",
        capabilities=capabilities or Capabilities(),
        max_response_bytes=max_response_bytes,
        max_event_bytes=max_event_bytes,
    )
    response_reader = ResponseReader(status, headers or {}, expected)
    for piece in pieces:
        response_reader.feed(piece.encode() if isinstance(piece, str) else piece)
    response_reader.end(cut)
    return response_reader


def problem(response_reader: ResponseReader) -> Problem:
    """What is wrong with a body that is no answer."""
    assert response_reader.response is None
    assert response_reader.problem is not None
    return response_reader.problem


def answer(response_reader: ResponseReader) -> ChatResponse:
    """The answer that a body is."""
    assert response_reader.problem is None
    assert response_reader.response is not None
    return response_reader.response


def data(value: Any) -> str:
    """An event."""
    return f"data: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}\n\n"


def delta(finish_reason: Any = None, index: int = 0, **fields: Any) -> str:
    """An event with one choice."""
    return data({"choices": [{"index": index, "delta": fields, "finish_reason": finish_reason}]})


def call(index: Any = 0, id_: Any = "a", name: Any = "f", arguments: Any = "{}") -> Json:
    return {"index": index, "id": id_, "function": {"name": name, "arguments": arguments}}


DONE = "data: [DONE]\n\n"
PLAIN = {
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    ]
}


def joined(chunks: Iterable[ChatChunk]) -> str:
    return "".join(chunk.content for chunk in chunks)


@pytest.mark.parametrize("mark", [DONE, ""])
def test_choices_that_waited_for_the_first_are_handed_out_at_the_end(mark: str) -> None:
    """The server counts from 1, and answered with fewer than were asked for (P15)."""
    spec = ResponseSpec("chat", True, "m", lambda: "id", choices=3)
    reader = ResponseReader(200, {}, spec)
    body = delta(index=1, content="1") + delta("stop", index=1)
    reader.feed((body + body.replace("1", "2") + mark).encode())
    reader.end()
    assert reader.response is not None
    chunks = list(reader.chunks)
    assert [choice.content for choice in reader.response.choices] == ["1", "2"]
    assert joined(chunks) == "1"
    assert joined(piece for chunk in chunks for piece in chunk.other_choices) == "2"


# --- streams, each of them replayed in every way (see below)

STREAMS: dict[str, tuple[str, Json]] = {
    # what came, and what it is: fields of the response; or the class of the problem and the text so
    # far
    "ordinary": (
        delta(role="assistant", content="")
        + delta(content="H")
        + delta(content="i")
        + delta("stop")
        + DONE,
        {"content": "Hi", "finish_reason": "stop", "warnings": []},
    ),
    "comments and heartbeats": (
        ": KEEPALIVE\n\n"
        + delta(content="H")
        + "data: : PROCESSING\n\n"
        + "data: \n\n"
        + ":\n\n"
        + delta("stop", content="i")
        + DONE,
        {"content": "Hi", "finish_reason": "stop"},
    ),
    "a comment first": (": hello\n\n" + delta("stop", content="Hi") + DONE, {"content": "Hi"}),
    "an event name first": (
        "event: message\nid: 1\nretry: 5\n" + delta("stop", content="Hi") + DONE,
        {"content": "Hi"},
    ),
    "blank lines first": ("\n\n\n" + delta("stop", content="Hi") + DONE, {"content": "Hi"}),
    "a BOM first": ("\ufeff" + delta("stop", content="Hi") + DONE, {"content": "Hi"}),
    "no blank line at the end": (
        delta(content="Hi") + delta("stop") + "data: [DONE]",
        {"content": "Hi", "warnings": []},
    ),
    "no [DONE]": (
        delta(content="Hi") + delta("stop"),
        {"content": "Hi", "warnings": ["the stream ended without [DONE]"]},
    ),
    "no [DONE] and no blank line": (
        delta(content="Hi") + delta("stop").rstrip(),
        {"content": "Hi", "finish_reason": "stop"},
    ),
    "no finish reason": (
        delta(content="Hi") + DONE,
        {
            "content": "Hi",
            "finish_reason": None,
            "warnings": ["the stream ended without a finish reason"],
        },
    ),
    "an empty finish reason": (
        delta("", content="Hi") + DONE,
        {"content": "Hi", "finish_reason": None},
    ),
    "no finish reason, reasoning only": (
        delta(reasoning="why") + DONE,
        {"reasoning": "why", "finish_reason": None},
    ),
    "no finish reason, a tool call": (
        delta(tool_calls=[call()]) + DONE,
        {"calls": [("a", "f", "{}")], "finish_reason": None},
    ),
    "no finish reason, a refusal": (
        delta(refusal="no") + DONE,
        {"refusal": "no", "finish_reason": None},
    ),
    "content after the finish reason": (
        delta("stop", content="H") + delta(content="i") + DONE,
        {"content": "Hi"},
    ),
    "finish reason repeated": (
        delta(content="Hi") + delta("stop") + delta("length") + DONE,
        {"finish_reason": "length"},
    ),
    "finish reason on the content": (
        delta("stop", content="Hi") + DONE,
        {"content": "Hi", "finish_reason": "stop"},
    ),
    "finish reason alone": (
        delta("content_filter") + DONE,
        {"content": "", "finish_reason": "content_filter"},
    ),
    "events after [DONE]": (
        delta("stop", content="Hi") + DONE + delta(content="!"),
        {"content": "Hi"},
    ),
    "choices of every kind": (
        data({"id": "", "model": "", "choices": [], "prompt_filter_results": []})
        + data({"choices": None})
        + data({"id": "x", "model": "m", "choices": [{"index": 0, "delta": None}]})
        + delta(content="Hi")
        + data({"choices": [{"index": 0, "finish_reason": "stop"}]})
        + data(
            {
                "choices": [],
                "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
            }
        )
        + DONE,
        {"content": "Hi", "finish_reason": "stop", "id": "x", "model": "m", "usage": (9, 1, 10)},
    ),
    "usage with nulls": (
        data(
            {
                "choices": [{"delta": {"content": "a"}}],
                "usage": {"prompt_tokens": 9, "completion_tokens": None},
            }
        )
        + delta("stop")
        + data(
            {
                "choices": [],
                "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 14},
            }
        )
        + DONE,
        {"usage": (9, 2, 14)},
    ),
    "usage under x_groq": (
        delta(content="a")
        + data(
            {
                "choices": [{"delta": {}, "finish_reason": "stop"}],
                "x_groq": {"usage": {"prompt_tokens": 9}},
            }
        )
        + DONE,
        {"usage": (9, None, None)},
    ),
    "reasoning under two names": (
        delta(reasoning="w", reasoning_content="w")
        + delta(reasoning_content="hy")
        + delta("stop", content="Hi", reasoning="")
        + DONE,
        {"content": "Hi", "reasoning": "why"},
    ),
    "reasoning details": (
        delta(reasoning_details=[{"type": "reasoning.text", "index": 0, "text": "wh"}])
        + delta(
            reasoning_details=[
                {"type": "reasoning.text", "index": 0, "text": "y", "signature": "s"}
            ]
        )
        + delta("stop", content="Hi")
        + DONE,
        {"content": "Hi", "reasoning": "why"},
    ),
    "reasoning as a content part": (
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}])
        + delta("stop", content=[{"type": "text", "text": "Hi"}])
        + DONE,
        {"content": "Hi", "reasoning": "why"},
    ),
    "tool calls in pieces": (
        delta(role="assistant", content=None, tool_calls=[call(arguments="")])
        + delta(tool_calls=[{"index": 0, "function": {"arguments": '{"x"'}}])
        + delta(tool_calls=[{"index": 0, "function": {"arguments": ":1}"}}])
        + delta("tool_calls")
        + DONE,
        {"content": "", "calls": [("a", "f", '{"x":1}')], "finish_reason": "tool_calls"},
    ),
    "tool calls without ids, stop": (
        delta(tool_calls=[call(None, None, "f", "{}"), call(None, None, "g", "{}")])
        + delta("stop")
        + DONE,
        {"calls": [("new1", "f", "{}"), ("new2", "g", "{}")], "finish_reason": "tool_calls"},
    ),
    "a tool call cut by the token limit": (
        delta("length", tool_calls=[call(arguments='{"x"')]) + DONE,
        {"calls": [], "invalid": [("a", "f", '{"x"', True)], "finish_reason": "length"},
    ),
    "a legacy function call": (
        delta(function_call={"name": "f", "arguments": ""})
        + delta("function_call", function_call={"arguments": "{}"})
        + DONE,
        {"calls": [("new1", "f", "{}")], "finish_reason": "tool_calls"},
    ),
    "two choices interleaved": (
        delta(index=1, content="b")
        + delta(content="a")
        + delta("stop", index=1)
        + delta("stop")
        + DONE,
        {"content": "a", "choices": ["a", "b"]},
    ),
    "a cumulative message": (
        data({"choices": [{"delta": {"content": ""}, "message": {"content": "H"}}]})
        + data(
            {
                "choices": [
                    {
                        "delta": {"content": ""},
                        "message": {"content": "Hi"},
                        "finish_reason": "stop",
                    }
                ]
            }
        ),
        {"content": "Hi"},
    ),
    "a cumulative message beside deltas": (
        data({"choices": [{"delta": {"content": "H"}, "message": {"content": "H"}}]})
        + data(
            {
                "choices": [
                    {
                        "delta": {"content": "i"},
                        "message": {"content": "Hi"},
                        "finish_reason": "stop",
                    }
                ]
            }
        ),
        {"content": "Hi"},
    ),
    "legacy completion": (
        data({"choices": [{"text": "H"}]})
        + data({"choices": [{"text": "i", "finish_reason": "stop"}]})
        + DONE,
        {"content": "Hi"},
    ),
    "characters outside ASCII": (
        delta(content="你好 😀\u2028\u0085") + delta("stop", content="é") + DONE,
        {"content": "你好 😀\u2028\u0085é"},
    ),
    "surrogates cut between deltas": (
        data('{"choices":[{"delta":{"content":"\\ud83d"}}]}')
        + data('{"choices":[{"delta":{"content":"\\ude00!"}}]}')
        + delta("stop")
        + DONE,
        {"content": "😀!"},
    ),
    "a lone surrogate at the end": (
        data('{"choices":[{"delta":{"content":"a\\ud83d"}}]}') + delta("stop") + DONE,
        {"content": "a\ufffd"},
    ),
    "raw control characters": (
        data('{"choices":[{"delta":{"content":"a\tb"}}]}') + delta("stop") + DONE,
        {"content": "a\tb"},
    ),
    "NaN": (
        data(
            '{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"logprob":-Infinity,"x":NaN}]}}]}'
        )
        + delta("stop")
        + DONE,
        {"content": "a", "logprobs": {"content": [{"logprob": None, "x": None}]}},
    ),
    "one document on several data lines": (
        'data: {"choices":\ndata: [{"delta":{"content":"Hi"},\ndata: "finish_reason":"stop"}]}\n\n'
        + DONE,
        {"content": "Hi", "finish_reason": "stop"},
    ),
    "glued data lines": (
        delta(content="H").replace("\n\n", "\n")
        + delta("stop", content="i").replace("\n\n", "\n")
        + "\n"
        + DONE,
        {"content": "Hi"},
    ),
    "glued data lines with the end mark": (
        (delta(content="H") + delta("stop", content="i") + DONE).replace("\n\n", "\n"),
        {"content": "Hi", "warnings": []},
    ),
    # errors
    "nothing but [DONE]": (DONE, {"problem": errors.BadAnswerError, "so_far": None}),
    "role only": (
        delta(role="assistant", content="") + DONE,
        {"problem": errors.BadAnswerError, "so_far": None},
    ),
    "usage only": (
        data({"choices": [], "usage": {"prompt_tokens": 9}}) + DONE,
        {"problem": errors.BadAnswerError},
    ),
    "neither finish reason nor [DONE]": (
        delta(content="Hi"),
        {"problem": errors.EndpointConnectionError, "so_far": "Hi"},
    ),
    "role only and no [DONE]": (
        delta(role="assistant"),
        {"problem": errors.EndpointConnectionError, "so_far": None},
    ),
    "broken off inside an event": (
        delta(content="Hi") + 'data: {"choices":[{"del',
        {"problem": errors.EndpointConnectionError, "so_far": "Hi"},
    ),
    "broken off inside an event after the finish reason": (
        delta("stop", content="Hi") + 'data: {"choices":[],"usa',
        {"content": "Hi", "finish_reason": "stop", "warnings": ["the stream ended without [DONE]"]},
    ),
    "one of two choices unfinished": (
        delta("stop", content="a") + delta(index=1, content="b"),
        {"problem": errors.EndpointConnectionError, "so_far": "a"},
    ),
    "no events": (": hello\n\n", {"problem": errors.BadAnswerError, "so_far": None}),
    "error with a code": (
        delta(content="Hi") + data({"error": {"message": "Provider went away", "code": 502}}),
        {"problem": errors.ServerError, "says": "Provider went away", "so_far": "Hi"},
    ),
    "error and choices": (
        data({"error": {"code": 400, "message": "Limit"}, "choices": [{"delta": {"content": ""}}]})
        + DONE,
        {"problem": errors.InvalidRequestError, "says": "Limit"},
    ),
    "an event named error": (
        (
            'event: error\ndata: {"error":{"message":"Tool call '
            'failed","code":"tool_use_failed","status_code":400}}\n\n'
        ),
        {"problem": errors.InvalidRequestError, "says": "Tool call failed"},
    ),
    "an event named error without error": (
        'event: error\ndata: {"message":"boom"}\n\n',
        {"problem": errors.ServerError, "says": "boom"},
    ),
    "a field named error": (
        delta(content="Hi")
        + 'error: {"detail":"decode failed","error":{"message":"out of context"}}\n\n',
        {"problem": errors.ServerError, "says": "out of context", "so_far": "Hi"},
    ),
    "a field named error at the end of the body": (
        'error: {"error":{"message":"m"}}',
        {"problem": errors.ServerError, "says": "m"},
    ),
    "error beside message": (
        data({"error": {"message": "Compute error."}, "message": "Compute error."}),
        {"problem": errors.ServerError, "says": "Compute error."},
    ),
    "error as text": (data({"error": "boom"}), {"problem": errors.ServerError, "says": "boom"}),
    "error object of old vLLM": (
        data({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}) + DONE,
        {"problem": errors.InvalidRequestError, "says": "m"},
    ),
    "error with digits as code": (
        data({"error": {"message": "m", "code": "429"}}),
        {"problem": errors.RateLimited},
    ),
    "error with a word as code": (
        data({"error": {"message": "m", "code": "rate_limit_exceeded"}}),
        {"problem": errors.RateLimited},
    ),
    "error without code": (
        data({"error": {"message": "m", "code": None, "type": None}}),
        {"problem": errors.ServerError},
    ),
    "error whose code contradicts its type": (
        data(
            {"error": {"message": "m", "type": "invalid_request_error", "code": "request_timeout"}}
        ),
        {"problem": errors.ServerError},
    ),
    "error whose status_code contradicts its code": (
        data({"error": {"message": "m", "code": "internal_error", "status_code": 400}}),
        {"problem": errors.InvalidRequestError},
    ),
    "context overflow inside a stream": (
        data(
            {
                "error": {
                    "message": "the request exceeds the available context size",
                    "type": "exceed_context_size_error",
                    "code": 400,
                }
            }
        ),
        {"problem": errors.ContextOverflowError},
    ),
    "finish reason error": (
        delta(content="Hi") + delta("error") + DONE,
        {"problem": errors.ServerError, "so_far": "Hi"},
    ),
    "finish reason error of another choice": (
        delta(content="Hi") + delta("error", index=1) + DONE,
        {"problem": errors.ServerError},
    ),
    "finish reason abort": (
        delta("abort", content="Hi") + DONE,
        {"problem": errors.ServerError, "so_far": "Hi"},
    ),
    "finish reason insufficient_system_resource": (
        delta("insufficient_system_resource") + DONE,
        {"problem": errors.ServerError},
    ),
    "an event in plain words": (
        delta(content="Hi") + data("Internal Server Error"),
        {"problem": errors.BadAnswerError, "so_far": "Hi"},
    ),
    "an event that is broken JSON": (
        delta(content="Hi") + data('{"choices":[{"delta":{"content":"your context window') + DONE,
        {"problem": errors.BadAnswerError, "so_far": "Hi"},
    ),
    "an event that is no object": (delta(content="Hi") + data("[1]") + DONE, {"so_far": "Hi"}),
    "an event that is HTML": (
        data("<html><title>502</title></html>"),
        {"problem": errors.BadAnswerError},
    ),
}


def told(response_reader: ResponseReader) -> Json:
    """What a body turned out to be, in the words of the table."""
    if response_reader.problem is not None:
        so_far = response_reader.partial()
        return {
            "problem": response_reader.problem.cls,
            "says": response_reader.problem.body.message,
            "so_far": so_far.content if so_far else None,
        }
    response = answer(response_reader)
    usage = response.usage
    return {
        "content": response.content,
        "reasoning": response.reasoning,
        "refusal": response.refusal,
        "finish_reason": response.finish_reason,
        "choices": [choice.content for choice in response.choices],
        "calls": [(call.id, call.name, call.arguments) for call in response.tool_calls],
        "invalid": [
            (call.id, call.name, call.arguments, call.truncated)
            for call in response.invalid_tool_calls
        ],
        "usage": (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
        if usage
        else None,
        "logprobs": response.logprobs,
        "id": response.id,
        "model": response.model,
        "warnings": response.warnings,
    }


@pytest.mark.parametrize("name", STREAMS)
def test_what_a_stream_is(name: str) -> None:
    body, expected = STREAMS[name]
    found = told(read(body))
    assert {key: found.get(key) for key in expected} == expected


def test_joining_the_chunks_gives_the_answer_once() -> None:
    for name in (name for name in STREAMS if not {"problem", "so_far"} & STREAMS[name][1].keys()):
        response_reader = read(STREAMS[name][0])
        response = answer(response_reader)
        assert joined(response_reader.chunks) == response.content, name
        assert "".join(chunk.reasoning for chunk in response_reader.chunks) == response.reasoning, (
            name
        )
        assert [chunk.done for chunk in response_reader.chunks] == [False] * (
            len(response_reader.chunks) - 1
        ) + [True], name
        last = response_reader.chunks[-1]
        assert (last.type, last.content, last.response, last.usage) == (
            "complete",
            "",
            response,
            response.usage,
        ), name


def everything(response_reader: ResponseReader) -> list[Any]:
    """All that can be known from outside."""
    return [
        response_reader.problem,
        response_reader.response,
        response_reader.partial(),
        list(response_reader.chunks),
        response_reader.warnings,
        response_reader.started,
        response_reader.progress,
        response_reader.done,
    ]


def pieces_of(body: bytes, *sizes: int) -> list[bytes]:
    """The body in pieces of the given sizes, over and over."""
    pieces: list[bytes] = []
    at = 0
    while at < len(body):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(body[at : at + size])
        at += size
    return pieces


FORMS: dict[str, Callable[[str], bytes]] = {
    "as it is": str.encode,
    "with CRLF": lambda body: body.replace("\n", "\r\n").encode(),
    "with CR": lambda body: body.replace("\n", "\r").encode(),
    "without space": lambda body: body.replace("data: ", "data:").encode(),
}


SIZES = (1_000_000, 1, 7)


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_is_the_same_in_every_form_and_in_all_pieces(form: str) -> None:
    for name, (body, _) in STREAMS.items():
        whole = everything(read(body))
        for size in SIZES:
            assert everything(read(*pieces_of(FORMS[form](body), size))) == whole, (
                f"{name}, in pieces of {size}"
            )


@settings(max_examples=most(300, 100), deadline=None)
@given(
    st.sampled_from(sorted(STREAMS)),
    st.sampled_from(sorted(FORMS)),
    st.lists(st.integers(1, 60), min_size=1, max_size=9),
)
def test_a_stream_is_the_same_in_random_pieces(name: str, form: str, sizes: list[int]) -> None:
    body = STREAMS[name][0]
    assert everything(read(*pieces_of(FORMS[form](body), *sizes))) == everything(read(body))


def test_a_compressed_stream_is_the_same_in_all_pieces() -> None:
    for name, (body, _) in STREAMS.items():
        pieces = pieces_of(gzip.compress(body.encode()), 1)
        assert everything(read(*pieces, headers={"content-encoding": "gzip"})) == everything(
            read(body)
        ), name


def test_a_plain_request_answered_by_a_stream_is_assembled() -> None:
    for name, (body, expected) in STREAMS.items():
        found = told(read(body, stream=False))
        assert {key: found.get(key) for key in expected} == expected, name


# --- streams that end, or do not


def test_strict_finish_refuses_a_stream_without_finish_reason() -> None:
    response_reader = read(delta(content="Hi"), DONE, capabilities=Capabilities(strict_finish=True))
    assert told(response_reader) == {"problem": errors.BadAnswerError, "says": "", "so_far": "Hi"}
    assert (
        told(
            read(delta("stop", content="Hi"), DONE, capabilities=Capabilities(strict_finish=True))
        )["content"]
        == "Hi"
    )


@pytest.mark.parametrize(
    "name",
    [
        "nothing but [DONE]",
        "neither finish reason nor [DONE]",
        "no events",
        "error with a code",
        "finish reason abort",
    ],
)
def test_what_the_server_failed_to_finish_may_be_tried_again(name: str) -> None:
    assert problem(read(STREAMS[name][0])).retryable


def test_a_connection_that_breaks_after_the_finish_reason_took_nothing_away() -> None:
    response_reader = read(delta("stop", content="Hi"), cut=True)
    assert (told(response_reader)["content"], response_reader.warnings) == (
        "Hi",
        ["the stream ended without [DONE]"],
    )


def test_a_connection_that_breaks_before_the_finish_reason_leaves_the_text_so_far() -> None:
    response_reader = read(delta(content="H"), delta(content="i"), 'data: {"choi', cut=True)
    assert problem(response_reader).retryable
    assert told(response_reader)["so_far"] == "Hi"
    assert joined(response_reader.chunks) == "Hi"


def test_an_answer_is_complete_when_every_choice_has_said_why_it_ended() -> None:
    response_reader = ResponseReader(200, {}, ResponseSpec("chat", True, "m", lambda: "new"))
    seen = []
    for event in (
        delta(content="a"),
        delta(index=1, content="b"),
        delta("stop"),
        delta("stop", index=1),
    ):
        response_reader.feed(event.encode())
        seen.append(response_reader.complete)
    assert seen == [False, False, False, True]


def test_an_answer_is_complete_at_its_end_mark() -> None:
    response_reader = ResponseReader(200, {}, ResponseSpec("chat", True, "m", lambda: "new"))
    response_reader.feed(delta(content="a").encode())
    assert not response_reader.complete
    response_reader.feed(DONE.encode())
    assert response_reader.complete


def test_an_error_is_not_complete() -> None:
    assert not read(delta("stop", content="a"), data({"error": {"message": "m"}})).complete


def test_the_end_mark_ends_the_reading() -> None:
    response_reader = ResponseReader(200, {}, ResponseSpec("chat", True, "m", lambda: "new"))
    response_reader.feed(delta("stop", content="Hi").encode())
    assert not response_reader.done
    response_reader.feed(DONE.encode())
    assert response_reader.done


def test_the_finish_reason_does_not_end_the_reading() -> None:
    response_reader = ResponseReader(200, {}, ResponseSpec("chat", True, "m", lambda: "new"))
    response_reader.feed(delta("stop", content="H").encode())
    response_reader.feed(delta(content="i").encode())
    assert (response_reader.done, joined(response_reader.chunks)) == (False, "Hi")


def test_an_error_inside_a_stream_ends_the_reading() -> None:
    response_reader = ResponseReader(200, {}, ResponseSpec("chat", True, "m", lambda: "new"))
    response_reader.feed(data({"error": {"message": "m"}}).encode())
    assert response_reader.done
    response_reader.feed(delta("stop", content="Hi").encode())
    assert list(response_reader.chunks) == []


def test_chunks_come_as_their_events_come() -> None:
    response_reader = ResponseReader(200, {}, ResponseSpec("chat", True, "m", lambda: "new"))
    response_reader.feed(delta(content="H").encode())
    assert joined(response_reader.chunks) == "H"
    response_reader.chunks.clear()
    response_reader.feed(delta(content="i").encode())
    assert joined(response_reader.chunks) == "i"


def test_the_text_so_far_can_be_asked_for_without_changing_anything() -> None:
    response_reader = ResponseReader(200, {}, ResponseSpec("chat", True, "m", lambda: "new"))
    assert response_reader.partial() is None
    response_reader.feed(data('{"choices":[{"delta":{"content":"a\\ud83d"}}]}').encode())
    for _ in range(2):
        partial = response_reader.partial()
        assert partial is not None
        assert partial.content == "a\ufffd"
    response_reader.feed(data('{"choices":[{"delta":{"content":"\\ude00"}}]}').encode())
    response_reader.feed((delta("stop", tool_calls=[call(id_=None)]) + DONE).encode())
    response_reader.partial()
    response_reader.end()
    assert answer(response_reader).content == joined(response_reader.chunks) == "a😀"
    assert [call.id for call in answer(response_reader).tool_calls] == ["new"]


def test_the_end_may_be_told_twice() -> None:
    response_reader = read(delta("stop", content="Hi"))
    count_before = len(response_reader.chunks)
    response_reader.end()
    assert len(response_reader.chunks) == count_before


def test_reasoning_that_used_up_the_token_limit_is_said() -> None:
    assert "reasoning" in read(delta("length", reasoning="why", content=""), DONE).warnings[0]


def test_a_call_without_a_name_is_an_error() -> None:
    assert (
        problem(read(delta("tool_calls", tool_calls=[call(name=None)]), DONE)).cls
        is errors.BadAnswerError
    )


def test_the_model_is_the_requested_one_if_the_server_names_none() -> None:
    response = answer(read(delta("stop", content="Hi"), DONE))
    assert (response.model, response.requested_model) == ("asked", "asked")


# --- first content and progress


def after(*events: str, stream: bool = True) -> ResponseReader:
    response_reader = ResponseReader(200, {}, ResponseSpec("chat", stream, "m", lambda: "new"))
    for event in events:
        response_reader.feed(event.encode())
    return response_reader


@pytest.mark.parametrize(
    ("event", "started"),
    [
        (delta(content="Hi"), True),
        (delta(reasoning="why"), True),
        (delta(tool_calls=[call(arguments="")]), True),
        (delta(refusal="no"), True),
        (delta("stop"), True),
        (delta(role="assistant", content=""), False),
        (data({"choices": []}), False),
        (data({"choices": [], "usage": {"prompt_tokens": 9}}), False),
        (": hello\n\n", False),
        ("data: \n\n", False),
    ],
)
def test_first_content_is_text_reasoning_a_call_a_refusal_or_a_finish_reason(
    event: str, started: bool
) -> None:
    assert after(event).started is started


def test_keep_alives_are_no_progress() -> None:
    response_reader = after(delta(content="Hi"))
    before = response_reader.progress
    for alive in (": hello\n\n", "data: \n\n", "data: : PROCESSING\n\n", "\n\n", "id: 1\n\n"):
        response_reader.feed(alive.encode())
    assert response_reader.progress == before
    response_reader.feed(delta(content="!").encode())
    assert response_reader.progress > before


def test_padding_before_a_plain_answer_is_no_progress() -> None:
    response_reader = after(*["   \n"] * 5, stream=False)
    assert (response_reader.progress, response_reader.started) == (0, False)
    response_reader.feed(b'{"choices"')
    assert (response_reader.progress > 0, response_reader.started) == (True, True)


def test_a_plain_answer_to_a_stream_request_is_first_content_when_it_is_whole() -> None:
    response_reader = after(json.dumps(PLAIN))
    assert (response_reader.progress > 0, response_reader.started) == (True, False)
    response_reader.end()
    assert response_reader.started


def test_a_long_plain_answer_makes_progress_every_64_kib() -> None:
    response_reader = after('{"x": "', stream=False)
    first = response_reader.progress
    response_reader.feed(b"x" * 10_000)
    assert response_reader.progress == first
    response_reader.feed(b"x" * 64 * 1024)
    assert response_reader.progress == first + 1


# --- plain bodies


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(json.dumps(PLAIN).encode(), id="compact"),
        pytest.param(json.dumps(PLAIN, indent=2).encode(), id="over several lines"),
        pytest.param(BOM + json.dumps(PLAIN).encode(), id="after a BOM"),
        pytest.param(b" \n" * 500 + json.dumps(PLAIN).encode() + b"\n\n", id="in blank padding"),
        pytest.param(json.dumps(PLAIN).encode() + b"\ndata: [DONE]\n\n", id="with an end mark"),
        pytest.param(
            json.dumps(PLAIN).encode() + b"data: [DONE]", id="with an end mark right behind it"
        ),
    ],
)
def test_a_plain_answer_is_read_whatever_was_asked_for(body: bytes) -> None:
    for size, stream in product(SIZES, (True, False)):
        response_reader = read(*pieces_of(body, size), stream=stream)
        response = answer(response_reader)
        assert (response.content, response.finish_reason, response.raw) == ("Hi", "stop", PLAIN), (
            size,
            stream,
        )
        assert joined(response_reader.chunks) == "Hi", (size, stream)
        assert response_reader.chunks[-1].response is response, (size, stream)


def test_a_plain_answer_of_every_part() -> None:
    message = {
        "role": "assistant", "content": [{"type": "text", "text": "Hi"}],
        "reasoning_content": "why", "tool_calls": [{"id": "a", "type": "function",
            "function": {"name": "f", "arguments": {"x": 1}}}],
    }  # fmt: skip
    body = {
        "id": "x",
        "model": "m",
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"total_tokens": 3},
    }
    found = told(read(json.dumps(body), stream=False))
    assert found["calls"] == [("a", "f", '{"x": 1}')]
    assert (found["content"], found["reasoning"], found["finish_reason"]) == (
        "Hi",
        "why",
        "tool_calls",
    )
    assert (found["id"], found["model"], found["usage"]) == ("x", "m", (None, None, 3))


def test_the_calls_of_a_plain_answer_to_a_stream_request_are_handed_on() -> None:
    message = {
        "content": None,
        "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
    }
    response_reader = read(
        json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    )
    deltas = [delta for chunk in response_reader.chunks for delta in chunk.tool_calls]
    assert [delta.id for delta in deltas if delta.id] == ["a"]
    assert [delta.name for delta in deltas if delta.name] == ["f"]
    assert "".join(delta.arguments for delta in deltas) == "{}"


def test_an_answer_of_events_without_sse_framing() -> None:
    lines = [json.dumps({"choices": [{"delta": {"content": text}}]}) for text in "Hi"]
    end = json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    assert told(read("\n".join([*lines, end])))["content"] == "Hi"


def test_an_empty_text_with_a_finish_reason_is_an_answer() -> None:
    body = {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}
    assert told(read(json.dumps(body), stream=False))["content"] == ""


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="nothing"),
        pytest.param(" \n\t\r\n", id="blanks"),
        pytest.param("\ufeff", id="a BOM"),
        pytest.param('{"choices": []}', id="no choices"),
        pytest.param('{"choices": null}', id="choices null"),
        pytest.param("{}", id="an empty object"),
        pytest.param("{}{}", id="two empty objects"),
        pytest.param("[]", id="an empty list"),
        pytest.param("null", id="null"),
        pytest.param("42", id="a number"),
        pytest.param(
            '{"choices": [{"message": {"content": ""}}]}', id="no content and no finish reason"
        ),
        pytest.param('{"choices": [{"message": {"content": "H', id="broken JSON"),
        pytest.param("Service temporarily offline", id="plain words"),
        pytest.param("identity provider is down", id="plain words that begin like a field"),
        pytest.param("error", id="one plain word that is a field name"),
        pytest.param("<html><head><title>502 Bad Gateway</title></head></html>", id="HTML"),
        pytest.param("\n<!DOCTYPE html><h1>Just a moment</h1>", id="HTML after a blank line"),
    ],
)
def test_what_is_no_answer_is_an_error_that_may_be_tried_again(body: str) -> None:
    for size, stream in product((1_000_000, 1), (True, False)):
        response_reader = read(*pieces_of(body.encode(), size), stream=stream)
        found = problem(response_reader)
        assert (found.cls, found.retryable) == (errors.BadAnswerError, True), (size, stream)
        assert not any(chunk.content or chunk.done for chunk in response_reader.chunks), (
            size,
            stream,
        )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("Service temporarily offline", "Service temporarily offline"),
        ("identity provider is down", "identity provider is down"),
        ("<html><head><title>502 Bad\n Gateway</title></head></html>", "502 Bad Gateway"),
        ('{"error": {"message": "m"}}', "m"),
    ],
)
def test_the_servers_words_are_kept(body: str, words: str) -> None:
    assert problem(read(body, stream=False)).body.message == words


@pytest.mark.parametrize(
    ("body", "cls"),
    [
        ({"error": {"message": "m", "code": 400}}, errors.InvalidRequestError),
        ({"error": {"message": "m", "code": "429"}}, errors.RateLimited),
        ({"error": {"message": "m", "code": "insufficient_quota"}}, errors.QuotaExceeded),
        (
            {"error": {"message": "m", "code": "context_length_exceeded"}},
            errors.ContextOverflowError,
        ),
        (
            {"error": {"message": "m", "code": "content_filter", "status": 400}},
            errors.InvalidRequestError,
        ),
        ({"error": {"message": "m"}}, errors.ServerError),
        ({"error": "m"}, errors.ServerError),
        ({"error": {"message": "m", "code": 502}, **PLAIN}, errors.ServerError),
        ({"object": "error", "message": "m", "code": 400}, errors.InvalidRequestError),
        ({"detail": "m", "status_code": 404}, errors.NotFoundError),
        (
            {"choices": [{"message": {"content": "Hi"}, "finish_reason": "error"}]},
            errors.ServerError,
        ),
        (
            {"choices": [{"message": {"content": "Hi"}, "finish_reason": "abort"}]},
            errors.ServerError,
        ),
    ],
)
def test_an_error_inside_a_200_is_an_error(body: Json, cls: type[errors.OPEAError]) -> None:
    assert [problem(read(json.dumps(body), stream=stream)).cls for stream in (True, False)] == [
        cls,
        cls,
    ]


@pytest.mark.parametrize("error", [None, "", {}, False])
def test_an_error_that_is_empty_is_none(error: Any) -> None:
    assert told(read(json.dumps({**PLAIN, "error": error}), stream=False))["content"] == "Hi"
    assert (
        told(read(data({**json.loads(delta("stop", content="Hi")[6:]), "error": error}), DONE))[
            "content"
        ]
        == "Hi"
    )


def test_a_plain_answer_that_broke_off_says_so() -> None:
    found = problem(read('{"choices": [{"message": {"content": "H', stream=False, cut=True))
    assert (found.cls, found.retryable) == (errors.BadAnswerError, True)
    assert "broke off" in found.what


# --- other documents


def test_a_document_is_given_as_it_is() -> None:
    response_reader = read('{"data": [{"id": "m"}]}', shape="document", stream=False)
    assert (response_reader.document, response_reader.problem) == ({"data": [{"id": "m"}]}, None)


def test_a_document_may_be_a_list() -> None:
    assert read(b"\n[1]", shape="document", stream=False).document == [1]


def test_events_in_the_place_of_a_document_are_not_waited_for() -> None:
    """Each of them would come in time, and the last one never."""
    response_reader = read(b'data: {"data"', shape="document", stream=False, cut=True)
    assert response_reader.problem is not None
    assert "a stream of events" in response_reader.problem.what


def test_an_error_instead_of_a_document() -> None:
    found = problem(
        read('{"error": {"message": "m", "code": 429}}', shape="document", stream=False)
    )
    assert (found.cls, found.body.message) == (errors.RateLimited, "m")


@pytest.mark.parametrize("body", ["", "<html></html>", "{", "words", "{}{}"])
def test_what_is_no_document_is_an_error(body: str) -> None:
    response_reader = read(body, shape="document", stream=False)
    assert problem(response_reader).cls is errors.BadAnswerError
    assert response_reader.document is None


# --- error statuses


@pytest.mark.parametrize(
    ("status", "body", "cls", "message"),
    [
        (400, '{"error": {"message": "m"}}', errors.InvalidRequestError, "m"),
        (401, '{"detail": "m"}', errors.AuthenticationError, "m"),
        (404, "<html><title>404 Not Found</title></html>", errors.NotFoundError, "404 Not Found"),
        (429, "slow down", errors.RateLimited, "slow down"),
        (500, "", errors.ServerError, "500 without body"),
        (502, "data: {}", errors.ServerError, "data: {}"),
    ],
)
def test_an_error_status(status: int, body: str, cls: type[errors.OPEAError], message: str) -> None:
    for size, stream in product((1_000_000, 1), (True, False)):
        found = problem(read(*pieces_of(body.encode(), size), status=status, stream=stream))
        assert (found.cls, found.body.message) == (cls, message), (size, stream)


def test_an_error_body_that_broke_off_is_still_read() -> None:
    found = problem(read('{"error": {"mess', status=503, cut=True))
    assert (found.cls, found.body.message) == (errors.ServerError, '{"error": {"mess')


def test_no_more_of_an_error_body_is_read_than_is_kept() -> None:
    response_reader = ResponseReader(500, {}, ResponseSpec("chat", True, "m", lambda: "new"))
    while not response_reader.done:
        response_reader.feed(b"x" * 1000)
        assert response_reader.progress < 10
    response_reader.end()
    assert len(problem(response_reader).body.text) <= 64 * 1024


# --- encodings


def deflate(body: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(body) + packer.flush()


LONG = json.dumps({**PLAIN, "padding": "x" * 600_000 + "y" * 300_000}).encode()
PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "in capitals": (" GZIP ", gzip.compress),
    "deflate with zlib header": ("deflate", zlib.compress),
    "raw deflate": ("deflate", lambda body: deflate(body, -15)),
    "several gzip members": (
        "gzip",
        lambda body: b"".join(gzip.compress(body[at : at + 50]) for at in range(0, len(body), 50)),
    ),
    "gzip with zeros at the end": ("gzip", lambda body: gzip.compress(body) + b"\0" * 20),
    "identity": ("identity", bytes),
    "no encoding": ("", bytes),
}


@pytest.mark.parametrize("form", PACKED)
def test_encodings_are_undone(form: str) -> None:
    encoding, pack = PACKED[form]
    packed = pack(json.dumps(PLAIN).encode())
    for size in SIZES:
        response_reader = read(
            *pieces_of(packed, size), headers={"content-encoding": encoding}, stream=False
        )
        assert answer(response_reader).raw == PLAIN, size


@pytest.mark.parametrize("form", [form for form in PACKED if form != "several gzip members"])
def test_encodings_of_a_long_body_are_undone(form: str) -> None:
    encoding, pack = PACKED[form]
    packed = pack(LONG)
    for size in (10_000_000, 1000):
        response_reader = read(
            *pieces_of(packed, size), headers={"content-encoding": encoding}, stream=False
        )
        assert answer(response_reader).raw == json.loads(LONG), size


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        pytest.param("gzip", json.dumps(PLAIN).encode(), id="gzip is said, JSON comes"),
        pytest.param("deflate", json.dumps(PLAIN).encode(), id="deflate is said, JSON comes"),
        pytest.param("br", b"\x0b\x02\x80{}\x03", id="an encoding we did not ask for"),
        pytest.param("gzip, br", gzip.compress(b"{}"), id="two encodings"),
        pytest.param(
            "", gzip.compress(json.dumps(PLAIN).encode()), id="gzip comes, nothing is said"
        ),
    ],
)
def test_a_body_that_cannot_be_undone_is_an_error_that_is_not_tried_again(
    encoding: str, body: bytes
) -> None:
    found = problem(read(body, headers={"content-encoding": encoding}, stream=False))
    assert (found.cls, found.retryable) == (errors.BadAnswerError, False)
    assert "ncoding" in found.what


@pytest.mark.parametrize(
    ("status", "cls"),
    [(401, errors.AuthenticationError), (429, errors.RateLimited), (503, errors.ServerError)],
)
@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_an_error_status_counts_even_if_its_body_cannot_be_undone(
    status: int, cls: type[errors.OPEAError], encoding: str
) -> None:
    assert problem(read("no", status=status, headers={"content-encoding": encoding})).cls is cls


# --- bounds


def test_a_body_beyond_the_bound_is_refused() -> None:
    found = problem(read(*["x" * 1000] * 20, max_response_bytes=10_000))
    assert (found.cls, found.retryable) == (errors.BadAnswerError, False)
    assert "max_response_bytes" in found.what


def test_a_body_at_the_bound_is_read() -> None:
    body = json.dumps(PLAIN)
    assert told(read(body, stream=False, max_response_bytes=len(body)))["content"] == "Hi"


def test_a_long_stream_beyond_the_bound_keeps_the_text_so_far() -> None:
    response_reader = read(*[delta(content="x")] * 1000, max_response_bytes=10_000)
    assert "max_response_bytes" in problem(response_reader).what
    assert set(told(response_reader)["so_far"]) == {"x"}


@pytest.mark.parametrize(
    "content", [b"x", b" ", b"\n", b": x\n"], ids=["text", "blanks", "lines", "comments"]
)
def test_a_bomb_is_defused(content: bytes) -> None:
    bomb = gzip.compress(content * (20_000_000 // len(content)))
    found = problem(read(bomb, headers={"content-encoding": "gzip"}, max_response_bytes=1_000_000))
    assert not found.retryable
    assert "max_response_bytes" in found.what


def test_a_bomb_is_inflated_in_bounded_pieces() -> None:
    pieces = list(Inflater("gzip").feed(gzip.compress(b"x" * 5_000_000)))
    assert sum(map(len, pieces)) == 5_000_000
    assert max(map(len, pieces)) <= 256 * 1024


def test_nothing_is_lost_at_the_edge_of_a_piece() -> None:
    lengths = range(256 * 1024, 256 * 1024 + 300)
    found = [
        sum(map(len, Inflater("deflate").feed(deflate(b"x" * length, -15)))) for length in lengths
    ]
    assert found == list(lengths)


def test_an_event_beyond_the_bound_is_refused() -> None:
    response_reader = read(delta(content="Hi"), "data: " + "x" * 2000, max_event_bytes=1000)
    assert (problem(response_reader).cls, problem(response_reader).retryable) == (
        errors.BadAnswerError,
        False,
    )
    assert told(response_reader)["so_far"] == "Hi"


def test_an_event_larger_than_64_kib_is_read() -> None:
    assert told(read(delta("stop", content="x" * 90_000), DONE))["content"] == "x" * 90_000


# --- whatever comes


WORDS = st.sampled_from(
    [
        "",
        "Hi",
        "a",
        "0",
        "stop",
        "length",
        "error",
        "text",
        "thinking",
        "null",
        "{}",
        "assistant",
        "\ud83d",
    ]
)
SCALARS = (
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from([1e308, 0.5, 10**30]) | WORDS
)


def fields(
    *names: str, of: st.SearchStrategy[Any] = SCALARS, **shapes: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    """Objects with some of the keys, each with a fitting or an odd value;
    or something odd instead.
    """
    optional = dict.fromkeys(names, of) | {name: shape | SCALARS for name, shape in shapes.items()}
    return st.fixed_dictionaries({}, optional=optional) | SCALARS


def lists(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(of, max_size=2)


CALLS = lists(fields("index", "id", "type", function=fields("name", "arguments")))
DETAILS = lists(fields("index", "type", "text", "summary", "signature"))
CONTENT = lists(fields("type", "text", thinking=lists(fields("type", "text"))))
MESSAGE = fields(
    "role", "reasoning", "reasoning_content", "refusal", "odd",
    content=CONTENT, tool_calls=CALLS, function_call=fields("name", "arguments"),
    reasoning_details=DETAILS,
)  # fmt: skip
CHOICE = fields(
    "index", "finish_reason", "finishReason", "text",
    delta=MESSAGE, message=MESSAGE, logprobs=fields("tokens", content=lists(fields("token"))),
    finish_details=fields("type"),
)  # fmt: skip
ERROR = fields("message", "code", "type", "param", "status_code", metadata=fields("raw"))
USAGE = fields("prompt_tokens", "cached_tokens", prompt_tokens_details=fields("cached_tokens"))
EVENT = fields(
    "id",
    "model",
    "object",
    "type",
    "detail",
    "message",
    "code",
    choices=lists(CHOICE),
    usage=USAGE,
    x_groq=fields(usage=USAGE),
) | fields(choices=lists(CHOICE), error=ERROR, detail=lists(fields("loc", "msg")))


def check_outcome(response_reader: ResponseReader) -> None:
    """There is an answer or a problem, never both;
    and the chunks join to the answer of choice 0.
    """
    assert (response_reader.problem is None) is (response_reader.response is not None)
    response_reader.partial()
    if response_reader.response is not None:
        first = response_reader.response.choices[0]
        assert first.index or joined(response_reader.chunks) == first.content
        (first.content + first.reasoning + (first.refusal or "")).encode()


@settings(max_examples=most(300, 100), deadline=None)
@given(st.lists(EVENT, max_size=4), st.booleans())
def test_any_events_make_an_answer_or_a_problem(events: list[Any], done: bool) -> None:
    check_outcome(
        read("".join(data(json.dumps(event)) for event in events) + (DONE if done else ""))
    )


@settings(max_examples=most(200, 70), deadline=None)
@given(EVENT, st.sampled_from([200, 400, 429, 500]), st.booleans())
def test_any_plain_body_makes_an_answer_or_a_problem(body: Any, status: int, stream: bool) -> None:
    check_outcome(read(json.dumps(body), status=status, stream=stream))


@settings(deadline=None)
@given(EVENT, st.sampled_from([200, 400, 429, 500]))
def test_any_document_is_given_or_a_problem(document: Any, status: int) -> None:
    response_reader = read(json.dumps(document), status=status, shape="document", stream=False)
    assert response_reader.problem is not None or json.dumps(
        response_reader.document
    ) == json.dumps(document)


PARTS = [
    b"data:", b"data: ", b"\n", b"\r\n", b"\n\n", b"[DONE]", b"{", b"}", b"[", b"]",
    b'{"choices":[{"delta":{"content":"Hi"}}]}', b"<html>", b":", b"error: ", b"event: error\n",
    b'{"error":"m"}', BOM, b"\x1f\x8b", b"\xff", b"x", b" ", b"null", b"4" * 5000,
]  # fmt: skip


@settings(max_examples=most(200, 70), deadline=None)
@given(
    st.lists(st.sampled_from(PARTS), max_size=12).map(b"".join) | st.binary(max_size=40),
    st.sampled_from(["", "gzip", "deflate", "br"]),
    st.sampled_from([200, 204, 302, 400, 500]),
    st.integers(1, 40),
    st.booleans(),
)
def test_any_bytes_make_an_answer_or_a_problem(
    body: bytes, encoding: str, status: int, size: int, cut: bool
) -> None:
    check_outcome(
        read(*pieces_of(body, size), status=status, headers={"content-encoding": encoding}, cut=cut)
    )


def test_a_plain_body_that_came_at_once_is_read_to_its_end() -> None:
    """What is held back of it must not be held for good once the body is known not to be packed."""
    reader = ResponseReader(200, {}, ResponseSpec("chat", True, "m", lambda: "id", choices=1))
    event = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    reader.feed(event * 2000)
    for _ in range(100):
        if reader.holds_back:
            reader.feed(b"")
    assert not reader.holds_back
    reader.feed(b"data: [DONE]\n\n")
    assert (sum(len(chunk.content) for chunk in reader.chunks), reader.done) == (2000, True)
