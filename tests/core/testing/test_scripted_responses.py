"""The scripted server at ``/v1/responses``: what it takes, and how it says what it says in chat."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from callers import Caller

from opea_core.testing import (
    FAULTS,
    Fault,
    Forever,
    Hold,
    ScriptedServer,
    Wait,
    chat,
    error,
    faults,
    stream,
    tool_call,
)
from opea_core.testing.answers import Answer
from opea_core.testing.responses import as_responses
from opea_core.testing.responses_request import BLOB, Refused, check_request

PATH = "/v1/responses"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}
ENCRYPTED = {"include": ["reasoning.encrypted_content"]}
USER = {"role": "user", "content": "Hi"}


def ask(caller: Caller, **body: Any) -> Any:
    status, document = caller.post({"model": "m", "input": "Hi", **body}, PATH)
    assert status == 200, document
    return document


def events_of(text: str) -> list[Any]:
    """The events of a stream, each under its own name."""
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    return found


def streamed(caller: Caller, **body: Any) -> list[Any]:
    status, text = caller.post({"model": "m", "input": "Hi", **body, "stream": True}, PATH)
    assert status == 200, text
    return events_of(text)


def said(document: Any) -> list[tuple[str, Any]]:
    """What each item of an answer says."""
    found: list[tuple[str, Any]] = []
    for item in document["output"]:
        parts = item.get("content") or item.get("summary") or ()
        text = "".join(part.get("text") or part.get("refusal") for part in parts)
        found.append((item["type"], text or (item.get("name"), item.get("arguments"))))
    return found


# --- the model


def test_the_model_answers(caller: Caller) -> None:
    document = ask(caller)
    assert (document["object"], document["status"]) == ("response", "completed")
    assert said(document) == [("message", 'This is the scripted model. You wrote: "Hi"')]
    assert document["usage"]["input_tokens"] == 1


def test_the_model_reads_instructions_items_and_parts(caller: Caller) -> None:
    given = [USER, {"role": "user", "content": [{"type": "input_text", "text": "Two words"}]}]
    assert said(ask(caller, input=given, instructions="Be brief.")) == [
        ("message", 'This is the scripted model. You wrote: "Two words"')
    ]


def test_the_model_calls_tools_thinks_and_reads_results(caller: Caller) -> None:
    asked = {"tools": [TOOL], "reasoning": {"effort": "low"}, **ENCRYPTED}
    thought, call = ask(caller, **asked)["output"]
    assert thought["encrypted_content"].startswith(BLOB)
    assert (call["name"], call["arguments"]) == ("get_weather", '{"city": "text"}')
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    answer = ask(caller, input=[USER, thought, call, output], **asked)
    assert said(answer)[-1] == ("message", 'The tool says: "sunny"')


def test_the_model_fills_in_schemas_and_keeps_limits(caller: Caller) -> None:
    form = {"format": {"type": "json_schema", "name": "city", "schema": SCHEMA}}
    assert said(ask(caller, text=form)) == [("message", '{"city": "text"}')]
    cut = ask(caller, max_output_tokens=2)
    assert (cut["status"], cut["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )


def test_reasoning_is_encrypted_only_where_that_is_asked_for(caller: Caller) -> None:
    thought, _ = ask(caller, reasoning={"effort": "low"})["output"]
    assert "encrypted_content" not in thought


def test_a_model_that_wants_this_dialect_refuses_tools_in_the_other(
    server: ScriptedServer, caller: Caller
) -> None:
    server.model.wants_responses = True
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    body = {"messages": [USER], "tools": tools}
    status, document = caller.post(body)
    assert status == 400
    assert document["error"]["param"] == "reasoning_effort"
    assert "use /v1/responses or set reasoning_effort to 'none'" in document["error"]["message"]
    assert caller.post({**body, "reasoning_effort": "none"})[0] == 200
    assert caller.post({"messages": [USER]})[0] == 200
    assert [kind for kind, _ in said(ask(caller, tools=[TOOL]))] == ["reasoning", "function_call"]


# --- what chat and stream make


def test_a_scripted_answer_comes_as_items(server: ScriptedServer, caller: Caller) -> None:
    calls = [tool_call("f", {"x": 1}), tool_call("g", "", id="call_2")]
    server.script(chat("Hi", reasoning="Hm.", refusal="No.", tool_calls=calls))
    document = ask(caller)
    assert said(document) == [
        ("reasoning", "Hm."),
        ("message", "Hi"),
        ("function_call", ("f", '{"x": 1}')),
        ("function_call", ("g", "")),
    ]
    assert [item.get("call_id") for item in document["output"][2:]] == ["call_1", "call_2"]


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_finish_reasons_are_states(
    server: ScriptedServer, caller: Caller, reason: str, status: str, details: Any
) -> None:
    server.script(chat("Hi", finish_reason=reason), stream(["Hi"], finish_reason=reason))
    plain, last = ask(caller), streamed(caller)[-1]
    assert (plain["status"], plain["incomplete_details"]) == (status, details)
    assert last["type"] == f"response.{status}"
    assert last["response"]["incomplete_details"] == details


def test_a_scripted_stream_comes_as_events(server: ScriptedServer, caller: Caller) -> None:
    deltas: list[str | dict[str, Any]] = [
        {"reasoning_content": "Hm"},
        {"reasoning_content": "."},
        "Hel",
        "lo",
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
    ]
    server.script(stream(deltas, usage={"prompt_tokens": 1, "completion_tokens": 2}))
    events = streamed(caller, **ENCRYPTED)
    assert [one["type"].removeprefix("response.") for one in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    response = events[-1]["response"]
    assert said(response) == [
        ("reasoning", "Hm."),
        ("message", "Hello"),
        ("function_call", ("f", "{}")),
    ]
    assert response["usage"]["total_tokens"] == 3
    ends = [one["item"] for one in events if one["type"] == "response.output_item.done"]
    assert ends == response["output"]


def test_steps_between_events_stay_where_they_are() -> None:
    hold = Hold(threading.Event())
    made = as_responses(stream(["a", Wait(1), "b", hold]), {})
    kinds = [type(step).__name__ for step in made.steps]
    assert kinds == ["bytes", "Wait", "bytes", "Hold", "bytes"]


def test_what_is_said_for_ever_is_said_in_this_dialect() -> None:
    made = as_responses(faults.endless(stream(["a"])), {})
    (forever,) = made.steps
    assert isinstance(forever, Forever)
    assert b"response.output_text.delta" in forever.data


def test_a_stream_without_its_end_mark_ends_with_its_reason() -> None:
    made = as_responses(stream(["a"], done=False), {})
    assert events_of(made.body.decode())[-1]["type"] == "response.completed"
    cut = as_responses(stream(["a"], finish_reason=None, done=False), {})
    assert events_of(cut.body.decode())[-1]["type"] == "response.output_text.delta"


def test_half_an_event_stays_half_an_event() -> None:
    made = as_responses(faults.cut(stream(["a", "b", "c"])), {})
    assert made.end == "cut"
    assert made.body.count(b"output_text.delta\ndata") == 1
    assert not made.body.endswith(b"\n\n")


def test_an_error_of_the_other_dialect_is_an_event_of_this(
    server: ScriptedServer, caller: Caller
) -> None:
    server.script(faults.error_midway)
    status, text = caller.post({"model": "m", "input": "Hi", "stream": True}, PATH)
    assert status == 200
    failed = events_of(text)[-2:]
    assert [one["type"] for one in failed] == ["error", "response.failed"]
    assert failed[1]["response"]["error"]["message"] == "CUDA out of memory"


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
def test_a_fault_of_an_answer_in_this_dialect_stays_one(fault: Fault, is_stream: bool) -> None:
    """What a fault makes of an answer of this dialect says nothing of the other one."""
    right = as_responses(stream(["Hello"]) if is_stream else chat("Hello"), {})
    made = as_responses(fault(right), {})
    assert made.name == fault.name
    assert b'"delta":{' not in made.body
    if fault.harmless and not made.bare and "content-encoding" not in made.headers:
        assert b"Hello" in made.body
        assert b'"choices"' not in made.body


@pytest.mark.parametrize(
    "answer",
    [error(400, "No."), faults.html(chat("a")), faults.empty(chat("a")), faults.close(chat("a"))],
    ids=lambda answer: answer.label,
)
def test_what_is_no_answer_of_chat_stays_as_it_is(answer: Answer) -> None:
    assert as_responses(answer, {}) == answer


def test_lengths_stay_right_or_wrong() -> None:
    for fault in (faults.long_length, faults.short_length):
        made = as_responses(fault(chat("Hello")), {})
        assert isinstance(made.length, int)
        assert (made.length > len(made.body)) == (fault is faults.long_length)


# --- what it takes


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x"}
SEALED = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": f"{BLOB}x"}
OPEN = {"type": "reasoning", "id": "rs_1", "summary": []}


@pytest.mark.parametrize(
    "body",
    [
        {"input": "Hi"},
        {"input": [USER, {"type": "message", **USER}]},
        {"input": [USER, SEALED, CALL, OUTPUT]},
        {"input": [USER, SEALED, {"role": "assistant", "content": "x"}]},
        {"input": [USER, OPEN, CALL, OUTPUT], "store": True},
        {"input": [OUTPUT], "previous_response_id": "resp_1"},
        {"input": "Hi", "tools": [TOOL, {"type": "web_search"}], "tool_choice": {"type": "x"}},
    ],
    ids=str,
)
def test_a_right_request_is_taken(body: Any) -> None:
    check_request({"model": "m", **body})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({}, "input"),
        ({"input": 1}, "input"),
        ({"input": "Hi", "messages": []}, "messages"),
        ({"input": "Hi", "stop": "x"}, "stop"),
        ({"input": [{**USER, "name": "Ann"}]}, "input[0].name"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": None}]}, "input[0].content"),
        (
            {"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
            "input[0].content[0].type",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]},
            "input[0].content[0].type",
        ),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]},
            "input[0].content[0].type",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": {}}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{**CALL, "id": ""}, OUTPUT]}, "input[0].id"),
        ({"input": [{**CALL, "index": 0}, OUTPUT]}, "input[0].index"),
        ({"input": [{**CALL, "call_id": None}, OUTPUT]}, "input[0].call_id"),
        ({"input": [{**CALL, "arguments": {}}, OUTPUT]}, "input[0]"),
        ({"input": [CALL]}, "input"),
        ({"input": [OUTPUT]}, "input"),
        ({"input": [{**SEALED, "summary": None}, CALL, OUTPUT]}, "input[0].summary"),
        ({"input": [{**SEALED, "encrypted_content": "foreign"}, CALL, OUTPUT]}, "input[0]"),
        ({"input": [OPEN, CALL, OUTPUT], "store": False}, "input"),
        ({"input": [USER, SEALED]}, "input"),
        ({"input": [SEALED, USER]}, "input"),
        ({"input": [USER, {**CALL, "id": "fc_thought_1"}, OUTPUT]}, "input"),
        (
            {"input": "Hi", "tools": [{"type": "function", "function": {"name": "f"}}]},
            "tools[0].function",
        ),
        (
            {"input": "Hi", "tools": [{"type": "function", "name": "f", "strict": False}]},
            "tools[0].parameters",
        ),
        (
            {"input": "Hi", "tools": [{k: v for k, v in TOOL.items() if k != "strict"}]},
            "tools[0].strict",
        ),
        ({"input": "Hi", "tool_choice": {"function": {"name": "f"}}}, "tool_choice.type"),
        (
            {"input": "Hi", "text": {"format": {"type": "json_schema", "json_schema": {}}}},
            "text.format.json_schema",
        ),
        (
            {"input": "Hi", "text": {"format": {"type": "json_schema", "schema": {}}}},
            "text.format.name",
        ),
        ({"input": "Hi", "max_output_tokens": 0}, "max_output_tokens"),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused_by_its_place(body: Any, param: str | None) -> None:
    with pytest.raises(Refused) as refused:
        check_request(body)
    assert refused.value.param == param


def test_a_refusal_comes_in_the_words_of_the_protocol(caller: Caller) -> None:
    status, document = caller.post({"model": "m", "input": "Hi", "stop": "x"}, PATH)
    assert (status, document["error"]) == (
        400,
        {
            "message": "Unknown parameter: 'stop'.",
            "type": "invalid_request_error",
            "param": "stop",
            "code": "unknown_parameter",
        },
    )
