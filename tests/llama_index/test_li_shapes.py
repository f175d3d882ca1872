"""The conformance table: whatever a server's answer looks like, every way to ask tells the same.

Ten shapes are asked for in every way, every other one in one or two: ``in_ways`` chooses them.
"""

from __future__ import annotations

from typing import Any

import pytest
from lc_shape_tables import SHAPES
from lc_shapes import Shape
from li_asking import (
    CHAT_STREAMS,
    STREAMS,
    WAYS,
    LLMWith,
    Said,
    known_id,
    last_of,
    responses_of,
    said,
)
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import ChatResponse
from test_lc_shapes import IN_EVERY_WAY, IN_ONE_READ, in_ways

from llama_index_opea import OPEALLM
from opea_core.adapters import token_counts
from opea_core.testing import ScriptedServer

PLAIN = tuple(way for way in WAYS if way not in STREAMS)
COMPLETION_STREAMS = tuple(way for way in STREAMS if way not in CHAT_STREAMS)


def _core_says(llm: OPEALLM, stream: bool) -> Said:
    """The core's own answer to the same bytes."""
    if stream:
        with llm.client.stream_chat("Hi") as chunks:
            for _chunk in chunks:
                pass
            found: Any = chunks.response
    else:
        found = llm.client.chat("Hi")
    return Said(
        found.content,
        found.reasoning,
        tuple((known_id(call.id), call.name, call.args) for call in found.tool_calls),
        tuple((known_id(call.id), call.name, call.arguments) for call in found.invalid_tool_calls),
        None if found.usage is None else token_counts(found.usage),
        found.finish_reason,
    )


def _expected(shape: Shape) -> Said:
    """What the table says, in this package's form."""
    told = shape.expected
    usage = told.usage and (
        told.usage["input_tokens"],
        told.usage["output_tokens"],
        told.usage["total_tokens"],
    )
    return Said(
        told.text,
        told.reasoning,
        tuple((id_ or "", name, args) for name, args, id_ in told.calls),
        tuple((id_ or "", name or "", raw) for name, raw, id_ in told.invalid),
        usage or None,
        told.finish,
    )


@pytest.mark.parametrize(("shape", "ways"), in_ways(SHAPES, PLAIN, STREAMS))
def test_every_way_tells_what_the_table_says(
    server: ScriptedServer, llm_with: LLMWith, shape: Shape, ways: tuple[str, ...]
) -> None:
    found = {}
    for way in ways:
        server.always(shape.answer(stream=way in STREAMS))
        found[way] = said(last_of(way, llm_with(**shape.options)))

    assert found == dict.fromkeys(ways, _expected(shape))


@pytest.mark.parametrize(("shape", "ways"), in_ways(SHAPES, ("chat", "stream_chat")))
def test_a_response_tells_what_the_core_understands(
    server: ScriptedServer, llm_with: LLMWith, shape: Shape, ways: tuple[str, ...]
) -> None:
    llm = llm_with(**shape.options)
    for way in ways:
        server.always(shape.answer(stream=way in STREAMS))

        assert (way, said(last_of(way, llm))) == (way, _core_says(llm, way in STREAMS))


@pytest.mark.parametrize(
    ("shape", "ways"),
    [
        *in_ways(SHAPES, CHAT_STREAMS),
        *in_ways([shape for shape in SHAPES if shape.id in IN_EVERY_WAY], COMPLETION_STREAMS),
    ],
)
def test_every_stream_joins_to_the_whole_with_calls_in_blocks_and_dicts(
    server: ScriptedServer, llm_with: LLMWith, shape: Shape, ways: tuple[str, ...]
) -> None:
    server.always(shape.streamed)
    for way in ways:
        responses = responses_of(way, llm_with(**shape.options))

        assert (way, "".join(response.delta for response in responses)) == (
            way,
            shape.expected.text,
        )
        if way in CHAT_STREAMS:
            thoughts = "".join(
                response.additional_kwargs.get("thinking_delta", "") for response in responses
            )
            assert (way, thoughts) == (way, shape.expected.reasoning)
            for response in responses:
                assert (way, _ids_of_dicts(response)) == (way, _ids_of_blocks(response))


@pytest.mark.parametrize("way", STREAMS)
def test_text_and_a_call_that_come_in_one_read(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.always(IN_ONE_READ.streamed)

    responses = responses_of(way, llm)

    assert said(responses[-1]) == _expected(IN_ONE_READ)
    assert "".join(response.delta for response in responses) == "Wait."


def _ids_of_blocks(response: ChatResponse) -> list[tuple[str | None, str]]:
    return [
        (block.tool_call_id, block.tool_name)
        for block in response.message.blocks
        if isinstance(block, ToolCallBlock)
    ]


def _ids_of_dicts(response: ChatResponse) -> list[tuple[str | None, str]]:
    return [
        (call["id"], call["function"]["name"])
        for call in response.message.additional_kwargs.get("tool_calls", ())
    ]
