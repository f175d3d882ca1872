"""What a call went through: its attempts, and what was sent in another form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from opea_core import errors
from opea_core.capabilities import Capabilities
from opea_core.policy import SECOND
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.retry import History

# Errors are logged and kept, and a call may go on for hours (L8).
_MOST_ATTEMPTS = 40


@dataclass(slots=True)
class CallLog:
    """What a call went through."""

    started: int
    at: int
    """When the last outcome came."""
    chance: Callable[[], float]
    attempts: list[errors.Attempt] = field(default_factory=list)
    sent: int = 0
    """Requests made, whether they counted as attempts or not."""
    counted: int = 0
    server_errors: int = 0
    changes: list[str] = field(default_factory=list)
    """What was sent in another form than the call gave it, as servers refused that."""
    learned: dict[EndpointState, Capabilities] = field(default_factory=dict)
    """What an endpoint refused in this call.

    It is kept for others once the endpoint took the rest.
    """
    changed: dict[EndpointState, frozenset[str]] = field(default_factory=dict)
    passing: frozenset[str] = frozenset()
    """What was changed for this call only."""
    resent: bool = False
    rekeyed: bool = False
    last: errors.OPEAError | None = None
    turned_away_at: int | None = None
    """When it was first refused by a server with too much to do.

    Or by a gateway whose server is gone.
    """
    hasty: bool = False
    """Whether the last request had less time to connect than it could have."""

    @property
    def seconds(self) -> float:
        """From the start of the call to the last outcome."""
        return (self.at - self.started) / SECOND

    def history(self, known: bool = True) -> History:
        """What the retry rules look at; ``known``: the endpoint has answered somebody."""
        return History(max(1, self.counted), self.server_errors, known, self.chance)

    def failed(self, attempt: errors.Attempt) -> None:
        """Keep it: the first ones and the last ones."""
        self.attempts.append(attempt)
        if len(self.attempts) > _MOST_ATTEMPTS:
            del self.attempts[_MOST_ATTEMPTS // 2]
