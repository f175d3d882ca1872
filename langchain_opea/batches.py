"""How many calls of a batch are in flight."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, closing
from typing import Any, TypeAlias, TypeVar

from langchain_core.runnables import RunnableConfig, ensure_config

from opea_core import Endpoint
from opea_core.adapters import Caller

T = TypeVar("T")
Configs: TypeAlias = RunnableConfig | Sequence[RunnableConfig] | None
_MEASURED = 128
"""Threads where it is measured how many requests an endpoint takes.

The rest wait in the object's queue.
"""


def with_places(config: Any, endpoints: Sequence[Endpoint], inputs: int) -> Any:
    """A batch's config with a thread for each place, where it names no ``max_concurrency``.

    LangChain starts as many threads as the machine has cores, and a few more; calls that wait for a
    server need no core.
    """
    first = (config[0] if config else None) if isinstance(config, Sequence) else config
    if not inputs or ensure_config(first).get("max_concurrency") is not None:
        return config
    known = [endpoint.max_concurrent for endpoint in endpoints]
    places = max(sum(most or 0 for most in known), _MEASURED if None in known else 0)
    threads = {"max_concurrency": min(places, inputs)}
    return (
        [{**each, **threads} for each in config]
        if isinstance(config, Sequence)
        else {**(config or {}), **threads}
    )


def waited_for(results: Iterator[T]) -> Iterator[T]:
    """Results of calls that other threads make for the one that asks for the next of them."""
    caller = Caller()
    made: Any = results  # by LangChain, whose types do not say that it is a generator
    with closing(made):
        while True:
            with caller.blocks():
                found = next(results, caller)
            if isinstance(found, Caller):
                return
            yield found


async def awaited(results: AsyncIterator[T]) -> AsyncIterator[T]:
    """The async twin of ``waited_for``, for tasks."""
    caller = Caller()
    made: Any = results
    async with aclosing(made):
        while True:
            with caller.awaits():
                found = await anext(results, caller)
            if isinstance(found, Caller):
                return
            yield found
