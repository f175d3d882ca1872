"""LlamaIndex's events and spans around a public method, told no secrets."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from llama_index_instrumentation import get_dispatcher

from opea_core.adapters import SECRET_IN_CALLS

Method = TypeVar("Method", bound=Callable[..., Any])
Stream = TypeVar("Stream")
dispatcher = get_dispatcher(__name__)


class _Hidden(str):
    """An option of a call that events carry along and nobody reads there.

    It is text to them, and the value to code that asks for it.
    """

    __slots__ = ("value",)
    value: Any

    @classmethod
    def of(cls, value: Any) -> _Hidden:
        hidden = cls("(not shown)")
        hidden.value = value
        return hidden

    def keys(self) -> Any:
        """As the mapping that is hidden; so are those below."""
        return self.value.keys()

    def values(self) -> Any:
        return self.value.values()

    def items(self) -> Any:
        return self.value.items()

    def get(self, key: str, default: Any = None) -> Any:
        return self.value.get(key, default)

    def copy(self) -> Any:
        return self.value.copy()

    def __iter__(self) -> Iterator[str]:
        return iter(self.value)

    def __contains__(self, key: object) -> bool:
        return key in self.value

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, key: Any) -> Any:
        return self.value[key] if isinstance(key, str) else super().__getitem__(key)

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.value, **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self.value}

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


def instrumented(
    callback: Callable[[Any], Any] | None = None, span: bool = True
) -> Callable[[Method], Method]:
    """A public method with LlamaIndex's ``callback`` and a span.

    Headers and keys among its options are hidden from both.
    """

    def decorate(method: Method) -> Method:
        inner: Any = callback(method) if callback is not None else method
        inner = dispatcher.span(inner) if span else inner
        if inspect.iscoroutinefunction(method):

            @functools.wraps(inner)
            async def aouter(self: Any, *args: Any, **kwargs: Any) -> Any:
                with _opening() as opened:
                    result = await inner.__get__(self, type(self))(
                        *_concealed_args(args), **_concealed(kwargs)
                    )
                return _aclosing(result, opened) if opened else result

            return cast(Method, aouter)

        @functools.wraps(inner)
        def outer(self: Any, *args: Any, **kwargs: Any) -> Any:
            with _opening() as opened:
                result = inner.__get__(self, type(self))(
                    *_concealed_args(args), **_concealed(kwargs)
                )
            return _closing(result, opened) if opened else result

        return cast(Method, outer)

    return decorate


# --- streams

_OPENED: ContextVar[list[Any] | None] = ContextVar("opea_opened", default=None)


@contextmanager
def _opening() -> Iterator[list[Any]]:
    opened: list[Any] = []
    token = _OPENED.set(opened)
    try:
        yield opened
    finally:
        with suppress(ValueError):  # collected after its loop was closed, in another context
            _OPENED.reset(token)


def closed_with_the_answer(stream: Stream) -> Stream:
    """A generator that an ``instrumented`` method hands to its callback.

    It is closed as soon as the caller is done.

    LlamaIndex's wrapper does not close it, and its events keep it alive for as long as somebody
    keeps them.
    """
    opened = _OPENED.get()
    if opened is not None:
        opened.append(stream)
    return stream


def _closing(
    responses: Generator[Any, None, None], opened: list[Any]
) -> Generator[Any, None, None]:
    try:
        yield from responses
    finally:
        for stream in opened:
            stream.close()


async def _aclosing(
    responses: AsyncGenerator[Any, None], opened: list[Any]
) -> AsyncGenerator[Any, None]:
    try:
        async for response in responses:
            yield response
    finally:
        await responses.aclose()
        for stream in opened:
            await stream.aclose()


# --- secrets


def _concealed_args(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The only unnamed dict of any method is ``llm_kwargs``."""
    return tuple(_concealed(arg) if isinstance(arg, dict) else arg for arg in args)


def _concealed(kwargs: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: _hidden(value) if name in SECRET_IN_CALLS else value for name, value in kwargs.items()
    }
    inner = kwargs.get("llm_kwargs")
    if isinstance(inner, dict):
        found["llm_kwargs"] = _concealed(inner)
    return found


def _hidden(value: Any) -> Any:
    return value if value is None or isinstance(value, _Hidden) else _Hidden.of(value)


def revealed(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The options as they were given."""
    return {
        name: value.value if isinstance(value, _Hidden) else value for name, value in kwargs.items()
    }
