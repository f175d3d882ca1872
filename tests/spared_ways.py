"""Which ways to ask are tried for which case, where a test multiplies both."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count, groupby
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent
_ADAPTERS = [_HERE / name for name in ("langchain", "llama_index")]
_EACH = 2


def spare(items: Iterable[Any]) -> None:
    """Mark as slow what asks for the same case in a third way, and a fourth ...

    Where a test has a parameter ``way`` and others, each case of the others is asked for in two
    ways that are neighbours in their list, mostly a sync and an async one, and the next case in
    the next two. The ways of an adapter and those of ``OPEA`` are thin, and one code stands behind
    all of them: what breaks for a case breaks in most ways, and what breaks in a way breaks for
    many cases. In the transport the ways are what is tested, so all are tried there.
    """
    asking = [item for item in items if "way" in _params(item) and _has_thin_ways(item)]
    for _, group in groupby(asking, key=lambda item: item.nodeid.partition("[")[0]):
        tests = list(group)
        ways = _numbered(_params(test)["way"] for test in tests)
        cases = _numbered(_others(test) for test in tests)
        length, multiplied = max(ways) + 1, max(cases) > 0
        for test, way, case in zip(tests, ways, cases, strict=True):
            if multiplied and (way - case) % length >= _EACH:
                test.add_marker(pytest.mark.slow)


def _params(item: Any) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def _has_thin_ways(item: Any) -> bool:
    folders = item.path.parents
    return folders[0] == _HERE / "core" or any(folder in folders for folder in _ADAPTERS)


def _others(item: Any) -> tuple[int, ...]:
    """Which case it is: parameters are the same objects in all tests of a product."""
    return tuple(id(value) for name, value in _params(item).items() if name != "way")


def _numbered(values: Iterable[Any]) -> list[int]:
    """For each value its number, in the order in which they came first."""
    numbers, fresh = dict[Any, int](), count()
    return [
        numbers[value] if value in numbers else numbers.setdefault(value, next(fresh))
        for value in values
    ]
