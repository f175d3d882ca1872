"""What came of rows, as columns: answers, fields of a schema, errors, usage. No I/O, no Ray."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from opea_core.batch.outcome import answer_text, doubts, may_help
from opea_core.batch.result import Result
from opea_core.batch.schema_check import read_json
from opea_core.errors import ConfigurationError, OPEAError
from opea_core.types import ChatResponse

Kind: TypeAlias = Literal["string", "int64", "float64", "bool", "vector", "json"]
"""What a column holds: "vector" is a list of float32, "json" any value as JSON text."""


class Column(NamedTuple):
    """One column: its kind, which is the same in every batch, and a value or None for each row."""

    kind: Kind
    values: list[Any]


Columns: TypeAlias = dict[str, Column]

_CALL: dict[str, Kind] = {
    "error": "string",
    "error_type": "string",
    "retryable": "bool",
    "endpoint": "string",
    "answered_by": "string",
    "prompt_tokens": "int64",
    "completion_tokens": "int64",
    "attempts": "int64",
    "seconds": "float64",
}
"""What every call has: its error, where it went, what it took."""
_CHAT: dict[str, Kind] = {
    "answer": "string",
    "suspect": "string",
    "finish_reason": "string",
    **_CALL,
}
_EMBED: dict[str, Kind] = {
    "embedding": "vector",
    **{name: kind for name, kind in _CALL.items() if name != "completion_tokens"},
}
_RESPONSE = "response"
_LARGEST = 1 << 63
_KINDS: Mapping[str, Kind] = {
    "string": "string",
    "integer": "int64",
    "number": "float64",
    "boolean": "bool",
}


@dataclass(slots=True)
class Embedded:
    """The vector of one text, and what is known of the request that it was part of."""

    vector: list[float]
    endpoint: str
    model: str
    attempts: int
    seconds: float
    prompt_tokens: int | None
    """Of the whole request; None for all of its texts but the first, so that sums are right."""


def field_kinds(schema: Mapping[str, Any] | None) -> dict[str, Kind]:
    """A column for each property of a schema: simple types as they are, all else as JSON text."""
    properties = schema.get("properties") if schema is not None else None
    if not isinstance(properties, Mapping):
        return {}
    return {name: _kind_of(value) for name, value in properties.items()}


def _kind_of(schema: Any) -> Kind:
    if not isinstance(schema, Mapping):
        return "json"
    if "anyOf" in schema and isinstance(schema["anyOf"], list):
        kinds: set[Kind] = {_kind_of(part) for part in schema["anyOf"] if part != {"type": "null"}}
        return next(iter(kinds)) if len(kinds) == 1 else "json"
    given = schema.get("type")
    types = [one for one in (given if isinstance(given, list) else [given]) if one != "null"]
    if types == [None] and "enum" in schema:
        return "string" if all(isinstance(one, str) for one in schema["enum"]) else "json"
    simple = _KINDS.get(str(types[0])) if len(types) == 1 else None
    return simple or "json"


def fitting(kind: Kind, value: Any) -> Any:
    """A value as its column can hold it; None where it cannot (it stands in the answer still)."""
    if value is None:
        return None
    if kind == "json":
        return json.dumps(value, ensure_ascii=False)
    if kind == "bool" or isinstance(value, bool):
        return value if kind == "bool" and isinstance(value, bool) else None
    if kind == "string":
        return value if isinstance(value, str) else None
    if not isinstance(value, int | float):
        return None
    if kind == "float64":
        with contextlib.suppress(OverflowError):
            return float(value)
        return None
    is_whole = isinstance(value, int) or value.is_integer()
    return int(value) if is_whole and -_LARGEST <= value < _LARGEST else None


def chat_kinds(schema: Mapping[str, Any] | None, keep_response: bool) -> dict[str, Kind]:
    """The columns that a chat adds; raises ConfigurationError where the schema has one of them."""
    fields = field_kinds(schema)
    own = dict(_CHAT)
    if keep_response:
        own[_RESPONSE] = "json"
    taken = [name for name in fields if name in own]
    if taken:
        raise ConfigurationError(
            f"The schema has a field {taken[0]!r}, and the stage adds a column of that name.",
            f"Give it another name; the stage's columns are: {', '.join(own)}.",
        )
    return {"answer": _CHAT["answer"], **fields, **own}


def embed_kinds() -> dict[str, Kind]:
    """The columns that embedding adds."""
    return dict(_EMBED)


def check_names(given: Iterable[str], added: Iterable[str]) -> None:
    """Raise ConfigurationError if a column would be replaced by one that is added."""
    there = set(given)
    taken = [name for name in added if name in there]
    if taken:
        raise ConfigurationError(
            f"The rows have columns that the stage adds, too: {', '.join(taken)}.",
            "Rename them before it (rename_columns), or leave them out (drop_columns).",
        )


def chat_columns(
    results: Sequence[Result[ChatResponse]],
    schema: Mapping[str, Any] | None,
    kinds: Mapping[str, Kind],
) -> Columns:
    """The columns of chats, one value for each result."""
    fields = list(field_kinds(schema))
    return _columns(results, kinds, lambda response: _chat_row(response, schema, fields))


def embed_columns(results: Sequence[Result[Any]], kinds: Mapping[str, Kind]) -> Columns:
    """The columns of vectors; the response of each result is an ``Embedded``."""
    return _columns(results, kinds, _embed_row)


def _columns(
    results: Sequence[Result[Any]],
    kinds: Mapping[str, Kind],
    row_of: Callable[[Any], dict[str, Any]],
) -> Columns:
    rows = [
        _error_row(result.error) if result.error is not None else row_of(result.unwrap())
        for result in results
    ]
    return {
        name: Column(
            kind,
            [fitting(kind, row.get(name)) if kind != "vector" else row.get(name) for row in rows],
        )
        for name, kind in kinds.items()
    }


def _chat_row(
    response: ChatResponse, schema: Mapping[str, Any] | None, fields: list[str]
) -> dict[str, Any]:
    answer, usage = answer_text(response), response.usage
    row: dict[str, Any] = {}
    if fields:
        value: Any = None
        with contextlib.suppress(ValueError):  # it is marked as suspect
            value = read_json(answer)
        if isinstance(value, Mapping):
            row = {name: value[name] for name in fields if name in value}
    return row | {
        "answer": answer,
        "suspect": ",".join(doubts(response, schema)) or None,
        "finish_reason": response.finish_reason,
        "endpoint": response.endpoint,
        "answered_by": response.model,
        "prompt_tokens": usage.prompt_tokens if usage is not None else None,
        "completion_tokens": usage.completion_tokens if usage is not None else None,
        "attempts": response.meta.attempts,
        "seconds": response.meta.elapsed,
        _RESPONSE: response.raw,
    }


def _embed_row(found: Embedded) -> dict[str, Any]:
    return {
        "embedding": found.vector,
        "endpoint": found.endpoint,
        "answered_by": found.model,
        "prompt_tokens": found.prompt_tokens,
        "attempts": found.attempts,
        "seconds": found.seconds,
    }


def _error_row(error: OPEAError) -> dict[str, Any]:
    return {
        "error": error.message,
        "error_type": type(error).__name__,
        "retryable": may_help(error),
        "endpoint": error.endpoint,
        "attempts": len(error.attempts),
        "seconds": error.seconds,
    }
