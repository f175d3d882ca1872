"""The conformance table: whatever a server's answer looks like, every way to ask gives the same message."""

from __future__ import annotations

import lc_shapes
import lc_shapes_more
import lc_shapes_tools
import pytest
from lc_asking import BLOCK_WAYS, WAYS, WHOLE, blocks, in_order, told
from lc_shapes import Shape

from opea_core.testing import ScriptedServer

TABLES = {
    "framing": lc_shapes.FRAMING,
    "chunks": lc_shapes.CHUNKS,
    "ends": lc_shapes.ENDS,
    "content": lc_shapes.CONTENT,
    "odd parts": lc_shapes.ODD_PARTS,
    "tool deltas": lc_shapes_tools.DELTAS,
    "arguments": lc_shapes_tools.ARGUMENTS,
    "broken arguments": lc_shapes_tools.BROKEN,
    "mixed": lc_shapes_tools.MIXED,
    "reasoning": lc_shapes_more.REASONING,
    "usage": lc_shapes_more.USAGE,
}
SHAPES = [pytest.param(shape, id=f"{table}: {name}") for table, shapes in TABLES.items() for name, shape in shapes.items()]
STANDARD = [
    pytest.param(shape, id=f"{table}: {name}")
    for table, shapes in TABLES.items()
    for name, shape in shapes.items()
    if table not in ("odd parts", "usage")
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_way_gives_the_same_message(server: ScriptedServer, shape: Shape, way: str) -> None:
    server.always(shape.answer(stream=way not in WHOLE))

    message = WAYS[way](server, **shape.options)

    assert told(message, shape.expected) == shape.expected


@pytest.mark.parametrize("way", BLOCK_WAYS)
@pytest.mark.parametrize("shape", STANDARD)
def test_every_way_gives_the_same_content_blocks(server: ScriptedServer, shape: Shape, way: str) -> None:
    server.always(shape.answer(stream=way != "invoke v1"))

    message = BLOCK_WAYS[way](server, **shape.options)

    assert in_order(blocks(message, shape.expected)) == shape.expected.blocks
