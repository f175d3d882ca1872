"""Streams piece by piece: what grows, what comes once, what stands in the last response."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import pytest
from li_asking import CHAT_STREAMS, HI, STREAMS, LLMWith, apart, last_of, responses_of
from llama_index.core.base.llms.types import TextBlock, ThinkingBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage, ChatResponse

from llama_index_opea import OPEALLM
from opea_core import Capabilities, ConfigurationError
from opea_core.testing import Answer, Hold, ScriptedServer, chunk, sse, stream, tool_call

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
PIECES = ({"reasoning_content": "H"}, {"reasoning_content": "m"}, "Hel", "lo", "\n", "you")


def _fragments(*texts: str, index: int = 0, name: str = "f", id_: str = "a") -> list[Any]:
    """A call, name and id first, then its arguments piece by piece."""
    head = {
        "tool_calls": [
            {
                "index": index,
                "id": id_,
                "type": "function",
                "function": {"name": name, "arguments": ""},
            }
        ]
    }
    rest = [{"tool_calls": [{"index": index, "function": {"arguments": text}}]} for text in texts]
    return [head, *rest]


def _calls(response: ChatResponse) -> list[tuple[Any, ...]]:
    return [
        (b.tool_call_id, b.tool_name, b.tool_kwargs)
        for b in response.message.blocks
        if isinstance(b, ToolCallBlock)
    ]


def _text_of(response: Any) -> str:
    return (response.message.content or "") if isinstance(response, ChatResponse) else response.text


# --- shapes of the methods


def test_what_the_streaming_methods_give(llm: OPEALLM) -> None:
    assert inspect.isgenerator(llm.stream_chat(HI))
    assert inspect.isgenerator(llm.stream_complete("Hi"))


async def test_what_the_async_streaming_methods_give(llm: OPEALLM) -> None:
    for call in (llm.astream_chat(HI), llm.astream_complete("Hi")):
        assert inspect.iscoroutine(call)
        responses = await call
        assert inspect.isasyncgen(responses)
        await responses.aclose()


def test_nothing_is_sent_before_the_first_response_is_wanted(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    responses = llm.stream_chat(HI)
    responses.close()

    assert server.seen == []


# --- growth


@pytest.mark.parametrize("way", STREAMS)
def test_the_text_grows_by_its_deltas(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.always(stream(PIECES, usage=USAGE))

    so_far = ""
    for response in responses_of(way, llm):
        so_far += response.delta
        assert _text_of(response) == so_far
    assert so_far == "Hello\nyou"


@pytest.mark.parametrize("way", CHAT_STREAMS)
def test_reasoning_grows_in_one_block(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.always(stream(PIECES))

    thoughts = [
        [block.content for block in response.message.blocks if isinstance(block, ThinkingBlock)]
        for response in responses_of(way, llm)
    ]

    assert thoughts == [["H"], ["Hm"], ["Hm"], ["Hm"], ["Hm"], ["Hm"], ["Hm"]]


@pytest.mark.parametrize("way", STREAMS)
def test_one_thinking_delta_for_each_of_reasoning(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.always(stream(PIECES))

    deltas = [
        response.additional_kwargs.get("thinking_delta") for response in responses_of(way, llm)
    ]

    assert deltas == ["H", "m", None, None, None, None, None]


@pytest.mark.parametrize("way", CHAT_STREAMS)
@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_in_the_first_event_is_not_lost(
    server: ScriptedServer, llm: OPEALLM, way: str, field: str
) -> None:
    server.always(
        sse(
            chunk({"role": "assistant", field: "Hm", "content": ""}),
            chunk({"content": "Hi"}, "stop"),
        )
    )

    responses = responses_of(way, llm)

    assert [response.additional_kwargs.get("thinking_delta") for response in responses] == [
        "Hm",
        None,
        None,
    ]


def test_think_tags_are_reasoning_where_the_endpoint_says_so(
    server: ScriptedServer, llm_with: LLMWith
) -> None:
    server.always(stream(["<thi", "nk>H", "m</think>", "Hello"]))

    responses = responses_of("stream_chat", llm_with(capabilities=Capabilities(think_tags=True)))

    assert (
        "".join(response.additional_kwargs.get("thinking_delta", "") for response in responses)
        == "Hm"
    )
    assert "".join(response.delta for response in responses) == "Hello"


@pytest.mark.parametrize("way", CHAT_STREAMS)
def test_earlier_responses_do_not_change_later(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.always(
        stream(["Hel", "lo", *apart(_fragments('{"x"', ":1}"))], finish_reason="tool_calls")
    )

    async def copied() -> list[tuple[Any, Any]]:
        return [
            (response, response.model_copy(deep=True))
            async for response in await llm.astream_chat(HI)
        ]

    if way == "stream_chat":
        pairs = [(response, response.model_copy(deep=True)) for response in llm.stream_chat(HI)]
    else:
        pairs = asyncio.run(copied())
    assert [kept for kept, _ in pairs] == [copy for _, copy in pairs]


# --- calls


@pytest.mark.parametrize("way", CHAT_STREAMS)
def test_arguments_are_text_while_they_grow_and_a_dict_at_the_end(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.always(stream(apart(_fragments('{"x"', ": 1", "}")), finish_reason="tool_calls"))

    *growing, last = responses_of(way, llm)

    assert all(isinstance(_calls(response)[0][2], str) for response in growing)
    assert '{"x": 1}'.startswith(str(_calls(growing[0])[0][2]))
    assert _calls(last) == [("a", "f", {"x": 1})]


def test_a_call_is_told_before_its_arguments_are_there(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    go_on = threading.Event()
    head, rest = _fragments('{"x": 1}')
    server.script(stream([head, Hold(go_on), rest], finish_reason="tool_calls"))

    responses = llm.stream_chat(HI, deadline=20)
    first = next(responses)
    go_on.set()

    assert _calls(first) == [("a", "f", "")]
    assert _calls([*responses][-1]) == [("a", "f", {"x": 1})]


async def test_a_call_is_told_before_its_arguments_are_there_in_async_code(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    go_on = threading.Event()
    head, rest = _fragments('{"x": 1}')
    server.script(stream([head, Hold(go_on), rest], finish_reason="tool_calls"))

    responses = await llm.astream_chat(HI, deadline=20)
    first = await anext(responses)
    go_on.set()

    assert _calls(first) == [("a", "f", "")]
    assert _calls([response async for response in responses][-1]) == [("a", "f", {"x": 1})]


@pytest.mark.parametrize("way", CHAT_STREAMS)
def test_dicts_grow_with_the_blocks(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    pieces = [
        "Wait.",
        *_fragments('{"x"', ": 1}"),
        *_fragments('{"y": ', "2}", index=1, name="g", id_="b"),
    ]
    server.always(stream(apart(pieces), finish_reason="tool_calls"))

    *growing, last = responses_of(way, llm)

    for response in growing:
        dicts = response.message.additional_kwargs.get("tool_calls", [])
        assert [
            (c["id"], c["function"]["name"], c["function"]["arguments"]) for c in dicts
        ] == _calls(response)
    assert last.message.additional_kwargs["tool_calls"] == [
        tool_call("f", '{"x": 1}', "a"),
        tool_call("g", '{"y": 2}', "b"),
    ]
    assert _calls(last) == [("a", "f", {"x": 1}), ("b", "g", {"y": 2})]


@pytest.mark.parametrize("way", CHAT_STREAMS)
def test_a_call_whose_name_comes_late(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    late = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}
    first = {"tool_calls": [{"index": 0, "function": {"arguments": '{"x": 1}'}}]}
    server.always(stream([first, late], finish_reason="tool_calls"))

    assert _calls(responses_of(way, llm)[-1]) == [("a", "f", {"x": 1})]


@pytest.mark.parametrize("way", CHAT_STREAMS)
def test_text_and_call_of_one_turn_stay_in_order(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.always(stream(["Wait.", *_fragments('{"x": 1}')], finish_reason="tool_calls"))

    responses = responses_of(way, llm)

    assert [type(block) for block in responses[-1].message.blocks] == [TextBlock, ToolCallBlock]
    assert "".join(response.delta for response in responses) == "Wait."


@pytest.mark.parametrize("way", CHAT_STREAMS)
def test_a_long_call_is_not_handed_on_character_by_character(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    text = '{"x": "' + "a" * 5000 + '"}'
    events = [chunk(piece) for piece in _fragments(*text)]
    body = b"".join(
        step for step in sse(*events, chunk({}, "tool_calls")).steps if isinstance(step, bytes)
    )
    server.always(Answer(200, {"content-type": "text/event-stream"}, (body,)))

    responses = responses_of(way, llm)

    assert len(responses) < 1000
    assert _calls(responses[-1]) == [("a", "f", {"x": "a" * 5000})]


# --- the last response


@pytest.mark.parametrize("way", STREAMS)
@pytest.mark.parametrize("usage", [None, USAGE])
def test_the_last_response_is_whole(
    server: ScriptedServer, llm: OPEALLM, way: str, usage: Any
) -> None:
    server.always(stream(["Hel", "lo"], usage=usage))

    *_, last = responses_of(way, llm)

    assert _text_of(last) == "Hello"
    assert last.additional_kwargs["finish_reason"] == "stop"
    assert last.raw["choices"][0]["message"]["content"] == "Hello"


@pytest.mark.parametrize("way", CHAT_STREAMS)
def test_the_last_response_after_usage_still_has_thoughts_and_calls(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.always(
        stream(
            [{"reasoning": "Hm"}, "Wait.", *_fragments('{"x": 1}')],
            finish_reason="tool_calls",
            usage=USAGE,
        )
    )

    message = responses_of(way, llm)[-1].message

    assert [type(block) for block in message.blocks] == [ThinkingBlock, TextBlock, ToolCallBlock]


@pytest.mark.parametrize("way", STREAMS)
def test_usage_comes_once_with_the_last_response(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    counted = {"usage": USAGE}
    server.always(
        sse(
            chunk({"content": "Hel"}) | counted,
            chunk({"content": "lo"}, "stop") | counted,
            {"choices": [], **counted},
        )
    )

    responses = responses_of(way, llm)

    assert ["prompt_tokens" in response.additional_kwargs for response in responses] == [False] * (
        len(responses) - 1
    ) + [True]
    assert responses[-1].raw["usage"] == USAGE


@pytest.mark.parametrize("way", STREAMS)
def test_usage_is_asked_for(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    responses_of(way, llm)

    assert server.seen[0].body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("way", STREAMS)
def test_usage_is_not_asked_for_by_switch(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    responses_of(way, llm_with(additional_kwargs={"stream_options": None}))

    assert "stream_options" not in server.seen[0].body


@pytest.mark.parametrize("way", STREAMS)
def test_logprobs_come_with_the_last_response(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    one = {"content": [{"token": "Hel", "logprob": -0.5}]}
    server.always(
        sse(chunk({"content": "Hel"}, logprobs=one), chunk({"content": "lo"}), chunk({}, "stop"))
    )

    assert [
        [found.token for found in alternatives]
        for alternatives in responses_of(way, llm)[-1].logprobs
    ] == [["Hel"]]


@pytest.mark.parametrize("way", STREAMS)
def test_every_raw_is_a_dict(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.always(stream([*PIECES, *_fragments('{"x": 1}')], usage=USAGE))

    assert {type(response.raw) for response in responses_of(way, llm)} == {dict}


@pytest.mark.parametrize("way", STREAMS)
def test_a_stream_of_nothing_but_a_finish_reason_has_one_response(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.always(stream([], finish_reason="length"))

    (response,) = responses_of(way, llm)

    assert (_text_of(response), response.delta, response.additional_kwargs["finish_reason"]) == (
        "",
        "",
        "length",
    )


def test_sync_and_async_streams_are_equal(server: ScriptedServer, llm: OPEALLM) -> None:
    server.always(stream([*PIECES, {"tool_calls": [tool_call("f", {"x": 1}, "a")]}], usage=USAGE))

    def shown(way: str) -> list[Any]:
        return [
            response.model_dump(exclude={"additional_kwargs": {"request_id"}})
            for response in responses_of(way, llm)
        ]

    assert shown("stream_chat") == shown("astream_chat")
    assert shown("stream_complete") == shown("astream_complete")


# --- errors of the call


async def _only_called(way: str, llm: OPEALLM, given: Any, **options: Any) -> None:
    """Call, and take no response."""
    answer = getattr(llm, way)(given, **options)
    if way.startswith("a"):
        await answer


@pytest.mark.parametrize("options", [{"n": 2}, {"timout": 3}, {"stop": object()}])
@pytest.mark.parametrize("way", STREAMS)
async def test_options_that_make_no_sense_are_refused_at_the_call(
    llm: OPEALLM, way: str, options: Any
) -> None:
    with pytest.raises(ConfigurationError):
        await _only_called(way, llm, "Hi" if way.endswith("complete") else HI, **options)


@pytest.mark.parametrize("way", CHAT_STREAMS)
async def test_no_messages_are_refused_at_the_call(llm: OPEALLM, way: str) -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        await _only_called(way, llm, [])


@pytest.mark.parametrize("way", CHAT_STREAMS)
def test_options_of_the_call_win(server: ScriptedServer, llm_with: LLMWith, way: str) -> None:
    llm = llm_with(temperature=0.5, max_tokens=5, additional_kwargs={"top_k": 1, "min_p": 1})

    last_of(way, llm, [ChatMessage("Hi")], temperature=0.7, top_k=2, extra_body={"min_p": 2})

    body = server.seen[0].body
    assert [body[name] for name in ("temperature", "max_tokens", "top_k", "min_p", "stream")] == [
        0.7,
        5,
        2,
        2,
        True,
    ]
