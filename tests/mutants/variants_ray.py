"""Stages of Ray that lose what a row was about, or let a job go on that cannot work."""

from __future__ import annotations

from variant import Variant

_STAGE = "opea_core/on_ray/"
_TESTS = "tests/on_ray/test_on_ray_columns.py"

VARIANTS = [
    Variant(
        "M16: a job in which nothing can work goes on",
        _STAGE + "stages.py",
        "        if self._window.stopped is not None:\n",
        "        if False:\n",
        _TESTS,
    ),
    Variant(
        "M16: a column of the rows is replaced",
        _STAGE + "columns.py",
        '    if taken:\n        raise ConfigurationError(\n            f"The rows have columns',
        '    if False:\n        raise ConfigurationError(\n            f"The rows have columns',
        _TESTS,
    ),
    Variant(
        "M16: the type of a column depends on its values",
        _STAGE + "tables.py",
        "pyarrow.array(column.values, type=_arrow_type(pyarrow, column.kind))",
        "pyarrow.array(column.values)",
        _TESTS,
    ),
    Variant(
        "M16: the tokens of a request count for each of its rows",
        _STAGE + "stages.py",
        "tokens if at == 0 else None,",
        "tokens,",
        _TESTS,
    ),
    Variant(
        "M16: what a part of a message does not have is sent as null",
        _STAGE + "stages.py",
        "for name, item in value.items() if item is not None}",
        "for name, item in value.items()}",
        _TESTS,
    ),
]
