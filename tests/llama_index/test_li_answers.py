"""What a whole answer becomes: blocks, additional_kwargs, raw, usage."""

from __future__ import annotations

from typing import Any

import pytest
from li_asking import CHATS, COMPLETIONS, HI, WAYS, LLMWith, last_of, said
from llama_index.core.base.llms.types import MessageRole, TextBlock, ThinkingBlock, ToolCallBlock
from llama_index.core.callbacks.token_counting import get_tokens_from_response
from llama_index.core.llms import ChatMessage, ChatResponse

from llama_index_opea import OPEALLM
from opea_core.testing import (
    Answer,
    ScriptedServer,
    chat,
    chunk,
    json_answer,
    sse,
    stream,
    tool_call,
)

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
F = tool_call("f", {"x": 1}, "a")
G = tool_call("g", {"y": 2}, "b")
BROKEN = tool_call("f", '{"x": ', "a")
F_BLOCK = ToolCallBlock(tool_call_id="a", tool_name="f", tool_kwargs={"x": 1})
G_BLOCK = ToolCallBlock(tool_call_id="b", tool_name="g", tool_kwargs={"y": 2})


def _indexed(*calls: Any) -> Any:
    return {"tool_calls": [call | {"index": index} for index, call in enumerate(calls)]}


def _both(whole: Answer, *pieces: Any, finish: str = "stop") -> dict[bool, Answer]:
    """An answer, plain and streamed."""
    return {False: whole, True: stream(pieces, finish_reason=finish, usage=USAGE)}


def _thought(
    text: str = "Hm", name: str = "reasoning_content", tokens: int | None = None
) -> ThinkingBlock:
    return ThinkingBlock(
        content=text, num_tokens=tokens, additional_information={"reasoning_field": name}
    )


BLOCKS: dict[str, tuple[dict[bool, Answer], list[Any]]] = {
    "text": (_both(chat("Hello"), "Hel", "lo"), [TextBlock(text="Hello")]),
    "no text": (_both(chat(""), ""), [TextBlock(text="")]),
    "null": (_both(chat(None), {"content": None}), [TextBlock(text="")]),
    "lines": (_both(chat("a\nb\n"), "a\n", "b\n"), [TextBlock(text="a\nb\n")]),
    "reasoning and text": (
        _both(
            chat("Hello", reasoning="Hm"),
            {"reasoning_content": "H"},
            {"reasoning_content": "m"},
            "Hello",
        ),
        [_thought(), TextBlock(text="Hello")],
    ),
    "reasoning of another name": (
        _both(
            chat("Hello", reasoning="Hm", reasoning_field="reasoning"), {"reasoning": "Hm"}, "Hello"
        ),
        [_thought(name="reasoning"), TextBlock(text="Hello")],
    ),
    "reasoning after text": (
        _both(chat("Hello", reasoning="Hm"), "Hel", {"reasoning_content": "Hm"}, "lo"),
        [_thought(), TextBlock(text="Hello")],
    ),
    "reasoning alone": (
        _both(chat(None, reasoning="Hm"), {"reasoning_content": "Hm"}),
        [_thought(), TextBlock(text="")],
    ),
    "a call": (_both(chat(None, tool_calls=[F]), _indexed(F), finish="tool_calls"), [F_BLOCK]),
    "calls": (
        _both(chat(None, tool_calls=[F, G]), _indexed(F, G), finish="tool_calls"),
        [F_BLOCK, G_BLOCK],
    ),
    "text and a call": (
        _both(chat("Wait.", tool_calls=[F]), "Wait.", _indexed(F), finish="tool_calls"),
        [TextBlock(text="Wait."), F_BLOCK],
    ),
    "a call and text": (
        _both(chat("Wait.", tool_calls=[F]), _indexed(F), "Wait.", finish="tool_calls"),
        [TextBlock(text="Wait."), F_BLOCK],
    ),
    "all of it": (
        _both(
            chat("Wait.", reasoning="Hm", tool_calls=[F, G]),
            {"reasoning_content": "Hm"},
            "Wait.",
            _indexed(F, G),
            finish="tool_calls",
        ),
        [_thought(), TextBlock(text="Wait."), F_BLOCK, G_BLOCK],
    ),
    "a broken call before a good one": (
        _both(chat(None, tool_calls=[BROKEN, G]), _indexed(BROKEN, G), finish="tool_calls"),
        [ToolCallBlock(tool_call_id="a", tool_name="f", tool_kwargs='{"x": '), G_BLOCK],
    ),
    "no arguments": (
        _both(
            chat(None, tool_calls=[tool_call("f", "", "a")]),
            _indexed(tool_call("f", "", "a")),
            finish="tool_calls",
        ),
        [ToolCallBlock(tool_call_id="a", tool_name="f", tool_kwargs={})],
    ),
}


