"""How thorough a run is: what ``make test`` tries in part, ``make test-all`` tries as a whole."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, TypeVar

import pytest

_T = TypeVar("_T")
_SLOW = False


def choose(markers: str) -> None:
    """Called once, before tests are imported, with what the run selects by markers."""
    global _SLOW
    _SLOW = "not slow" not in markers


def most(whole: _T, part: _T) -> _T:
    """The first if the run takes what is marked slow, else the second."""
    return whole if _SLOW else part


def some(values: Iterable[_T], kept: Container[_T]) -> list[Any]:
    """Values for a parameter of a test; all but those that are kept are marked slow."""
    return [
        value if value in kept else pytest.param(value, marks=pytest.mark.slow) for value in values
    ]


def share(values: Iterable[_T], number: int, of: int) -> Sequence[_T]:
    """Those values whose turn it is in the case of this number, one of so many; or all."""
    every = list(values)
    return most(every, every[number % of :: of])


def in_turn(first: Iterable[Any], second: Iterable[Any]) -> list[Any]:
    """All pairs of two parameters; each of the longer with the next of the shorter is kept."""
    one, other = list(first), list(second)
    length = max(len(one), len(other))
    kept = {(n % len(one), n % len(other)) for n in range(length)}
    return [
        pytest.param(a, b, marks=() if (i, j) in kept else pytest.mark.slow)
        for i, a in enumerate(one)
        for j, b in enumerate(other)
    ]
