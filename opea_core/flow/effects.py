"""What a call asks its driver for, and what it gets back.

The call writes ``outcome = yield from Send(...)``, much as async code writes ``await``: the effect
goes out to the driver, and says of which type the outcome is that comes in. A driver performs one
``Effect`` after another and sends an ``Outcome`` back; it matches every kind, so that checkers
point to where a new kind was forgotten.

Expected failures come back as values; only cancellation and bugs are thrown in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeAlias, TypeVar

from opea_core.config import RetryPolicy, Timeouts
from opea_core.events import Event
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.permit import Permit
from opea_core.policy.retry import EndpointImpact, Phase, Retry
from opea_core.policy.scheduler import Rejection
from opea_core.types import Json, Usage
from opea_core.wire.redact import Redactor
from opea_core.wire.response_reader import ResponseReader
from opea_core.wire.response_spec import ResponseSpec

if TYPE_CHECKING:
    from opea_core.wire.raw_reader import RawCall


@dataclass(slots=True)
class CallSpec:
    """A checked call, before it is known where it goes."""

    kind: Literal["chat", "responses", "completion", "embeddings", "models", "rerank", "document"]
    body: Json = field(repr=False)
    stream: bool
    timeouts: Timeouts | None
    """For this call only; None takes the endpoint's or the object's."""
    retry: RetryPolicy
    call_id: str
    request_id: str
    method: str = "POST"
    path: str | None = None
    """An exact path that replaces base path and suffix."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """A list of values is sent as several pairs."""
    key: str | None = field(default=None, repr=False)
    """A key for this call that replaces the endpoint's."""
    deadline: int | None = None
    deadline_seconds: float | None = None
    recovery_wait: float = 30.0
    adapt: bool | None = None
    """Whether the request is changed to what the endpoint takes; None as the endpoint says."""
    output_schema: Json | None = None
    """The answer is to be JSON of this schema, asked for as the endpoint takes it.

    It has name, schema, description, strict.
    """
    names_models: bool = True
    """Whether the server is asked for its models when it does not know the one of the call."""
    on_place: Callable[[bool], None] | None = None
    """Is told when the call has a permit (True), and when it has to wait for one (False)."""
    raw: RawCall | None = None
    """The bytes of another HTTP client, sent as they are; its answer is read as bytes, too."""
    decode: Callable[[Any], Any] | None = None
    """Reads a document into the result; raises BadAnswerError when it does not fit."""


@dataclass(slots=True)
class Request:
    """One HTTP request, ready to be written."""

    method: str
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    """Lower-case names."""
    content: bytes | None = field(repr=False)
    expected: ResponseSpec
    timeouts: Timeouts
    deadline: int | None
    redact: Redactor = field(repr=False)
    fields: Json | None = field(default=None, repr=False)
    """What of it a server may refuse, by the names of both dialects; None for its own names."""


# --- effects

OutcomeT = TypeVar("OutcomeT")


class Asks(Generic[OutcomeT]):
    """An effect whose outcome is of a known type."""

    __slots__ = ()

    def __iter__(self) -> Generator[Self, Any, OutcomeT]:
        """Ask the driver: ``outcome = yield from effect``."""
        outcome: OutcomeT = yield self
        return outcome


@dataclass(slots=True)
class Acquire(Asks["Permit | Rejection"]):
    """Wait for a permit."""


@dataclass(slots=True)
class FetchKey(Asks["str | None"]):
    """Ask an endpoint's key function."""

    endpoint: EndpointState
    deadline: int | None = None


@dataclass(slots=True)
class Send(Asks["Reply | TransportFailure"]):
    """Make one request and read its answer: a stream up to its first content."""

    permit: Permit
    request: Request
    attempt: int
    quiet: bool = False
    """A helper request (the list of models) that counts nowhere."""


@dataclass(slots=True)
class Settle(Asks["Rejection | None"]):
    """Give the permit back with what the outcome says; with ``again``, wait for the next attempt.

    A Rejection says that there can be no further attempt.
    """

    permit: Permit
    effect: EndpointImpact
    again: Retry | None = None
    behind: bool = False
    usage: Usage | None = None


@dataclass(slots=True)
class Emit(Asks[None]):
    """Tell the hooks."""

    event: Event


Effect: TypeAlias = Acquire | FetchKey | Send | Settle | Emit
"""All that a call asks for."""


# --- outcomes


@dataclass(slots=True)
class Reply:
    """An answer, whole or (a stream) up to its first content.

    ``response_reader`` knows what is wrong with it.
    """

    status: int
    headers: dict[str, str]
    response_reader: ResponseReader
    sent_at: int
    at: int
    wall: float
    connection: Any = None
    """The open connection of a stream that goes on; None when the body was read."""
    value: Any = None
    """What ``decode`` made of a document."""
    first_at: int | None = None
    headers_at: int = 0


@dataclass(slots=True)
class TransportFailure:
    """No whole answer: the connection failed or a time limit passed."""

    connection: ClassVar[None] = None
    phase: Phase
    kind: Literal[
        "connect",
        "certificate",
        "not_tls",
        "disconnected",
        "timeout",
        "invalid",
        "proxy",
        "unexpected",
        "local",
    ]
    reason: str
    sent_at: int
    at: int
    limit: Literal["connect", "first_event", "idle", "total", ""] = ""
    reused: bool = False
    own: bool = True
    """False over a caller's transport, of which ``reused`` is only a guess."""
    cause: Exception | None = field(default=None, repr=False)
    """What was raised, where it is not known what it means."""
    response_reader: ResponseReader | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    headers_at: int = 0


Outcome: TypeAlias = Permit | Rejection | Reply | TransportFailure | str | None
"""All that comes back; which of it, the effect says."""
