"""How many requests are on their way, and which results may be handed out. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterator

from opea_core import errors
from opea_core.batch.result import Result
from opea_core.policy.ticket import Reason

_SPARE = 8
"""Calls that wait for room.

So many that none stays free, and so few that others need not queue behind them.
"""
_MOST = 4096
_AHEAD = 1024
"""Results that are kept for one that is late, where they are wanted in order."""
_HOPELESS = (
    errors.AuthenticationError,
    errors.PermissionDeniedError,
    errors.NotFoundError,
    errors.QuotaExceeded,
)
_ITSELF = (Reason.WAITS_FOR_ITSELF.value, Reason.WOULD_BLOCK.value)
_TELLING = 5
"""So many failures and no success show that nothing can work."""


class Window:
    """Counts what is on its way, and keeps results that are early."""

    def __init__(self, ordered: bool, most: int | None = None) -> None:
        """``most``: calls that may be on their way at once."""
        self._ordered = ordered
        self._most = most or _MOST
        self._ready: dict[int, Result] = {}  # type: ignore[type-arg]
        self._waiting: set[int] = set()
        self._failed = 0
        self._worked = False
        self.started = 0
        self.handed = 0
        self.running = 0
        self.stopped: str | None = None
        """Why no further request is started: nothing can work."""

    def has_room(self) -> bool:
        """Whether another request may start: not while enough of these wait for a permit."""
        ahead = self.started - self.handed - self.running
        return (
            self.stopped is None
            # Other calls of the same object need not queue behind a whole job (M1).
            and len(self._waiting) < _SPARE
            and self.running < self._most
            # To keep all results for a late one would need the memory of the whole job (M3).
            and not (self._ordered and ahead >= _AHEAD)
        )

    def start(self) -> int:
        """Another request starts: its index."""
        self.started += 1
        self.running += 1
        self._waiting.add(self.started - 1)
        return self.started - 1

    def place(self, index: int, has_one: bool) -> None:
        """A request has a permit, or has to wait for one."""
        (self._waiting.discard if has_one else self._waiting.add)(index)

    def end(self, result: Result) -> None:  # type: ignore[type-arg]
        """A request has its result."""
        self.running -= 1
        self._waiting.discard(result.index)
        self._ready[result.index] = result
        self._judge(result.error)

    def ready(self) -> Iterator[Result]:  # type: ignore[type-arg]
        """The results that may be handed out now."""
        if not self._ordered:
            while self._ready:
                self.handed += 1
                yield self._ready.pop(next(iter(self._ready)))
        while self._ordered and self.handed in self._ready:
            result = self._ready.pop(self.handed)
            self.handed += 1
            yield result

    def _judge(self, error: errors.OPEAError | None) -> None:
        """Stop where the first requests all fail in a way that the others will, too."""
        if error is None:
            self._worked = True
        # One answer proves that key, model and address are right (M5).
        if self._worked or error is None:
            return
        # Without a request id nothing was sent: nothing answers at the address.
        never = (
            isinstance(error, _HOPELESS)
            or waits_for_itself(error)
            or (isinstance(error, errors.EndpointConnectionError) and error.request_id is None)
        )
        # Any other failure shows that something is there, and may work for the next request.
        self._failed = self._failed + 1 if never else 0
        if self._failed >= _TELLING:
            self.stopped = (
                f"The first {self._failed} requests all failed alike, and the others would, too:"
                f" {error.message}"
            )


def waits_for_itself(error: errors.OPEAError) -> bool:
    """Whether a call was not made because only who waits for it could give it a place (W13)."""
    return isinstance(error, errors.ConfigurationError) and error.code in _ITSELF
