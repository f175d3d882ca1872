"""Outputs of other forms, made from the journal: flat lines, CSV, TSV, Parquet."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from opea_core.batch.journal import entries, replacing
from opea_core.batch.outcome import encode
from opea_core.batch.schema_check import read_json
from opea_core.batch.sources import chunks, pyarrow_parquet
from opea_core.batch.templates import shown

_AT_ONCE = 1024
_ANSWER = "answer"
_DOUBT = "suspect"


def write(
    output: Path,
    form: str,
    schema: Mapping[str, Any] | None,
    columns: list[str] | None,
    journal: Path,
) -> None:
    """Write an output: the input's columns, ``answer``, the schema's fields, and ``suspect``.

    ``columns`` are those of a table; without them they are found in the journal.
    """
    fields = list(schema.get("properties", {})) if schema is not None else []
    given = columns if columns is not None else _columns(journal)
    names = list(dict.fromkeys([*given, _ANSWER, *fields, _DOUBT]))
    rows = _rows(journal, fields)
    with replacing(output) as file:
        if form == "flat":
            for row in rows:
                file.write(encode(row) + b"\n")
        elif form == "parquet":
            _write_parquet(file, names, journal, fields)
        else:
            _write_table(file, names, rows, "\t" if form == "tsv" else ",")


def _documents(journal: Path) -> Iterator[dict[str, Any]]:
    return (entry.document for _, entry in entries(journal) if entry is not None)


def _rows(journal: Path, fields: list[str]) -> Iterator[dict[str, Any]]:
    return (_row(document, fields) for document in _documents(journal))


def _columns(journal: Path) -> list[str]:
    """Every column that a row has, in the order in which they come."""
    found: dict[str, None] = {}
    for document in _documents(journal):
        found.update(dict.fromkeys(document["opea"].get("columns") or ()))
    return list(found)


def _row(document: Mapping[str, Any], fields: list[str]) -> dict[str, Any]:
    """One row; what the schema asks for wins over a column of the same name."""
    ours = document["opea"]
    answer = ours.get("answer")
    row = {**(ours.get("columns") or {}), _ANSWER: answer}
    if fields:
        value: Any = None
        with contextlib.suppress(ValueError):  # it is marked as suspect
            value = read_json(answer) if isinstance(answer, str) else None
        if isinstance(value, Mapping):
            row |= {name: value[name] for name in fields if name in value}
    doubts = ours.get("suspect")
    return row | ({_DOUBT: ",".join(doubts)} if doubts else {})


def _write_table(
    file: IO[bytes], names: list[str], rows: Iterator[dict[str, Any]], delimiter: str
) -> None:
    # What no encoding has must not end a run of hours at its last step.
    text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(names)
    for row in rows:
        writer.writerow([shown(row.get(name)) for name in names])
    text.flush()
    # Else it would close the file, which has to be synced first.
    text.detach()


def _write_parquet(file: IO[bytes], names: list[str], journal: Path, fields: list[str]) -> None:
    """Numbers, truth values and vectors stay what they are; columns of anything else are text.

    The journal is read twice, for the kinds of the columns and for their values, so that memory
    holds a thousand rows at a time.
    """
    parquet = pyarrow_parquet()
    import pyarrow

    kinds = dict[str, str | None].fromkeys(names)
    for row in _rows(journal, fields):
        for name, value in row.items():
            kinds[name] = _common(kinds.get(name), _kind(value))
    types = {
        "bool": pyarrow.bool_(),
        "int": pyarrow.int64(),
        "float": pyarrow.float64(),
        "vector": pyarrow.list_(pyarrow.float64()),
        "vectors": pyarrow.list_(pyarrow.list_(pyarrow.float64())),
    }
    schema = pyarrow.schema(
        [(name, types.get(kinds[name] or "", pyarrow.string())) for name in names]
    )
    with parquet.ParquetWriter(file, schema) as writer:
        for rows in chunks(_rows(journal, fields), _AT_ONCE):
            columns = {
                name: [_value(row.get(name), (kinds[name] or "") in types) for row in rows]
                for name in names
            }
            writer.write_table(pyarrow.table(columns, schema))


def _value(value: Any, is_kept: bool) -> Any:
    return value if is_kept or value is None else shown(value)


def _kind(value: Any) -> str | None:
    """What a value is, as far as a column can be; None for None."""
    if value is None or isinstance(value, bool):
        return None if value is None else "bool"
    if isinstance(value, int):
        # Parquet has no integers beyond 64 bits.
        return "int" if -(2**63) <= value < 2**63 else "text"
    if isinstance(value, float):
        return "float"
    if isinstance(value, list) and value:
        inner = {_kind(item) for item in value}
        if inner <= {"int", "float"}:
            return "vector"
        return "vectors" if inner == {"vector"} else "text"
    return "text"


def _common(one: str | None, other: str | None) -> str | None:
    """The kind of a column that has values of both kinds."""
    if one is None or other is None or one == other:
        return other if one is None else one
    return "float" if {one, other} == {"int", "float"} else "text"
