"""What all suites have in common: flags that skip tests, and tests that cannot be bent."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar

import pytest

PACKAGE = __name__.rpartition(".")[0]

Test = TypeVar("Test", bound=Callable[..., Any])


def needs(*flags: str) -> Callable[[Test], Test]:
    """The test is skipped where one of these settings is off or not given."""

    def mark(test: Test) -> Test:
        vars(test)["needs"] = (*flags, *vars(test).get("needs", ()))
        return test

    return mark


def asynchronous(test: Test) -> Test:
    """The test is async: it runs under pytest-asyncio, in both modes, if ``has_async`` is on."""
    marked: Test = pytest.mark.asyncio(needs("has_async")(test))
    return marked


class Conformance:
    """The base of the suites."""

    @property
    def has_async(self) -> bool:
        """The class has async methods of its own. Default: on; off skips all async tests."""
        return True

    @pytest.fixture(autouse=True)
    def _skipped_where_off(self, request: pytest.FixtureRequest) -> None:
        if inspect.iscoroutinefunction(request.function) and find_spec("pytest_asyncio") is None:
            pytest.skip("async tests need a plugin: pip install pytest-asyncio")
        for flag in getattr(request.function, "needs", ()):
            if not getattr(self, flag):
                pytest.skip(f"{type(self).__name__}.{flag} is off or not given")

    def test_no_overrides(self) -> None:
        """No test is deleted or changed by the subclass.

        To fix: excuse it, ``@pytest.mark.xfail(reason="...")``, or set a flag.
        """
        cls = type(self)
        suite = next(
            base for base in cls.__mro__ if f"{base.__module__}.".startswith(f"{PACKAGE}.")
        )
        bent = [
            name
            for name in dir(suite)
            if name.startswith("test_")
            and getattr(cls, name, None) is not getattr(suite, name)
            and not _excused(getattr(cls, name, None))
        ]
        assert not bent, (
            f"{cls.__name__} overrides {', '.join(bent)} without @pytest.mark.xfail(reason=...)"
        )


def _excused(test: object) -> bool:
    return any(
        mark.name == "xfail" and mark.kwargs.get("reason")
        for mark in getattr(test, "pytestmark", ())
    )
