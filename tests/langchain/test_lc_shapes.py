"""The conformance table: whatever a server's answer looks like,
every way to ask gives the same message.

Ten shapes that differ in kind are asked for in every way;
every other one in one way of each group, which its place in the table chooses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from lc_asking import BLOCK_WAYS, STREAMED, WAYS, WHOLE, Told, blocks, in_order, told
from lc_shape_tables import SHAPES, TABLES
from lc_shapes import Shape

from opea_core.testing import ScriptedServer, chunk, sse

IN_EVERY_WAY = frozenset(
    {
        "framing: characters cut between reads",
        "framing: a plain answer to a stream",
        "ends: [DONE], no finish reason",
        "content: content lists in pieces",
        "content: refusal",
        "odd parts: an image",
        "tool deltas: calls interleaved",
        "mixed: two broken, with text",
        "reasoning: again after the text",
        "usage: all details",
    }
)
STANDARD = [
    pytest.param(shape, id=f"{table}: {name}")
    for table, shapes in TABLES.items()
    for name, shape in shapes.items()
    if table not in ("odd parts", "usage")
]


def in_ways(shapes: Sequence[Any], *groups: Iterable[str]) -> list[Any]:
    """Each shape with ways to ask for it: ten once with each way,
    every other one with one way of each group.
    """
    found: list[Any] = []
    for place, shape in enumerate(shapes):
        if shape.id in IN_EVERY_WAY:
            chosen = [(way,) for group in groups for way in group]
        else:
            chosen = [tuple(ways[place % len(ways)] for ways in map(list, groups))]
        found += [
            pytest.param(*shape.values, ways, id=f"{shape.id} ({', '.join(ways)})")
            for ways in chosen
        ]
    return found


def test_shapes_for_every_way_are_in_the_table() -> None:
    assert {shape.id for shape in SHAPES} >= IN_EVERY_WAY


@pytest.mark.parametrize(("shape", "ways"), in_ways(SHAPES, WHOLE, STREAMED))
def test_every_way_gives_the_same_message(
    server: ScriptedServer, shape: Shape, ways: tuple[str, ...]
) -> None:
    found = {}
    for way in ways:
        server.always(shape.answer(stream=way not in WHOLE))
        found[way] = told(WAYS[way](server, **shape.options), shape.expected)

    assert found == dict.fromkeys(ways, shape.expected)


@pytest.mark.parametrize(
    ("shape", "ways"),
    in_ways(STANDARD, ["invoke v1"], [way for way in BLOCK_WAYS if way != "invoke v1"]),
)
def test_every_way_gives_the_same_content_blocks(
    server: ScriptedServer, shape: Shape, ways: tuple[str, ...]
) -> None:
    found = {}
    for way in ways:
        server.always(shape.answer(stream=way != "invoke v1"))
        found[way] = in_order(blocks(BLOCK_WAYS[way](server, **shape.options), shape.expected))

    assert found == dict.fromkeys(ways, shape.expected.blocks)


_HEAD = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":'}}
_PIECES = sse(
    chunk({"content": "Wait", "tool_calls": [_HEAD]}),
    chunk({"content": ".", "tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
    chunk({}, "tool_calls"),
)
IN_ONE_READ = Shape(
    _PIECES.replace(steps=(_PIECES.body,)),
    Told("Wait.", calls=(("f", {"x": 1}, "a"),), finish="tool_calls"),
)
"""Text beside a call, with more of both behind it."""


@pytest.mark.parametrize("way", STREAMED)
def test_text_and_a_call_that_come_in_one_read(server: ScriptedServer, way: str) -> None:
    server.always(IN_ONE_READ.streamed)

    assert told(STREAMED[way](server), IN_ONE_READ.expected) == IN_ONE_READ.expected
