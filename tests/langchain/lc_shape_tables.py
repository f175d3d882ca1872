"""All tables of odd answers, and each answer as a case of a test."""

from __future__ import annotations

import lc_shapes
import lc_shapes_more
import lc_shapes_tools
import pytest

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
SHAPES = [
    pytest.param(shape, id=f"{table}: {name}")
    for table, shapes in TABLES.items()
    for name, shape in shapes.items()
]
