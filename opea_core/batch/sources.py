"""Records out of every kind of input: lines of JSON, tables, Parquet, compressed or not."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import IO, Any, TypeAlias

from opea_core.batch.rows import Record
from opea_core.errors import ConfigurationError
from opea_core.lazy_imports import importing
from opea_core.wire import jsontext

Source: TypeAlias = str | os.PathLike[str] | Iterable[Any]
"""A path, ``-`` for standard input, or the requests themselves."""
STDIN = "-"
_LINES = (".jsonl", ".ndjson", ".json")
_TABLES = {".csv": ",", ".tsv": "\t"}
_PARQUET = ".parquet"
_LONGEST_FIELD = 1 << 27
_BLOCK = 1 << 20


class Input:
    """An input that was opened: what its name says it is, its columns, and its records."""

    def __init__(self, source: Source) -> None:
        """Open it; raises ConfigurationError for what cannot be opened or is of no known kind."""
        self.path = Path(source) if isinstance(source, str | os.PathLike) else None
        self._items = None if isinstance(source, str | os.PathLike) else source
        self.is_stdin = source == STDIN
        self.name = self._name()
        self.columns: list[str] | None = None
        """The columns of a table; None where each row has fields of its own."""
        self._kind, self._packing = _kind_of(self.path, self.is_stdin)
        self._file: IO[Any] | None = None
        try:
            self._records: Iterator[Record] = self._open()
        except BaseException:
            self.close()
            raise

    @property
    def is_given(self) -> bool:
        """Whether the requests were given themselves, and no file of them."""
        return self._items is not None

    @property
    def reads_ahead(self) -> bool:
        """Whether rows are there at once, so that several may be taken together."""
        return self._items is None and not self.is_stdin and not self._is_pipe

    @property
    def _is_pipe(self) -> bool:
        return self.path is not None and self.path.is_fifo()

    def _name(self) -> str:
        if self._items is not None:
            return f"a {type(self._items).__name__}"
        return "standard input" if self.is_stdin else str(self.path)

    def __iter__(self) -> Iterator[Record]:
        return self._records

    def close(self) -> None:
        """Close the file, if it is one of its own."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> Iterator[Record]:
        if self._items is not None:
            if not isinstance(self._items, Iterable) or isinstance(self._items, bytes | Mapping):
                raise ConfigurationError(
                    f"The input must be a path or an iterable, not a {type(self._items).__name__}."
                )
            return (Record(number, item) for number, item in enumerate(self._items, 1))
        if self._kind == _PARQUET:
            return self._parquet()
        if self.is_stdin:
            return _json_lines(_lines_of_stdin())
        if self._is_pipe and self._kind in _LINES and not self._packing:
            assert self.path is not None
            return _json_lines(_lines_of_pipe(self.path))
        file = self._bytes()
        self._file = file
        return self._table(file) if self._kind in _TABLES else _json_lines(file)

    def _bytes(self) -> IO[bytes]:
        assert self.path is not None
        try:
            if self._packing == ".gz":
                return io.BufferedReader(gzip.open(self.path, "rb"))
            if self._packing == ".zst":
                return _unpacked_zstd(self.path)
            return self.path.open("rb")
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def _table(self, file: IO[bytes]) -> Iterator[Record]:
        # Python's limit of 128 KiB is less than a long document in a cell.
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
        # Bytes that are not UTF-8 must fail their own row, and not the whole file.
        text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
        self._file = text
        reader = csv.reader(text, delimiter=_TABLES[self._kind])
        try:
            header = next(reader, [])
        except (OSError, EOFError, csv.Error) as error:
            raise _unreadable(self.name, error) from None
        if not header or "" in header or len(set(header)) < len(header):
            raise ConfigurationError(
                f"{self.name} does not begin with the names of its columns, all different.",
                "The first line of a table names its columns.",
            )
        self.columns = header
        return _table_rows(reader, header)

    def _parquet(self) -> Iterator[Record]:
        parquet = pyarrow_parquet()
        try:
            file = parquet.ParquetFile(self.path)
        except Exception as error:  # noqa: BLE001 - pyarrow raises errors of its own kinds
            raise _unreadable(self.name, error) from None
        self.columns = list(file.schema_arrow.names)
        # Rows as Python objects take far more memory than a group of rows in the file.
        rows = (row for batch in file.iter_batches(batch_size=256) for row in batch.to_pylist())
        return (Record(number, row, is_table=True) for number, row in enumerate(rows, 1))

    def count(self) -> int | None:
        """How many rows there are, where that can be found out without taking them away."""
        if self._items is not None:
            return len(self._items) if isinstance(self._items, Sized) else None
        if self.is_stdin or self._is_pipe:
            return None
        if self._kind in _LINES:
            with self._bytes() as file:
                return _count_lines(iter(lambda: file.read(_BLOCK), b""))
        again = Input(str(self.path))
        try:
            return sum(1 for _ in again)
        finally:
            again.close()