@pytest.mark.parametrize("way", CHATS)
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_stand_in_their_order(
    server: ScriptedServer, llm: OPEALLM, name: str, way: str
) -> None:
    answers, expected = BLOCKS[name]
    server.always(answers["stream" in way])

    message = last_of(way, llm).message

    assert message.role == MessageRole.ASSISTANT
    assert message.blocks == expected


def test_signatures_and_details_stay_with_the_thoughts(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    details = [{"type": "reasoning.text", "text": "Hm", "signature": "s", "index": 0}]
    document = {
        "choices": [
            {
                "message": {"content": "Hello", "reasoning": "Hm", "reasoning_details": details},
                "finish_reason": "stop",
            }
        ]
    }
    server.always(json_answer(document))

    block = last_of("chat", llm).message.blocks[0]

    assert block.additional_information == {
        "reasoning_field": "reasoning",
        "reasoning_details": details,
    }


def test_thoughts_know_their_tokens(server: ScriptedServer, llm: OPEALLM) -> None:
    server.always(
        chat(
            "Hello",
            reasoning="Hm",
            usage=USAGE | {"completion_tokens_details": {"reasoning_tokens": 2}},
        )
    )

    assert last_of("chat", llm).message.blocks[0].num_tokens == 2


# --- additional_kwargs of the message


@pytest.mark.parametrize("way", CHATS)
def test_calls_are_plain_dicts_as_well(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.always(BLOCKS["calls"][0]["stream" in way])

    assert last_of(way, llm).message.additional_kwargs == {"tool_calls": [F, G]}


@pytest.mark.parametrize("way", CHATS)
def test_invalid_calls_keep_their_text_and_what_is_wrong(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.always(BLOCKS["a broken call before a good one"][0]["stream" in way])

    (invalid,) = last_of(way, llm).message.additional_kwargs["invalid_tool_calls"]

    assert (invalid["id"], invalid["name"], invalid["arguments"]) == ("a", "f", '{"x": ')
    assert invalid["error"]


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    document = {
        "choices": [{"message": {"content": None, "refusal": "I won't."}, "finish_reason": "stop"}]
    }
    server.always(
        stream([{"refusal": "I "}, {"refusal": "won't."}])
        if "stream" in way
        else json_answer(document)
    )

    response = last_of(way, llm)

    known = (
        response.message.additional_kwargs
        if isinstance(response, ChatResponse)
        else response.additional_kwargs
    )
    assert known["refusal"] == "I won't."


@pytest.mark.parametrize("way", CHATS)
def test_what_the_protocol_does_not_know_is_kept(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    message = {"content": "Hello", "citations": ["c"], "empty": [], "nothing": None}
    document = {"choices": [{"message": message, "finish_reason": "stop"}]}
    server.always(stream([message]) if "stream" in way else json_answer(document))

    assert last_of(way, llm).message.additional_kwargs == {"citations": ["c"]}


@pytest.mark.parametrize("way", WAYS)
def test_pictures_beside_the_text_do_no_harm(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    """LlamaIndex takes ``additional_kwargs["images"]`` for objects of its own."""
    message = {
        "content": "See.",
        "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}],
    }
    server.always(
        stream([message])
        if "stream" in way
        else json_answer({"choices": [{"message": message, "finish_reason": "stop"}]})
    )

    response = last_of(way, llm)

    assert said(response).text == "See."
    assert response.raw["choices"][0]["message"]["images"] == message["images"]


@pytest.mark.parametrize("way", COMPLETIONS)
def test_completions_keep_what_has_no_place_in_text(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.always(BLOCKS["all of it"][0]["stream" in way])

    response = last_of(way, llm)

    assert response.text == "Wait."
    assert response.additional_kwargs["reasoning_content"] == "Hm"
    assert response.additional_kwargs["tool_calls"] == [F, G]


# --- raw and usage


def _used(way: str, usage: Any) -> Answer:
    return stream(["Hel", "lo"], usage=usage) if "stream" in way else chat("Hello", usage=usage)


@pytest.mark.parametrize("way", WAYS)
def test_raw_is_the_servers_json_with_its_usage(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.always(_used(way, USAGE))

    raw = last_of(way, llm).raw

    assert type(raw) is dict
    assert raw["usage"] == USAGE
    assert raw["choices"][0]["message"] == {"role": "assistant", "content": "Hello"}


@pytest.mark.parametrize("way", WAYS)
def test_counts_stand_in_additional_kwargs(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.always(_used(way, USAGE))

    known = last_of(way, llm).additional_kwargs

    assert {key: known[key] for key in USAGE} == USAGE


@pytest.mark.parametrize("way", WAYS)
def test_no_counts_are_invented(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.always(_used(way, None))

    response = last_of(way, llm)

    assert not response.additional_kwargs.keys() & USAGE.keys()
    assert not response.raw.get("usage")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (USAGE, (9, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 4}, (9, 4)),
        ({"prompt_tokens": 9, "total_tokens": 13}, (9, 4)),
        ({"prompt_tokens": 9.0, "completion_tokens": 4.0}, (9, 4)),
        (USAGE | {"prompt_tokens_details": None, "cost": 0.1}, (9, 4)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            (9, 22),
        ),
    ],
)
def test_llama_index_counts_tokens_as_the_server_does(
    server: ScriptedServer, llm: OPEALLM, usage: Any, counted: Any, way: str
) -> None:
    server.always(_used(way, usage))

    assert get_tokens_from_response(last_of(way, llm)) == counted


@pytest.mark.parametrize("way", WAYS)
def test_where_an_answer_came_from(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    known = last_of(way, llm).additional_kwargs

    assert (known["finish_reason"], known["model"], known["endpoint"]) == (
        "stop",
        "scripted-model",
        "one",
    )
    assert known["request_id"] == server.seen[0].headers["x-request-id"]


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_at_the_token_limit_says_so(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.always(
        stream(["Hel"], finish_reason="length")
        if "stream" in way
        else chat("Hel", finish_reason="length")
    )

    assert last_of(way, llm).additional_kwargs["finish_reason"] == "length"


def test_parameters_the_server_refused_are_named(server: ScriptedServer, llm_with: LLMWith) -> None:
    server.script(
        json_answer({"error": {"message": "Unsupported parameter: 'seed'", "param": "seed"}}, 400)
    )

    assert last_of("chat", llm_with(seed=7)).additional_kwargs["dropped_parameters"] == ["seed"]


# --- logprobs

ONE = {
    "token": "Hel",
    "logprob": -0.5,
    "bytes": [72, 101, 108],
    "top_logprobs": [{"token": "Hel", "logprob": -0.5}],
}
TWO = {
    "token": "lo",
    "logprob": -1,
    "bytes": None,
    "top_logprobs": [{"token": "lo", "logprob": -1}, {"token": "p", "logprob": -3, "bytes": [112]}],
}
LOGPROBS: dict[str, tuple[Any, Any]] = {
    "with alternatives": (
        {"content": [ONE, TWO]},
        [[("Hel", -0.5, [72, 101, 108])], [("lo", -1.0, []), ("p", -3.0, [112])]],
    ),
    "no alternatives": (
        {"content": [{"token": "Hello", "logprob": -0.5, "top_logprobs": []}]},
        [[("Hello", -0.5, [])]],
    ),
    "alternatives null": (
        {"content": [{"token": "Hello", "logprob": -0.5, "top_logprobs": None}]},
        [[("Hello", -0.5, [])]],
    ),
    "alternatives absent": (
        {"content": [{"token": "Hello", "logprob": -0.5}]},
        [[("Hello", -0.5, [])]],
    ),
    "without the token itself": (
        {
            "content": [
                {"token": "a", "logprob": -2, "top_logprobs": [{"token": "b", "logprob": -1}]}
            ]
        },
        [[("a", -2.0, []), ("b", -1.0, [])]],
    ),
    "a number null": ({"content": [{"token": "a", "logprob": None}]}, [[("a", float("-inf"), [])]]),
    "with a refusal": ({"content": [ONE], "refusal": None}, [[("Hel", -0.5, [72, 101, 108])]]),
    "null": (None, None),
    "content null": ({"content": None, "refusal": None}, None),
    "nothing in it": ({}, None),
}


def _tuples(response: Any) -> Any:
    return response.logprobs and [
        [(one.token, one.logprob, one.bytes) for one in found] for found in response.logprobs
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LOGPROBS)
def test_logprobs(server: ScriptedServer, llm: OPEALLM, name: str, way: str) -> None:
    sent, expected = LOGPROBS[name]
    document = {
        "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop", "logprobs": sent}]
    }
    events = sse(chunk({"content": "Hello"}, logprobs=sent), chunk({}, "stop"))
    server.always(events if "stream" in way else json_answer(document))

    assert _tuples(last_of(way, llm)) == expected


ODD: list[Any] = [
    [],
    "x",
    {"content": {}},
    {"content": [None]},
    {"content": [{"token": "a", "logprob": -1, "top_logprobs": {"a": -1}}]},
    {"content": [{"token": "a", "logprob": -1, "bytes": "QUJD"}]},
    {"tokens": ["a"], "token_logprobs": [-1], "top_logprobs": [[{"token": "a"}]]},
]


@pytest.mark.parametrize("way", CHATS)
@pytest.mark.parametrize("odd", ODD)
def test_no_answer_is_lost_for_odd_logprobs(
    server: ScriptedServer, llm: OPEALLM, odd: Any, way: str
) -> None:
    document = {
        "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop", "logprobs": odd}]
    }
    server.always(
        sse(chunk({"content": "Hello"}, "stop", logprobs=odd))
        if "stream" in way
        else json_answer(document)
    )

    assert last_of(way, llm).message.content == "Hello"


@pytest.mark.parametrize("way", [way for way in WAYS if "stream" in way])
def test_logprobs_of_a_stream_are_joined(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.always(
        sse(
            chunk({"content": "Hel"}, logprobs={"content": [ONE]}),
            chunk({"content": "lo"}, logprobs={"content": [TWO]}),
            chunk({}, "stop"),
        )
    )

    assert _tuples(last_of(way, llm)) == LOGPROBS["with alternatives"][1]


def test_logprobs_are_asked_for(server: ScriptedServer, llm_with: LLMWith) -> None:
    response = last_of("chat", llm_with(logprobs=True, top_logprobs=2))

    body = server.seen[0].body
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    assert [len(found) for found in response.logprobs] == [2] * len(response.logprobs)


def test_alternatives_are_not_asked_for_without_logprobs(
    server: ScriptedServer, llm_with: LLMWith
) -> None:
    last_of("chat", llm_with(top_logprobs=2))

    assert not server.seen[0].body.keys() & {"logprobs", "top_logprobs"}


# --- the answer as a value


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", BLOCKS)
def test_responses_can_be_stored(server: ScriptedServer, llm: OPEALLM, name: str, way: str) -> None:
    server.always(BLOCKS[name][0]["stream" in way])

    response = last_of(way, llm)

    assert type(response).model_validate_json(response.model_dump_json()) == response


@pytest.mark.parametrize("way", CHATS)
@pytest.mark.parametrize("name", BLOCKS)
def test_an_answer_can_be_sent_back(
    server: ScriptedServer, llm: OPEALLM, name: str, way: str
) -> None:
    server.script(BLOCKS[name][0]["stream" in way])
    message = last_of(way, llm).message

    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    results = [
        ChatMessage(role="tool", content="1", additional_kwargs={"tool_call_id": call.tool_call_id})
        for call in calls
    ]
    last_of("chat", llm, [message, *results])

    sent = server.seen[-1].body["messages"][0]
    assert sent["content"] == (message.content or "")
    assert len(sent.get("tool_calls", ())) == len(calls)


@pytest.mark.parametrize("content", [None, "written"])
def test_a_spoken_answer_is_what_it_says(
    server: ScriptedServer, llm: OPEALLM, content: str | None
) -> None:
    audio = {"id": "aud_1", "data": "QUJD", "transcript": "spoken"}
    message = {"role": "assistant", "content": content, "audio": audio}
    server.script(
        json_answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}), None
    )

    answer = llm.chat(HI)

    assert answer.message.content == (content or "spoken")
    assert answer.message.additional_kwargs["audio"] == audio
    llm.chat([*HI, answer.message, *HI])
    assert server.seen[1].body["messages"][1] == {
        "role": "assistant",
        "content": content or "spoken",
        "audio": {"id": "aud_1"},
    }
