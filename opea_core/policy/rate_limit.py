"""Requests and tokens a minute: what a provider allows, kept on this side.

A minute is any 60 seconds, not the one of the clock: what was sent counts until 60 seconds have
passed, and a little longer, as two requests may be on their way for different times. It is kept in
cells of a tenth of a second, each of which counts until its end is that old.

Tokens are reserved when a request goes out, by what it may take at most as far as is known, and
corrected when the answer says what it took.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from opea_core.policy import SECOND

_CELL = SECOND // 10
_WINDOW = 60 * SECOND + SECOND // 4
_FIRST_ANSWER = 256
"""Tokens of an answer, where neither the call nor an answer before it says more."""
_LEARNED = 0.1
"""How much of the mean each answer makes up."""
_LEAP = 8
"""So many times what is usual one answer can teach: an odd count must not fill whole minutes."""
_MOST_RATIO = 64.0
"""Tokens for one that was estimated: what a server adds to short prompts makes many."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a call takes of the tokens a minute, as far as can be told before."""

    prompt: int = 0
    answer: int | None = None
    """The most that was asked for; None where the call sets no limit."""


NOTHING = Need()


@dataclass(slots=True)
class Reservation:
    """What a request that went out holds of a window."""

    cell: list[int]
    """When it began, requests, tokens."""
    tokens: int
    need: Need


class RateWindow:
    """One limit of requests, tokens or both."""

    __slots__ = (
        "_cells",
        "_closed_until",
        "_prompt_ratio",
        "_requests",
        "_tokens",
        "_usual_answer",
        "rpm",
        "share_ends",
        "shared_rpm",
        "shared_tpm",
        "tpm",
    )

    def __init__(self, rpm: int | None, tpm: int | None) -> None:
        self.rpm = rpm
        self.tpm = tpm
        self.shared_rpm: int | None = None
        """What other processes leave of it; None where nobody shares it."""
        self.shared_tpm: int | None = None
        self.share_ends = 0
        """When the shares are somebody else's, unless they were renewed."""
        self._cells: deque[list[int]] = deque()
        self._requests = self._tokens = 0
        self._closed_until = 0
        """Until the first in the queue fits: those behind it do not overtake it."""
        self._usual_answer = float(_FIRST_ANSWER)
        self._prompt_ratio = 1.0

    def tokens_of(self, need: Need) -> int:
        """What is reserved for a call: never more than a minute has, or it would never go."""
        if self.tpm is None:
            return 0
        answer = self._usual_answer if need.answer is None else need.answer
        return min(self.tpm, max(1, int(need.prompt * self._prompt_ratio + answer)))

    def has_room(self, now: int, need: Need | None = None) -> bool:
        """Whether a request may go out; without ``need`` whether any may."""
        self._forget(now)
        rpm, tpm = self._limits(now)
        if rpm is not None and self._requests >= rpm:
            return False
        if need is None:
            return now >= self._closed_until and (tpm is None or self._tokens < tpm)
        if tpm is None or self._tokens + self.tokens_of(need) <= tpm:
            return True
        self._closed_until = self._room_for(self.tokens_of(need), tpm) or now
        return False

    def room_at(self, now: int) -> int | None:
        """When there is room without any answer; None if there is now."""
        self._forget(now)
        at = self._closed_until
        rpm, tpm = self._limits(now)
        if rpm is not None and self._requests >= rpm and self._cells:
            at = max(at, self._cells[0][0] + _CELL + _WINDOW)
        if tpm is not None and self._tokens >= tpm:
            at = max(at, self._room_for(1, tpm) or 0)
        return at if at > now else None

    def used(self, now: int) -> tuple[int, int]:
        """Requests and tokens that count now."""
        self._forget(now)
        return self._requests, self._tokens

    def _limits(self, now: int) -> tuple[int | None, int | None]:
        """What holds now: the own limit, or this process's share of it."""
        is_over = now >= self.share_ends
        rpm = self.rpm if self.shared_rpm is None else 0 if is_over else self.shared_rpm
        tpm = self.tpm if self.shared_tpm is None else 0 if is_over else self.shared_tpm
        return rpm, tpm

    def take(self, now: int, need: Need) -> Reservation:
        """A request goes out."""
        begin = now - now % _CELL
        if not self._cells or self._cells[-1][0] != begin:
            self._cells.append([begin, 0, 0])
        cell, tokens = self._cells[-1], self.tokens_of(need)
        cell[1] += 1
        cell[2] += tokens
        self._requests += 1
        self._tokens += tokens
        self._closed_until = 0
        return Reservation(cell, tokens, need)

    def give_back(self, held: Reservation) -> None:
        """It was not sent after all."""
        self._change(held, -1, -held.tokens)

    def settle(self, held: Reservation, prompt: int | None, answer: int | None) -> None:
        """It took so many tokens; None where nobody says, which leaves what was reserved."""
        if self.tpm is None or prompt is None:
            return
        # More than a minute's tokens in one call close no more than the minute.
        taken = min(prompt + (answer or 0), self.tpm)
        self._change(held, 0, taken - held.tokens)
        if answer is not None:
            believed = min(answer, _LEAP * max(self._usual_answer, _FIRST_ANSWER))
            self._usual_answer += _LEARNED * (believed - self._usual_answer)
        if held.need.prompt:
            most = min(_LEAP * max(self._prompt_ratio, 1.0), _MOST_RATIO)
            ratio = min(prompt / held.need.prompt, most)
            self._prompt_ratio += _LEARNED * (ratio - self._prompt_ratio)
            self._prompt_ratio = max(self._prompt_ratio, ratio)

    def _change(self, held: Reservation, requests: int, tokens: int) -> None:
        held.cell[1] += requests
        held.cell[2] += tokens
        held.tokens += tokens
        if self._cells and held.cell[0] >= self._cells[0][0]:  # it still counts
            self._requests += requests
            self._tokens += tokens
            self._closed_until = 0

    def _room_for(self, tokens: int, tpm: int) -> int | None:
        """When so many tokens are free, by the cells that end; None if they are now."""
        used, at = self._tokens, None
        for cell in self._cells:
            if used + tokens <= tpm:
                break
            used -= cell[2]
            at = cell[0] + _CELL + _WINDOW
        return at

    def _forget(self, now: int) -> None:
        while self._cells and self._cells[0][0] + _CELL + _WINDOW <= now:
            _, requests, tokens = self._cells.popleft()
            self._requests -= requests
            self._tokens -= tokens


class RateWindows:
    """The limits that one model at one endpoint has: its own, and those of the whole endpoint."""

    __slots__ = ("windows",)

    def __init__(self, *windows: RateWindow) -> None:
        self.windows = windows

    def has_room(self, now: int, need: Need | None = None) -> bool:
        """Whether all of them have room."""
        return all(window.has_room(now, need) for window in self.windows)

    def room_at(self, now: int) -> int | None:
        """When all of them have room without any answer; None if they do now."""
        return max(
            (at for window in self.windows if (at := window.room_at(now)) is not None), default=None
        )

    def take(self, now: int, need: Need) -> list[tuple[RateWindow, Reservation]]:
        """A request goes out."""
        return [(window, window.take(now, need)) for window in self.windows]
