"""What a batch is told to do, checked before anything is read or sent."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from opea_core.batch.rows import Prompts
from opea_core.batch.templates import Template
from opea_core.errors import ConfigurationError
from opea_core.json_file import read_json_file

Form: TypeAlias = Literal["openai", "flat", "csv", "tsv", "parquet"]
STDOUT = "-"
_FORMS: Mapping[str, Form] = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
_LINES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class Paths:
    """The files of a batch; all stand beside the output, and begin as its name does."""

    output: Path
    journal: Path
    """Where answers are appended: the output itself, or a file beside one of another form."""
    errors: Path
    superseded: Path
    damaged: Path
    manifest: Path
    lock: Path

    @staticmethod
    def of(output: Path, form: Form) -> Paths:
        """The files that belong to an output."""

        def beside(end: str) -> Path:
            return output.with_name(f"{output.stem}.{end}")

        return Paths(
            output,
            output if form == "openai" else beside("journal.jsonl"),
            beside("errors.jsonl"),
            beside("superseded.jsonl"),
            beside("damaged.jsonl"),
            beside("manifest.json"),
            beside("lock"),
        )


@dataclass(frozen=True)
class Limit:
    """After how many failures a run stops: a number of rows, or a share of those that ended."""

    count: int | None = None
    share: float | None = None
    _enough = 100
    """Rows that must have ended before a share says something."""

    @staticmethod
    def of(value: int | str | None) -> Limit | None:
        """Read ``20`` or ``5%``; raises ConfigurationError for anything else."""
        if value is None:
            return None
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", str(value))
        if found is not None and 0 <= float(found[1]) <= 100:
            return Limit(share=float(found[1]) / 100)
        if isinstance(value, bool) or not str(value).isdecimal() or int(value) < 1:
            raise ConfigurationError(
                f"stop_after_errors is {value!r}; it is a number from 1, or a share such as 5%."
            )
        return Limit(count=int(value))

    def is_reached(self, failed: int, ended: int) -> bool:
        """Whether enough rows failed."""
        if self.count is not None:
            return failed >= self.count
        assert self.share is not None
        return ended >= self._enough and failed > self.share * ended


@dataclass(frozen=True)
class Job:
    """A batch: where to, what of the input, how rows become requests, when to stop."""

    paths: Paths | None
    """None for standard output."""
    form: Form
    prompts: Prompts
    options: Mapping[str, Any]
    """Options of every call, as ``chat`` takes them."""
    model: str | None
    schema: Mapping[str, Any] | None
    """The schema itself; the form in which it is asked for is among the options."""
    most: int | None
    limit: int | None
    shard: tuple[int, int]
    """Its number from 0, and how many there are."""
    stop_after: Limit | None
    retry_failed: bool = False
    redo_changed: bool = False
    ordered: bool = False
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def takes(self, number: int) -> bool:
        """Whether the shard has the row with this number, counted from 1."""
        part, parts = self.shard
        return (number - 1) % parts == part


def read_form(output: str | os.PathLike[str], form: str | None) -> Form:
    """The form of an output by its name; raises ConfigurationError if there is none."""
    if output == STDOUT:
        name, by_name = "standard output", None
    else:
        name = Path(output).name
        by_name = _FORMS.get(Path(output).suffix.lower())
        if by_name is None and Path(output).suffix.lower() not in _LINES:
            raise ConfigurationError(
                f"The form of {name} is not known by its name.",
                "The output ends in .jsonl, .csv, .tsv or .parquet, and is not compressed.",
            )
    if form not in (None, "openai", "flat"):
        raise ConfigurationError(f"form is {form!r}; it is 'openai' or 'flat'.")
    if by_name is not None and form == "openai":
        raise ConfigurationError(f"{name} cannot have the form of OpenAI's batch files.")
    if output == STDOUT and form == "flat":
        raise ConfigurationError("Standard output gets lines of OpenAI's form only.")
    return by_name or ("flat" if form == "flat" else "openai")


def read_template(template: str | None, system: str | None) -> Prompts:
    """What makes requests of rows."""
    return Prompts(None if template is None else Template(template), system)


def read_shard(value: str | None) -> tuple[int, int]:
    """Read ``2/8``, counted from 1; raises ConfigurationError for anything else."""
    if value is None:
        return 0, 1
    found = re.fullmatch(r"(\d+)/(\d+)", value.strip()) if isinstance(value, str) else None
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigurationError(
            f"shard is {value!r}; write it as '2/8', counted from 1: the second of eight parts."
        )
    return int(found[1]) - 1, int(found[2])


def read_count(name: str, value: Any) -> int | None:
    """A whole number above 0, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number above 0.")
    return value


def read_schema(schema: Any) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """A schema and the form in which it is asked for, from a file, a schema or OpenAI's form."""
    name = "answer"
    if isinstance(schema, str | os.PathLike):
        name = re.sub(r"\W", "_", Path(schema).stem) or name
        schema = read_json_file(schema, "The schema")
    if schema is None:
        return None, None
    if isinstance(schema, Mapping) and isinstance(schema.get("json_schema"), Mapping):
        schema = schema["json_schema"]
    if not isinstance(schema, Mapping):
        raise ConfigurationError("A schema is a JSON object.")
    if isinstance(schema.get("schema"), Mapping) and isinstance(schema.get("name"), str):
        return schema["schema"], schema
    title = schema.get("title")
    name = re.sub(r"\W", "_", title) if isinstance(title, str) and title else name
    return schema, {"name": name, "schema": schema}