def _kind_of(path: Path | None, is_stdin: bool) -> tuple[str, str]:
    """What a file's name says: its kind, and how it is compressed."""
    if path is None or is_stdin:
        return _LINES[0], ""
    packing = path.suffix.lower() if path.suffix.lower() in (".gz", ".zst") else ""
    kind = Path(path.stem).suffix.lower() if packing else path.suffix.lower()
    if kind not in (*_LINES, *_TABLES, _PARQUET) or (packing and kind == _PARQUET):
        raise ConfigurationError(
            f"The kind of {path.name} is not known by its name.",
            "It ends in .jsonl, .csv, .tsv or .parquet; the first three also with .gz or .zst.",
        )
    return kind, packing


def _lines_of_stdin() -> Iterator[bytes]:
    try:
        file = sys.stdin.fileno()
    except (OSError, ValueError):  # it is no file, as in a notebook
        yield from sys.stdin.buffer
        return
    yield from _lines_of(file)


def _lines_of_pipe(path: Path) -> Iterator[bytes]:
    file = os.open(path, os.O_RDONLY)
    try:
        yield from _lines_of(file)
    finally:
        os.close(file)


def _lines_of(file: int) -> Iterator[bytes]:
    """Read without Python's buffer, which nobody can close while a thread waits in it."""
    rest = b""
    while block := os.read(file, _BLOCK):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _json_lines(file: Iterable[bytes]) -> Iterator[Record]:
    for number, line in enumerate(file, 1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        try:
            # The parser replaces what is not UTF-8, and a prompt with holes would be asked.
            line.decode()
            yield Record(number, jsontext.decode(line))
        except UnicodeDecodeError:
            yield Record(number, line, "it is not UTF-8.")
        except ValueError as error:
            yield Record(number, line, f"it is no JSON ({error}).")


def _table_rows(reader: Any, header: list[str]) -> Iterator[Record]:
    before = reader.line_num
    for cells in reader:
        line, before = before + 1, reader.line_num
        if not cells:
            continue
        problem = None
        if len(cells) != len(header):
            problem = f"it has {len(cells)} columns, and the header {len(header)}."
        elif any("\udc80" <= letter <= "\udcff" for cell in cells for letter in cell):
            problem = "it is not UTF-8."
        yield Record(line, dict(zip(header, cells, strict=False)), problem, is_table=True)


def _count_lines(blocks: Iterable[bytes]) -> int:
    """The lines that are not empty, about: empty ones are rare, and only a share is shown."""
    count, last = 0, b"\n"
    for block in blocks:
        count += block.count(b"\n")
        last = block[-1:]
    return count + (last != b"\n")


def _unpacked_zstd(path: Path) -> IO[bytes]:
    with importing:
        try:
            import zstandard
        except ImportError:
            raise ConfigurationError(
                f"{path.name} is compressed with zstd, and zstandard is not installed.",
                "pip install 'opea-core[zstd]'",
            ) from None
    found: IO[bytes] = io.BufferedReader(zstandard.open(path, "rb"))
    return found


def pyarrow_parquet() -> Any:
    """The module ``pyarrow.parquet``; raises ConfigurationError where it is not installed."""
    with importing:
        try:
            from pyarrow import parquet
        except ImportError:
            raise ConfigurationError(
                "Parquet is read and written with pyarrow, which is not installed.",
                "pip install 'opea-core[parquet]'",
            ) from None
    return parquet


def _unreadable(path: object, error: BaseException) -> ConfigurationError:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ConfigurationError(f"{path} cannot be read: {said}.", "Nothing was sent.")


def chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """The items, several at a time."""
    return iter(lambda: list(itertools.islice(items, size)), [])
