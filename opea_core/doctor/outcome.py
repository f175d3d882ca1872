"""What a probe asks, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from opea_core.display_text import fit
from opea_core.errors import OPEAError
from opea_core.types import ChatResponse, Json
from opea_core.wire import jsontext
from opea_core.wire.error_body import read_error

Value: TypeAlias = Literal["yes", "no", "ignored", "unknown"]
"""What the doctor says of something: it works; it is refused; it is accepted and not done; or it
could not be found out."""
_BUSY = frozenset({408, 425, 429, 502, 503, 504, 524, 529})
_WORDS = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One finding."""

    name: str
    value: Value
    detail: str = ""
    """What was measured, or the server's words."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, as it is sent: nothing of it is adapted."""

    kind: Literal["chat", "models", "document"]
    path: str
    """The whole path, from the root of the host."""
    body: Json = field(default_factory=dict)
    stream: bool = False
    method: Literal["GET", "POST"] = "POST"
    wrong_key: bool = False


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Requests to be sent at the same time."""

    asks: tuple[Ask, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer or an error, and how long it took."""

    ask: Ask
    answer: Any = None
    """A ChatResponse, a list of ModelInfo, or a JSON document."""
    error: OPEAError | None = None
    pieces: int = 0
    """Of a stream: the chunks that had content."""
    first: float | None = None
    """Of a stream: seconds to the first content."""
    seconds: float = 0.0

    @property
    def response(self) -> ChatResponse:
        """The answer of a chat; an empty one where it is another or none."""
        return self.answer if isinstance(self.answer, ChatResponse) else ChatResponse()

    @property
    def document(self) -> Json:
        """The answer as a JSON object; an empty one where it is another or none."""
        return self.answer if isinstance(self.answer, dict) else {}

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the answer, if it was of a chat or an error."""
        return self.response.headers if self.error is None else self.error.headers

    @property
    def status(self) -> int | None:
        """The status of the answer that was an error."""
        return None if self.error is None else self.error.status_code

    @property
    def is_busy(self) -> bool:
        """Whether it failed for a reason that says nothing of what was asked."""
        error = self.error
        if error is None:
            return False
        return (
            error.is_timeout or error.is_rate_limit_error or error.status_code in _BUSY
            or (error.status_code is None and not error.body)
        )  # fmt: skip

    @property
    def was_cut(self) -> bool:
        """Whether the answer ended at the token limit, so that what is missing says nothing."""
        return self.response.finish_reason == "length"

    @property
    def words(self) -> str:
        """The status and the server's words, or what happened where it said nothing."""
        if self.error is None:
            return ""
        said = read_error((self.error.body or "").encode("utf-8", "replace")).message
        status = f"{self.error.status_code}: " if self.error.status_code else ""
        return fit(f"{status}{said or self.error.in_short or self.error.message}", _WORDS)

    def refused(self, *names: str) -> list[Row]:
        """The rows of what was refused; unknown where the server was only busy."""
        value: Value = "unknown" if self.is_busy else "no"
        return [Row(name, value, self.words) for name in names]

    @property
    def prompt_tokens(self) -> int | None:
        """How many tokens the server read, if it said so."""
        usage = self.response.usage
        return usage.prompt_tokens if usage is not None else None


def shape_of(error: OPEAError) -> str | None:
    """What is odd about the form of an error; None if it is OpenAI's."""
    text = error.body or ""
    try:
        document = jsontext.decode(text)
    except ValueError:
        return "HTML" if text.lstrip().startswith("<") else "plain text" if text else "empty"
    inner = document.get("error") if isinstance(document, dict) else None
    if isinstance(inner, dict) and isinstance(inner.get("message"), str):
        return None
    if isinstance(inner, str):
        return "error is a string"
    names = sorted(document) if isinstance(document, dict) else []
    return f"JSON with {', '.join(names[:4])}" if names else "JSON that is no object"
