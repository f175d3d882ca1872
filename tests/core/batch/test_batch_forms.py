"""Inputs and outputs of every form: tables, Parquet, compressed files, flat lines, pipes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest
import zstandard
from asking import made
from jobs import POSIX, answers, asked, echo, read_lines, write_lines
from pyarrow import parquet
from waiting import in_threads, joined, until

from opea_core import OPEA, ConfigurationError
from opea_core.batch import run
from opea_core.batch.sources import Input
from opea_core.testing import ScriptedServer, chat


@pytest.fixture
def opea(server: ScriptedServer) -> Iterator[OPEA]:
    server.always(echo)
    with made(server, max_retries=0, model="scripted-model") as made_:
        yield made_


TABLE = 'id,text,n\n1,"a, b",3\n2,"x ""y""\nz",\n3,only two\n4,\xff,5\n\n5,zz,6\n'


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("end", [".csv", ".tsv"])
def test_a_table_by_a_template(opea: OPEA, tmp_path: Path, end: str) -> None:
    delimiter = "\t" if end == ".tsv" else ","
    source, output = tmp_path / f"in{end}", tmp_path / f"out{end}"
    cells = csv.reader(io.StringIO(TABLE))
    with source.open("w", newline="", encoding="latin-1") as file:
        csv.writer(file, delimiter=delimiter).writerows(cells)
    summary = run(opea, source, output, template="{text}!{n}", ordered=True)
    with output.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter=delimiter))
    assert rows == [
        ["id", "text", "n", "answer", "suspect"],
        ["1", "a, b", "3", "a, b!3", ""],
        ["2", 'x "y"\nz', "", 'x "y"\nz!', ""],
        ["5", "zz", "6", "zz!6", ""],
    ]
    failed = {line["opea"]["line"]: line for line in read_lines(tmp_path / "out.errors.jsonl")}
    assert "has 2 columns" in failed[5]["error"]["message"]
    assert "not UTF-8" in failed[6]["error"]["message"]
    assert (summary.answered, summary.failures) == (3, 2)


def test_a_table_goes_on_from_its_journal(
    opea: OPEA, server: ScriptedServer, tmp_path: Path
) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("prompt,n\n" + "".join(f"p{n},{n}\n" for n in range(9)))
    run(opea, source, output, limit=4)
    assert len(table(output)) == 4
    journal = tmp_path / "out.journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-10])
    output.unlink()
    run(opea, source, output)
    assert {row["prompt"]: row["answer"] for row in table(output)} == {
        f"p{n}": f"p{n}" for n in range(9)
    }
    assert sum(asked(server).values()) == 10


def test_a_schemas_fields_are_columns(opea: OPEA, server: ScriptedServer, tmp_path: Path) -> None:
    properties = {"name": {"type": "string"}, "tags": {"type": "array"}}
    schema = tmp_path / "person.json"
    schema.write_text(json.dumps({"type": "object", "properties": properties}))
    server.script(chat('{"name": "Ada", "tags": ["a", 1]}'), chat("no idea"))
    settings = {"schema": schema, "ordered": True, "max_concurrent": 1}
    run(opea, ["a", "b"], tmp_path / "out.csv", **settings)  # type: ignore[arg-type]
    ada, none = table(tmp_path / "out.csv")
    assert (ada["name"], ada["tags"], ada["suspect"]) == ("Ada", '["a", 1]', "")
    assert (none["answer"], none["name"], none["suspect"]) == ("no idea", "", "schema")
    assert server.seen[0].body["response_format"]["json_schema"]["name"] == "person"


def test_flat_lines(opea: OPEA, tmp_path: Path) -> None:
    rows = [{"id": 1, "text": "a", "more": [1]}, {"id": 2, "text": "b"}]
    source = write_lines(tmp_path / "in.jsonl", rows)
    run(opea, source, tmp_path / "out.jsonl", template="{text}", form="flat", ordered=True)
    assert read_lines(tmp_path / "out.jsonl") == [
        {"id": 1, "text": "a", "more": [1], "answer": "a"},
        {"id": 2, "text": "b", "answer": "b"},
    ]


def test_parquet_in_and_out(opea: OPEA, tmp_path: Path) -> None:
    source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    columns = {"id": [7, 8], "text": ["a", None], "score": [0.5, 1.0]}
    parquet.write_table(pyarrow.table(columns), source)
    run(opea, source, output, template="{text}-{score}", ordered=True)
    assert parquet.read_table(output).to_pydict() == columns | {
        "answer": ["a-0.5", "-1.0"],
        "suspect": [None, None],
    }


def test_vectors_and_mixed_columns_in_parquet(
    opea: OPEA, server: ScriptedServer, tmp_path: Path
) -> None:
    server.always(None)
    mixed = [1, 2.5, None, True, "x", 2**70]
    rows = [{"input": f"t{n}", "n": n, "mixed": value} for n, value in enumerate(mixed)]
    run(opea, rows, tmp_path / "out.parquet", ordered=True)
    table = parquet.read_table(tmp_path / "out.parquet")
    assert [len(vectors[0]) for vectors in table["answer"].to_pylist()] == [8] * 6
    assert table["n"].to_pylist() == list(range(6))
    assert table["mixed"].to_pylist() == ["1", "2.5", None, "true", "x", str(2**70)]


@pytest.mark.parametrize("end", [".gz", ".zst"])
def test_compressed_inputs(opea: OPEA, tmp_path: Path, end: str) -> None:
    text = b'{"prompt": "a"}\n{"prompt": "b"}\n'
    packed = gzip.compress(text) if end == ".gz" else zstandard.ZstdCompressor().compress(text)
    source = tmp_path / f"in.jsonl{end}"
    source.write_bytes(packed)
    run(opea, source, tmp_path / "out.jsonl")
    assert answers(tmp_path / "out.jsonl") == {"row-1": "a", "row-2": "b"}
    table_ = tmp_path / f"in.csv{end}"
    table_.write_bytes(
        gzip.compress(b"prompt\nc\n")
        if end == ".gz"
        else zstandard.ZstdCompressor().compress(b"prompt\nc\n")
    )
    run(opea, table_, tmp_path / "other.jsonl")
    assert answers(tmp_path / "other.jsonl") == {"row-1": "c"}


def test_a_compressed_input_that_breaks_off(opea: OPEA, tmp_path: Path) -> None:
    lines = b"".join(b'{"prompt": "%d"}\n' % n for n in os.urandom(900))
    source = tmp_path / "in.jsonl.gz"
    source.write_bytes(gzip.compress(lines)[:-300])
    summary = run(opea, source, tmp_path / "out.jsonl")
    assert "the input cannot be read any further" in (summary.stopped or "")
    assert summary.exit_code == 1


@pytest.mark.parametrize("text", ["", "a,b,a\n1,2,3\n", "a,,b\n"])
def test_a_table_without_proper_names_of_columns(text: str, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text(text)
    with pytest.raises(ConfigurationError, match="names of its columns"):
        Input(source)


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz", "in.csv"])
def test_rows_are_counted_without_being_taken(name: str, tmp_path: Path) -> None:
    source = tmp_path / name
    text = b'prompt\n"a\nb"\nc\n' if name == "in.csv" else b'{"prompt":"a"}\n{"prompt":"b"}'
    source.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    given = Input(source)
    assert given.count() == 2
    assert len(list(given)) == 2
    given.close()


def test_pipes(
    opea: OPEA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    given = (tmp_path / "in").open("w+b")
    given.write(b'{"prompt": "a"}\n{"prompt": "bad"}\n')
    given.seek(0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(given))
    summary = run(opea, "-", "-")
    sys.stdin.close()
    lines = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert {line["custom_id"]: line["error"] is None for line in lines} == {
        "row-1": True,
        "row-2": False,
    }
    assert (summary.answered, summary.failures, summary.output) == (1, 1, "-")


@POSIX
def test_a_named_pipe_is_read_as_it_comes(
    opea: OPEA, server: ScriptedServer, tmp_path: Path
) -> None:
    pipe = tmp_path / "in.jsonl"
    os.mkfifo(pipe)
    output = tmp_path / "out.jsonl"

    def write() -> None:
        with pipe.open("w") as file:
            file.write('{"prompt": "a"}\n')
            file.flush()
            until(lambda: len(answers(output)) == 1, "the first answer")
            file.write('{"prompt": "b"}')

    threads, _ = in_threads(write)
    summary = run(opea, pipe, output, progress="lines")
    joined(threads)
    assert summary.exit_code == 0
    assert answers(output) == {"row-1": "a", "row-2": "b"}


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("pyarrow", "in.parquet", "parquet"), ("zstandard", "in.jsonl.zst", "zstd")],
)
def test_what_is_not_installed_is_named(
    module: str, name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    with pytest.raises(ConfigurationError, match="is not installed") as caught:
        Input(tmp_path / name)
    assert extra in str(caught.value)
