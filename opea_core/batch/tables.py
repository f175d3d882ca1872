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
from opea_core.batch.sources import pyarrow_parquet
from opea_core.batch.templates import shown

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
    rows = (_row(document, fields) for document in _documents(journal))
    with replacing(output) as file:
        if form == "flat":
            for row in rows:
                file.write(encode(row) + b"\n")
        elif form == "parquet":
            _write_parquet(file, names, rows)
        else:
            _write_table(file, names, rows, "\t" if form == "tsv" else ",")


def _documents(journal: Path) -> Iterator[dict[str, Any]]:
    return (entry.document for _, entry in entries(journal) if entry is not None)


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
    text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(names)
    for row in rows:
        writer.writerow([shown(row.get(name)) for name in names])
    text.flush()
    text.detach()


def _write_parquet(file: IO[bytes], names: list[str], rows: Iterator[dict[str, Any]]) -> None:
    """Numbers stay numbers where a whole column has them; everything else is text."""
    parquet = pyarrow_parquet()
    import pyarrow

    kept = list(rows)
    columns = {name: [row.get(name) for row in kept] for name in names}
    arrays = {name: _array(pyarrow, values) for name, values in columns.items()}
    parquet.write_table(pyarrow.table(arrays), file)


def _array(pyarrow: Any, values: list[Any]) -> Any:
    try:
        found = pyarrow.array(values)
        if found.type != pyarrow.null():
            return found
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        pass
    return pyarrow.array([None if value is None else shown(value) for value in values])
