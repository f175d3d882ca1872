"""What a diagnosis has found out so far, as its probes need it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from opea_core.doctor.outcome import Ask, Outcome, Row, Value
from opea_core.types import Json, ModelInfo

_MORE_FOR_REASONING = 8


@dataclass(slots=True)
class Known:
    """The state of one diagnosis."""

    base: str
    """The path below which the server's operations are, such as ``/v1``."""
    model: str = ""
    listed: list[ModelInfo] = field(default_factory=list)
    limit_field: str | None = "max_tokens"
    """The name under which the token limit is sent; None sends none."""
    rows: dict[str, Row] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """The last outcome of each probe, by its name."""
    thinks_by: Json = field(default_factory=dict)
    """The fields of a request that make the model reason."""
    requests: int = 0

    @property
    def root(self) -> str:
        """The path of what stands beside ``/v1``."""
        return self.base.removesuffix("/v1")

    def value(self, name: str) -> Value | None:
        """What was found; None if nothing was."""
        row = self.rows.get(name)
        return None if row is None else row.value

    def status(self, name: str) -> int | None:
        """With which status a probe was refused, if it was asked and refused."""
        outcome = self.outcomes.get(name)
        return None if outcome is None else outcome.status

    def is_yes(self, *names: str) -> bool:
        """Whether all of these work."""
        return all(self.value(name) == "yes" for name in names)

    def chat(self, messages: Any, tokens: int, stream: bool = False, **fields: Any) -> Ask:
        """A chat of at most so many tokens; a model that always reasons gets more."""
        given = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        body: Json = {"model": self.model, "messages": given, **fields}
        if self.limit_field is not None:
            always = self.outcomes.get("chat")
            thinks = self.thinks_by.items() <= fields.items() and bool(self.thinks_by)
            if thinks or (always is not None and always.response.reasoning):
                tokens *= _MORE_FOR_REASONING
            body.setdefault(self.limit_field, tokens)
        return Ask("chat", f"{self.base}/chat/completions", body, stream=stream)

    def post(self, path: str, body: Json) -> Ask:
        """A request whose answer is one JSON document."""
        return Ask("document", path, {"model": self.model, **body})

    def get(self, path: str) -> Ask:
        """The same without a body."""
        return Ask("document", path, method="GET")
