"""The conformance table: whatever a server's answer looks like, every way to ask tells the same."""

from __future__ import annotations

from typing import Any

import pytest
from lc_shape_tables import SHAPES
from lc_shapes import Shape
from li_asking import CHAT_STREAMS, HI, STREAMS, WAYS, LLMWith, Said, known_id, last_of, responses_of, said
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import ChatResponse

from llama_index_opea import OPEALLM
from opea_core.adapters import token_counts
from opea_core.testing import ScriptedServer


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
    usage = told.usage and (told.usage["input_tokens"], told.usage["output_tokens"], told.usage["total_tokens"])
    return Said(
        told.text,
        told.reasoning,
        tuple((id_ or "", name, args) for name, args, id_ in told.calls),
        tuple((id_ or "", name or "", raw) for name, raw, id_ in told.invalid),
        usage or None,
        told.finish,
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_way_tells_what_the_table_says(server: ScriptedServer, llm_with: LLMWith, shape: Shape, way: str) -> None:
    server.always(shape.answer(stream=way in STREAMS))

    assert said(last_of(way, llm_with(**shape.options))) == _expected(shape)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_response_tells_what_the_core_understands(server: ScriptedServer, llm_with: LLMWith, shape: Shape, stream: bool) -> None:
    server.always(shape.answer(stream))
    llm = llm_with(**shape.options)

    response = last_of("stream_chat" if stream else "chat", llm)

    assert said(response) == _core_says(llm, stream)


@pytest.mark.parametrize("way", STREAMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_deltas_of_every_stream_join_to_its_text(server: ScriptedServer, llm_with: LLMWith, shape: Shape, way: str) -> None:
    server.always(shape.streamed)

    responses = responses_of(way, llm_with(**shape.options))

    assert "".join(response.delta for response in responses) == shape.expected.text


@pytest.mark.parametrize("way", CHAT_STREAMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_thinking_deltas_of_every_stream_join_to_its_reasoning(server: ScriptedServer, llm_with: LLMWith, shape: Shape, way: str) -> None:
    server.always(shape.streamed)

    responses = responses_of(way, llm_with(**shape.options))

    assert "".join(response.additional_kwargs.get("thinking_delta", "") for response in responses) == shape.expected.reasoning


@pytest.mark.parametrize("shape", SHAPES)
def test_calls_stand_in_blocks_and_in_dicts(server: ScriptedServer, llm: OPEALLM, shape: Shape) -> None:
    server.always(shape.streamed)

    for response in llm.stream_chat(HI):
        assert _ids_of_dicts(response) == _ids_of_blocks(response)


def _ids_of_blocks(response: ChatResponse) -> list[tuple[str | None, str]]:
    return [(block.tool_call_id, block.tool_name) for block in response.message.blocks if isinstance(block, ToolCallBlock)]


def _ids_of_dicts(response: ChatResponse) -> list[tuple[str | None, str]]:
    return [(call["id"], call["function"]["name"]) for call in response.message.additional_kwargs.get("tool_calls", ())]
