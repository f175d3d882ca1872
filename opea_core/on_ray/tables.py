"""Batches of rows in the forms in which they come, and with columns added to them.

Ray gives ``pyarrow.Table`` (``batch_format="pyarrow"``), dicts of NumPy arrays (its default) or
pandas; Spark gives pandas. What comes out is a pandas frame for a pandas frame, else a table whose
columns have the same types in every batch: files of one data set could not be read together if a
column without a value in one of them had another type there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from opea_core.errors import ConfigurationError
from opea_core.lazy_imports import importing
from opea_core.on_ray.columns import Columns, Kind

Batch: TypeAlias = Any
"""A ``pyarrow.Table``, a pandas ``DataFrame``, or a dict of NumPy arrays or lists."""


def names_of(batch: Batch) -> list[str]:
    """The columns of a batch; raises ConfigurationError for what is no batch of rows."""
    if isinstance(batch, Mapping):
        return list(batch)
    names = batch.column_names if hasattr(batch, "column_names") else getattr(batch, "columns", ())
    if not len(names):
        raise ConfigurationError(
            f"A batch must be a table with columns, not a {type(batch).__name__}.",
            'Give map_batches(..., batch_format="pyarrow").',
        )
    return [str(name) for name in names]


def rows_of(batch: Batch, names: Iterable[str]) -> list[dict[str, Any]]:
    """The rows of a batch as plain values, with these columns only."""
    wanted = list(dict.fromkeys(names))
    if not wanted:
        count = len(next(iter(batch.values()))) if isinstance(batch, Mapping) else len(batch)
        return [{} for _ in range(count)]
    values = [_values(batch, name) for name in wanted]
    return [dict(zip(wanted, row, strict=True)) for row in zip(*values, strict=True)]


def _values(batch: Batch, name: str) -> list[Any]:
    column = batch[name]
    if hasattr(column, "to_pylist"):
        return list(column.to_pylist())
    is_frame = not isinstance(batch, Mapping)
    return [_plain(value, is_frame) for value in column]


def _plain(value: Any, is_frame: bool) -> Any:
    """A value without NumPy in it; a missing value of pandas is None."""
    if isinstance(value, Mapping):
        return {name: _plain(item, is_frame) for name, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item, is_frame) for item in value]
    is_missing = is_frame and (value != value) is not False  # NaN, NaT and NA are unlike themselves
    return None if is_missing else value


def with_columns(batch: Batch, added: Columns) -> Batch:
    """The batch with columns added, in the form that the module's words say."""
    if not isinstance(batch, Mapping) and not hasattr(batch, "append_column"):
        values = {name: column.values for name, column in added.items()}
        # of type object, in which whole numbers stay whole beside a missing one
        frame = type(batch)(values, index=batch.index, dtype=object)
        return batch.assign(**{name: frame[name] for name in values})
    pyarrow = _pyarrow()
    table = batch if not isinstance(batch, Mapping) else _table(pyarrow, batch)
    for name, column in added.items():
        array = pyarrow.array(column.values, type=_arrow_type(pyarrow, column.kind))
        table = table.append_column(name, array)
    return table


def _table(pyarrow: Any, batch: Mapping[str, Any]) -> Any:
    arrays = {}
    for name, values in batch.items():
        try:
            arrays[name] = pyarrow.array(values)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError):
            raise ConfigurationError(
                f"The column {name!r} cannot be made a column of Arrow.",
                'Give map_batches(..., batch_format="pyarrow"), which hands it through as it is.',
            ) from None
    return pyarrow.table(arrays)


def _arrow_type(pyarrow: Any, kind: Kind) -> Any:
    if kind == "vector":
        return pyarrow.list_(pyarrow.float32())
    return {
        "string": pyarrow.string,
        "json": pyarrow.string,
        "int64": pyarrow.int64,
        "float64": pyarrow.float64,
        "bool": pyarrow.bool_,
    }[kind]()


def _pyarrow() -> Any:
    with importing:
        try:
            import pyarrow
        except ImportError:
            raise ConfigurationError(
                "A stage gives tables of pyarrow, which is not installed.",
                "pip install 'opea-core[ray]'",
            ) from None
    return pyarrow
