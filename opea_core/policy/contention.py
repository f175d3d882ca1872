"""Where a server refuses what is too much: when to ask for more, when to leave some to others.

Clients of one server know nothing of each other, and whoever has a place takes it again as soon as
it is free. So each leaves a share of what it has to others now and then, and asks for more as often
as it may: then all come to have the same. Both cost a little where there are no others, so both are
done less often as long as nobody takes what is left, and as long as nothing is got by asking.

All times are in multiples of what a request takes.
"""

from __future__ import annotations

from opea_core.policy import SECOND

_ASK, _ASK_AGAIN = 3, 0.5
"""Until one more is asked for, and until the next one after one that was taken."""
_YIELD, _MORE, _LONGEST_YIELD = 5, 3, 40
"""Between two times that some are left to others.

Then: so much longer after each time that nobody took them; and the most.
"""
_SMALL = 6
"""Where there are fewer places than this, one of them is a large share: it is left less often."""
_SHARE = 6
"""One place of so many is left to others."""
_SOON = SECOND // 100


class Contention:
    """When to ask for more and when to leave some to others, for one endpoint and model."""

    __slots__ = (
        "_answered_at", "_ask_wait", "_asks_at", "_lost", "_offered", "_vain", "_yield_wait",
        "_yields_at", "asked", "usual_seconds",
    )  # fmt: skip

    def __init__(self) -> None:
        self.usual_seconds = 0.0
        """What a request takes, the last ones most."""
        self.asked = 0
        """How many in a row were asked for and taken."""
        self._asks_at = self._yields_at = self._answered_at = 0
        self._ask_wait, self._yield_wait = _ASK, _YIELD
        self._offered = False
        """Whether some were left to others, and none of ours was refused since."""
        self._lost = self._vain = 0
        """The level before a refusal that nothing explains; how often it was asked for in vain."""

    def answered(self, seconds: float, now: int) -> None:
        """A request was answered."""
        self._answered_at = now
        self.usual_seconds += (seconds - self.usual_seconds) / 8 if self.usual_seconds else seconds

    @property
    def asks_at(self) -> int:
        """When one more is asked for although nothing is answered."""
        return max(self._asks_at, self._answered_at + (self._times(self._ask_wait) or SECOND))

    def may_ask(self, now: int) -> bool:
        """Whether one more may be asked for, as a place was filled again."""
        return now >= self._asks_at

    def ask(self, level: int, now: int) -> int:
        """More is asked for; gives how many."""
        self._asks_at = now + max(self._times(_ASK_AGAIN), _SOON)
        if level >= self._lost:
            self._lost = 0
        if self.asked:
            self._ask_wait = _ASK
        more: int = 2**self.asked
        self.asked = min(self.asked + 1, (level + more).bit_length() - 1)
        return more

    def may_yield(self, now: int) -> bool:
        """Whether it is time to leave some to others."""
        if not self._yields_at:
            self._yields_at = now + self._times(self._yield_wait)
        return now >= self._yields_at and not self.asked

    def offer(self, level: int, now: int) -> int:
        """Some are left to others; gives how many."""
        if self._offered:
            self._yield_wait = min(self._yield_wait + _MORE, _LONGEST_YIELD)
        self._offered = True
        self._yields_at = self._next_yield(level, now)
        return max(1, level // _SHARE)

    def refused(self, level: int, left: int, above: bool, now: int) -> None:
        """One was refused at a level of ``level``; ``left`` are still in flight.

        ``above``: that could be.
        """
        if not above and self._offered:
            self._offered, self._yield_wait, self._ask_wait = False, _YIELD, _ASK
            self._yields_at = min(self._yields_at, self._next_yield(level, now))
        elif not above:  # by chance, or as there is less room: that is soon found out
            self._lost, self._vain = max(self._lost, level), 0
        else:
            self._ask_wait = min(self._ask_wait * 2, max(_ASK, 6 // max(1, left)))
            if self._lost:
                self._vain += 1
                self._lost = self._lost if self._vain < 2 else 0
        self.asked = 0
        self._asks_at = now + (
            self._times(_ASK_AGAIN if self._lost > max(1, left) else self._ask_wait) or SECOND
        )
        self._yields_at = self._yields_at or now + (self._times(self._yield_wait) or SECOND)

    def restart(self) -> None:
        """The server comes back: nothing is left to others before it is known what there is."""
        self._yields_at = self.asked = 0

    def _next_yield(self, level: int, now: int) -> int:
        return now + self._times(self._yield_wait * max(1.0, min(3.0, _SMALL / level)))

    def _times(self, number: float) -> int:
        """So many times what a request takes, in nanoseconds."""
        return int(number * self.usual_seconds * SECOND)
