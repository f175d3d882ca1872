"""Content blocks: what came in one stream stays apart, and means the same whole,
merged, v0, v1 or v3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from lc_asking import BLOCK_WAYS, STREAMED, WAYS, ModelWith, beta, blocks, merged
from lc_shapes import ODD_PARTS, SSE, deltas
from lc_shapes_more import REASONING
from lc_shapes_tools import DELTAS, F, G, entry

from langchain_opea import ChatOPEA
from opea_core.testing import Answer, ScriptedServer, chunk, sse

USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
EVERYTHING = sse(
    chunk({"role": "assistant", "reasoning_content": "Let "}),
    chunk({"reasoning_content": "me see"}),
    chunk({"content": "Hel"}),
    chunk({"content": "lo"}),
    chunk({"tool_calls": [entry(0, "a", "f", '{"x"')]}),
    chunk({"tool_calls": [entry(0, "a", "f", ":1}")]}),
    chunk({"tool_calls": [entry(1, "b", "g", '{"y":2}')]}),
    chunk({}, "tool_calls") | {"usage": USAGE},
    {"choices": [], "usage": USAGE},
)
"""Reasoning, text and two calls, the name and id of one of them on every fragment, usage twice."""
ALL_BLOCKS = [("reasoning", "Let me see"), ("text", "Hello"), ("tool_call", F), ("tool_call", G)]


def _stream(model: ChatOPEA) -> list[AIMessageChunk]:
    return list(model.stream("Hi"))


def _astream(model: ChatOPEA) -> list[AIMessageChunk]:
    async def collect() -> list[AIMessageChunk]:
        return [piece async for piece in model.astream("Hi")]

    return asyncio.run(collect())


both = pytest.mark.parametrize("chunks_of", [_stream, _astream], ids=["stream", "astream"])
versions = pytest.mark.parametrize("version", ["v0", "v1"])
ChunksOf = Callable[[ChatOPEA], list[AIMessageChunk]]


@pytest.mark.parametrize("way", BLOCK_WAYS)
def test_reasoning_text_and_two_calls_stay_four_blocks(server: ScriptedServer, way: str) -> None:
    server.always(EVERYTHING)

    assert blocks(BLOCK_WAYS[way](server)) == ALL_BLOCKS


@pytest.mark.parametrize("way", BLOCK_WAYS)
def test_text_and_a_call_stay_two_blocks(server: ScriptedServer, way: str) -> None:
    server.always(DELTAS["text before"].streamed)

    assert blocks(BLOCK_WAYS[way](server)) == [("text", "Wait."), ("tool_call", F)]


@pytest.mark.parametrize("way", BLOCK_WAYS)
def test_reasoning_and_a_call_stay_two_blocks(server: ScriptedServer, way: str) -> None:
    server.always(REASONING["and a call"].streamed)

    assert blocks(BLOCK_WAYS[way](server)) == [("reasoning", "Let me see"), ("tool_call", F)]


@pytest.mark.parametrize("way", ["stream v1", "astream v1", "events v3"])
def test_text_after_a_call_stands_after_it(server: ScriptedServer, way: str) -> None:
    server.always(DELTAS["text after"].streamed)

    assert blocks(BLOCK_WAYS[way](server)) == [("tool_call", F), ("text", "Wait.")]


@both
def test_indices_of_blocks_never_meet(
    server: ScriptedServer, model_with: ModelWith, chunks_of: ChunksOf
) -> None:
    server.always(EVERYTHING)

    found = {
        (block["type"], block["index"])
        for piece in chunks_of(model_with(output_version="v1"))
        for block in piece.content_blocks
    }

    assert found == {
        ("reasoning", "lc_rs_0"),
        ("text", "lc_txt_0"),
        ("tool_call_chunk", 0),
        ("tool_call_chunk", 1),
    }


@both
@versions
def test_a_long_text_is_one_block(
    server: ScriptedServer, model_with: ModelWith, chunks_of: ChunksOf, version: str
) -> None:
    server.always(deltas(*[{"content": f"{number} "} for number in range(50)]))

    message = merged(chunks_of(model_with(output_version=version)))

    assert blocks(message) == [("text", "".join(f"{number} " for number in range(50)))]


def test_text_in_pieces_is_a_text_while_it_comes(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.always(EVERYTHING)

    pieces = [
        block["text"]
        for piece in _stream(model_with(output_version="v1"))
        for block in piece.content
        if block["type"] == "text"
    ]

    assert pieces == ["Hel", "lo"]


@both
@versions
def test_only_the_last_chunk_says_that_it_is_the_last(
    server: ScriptedServer, model_with: ModelWith, chunks_of: ChunksOf, version: str
) -> None:
    server.always(EVERYTHING)

    chunks = chunks_of(model_with(output_version=version))

    assert [piece.chunk_position for piece in chunks] == [None] * (len(chunks) - 1) + ["last"]
    assert merged(chunks).chunk_position == "last"


@both
@versions
@pytest.mark.parametrize("name", ["model_name", "finish_reason", "id", "endpoint", "token_usage"])
def test_one_chunk_carries_what_was_said_of_the_answer(
    server: ScriptedServer, model_with: ModelWith, chunks_of: ChunksOf, version: str, name: str
) -> None:
    server.always(EVERYTHING)

    chunks = chunks_of(model_with(output_version=version))

    assert [name in piece.response_metadata for piece in chunks] == [False] * (len(chunks) - 1) + [
        True
    ]


@both
@versions
def test_one_chunk_carries_usage(
    server: ScriptedServer, model_with: ModelWith, chunks_of: ChunksOf, version: str
) -> None:
    server.always(EVERYTHING)

    found = [
        piece.usage_metadata
        for piece in chunks_of(model_with(output_version=version))
        if piece.usage_metadata is not None
    ]

    assert found == [{"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}]


@both
@versions
def test_id_and_name_of_a_call_come_once(
    server: ScriptedServer, model_with: ModelWith, chunks_of: ChunksOf, version: str
) -> None:
    server.always(EVERYTHING)

    calls = [
        call
        for piece in chunks_of(model_with(output_version=version))
        for call in piece.tool_call_chunks
    ]

    assert [call["id"] for call in calls if call["id"]] == ["a", "b"]
    assert [call["name"] for call in calls if call["name"]] == ["f", "g"]


@both
@versions
def test_merged_metadata_is_that_of_one_answer(
    server: ScriptedServer, model_with: ModelWith, chunks_of: ChunksOf, version: str
) -> None:
    server.always(EVERYTHING)

    metadata = merged(chunks_of(model_with(output_version=version))).response_metadata

    assert {
        name: metadata[name]
        for name in ("model_name", "model_provider", "finish_reason", "id", "endpoint")
    } == {
        "model_name": "scripted-model",
        "model_provider": "opea",
        "finish_reason": "tool_calls",
        "id": "scripted-1",
        "endpoint": "one",
    }


@both
def test_a_call_in_the_only_chunk_is_a_whole_call(
    server: ScriptedServer, model_with: ModelWith, chunks_of: ChunksOf
) -> None:
    server.always(DELTAS["a plain answer to a stream"].streamed)

    message = merged(chunks_of(model_with(output_version="v1")))

    assert blocks(message) == [("text", "Wait."), ("tool_call", F), ("tool_call", G)]


@pytest.mark.parametrize("way", [*WAYS, "stream v1", "astream v1"])
def test_a_whole_answer_and_a_stream_have_the_same_blocks(server: ScriptedServer, way: str) -> None:
    ways = WAYS | BLOCK_WAYS
    server.always(EVERYTHING)

    assert blocks(ways[way](server)) == blocks(WAYS["invoke"](server))


@pytest.mark.parametrize("way", BLOCK_WAYS)
def test_an_image_that_the_model_drew_is_a_block(server: ScriptedServer, way: str) -> None:
    server.always(ODD_PARTS["an image"].answer(stream=way != "invoke v1"))

    found = [
        {key: value for key, value in block.items() if key not in ("index", "id")}
        for block in BLOCK_WAYS[way](server).content_blocks
    ]

    assert found == [
        {"type": "text", "text": "Hello"},
        {"type": "image", "base64": "QUJD", "mime_type": "image/png"},
    ]


@pytest.mark.parametrize("way", BLOCK_WAYS)
def test_an_unknown_part_is_a_block_of_no_standard(server: ScriptedServer, way: str) -> None:
    server.always(ODD_PARTS["an unknown part"].answer(stream=way != "invoke v1"))

    message = BLOCK_WAYS[way](server)
    others = [block for block in message.content_blocks if block["type"] != "text"]

    assert message.text == "Hello"
    assert [(other["type"], other["value"]) for other in others] == [
        ("non_standard", {"type": "reference", "reference_ids": [1]})
    ]


@pytest.mark.parametrize("way", STREAMED)
def test_a_broken_call_is_no_call_in_the_blocks(server: ScriptedServer, way: str) -> None:
    server.always(deltas({"tool_calls": [entry(0, "a", "f", '{"path": "/ho')]}, finish="length"))

    assert [kind for kind, _ in blocks(STREAMED[way](server))] == ["invalid_tool_call"]


@pytest.mark.parametrize("way", ["invoke v1", "stream v1", "astream v1", "events v3"])
def test_content_of_version_1_is_its_blocks(server: ScriptedServer, way: str) -> None:
    server.always(EVERYTHING)

    message = BLOCK_WAYS[way](server)

    assert message.content == message.content_blocks
    assert message.response_metadata["output_version"] == "v1"


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_of_nothing_has_no_blocks(server: ScriptedServer, way: str) -> None:
    server.always(deltas({"content": ""}))

    message: AIMessage = WAYS[way](server)

    assert message.content_blocks == []
    assert message.text == ""


def test_events_begin_and_end_each_block_once(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.always(EVERYTHING)

    with beta():
        events = list(model_with().stream_events("Hi", version="v3"))

    names = [event["event"] for event in events]
    assert (names[0], names[-1]) == ("message-start", "message-finish")
    assert names.count("content-block-start") == names.count("content-block-finish") == 4
    finished = [event for event in events if event["event"] == "content-block-finish"]
    kinds = [event["content"]["type"] for event in finished]
    assert kinds == ["reasoning", "text", "tool_call", "tool_call"]


def test_projections_of_events_have_reasoning_text_and_calls(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.always(EVERYTHING)

    with beta():
        stream = model_with().stream_events("Hi", version="v3")
        text, reasoning, calls = list(stream.text), list(stream.reasoning), stream.tool_calls.get()

    assert "".join(text) == "Hello"
    assert "".join(reasoning) == "Let me see"
    assert [(call["name"], call["args"], call["id"]) for call in calls] == [F, G]


async def test_projections_of_async_events_have_reasoning_text_and_calls(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.always(EVERYTHING)
    with beta():
        stream = await model_with().astream_events("Hi", version="v3")
        text, reasoning, calls = await stream.text, await stream.reasoning, await stream.tool_calls

    assert (text, reasoning) == ("Hello", "Let me see")
    assert [(call["name"], call["args"], call["id"]) for call in calls] == [F, G]


@both
def test_arguments_that_came_at_once_are_one_piece(
    server: ScriptedServer, model_with: ModelWith, chunks_of: ChunksOf
) -> None:
    document = '{"text": "' + "word " * 50 + '"}'
    fragments = [entry(0, None, None, document[at : at + 5]) for at in range(0, len(document), 5)]
    answer = deltas(
        {"tool_calls": [entry(0, "a", "f", "")]},
        *[{"tool_calls": [fragment]} for fragment in fragments],
    )
    server.always(Answer(200, SSE, (answer.body,)))

    chunks = chunks_of(model_with())

    assert merged(chunks).tool_calls[0]["args"] == {"text": "word " * 50}
    assert len(chunks) < len(fragments) / 5
