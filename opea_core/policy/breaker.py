"""Circuit breaker of one endpoint.

Closed, it counts results; open, it admits nobody before its time; half open, it admits one probe,
and another each ``probe_interval`` while no verdict has come. Every admission is an Admission with
the generation it was given in: a result of another generation changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from opea_core.config import BreakerPolicy
from opea_core.policy import SECOND

# The states of a breaker. "opens" and "closes" start a new generation and clear the window, the
# run of failed connections and the probes, so verdicts of older admissions are ignored (B1).
#
# state     | event                                      | next      | what else happens
# ----------|--------------------------------------------|-----------|------------------------------
# CLOSED    | admit                                      | CLOSED    | an ordinary Admission
# CLOSED    | OK                                         | CLOSED    | counts; ends a run of failed
#           |                                            |           | connections
# CLOSED    | FAIL, below both thresholds                | CLOSED    | counts
# CLOSED    | FAIL, half of >= 10 of the last 20 failed, | OPEN      | opens (B2)
#           | or the third failed connection in a row    |           |
# CLOSED    | NEUTRAL                                    | CLOSED    | nothing (B7)
# OPEN      | admits_at(now), too early                  | OPEN      | returns open_until (B3)
# OPEN      | shorten_break                              | OPEN      | open_until moves closer (B14)
# OPEN      | admit, after open_until                    | HALF_OPEN | the first probe (B4)
# HALF_OPEN | admit, no probe is alive, or the newest is | HALF_OPEN | a further probe (B4)
#           | older than probe_interval                  |           |
# HALF_OPEN | OK of a probe                              | CLOSED    | closes; the next break is the
#           |                                            |           | first again; slow start (B17)
# HALF_OPEN | FAIL of a probe                            | OPEN      | opens, later also for longer
# HALF_OPEN | NEUTRAL of a probe                         | HALF_OPEN | its turn is free at once (B7)
# any       | a verdict of another generation            | the same  | nothing (B1)
#
# A breaker that is off (B18) takes no verdict, and so stays CLOSED.


class State(Enum):
    """The states, in the field's words."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Verdict(Enum):
    """What a result says about the endpoint's health."""

    OK = "ok"
    FAIL = "fail"
    NEUTRAL = "neutral"
    """Nothing: a 4xx, a cancellation, a local limit."""


@dataclass(frozen=True, slots=True)
class Admission:
    """An admission; ``probe`` if it decides whether the breaker closes."""

    generation: int
    probe: int = 0
    """The number of the probe, 0 for an ordinary admission."""


class Breaker:
    """The state machine. ``chance`` gives a float in [0, 1) for the jitter of the open time."""

    __slots__ = (
        "_chance", "_connect_failures", "_opened_at", "_openings", "_policy", "_probe_count",
        "_probes", "_window", "generation", "open_until", "state",
    )  # fmt: skip

    def __init__(self, policy: BreakerPolicy, chance: Callable[[], float]) -> None:
        self._policy = policy
        self._chance = chance
        self._window: deque[bool] = deque(maxlen=policy.window)
        self._connect_failures = 0
        self._openings = 0  # in a row, without a close between them
        self._probes: dict[int, int] = {}  # live probes: number -> admitted at
        self._probe_count = 0
        self.generation = 0
        self._opened_at = 0
        self.open_until = 0
        self.state = State.CLOSED

    def admits_at(self, now: int) -> int | None:
        """When the next call may be admitted: None for now, else a later time."""
        if self.state is State.CLOSED:
            return None
        if self.state is State.OPEN:
            return self.open_until if now < self.open_until else None
        if not self._probes:
            return None
        free = max(self._probes.values()) + int(self._policy.probe_interval * SECOND)
        return free if now < free else None

    @property
    def failing(self) -> bool:
        """Whether the last result was a failed connection."""
        return self._connect_failures > 0

    @property
    def probing(self) -> bool:
        """Whether a probe is in flight."""
        return bool(self._probes)

    def admit(self, now: int) -> Admission:
        """Take an admission; only when ``admits_at(now)`` is None."""
        if self.state is State.CLOSED:
            return Admission(self.generation)
        self.state = State.HALF_OPEN
        self._probe_count += 1
        self._probes[self._probe_count] = now
        return Admission(self.generation, self._probe_count)

    def shorten_break(self, seconds: float) -> None:
        """Somebody waits for this endpoint: it is not left alone for longer than this at a time."""
        if self.state is State.OPEN:
            self.open_until = min(self.open_until, self._opened_at + int(seconds * SECOND))

    def record(
        self, admission: Admission, verdict: Verdict, now: int, connect_class: bool = False
    ) -> None:
        """Take the verdict of an admission, once.

        ``connect_class``: not sent, or reset before an answer.
        """
        if admission.generation != self.generation or not self._policy.enabled:
            return
        self._probes.pop(admission.probe, None)
        if verdict is Verdict.NEUTRAL:
            return
        if admission.probe:
            self._close() if verdict is Verdict.OK else self._open(now)
            return
        self._window.append(verdict is Verdict.FAIL)
        if verdict is Verdict.OK:
            self._connect_failures = 0
        elif connect_class:
            self._connect_failures += 1
        if verdict is Verdict.FAIL and self._tripped():
            self._open(now)

    def _tripped(self) -> bool:
        if self._connect_failures >= self._policy.connect_failure_threshold:
            return True
        count = len(self._window)
        return (
            count >= self._policy.min_calls
            and sum(self._window) / count >= self._policy.failure_rate
        )

    def _open(self, now: int) -> None:
        policy = self._policy
        doublings = min(max(0, self._openings - policy.steady + 1), 63)
        seconds = min(policy.break_duration * 2**doublings, policy.max_break_duration / 1.1) * (
            1 + 0.1 * self._chance()
        )
        self._openings += 1
        self._move(State.OPEN)
        self._opened_at = now
        self.open_until = now + int(seconds * SECOND)

    def _close(self) -> None:
        self._openings = 0
        self._move(State.CLOSED)

    def _move(self, state: State) -> None:
        self.state = state
        self.generation += 1
        self._window.clear()
        self._connect_failures = 0
        self._probes.clear()
