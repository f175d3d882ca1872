"""LlamaIndex's events and spans around a public method, told no secrets."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from llama_index_instrumentation import get_dispatcher

from opea_core.adapters import SECRET_IN_CALLS

Method = TypeVar("Method", bound=Callable[..., Any])
dispatcher = get_dispatcher(__name__)


class _Hidden(str):
    """An option of a call that events carry along and nobody reads there: text to them, the value to us."""

    __slots__ = ("value",)
    value: Any

    @classmethod
    def of(cls, value: Any) -> _Hidden:
        hidden = cls("(not shown)")
        hidden.value = value
        return hidden

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


def told(callback: Callable[[Any], Any] | None = None, span: bool = True) -> Callable[[Method], Method]:
    """A public method with LlamaIndex's ``callback`` and a span; headers and keys among its options are hidden from both."""

    def decorate(method: Method) -> Method:
        inner: Any = callback(method) if callback is not None else method
        inner = dispatcher.span(inner) if span else inner
        if inspect.iscoroutinefunction(method):

            @functools.wraps(inner)
            async def outer(self: Any, *args: Any, **kwargs: Any) -> Any:
                return await inner.__get__(self, type(self))(*args, **_concealed(kwargs))
        else:

            @functools.wraps(inner)
            def outer(self: Any, *args: Any, **kwargs: Any) -> Any:
                return inner.__get__(self, type(self))(*args, **_concealed(kwargs))

        return cast(Method, outer)

    return decorate


def _concealed(kwargs: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: _Hidden.of(value) if name in SECRET_IN_CALLS and value is not None else value for name, value in kwargs.items()
    }
    inner = kwargs.get("llm_kwargs")
    if isinstance(inner, dict):
        found["llm_kwargs"] = _concealed(inner)
    return found


def _hidden(value: Any) -> Any:
    return value if value is None or isinstance(value, _Hidden) else _Hidden.of(value)


def revealed(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The options as they were given."""
    return {name: value.value if isinstance(value, _Hidden) else value for name, value in kwargs.items()}
