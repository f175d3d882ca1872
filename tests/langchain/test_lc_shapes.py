"""The conformance table: whatever a server's answer looks like, every way to ask gives the same message."""

from __future__ import annotations

import pytest
from lc_asking import BLOCK_WAYS, WAYS, WHOLE, blocks, in_order, told
from lc_shape_tables import SHAPES, TABLES
from lc_shapes import Shape

from opea_core.testing import ScriptedServer

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
