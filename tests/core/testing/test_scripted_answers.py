"""The builders of answers: what they put on the wire."""

from __future__ import annotations

import json
import threading
from typing import Any

import opea_core.testing
from opea_core.testing import (
    Answer,
    Hold,
    Wait,
    chat,
    chunk,
    error,
    html,
    json_answer,
    raw,
    sse,
    stream,
    tool_call,
)


def document(answer: Answer) -> Any:
    return json.loads(answer.body)


def events(answer: Answer) -> list[Any]:
    data = [
        step.decode().removeprefix("data: ").strip()
        for step in answer.steps
        if isinstance(step, bytes)
    ]
    return [text if text == "[DONE]" else json.loads(text) for text in data]


def test_the_public_names_are_there() -> None:
    assert all(hasattr(opea_core.testing, name) for name in opea_core.testing.__all__)


def test_chat_is_a_completion() -> None:
    answer = chat("Hello", system_fingerprint="fp")
    assert answer.headers["content-type"] == "application/json"
    assert document(answer)["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    ]
    assert document(answer)["system_fingerprint"] == "fp"
    assert document(answer)["usage"]["total_tokens"] == 2


def test_chat_with_reasoning_under_any_name() -> None:
    message = document(chat("x", reasoning="why", reasoning_field="reasoning"))["choices"][0][
        "message"
    ]
    assert message == {"role": "assistant", "content": "x", "reasoning": "why"}


def test_chat_with_a_tool_call_ends_with_tool_calls() -> None:
    choice = document(chat(None, tool_calls=[tool_call("f", {"a": "ü"})]))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": "ü"}'}}
    ]


def test_arguments_as_text_stay_as_they_are() -> None:
    assert tool_call("f", '{"broken', id="x")["function"]["arguments"] == '{"broken'


def test_usage_can_be_left_out() -> None:
    assert "usage" not in document(chat("x", usage=None))


def test_a_stream_has_a_role_pieces_an_end_and_done() -> None:
    first, second, end, done = events(stream(["a", {"reasoning": "b"}]))
    assert first["choices"][0] == {
        "index": 0,
        "delta": {"role": "assistant", "content": "a"},
        "finish_reason": None,
    }
    assert second["choices"][0]["delta"] == {"reasoning": "b"}
    assert end["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert done == "[DONE]"


def test_a_stream_may_carry_usage_and_lack_its_ends() -> None:
    answer = stream(["a"], finish_reason=None, usage={"total_tokens": 3}, done=False, id="x")
    assert [event["choices"] == [] for event in events(answer)] == [False, True]
    assert events(answer)[1]["usage"] == {"total_tokens": 3}
    assert {event["id"] for event in events(answer)} == {"x"}


def test_waits_and_holds_stand_between_events() -> None:
    hold = Hold(threading.Event())
    steps = stream(["a", hold, Wait(1), "b"]).steps
    assert steps[1:3] == (hold, Wait(1))
    assert b'"role"' not in steps[3]  # type: ignore[operator]


def test_sse_takes_documents_texts_and_bytes() -> None:
    answer = sse({"a": "ü"}, "text", b": ping\n\n", chunk({"content": "x"}, index=1))
    assert answer.steps[:3] == ('data: {"a":"ü"}\n\n'.encode(), b"data: text\n\n", b": ping\n\n")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.length == "chunked"


def test_an_error_is_spelled_as_openai_does() -> None:
    answer = error(400, "no", code="c", type="t", param="p", headers={"retry-after": "2"})
    assert document(answer) == {"error": {"message": "no", "type": "t", "param": "p", "code": "c"}}
    assert (answer.status, answer.headers["retry-after"]) == (400, "2")


def test_html_and_json_say_what_they_are() -> None:
    assert html(502).headers["content-type"].startswith("text/html")
    assert document(json_answer([1], 201)) == [1]


def test_raw_has_no_head() -> None:
    assert raw(b"x").head == b""


def test_replace_and_after_leave_the_answer_as_it_was() -> None:
    answer = chat("x")
    assert answer.replace(end="reset").end == "reset"
    assert answer.after(Wait(1)).steps == (Wait(1), *answer.steps)
    assert (answer.end, len(answer.steps)) == ("keep", 1)
