"""What holds for every stream, however it is split and whatever it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from li_asking import HI, alist, llm_at
from llama_index.core.base.llms.types import ThinkingBlock, ToolCallBlock
from llama_index.core.llms import ChatResponse
from thorough import most

from llama_index_opea import OPEALLM
from opea_core.testing import Answer, ScriptedServer, chunk

PROFILE = settings(
    max_examples=most(60, 25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(TEXT, VALUES, max_size=3)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[ScriptedServer, OPEALLM]]:
    """One server and one LLM for all examples."""
    with ScriptedServer() as server:
        llm = llm_at(server)
        yield server, llm
        llm.client.close()


@st.composite
def _pieces(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=4)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def _answers(draw: st.DrawFn) -> tuple[list[Any], str, str, list[tuple[str, str, Any]]]:
    """Deltas in some order, and what they say together: reasoning, text, calls."""
    reasoning, text = draw(TEXT), draw(TEXT)
    calls = [
        (f"id{number}", f"f{number}", draw(ARGUMENTS)) for number in range(draw(st.integers(0, 2)))
    ]
    lines: list[list[Any]] = [
        [{"reasoning_content": piece} for piece in draw(_pieces(reasoning))],
        [{"content": piece} for piece in draw(_pieces(text))],
    ]
    for index, (id_, name, arguments) in enumerate(calls):
        head = {"index": index, "id": id_, "function": {"name": name, "arguments": ""}}
        rest = [
            {"index": index, "function": {"arguments": piece}}
            for piece in draw(_pieces(json.dumps(arguments)))
        ]
        lines.append([{"tool_calls": [one]} for one in [head, *rest]])
    deltas = []
    while any(lines):
        line = draw(st.sampled_from([line for line in lines if line]))
        deltas.append(line.pop(0))
    return deltas, reasoning, text, calls


def _answer(deltas: list[Any], sizes: list[int]) -> Answer:
    """The events in reads of these sizes, over and over."""
    events = [chunk(delta) for delta in deltas] + [chunk({}, "stop")]
    data = (
        b"".join(
            b"data: %b\n\n" % json.dumps(event, ensure_ascii=False).encode() for event in events
        )
        + b"data: [DONE]\n\n"
    )
    steps, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        steps.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return Answer(200, {"content-type": "text/event-stream"}, tuple(steps), length="chunked")


def _responses(
    shared: tuple[ScriptedServer, OPEALLM], answer: Answer, is_async: bool
) -> list[ChatResponse]:
    server, llm = shared
    server.script(answer)

    async def awaited() -> list[ChatResponse]:
        return await alist(await llm.astream_chat(HI))

    return asyncio.run(awaited()) if is_async else list(llm.stream_chat(HI))


def _calls(response: ChatResponse) -> list[Any]:
    return [
        (block.tool_call_id, block.tool_name, block.tool_kwargs)
        for block in response.message.blocks
        if isinstance(block, ToolCallBlock)
    ]


@PROFILE
@given(
    said=_answers(),
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=4),
    is_async=st.booleans(),
)
def test_every_splitting_says_the_same(
    shared: Any, said: Any, sizes: list[int], is_async: bool
) -> None:
    deltas, reasoning, text, calls = said

    responses = _responses(shared, _answer(deltas, sizes), is_async)

    last = responses[-1]
    assert (
        "".join(response.delta or "" for response in responses)
        == text
        == (last.message.content or "")
    )
    assert (
        "".join(response.additional_kwargs.get("thinking_delta", "") for response in responses)
        == reasoning
    )
    assert (
        "".join(b.content or "" for b in last.message.blocks if isinstance(b, ThinkingBlock))
        == reasoning
    )
    assert sorted(_calls(last)) == sorted(calls)


@PROFILE
@given(said=_answers(), sizes=st.lists(st.integers(1, 400), min_size=1, max_size=4))
def test_every_response_goes_on_from_the_one_before(
    shared: Any, said: Any, sizes: list[int]
) -> None:
    responses = _responses(shared, _answer(said[0], sizes), False)

    text, calls = "", 0
    for response in responses:
        text += response.delta or ""
        assert (response.message.content or "") == text
        assert len(_calls(response)) >= calls
        calls = len(_calls(response))


@PROFILE
@given(said=_answers(), sizes=st.lists(st.integers(1, 400), min_size=1, max_size=4))
def test_calls_can_be_read_from_every_response(shared: Any, said: Any, sizes: list[int]) -> None:
    llm = shared[1]

    responses = _responses(shared, _answer(said[0], sizes), False)

    for response in responses:
        assert all(
            isinstance(call.tool_kwargs, dict)
            for call in llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
        )
    found = llm.get_tool_calls_from_response(responses[-1], error_on_no_tool_call=False)
    assert sorted((call.tool_id, call.tool_name, call.tool_kwargs) for call in found) == sorted(
        said[3]
    )
