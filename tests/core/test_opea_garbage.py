"""What a call leaves to the garbage collector: nothing. Answers of megabytes would wait for it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator

import pytest
from asking import made

from opea_core import OPEA
from opea_core.testing import ScriptedServer


@pytest.fixture
def garbage() -> Iterator[Callable[[], list[str]]]:
    """The types of ours that only the collector finds."""

    def found() -> list[str]:
        gc.collect()
        mine = [
            type(it)
            for it in gc.garbage
            if type(it).__module__.startswith("opea_core") and "testing" not in type(it).__module__
        ]
        gc.garbage.clear()
        return sorted(cls.__name__ for cls in mine)

    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def read(opea: OPEA) -> None:
    for _ in opea.stream_chat("Hello"):
        pass


def leave(opea: OPEA) -> None:
    with opea.stream_chat("Hello") as pieces:
        next(pieces)


CALLS: dict[str, Callable[[OPEA], object]] = {
    "a chat": lambda opea: opea.chat("Hello"),
    "vectors": lambda opea: opea.embed(["a", "b"]),
    "a stream": read,
    "a stream that is left": leave,
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_gone_with_its_answer(
    server: ScriptedServer, garbage: Callable[[], list[str]], name: str
) -> None:
    with made(server) as opea:
        CALLS[name](opea)
        garbage()
        CALLS[name](opea)
        assert garbage() == []


@pytest.mark.parametrize("http", [None, "aiohttp"])
def test_so_are_async_ones(
    server: ScriptedServer, garbage: Callable[[], list[str]], http: str | None
) -> None:
    async def main(opea: OPEA) -> list[str]:
        for _ in range(2):
            garbage()
            async for _ in opea.astream_chat("Hello"):
                pass
            await opea.achat("Hello")
        return garbage()

    with made(server, **({"http_library": http} if http else {})) as opea:
        assert asyncio.run(main(opea)) == []
