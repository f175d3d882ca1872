"""API keys: plain ones, and functions that give them."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any

from pydantic import SecretStr

from opea_core.errors import ConfigurationError, DeadlineExceeded, OPEAError
from opea_core.header_checks import check_header_value
from opea_core.transport.interruptible import within


def plain_key(source: Any) -> str | None:
    """The key of an endpoint that has a plain one, or None."""
    return source.get_secret_value() if isinstance(source, SecretStr) else None


_asked_now: ContextVar[frozenset[int]] = ContextVar("_asked_now", default=frozenset())
"""The key functions that the code here was called by.

And the limiters of the calls that asked them.
"""


def inside(limiter: object) -> bool:
    """Whether a key function called this code for a call that has a place of this limiter."""
    return id(limiter) in _asked_now.get()


def refuse_nested(source: Any) -> None:
    """Raise ConfigurationError if a key function needs the key that it is asked for.

    That is by a call of its own.
    """
    if id(source) in _asked_now.get():
        raise ConfigurationError(
            "The api_key function calls the object that asks it for the key:"
            " it would wait for itself.",
            "Give it another OPEA object, with a key of its own.",
        )


@contextmanager
def _asking(source: Any, limiter: object) -> Iterator[None]:
    token = _asked_now.set(_asked_now.get() | {id(source), id(limiter)})
    try:
        yield
    finally:
        _asked_now.reset(token)


def ask(source: Any, limiter: object, seconds: float | None = None) -> str | None:
    """Call a key function in sync code, for so long at most.

    An async one runs on a loop of its own in another thread.
    """
    with _told(), _asking(source, limiter):
        try:
            return _checked(within(seconds, lambda: _asked(source)))
        except TimeoutError as error:
            if error.args or seconds is None:  # of the function itself
                raise
            raise late() from None


def late() -> DeadlineExceeded:
    """The error of a call whose key did not come in time."""
    return DeadlineExceeded(
        "The deadline passed while the api_key function was asked; nothing was sent.",
        "Raise deadline= if it may take so long.",
    )


def _asked(source: Any) -> Any:
    value = source()
    if inspect.isawaitable(value):
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=1) as pool:
            value = pool.submit(copy_context().run, asyncio.run, _awaited(value)).result()
    return value


async def ask_async(source: Any, limiter: object) -> str | None:
    """Call a key function in async code; a sync one runs in a thread."""
    with _told(), _asking(source, limiter):
        return _checked(await _aasked(source))


async def _aasked(source: Any) -> Any:
    called = getattr(source, "__call__", None)  # noqa: B004 - is it async?
    if inspect.iscoroutinefunction(source) or inspect.iscoroutinefunction(called):
        return await source()
    import asyncio

    value = await asyncio.to_thread(source)
    return await value if inspect.isawaitable(value) else value


@contextmanager
def _told() -> Iterator[None]:
    """What a key function raises comes out as our error, with the function's own as its cause."""
    try:
        yield
    except OPEAError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"The api_key function failed: {type(error).__name__}.",
            "See the cause for its own words.",
        ) from error


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _checked(value: Any) -> str | None:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ConfigurationError(f"The api_key function gave {type(value).__name__}, not a string.")
    check_header_value("the key that the api_key function gave", value)
    return value
