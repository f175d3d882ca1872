"""What happened, as frozen values, and the hooks that are told.

A hook is any callable taking one event. Hooks run in the caller's context, outside every lock; an
exception in one is swallowed, counted and told to the others. Events hold no key, no header value,
no body and no URL beyond the endpoint's label. ``at`` is monotonic time in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events."""

    at: int
    call_id: str = ""
    endpoint: str = ""
    """The label; empty before a place was granted."""


@dataclass(frozen=True, kw_only=True)
class CallStarted(Event):
    """A call came in; every one is followed by a ``CallEnded``."""

    kind: str
    model: str
    stream: bool


@dataclass(frozen=True, kw_only=True)
class CallEnded(Event):
    """A call is over; ``error`` is the class name of its error, or empty."""

    error: str = ""
    attempts: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CallQueued(Event):
    """No place was free: the call waits."""


@dataclass(frozen=True, kw_only=True)
class CallGranted(Event):
    """The call got a place at an endpoint after ``waited`` seconds."""

    waited: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CallsWait(Event):
    """Calls wait long for a place although no endpoint refuses anything.

    ``seconds`` is the median.
    """

    seconds: float
    places: int


@dataclass(frozen=True, kw_only=True)
class CallsHeld(Event):
    """Nothing can be sent to any endpoint: ``waiting`` calls wait, for ``reason``.

    It is told at once, and again after 5 s.
    """

    seconds: float
    """For how long that has been so."""
    waiting: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class SharedLimitsLost(Event):
    """The store of ``shared_limits`` is away.

    Each process keeps to an equal part of every limit, as many parts as there were members.
    """

    members: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class SharedLimitsBack(Event):
    """The store of ``shared_limits`` answers again."""


@dataclass(frozen=True, kw_only=True)
class CallRejected(Event):
    """The call got no place."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class AttemptStarted(Event):
    """A request goes out; every one is followed by an ``AttemptEnded``."""

    attempt: int


@dataclass(frozen=True, kw_only=True)
class HeadersReceived(Event):
    """The status line and headers of an answer came."""

    attempt: int
    status_code: int


@dataclass(frozen=True, kw_only=True)
class FirstContent(Event):
    """The first content of an answer came, ``seconds`` after the request."""

    attempt: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class AttemptEnded(Event):
    """A request is over; ``error`` is the class name of its error, or empty."""

    attempt: int
    error: str = ""
    status_code: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RetryScheduled(Event):
    """The call will be tried again.

    On this endpoint after ``delay`` seconds (None: only elsewhere).
    """

    attempt: int
    delay: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class RetrySuppressed(Event):
    """A retry that was due does not happen."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class BreakerStateChanged(Event):
    """An endpoint's breaker changed its state."""

    before: str
    after: str
    seconds: float = 0.0
    """How long it stays open."""


@dataclass(frozen=True, kw_only=True)
class CooldownStarted(Event):
    """An endpoint is not used for ``seconds``, because it asked for it or is rate limited."""

    seconds: float


@dataclass(frozen=True, kw_only=True)
class EndpointDeprioritized(Event):
    """An endpoint is chosen last for a while: its key or a model was refused (``reason``)."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class StreamBroke(Event):
    """A stream ended before its answer was whole, after something was handed out."""

    characters: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class StreamAbandoned(Event):
    """A stream was dropped before its end; its connection was closed."""


@dataclass(frozen=True, kw_only=True)
class ParameterDropped(Event):
    """The server refused a parameter.

    It is left out (``seed``) or renamed (``a -> b``) from now on.
    """

    parameter: str


@dataclass(frozen=True, kw_only=True)
class ModelDiscovered(Event):
    """No model was given, and the server serves one: it is used."""

    model: str


@dataclass(frozen=True, kw_only=True)
class ModelNotListed(Event):
    """No model was given, and the server lists none: calls ask for the default, ``model``."""

    model: str
    status: int | None = None
    """What it answered to the question."""


@dataclass(frozen=True, kw_only=True)
class AnswerOdd(Event):
    """Something in an answer was tolerated that should not be."""

    warning: str


@dataclass(frozen=True, kw_only=True)
class TestFailed(Event):
    """``test_endpoint`` got no answer."""

    __test__ = False
    reason: str


@dataclass(frozen=True, kw_only=True)
class HookFailed(Event):
    """A hook raised; ``error`` is the class name."""

    error: str


Hook: TypeAlias = Callable[[Event], None]


class Emitter:
    """Tells hooks.

    ``busy`` says whether the events of every call are wanted, not only the rare ones.
    """

    __slots__ = ("failed", "hooks", "log")

    def __init__(self, hooks: Iterable[Hook] = (), log: Hook | None = None) -> None:
        self.hooks: tuple[Hook, ...] = tuple(hooks)
        self.log = log
        self.failed = 0

    def __call__(self, event: Event) -> None:
        """Tell everybody; no exception comes out."""
        for hook in (*self.hooks, self.log) if self.log else self.hooks:
            try:
                hook(event)
            except Exception as error:  # noqa: BLE001
                # Anybody's code, and the call must not be affected.
                self.failed += 1
                if not isinstance(event, HookFailed):
                    self(HookFailed(at=event.at, call_id=event.call_id, error=type(error).__name__))
