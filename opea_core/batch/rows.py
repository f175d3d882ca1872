"""From a record of the input to a request: OpenAI's batch lines, bare bodies, prompts, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from opea_core.batch.identity import request_hash
from opea_core.batch.templates import Template, shown
from opea_core.errors import ConfigurationError, OPEAError

Kind: TypeAlias = Literal["chat", "completion", "embeddings", "responses"]
_KINDS: tuple[tuple[str, Kind], ...] = (
    ("/chat/completions", "chat"),
    ("/completions", "completion"),
    ("/embeddings", "embeddings"),
    ("/responses", "responses"),
)
FIELD: dict[Kind, str] = {
    "chat": "messages",
    "completion": "prompt",
    "embeddings": "input",
    "responses": "input",
}
"""The field of a body that says what is asked."""
_BESIDE = frozenset({"custom_id", "id", "method", "url"})
"""Fields of a line that are not fields of its body."""
_HINT = (
    "A line is an object with messages, prompt or input, or a line of OpenAI's batch files "
    "(custom_id, method, url, body). For other columns give a template."
)


class Record(NamedTuple):
    """One row of the input, before it is a request."""

    line: int
    """Where it begins, counted from 1: its line, or its row where there are no lines."""
    value: Any
    problem: str | None = None
    """Why it cannot be read, where it cannot."""
    is_table: bool = False
    """Whether its fields are columns, and not fields of a request's body."""


@dataclass(slots=True)
class Row:
    """One row: who it is and what it asks for; or why it cannot be asked."""

    id: str
    line: int
    kind: Kind
    body: dict[str, Any]
    hash: str
    columns: Mapping[str, Any] | None = None
    """The input's columns, where the output repeats them."""
    problem: OPEAError | None = None


@dataclass(frozen=True)
class Prompts:
    """What makes a request of a row's columns."""

    template: Template | None = None
    system: str | None = None

    def row(self, record: Record, number: int) -> Row:
        """The row of a record; ``number``: its place in the input, counted from 1."""
        row_id = f"row-{number}"
        columns: Mapping[str, Any] = {}
        try:
            if record.problem is not None:
                raise ConfigurationError(record.problem)
            value = _as_object(record.value)
            row_id, columns = _own_id(value) or row_id, value
            kind, body = self._request(value, record.is_table)
            # Without the run's model and options, which are conditions and not the row's own.
            return Row(row_id, record.line, kind, body, request_hash(kind, body), columns)
        except (ConfigurationError, TypeError, ValueError, RecursionError) as error:
            # One bad line is a failed row, and not the end of the run.
            given = record.problem or record.value
            problem = ConfigurationError(f"Line {record.line}: {error}")
            return Row(
                row_id,
                record.line,
                "chat",
                {},
                # A bad line is known again by what it says, so that a corrected one is asked.
                request_hash("bad", repr(given)),
                columns,
                problem,
            )

    def _request(self, value: Mapping[str, Any], is_table: bool) -> tuple[Kind, dict[str, Any]]:
        if self.template is not None:
            return "chat", self._chat({}, self.template.fill(value))
        if is_table:
            if "prompt" not in value:
                raise ConfigurationError(
                    f"There is no column prompt, and no template; there are: {', '.join(value)}."
                )
            return "chat", self._chat({}, shown(value["prompt"]))
        if isinstance(value.get("body"), Mapping):
            return self._of_batch(value)
        body = {name: item for name, item in value.items() if name not in _BESIDE}
        if "messages" in body:
            return "chat", self._with_system(body)
        if "prompt" in body:
            prompt = body.pop("prompt")
            if not isinstance(prompt, str):
                raise ConfigurationError("prompt must be a text.")
            return "chat", self._chat(body, prompt)
        if "input" in body:
            return "embeddings", body
        raise ConfigurationError(f"It has neither messages, prompt nor input. {_HINT}")

    def _of_batch(self, value: Mapping[str, Any]) -> tuple[Kind, dict[str, Any]]:
        """A line of OpenAI's batch files."""
        body = dict(value["body"])
        url = value.get("url")
        if str(value.get("method", "POST")).upper() != "POST":
            raise ConfigurationError(f"Its method is {value['method']!r}; only POST is done.")
        kind: Any = (
            next((kind for kind, name in FIELD.items() if name in body), None)
            if url is None
            else next((kind for end, kind in _KINDS if str(url).rstrip("/").endswith(end)), None)
        )
        if kind is None:
            raise ConfigurationError(
                f"Its url is {url!r}; known are /v1/chat/completions, /v1/completions, "
                "/v1/embeddings and /v1/responses."
            )
        if FIELD[kind] not in body:
            raise ConfigurationError(f"Its body has no {FIELD[kind]}.")
        return kind, self._with_system(body) if kind == "chat" else body

    def _chat(self, body: dict[str, Any], text: str) -> dict[str, Any]:
        return self._with_system({**body, "messages": [{"role": "user", "content": text}]})

    def _with_system(self, body: dict[str, Any]) -> dict[str, Any]:
        messages = body["messages"]
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        if not isinstance(messages, Sequence):
            raise ConfigurationError("messages must be a list.")
        first = messages[0] if messages else None
        has_one = isinstance(first, Mapping) and first.get("role") in ("system", "developer")
        # A row's own system message is more particular than that of the whole run.
        if self.system is not None and not has_one:
            messages = [{"role": "system", "content": self.system}, *messages]
        return {**body, "messages": list(messages)}


def _as_object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        return {"prompt": value}
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return {"messages": value}
    raise ConfigurationError(f"It is of type {type(value).__name__}. {_HINT}")


def _own_id(value: Mapping[str, Any]) -> str | None:
    """The id that a row brings along."""
    found = value.get("custom_id")
    if found is None:
        found = value.get("id")
    return None if found is None or found == "" else str(found)
