"""What is asked of an answer, and what may be wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from opea_core import errors
from opea_core.capabilities import Capabilities
from opea_core.wire.error_body import ErrorBody
from opea_core.wire.ignored_options import NOTHING, Asked

if TYPE_CHECKING:
    from opea_core.wire.raw_reader import RawCall

_DEFAULTS = Capabilities()


@dataclass(slots=True)
class ResponseSpec:
    """What a request asks for, and within which bounds."""

    shape: Literal["chat", "document"]
    """An answer with choices, or any JSON document (embeddings, models)."""
    stream: bool
    model: str
    new_id: Callable[[], str]
    capabilities: Capabilities = _DEFAULTS
    dialect: Literal["chat", "responses"] = "chat"
    names: Mapping[str, str] = field(default_factory=dict)
    """The caller's names of tools, by those that were sent."""
    asked: Asked = NOTHING
    choices: int | None = None
    """How many were asked for; None if that is not known."""
    max_response_bytes: int = 128 * 1024 * 1024
    max_event_bytes: int = 16 * 1024 * 1024
    raw: RawCall | None = None
    """Of another HTTP client, which wants the bytes."""


class Problem(NamedTuple):
    """What is wrong with an answer: its class, what happened, and the server's words."""

    cls: type[errors.OPEAError]
    what: str
    body: ErrorBody = ErrorBody()
    retryable: bool = True
    """False for what cannot be different the next time (an oversized or undecodable body)."""
