"""What must hold under every SDK, whatever it is called there.

A module ``sdk_...`` has ``chat``, ``stream``, ``tools``, ``structured`` and ``achat``, each with
the OPEA object first. One that cannot be is missing, and CANNOT says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opea_core import OPEA
from opea_core.testing import Answer, ScriptedServer, error, stream

KEY = "sk-of-the-endpoint"
WAIT = 0.3
BRISK = {"initial_delay": 0.01, "max_delay": 0.02}
QUESTION = "Is this thing on?"
ANSWER = 'This is the scripted model. You wrote: "Is this thing on?"'


def expect(holds: bool, found: object) -> None:
    """Raises AssertionError with what was found."""
    assert holds, found


def part(sdk: Any, name: str) -> Any:
    """A function of an SDK's module; NotImplementedError says why there is none."""
    if name in getattr(sdk, "CANNOT", {}):
        raise NotImplementedError(sdk.CANNOT[name])
    return getattr(sdk, name)


@contextmanager
def served(**options: Any) -> Iterator[tuple[ScriptedServer, OPEA]]:
    """A server and an object that knows it."""
    with ScriptedServer() as server:
        opea = OPEA(server.url, **{"api_key": KEY, "retry": BRISK, **options})
        try:
            yield server, opea
        finally:
            opea.close()


def check_chat(sdk: Any) -> None:
    """A plain answer is the model's."""
    with served() as (_, opea):
        found = part(sdk, "chat")(opea, QUESTION)
        assert found == ANSWER, found


def check_stream(sdk: Any) -> None:
    """A stream comes in pieces, and they are the answer."""
    with served() as (server, opea):
        pieces = list(part(sdk, "stream")(opea, QUESTION))
        assert "".join(pieces) == ANSWER, pieces
        assert len(pieces) > 2, pieces
        assert server.seen[-1].body["stream"] is True


def check_tools(sdk: Any) -> None:
    """A tool is called with arguments that are whole."""
    with served() as (server, opea):
        name, arguments = part(sdk, "tools")(opea)
        assert (name, list(arguments)) == ("get_weather", ["city"]), (name, arguments)
        assert server.seen[0].body["tools"]


def check_structured(sdk: Any) -> None:
    """An answer of a schema is an object of it."""
    with served() as (_, opea):
        found = part(sdk, "structured")(opea)
        assert isinstance(found.name, str)
        assert isinstance(found.inhabitants, int)


def check_async(sdk: Any) -> None:
    """The same in an event loop, several calls at once."""

    async def ask(opea: OPEA) -> list[str]:
        achat = part(sdk, "achat")
        return await asyncio.gather(*(achat(opea, QUESTION) for _ in range(5)))

    with served() as (_, opea):
        found = asyncio.run(ask(opea))
        assert found == [ANSWER] * 5, found


def any_chat(sdk: Any) -> Callable[[OPEA, str], str]:
    """``chat``, or ``achat`` in a loop where an SDK has only that."""
    if "chat" not in getattr(sdk, "CANNOT", {}):
        return sdk.chat  # type: ignore[no-any-return]
    return lambda opea, text: asyncio.run(sdk.achat(opea, text))


def check_failover(sdk: Any) -> None:
    """Of two endpoints the first one dies in the middle: every call has its answer."""
    ask = any_chat(sdk)
    with ScriptedServer() as one, ScriptedServer() as two:
        endpoints = [{"base_url": one.url}, {"base_url": two.url, "tier": 1}]
        with OPEA(endpoints=endpoints, retry=BRISK) as opea:
            for number in range(8):
                if number == 3:
                    one.pause()
                assert ask(opea, QUESTION) == ANSWER
        assert (len(one.seen), len(two.seen)) == (3, 5), (len(one.seen), len(two.seen))


def check_rate_limit(sdk: Any) -> None:
    """A wait that a 429 states is kept, and nobody else tries again."""
    ask = any_chat(sdk)
    with served() as (server, opea):
        server.script(error(429, "Slow down.", headers={"retry-after-ms": f"{WAIT * 1000:.0f}"}))
        assert ask(opea, QUESTION) == ANSWER
        assert len(server.seen) == 2, len(server.seen)
        waited = (server.seen[1].at - server.seen[0].ended_at) / 1e9
        assert waited > WAIT * 0.9, waited


def check_cut(sdk: Any) -> None:
    """A stream that breaks off is an error, however it breaks."""
    ask = part(sdk, "stream")
    pieces = ["One, ", "two, ", "thr"]
    broken: tuple[Answer, ...] = (
        stream(pieces, finish_reason=None, done=False, end="cut"),
        stream(pieces, finish_reason=None),
        stream(pieces, finish_reason=None, done=False),
    )
    for answer in broken:
        with served() as (server, opea):
            server.always(answer)
            got: list[str] = []
            try:
                got.extend(ask(opea, QUESTION))
            except Exception as problem:  # noqa: BLE001 - each SDK has its own
                found = chain_of(problem)
                expect(getattr(sdk, "CUT", "broke off after") in found, found)
            else:
                raise AssertionError(f"a short answer without an error: {got}")


def chain_of(error: BaseException) -> str:
    """The words of an error and of all that led to it."""
    waiting: list[BaseException | None] = [error]
    found: dict[int, str] = {}
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in found:
            continue
        found[id(one)] = f"{type(one).__name__}: {one}"
        waiting += [one.__cause__, one.__context__]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
    return "\n".join(found.values())


def check_error(sdk: Any) -> None:
    """The last error is the SDK's own with the server's words, and is tried once by each side."""
    ask = any_chat(sdk)
    with served(max_retries=1) as (server, opea):
        server.always(error(503, "the last words of the server"))
        try:
            found = ask(opea, QUESTION)
        except Exception as problem:  # noqa: BLE001 - each SDK has its own
            expect("the last words of the server" in str(problem), str(problem))
            expect(not type(problem).__module__.startswith("opea"), str(problem))
        else:
            raise AssertionError(f"no error: {found}")
        assert len(server.seen) == 2, len(server.seen)


def check_key(sdk: Any) -> None:
    """The endpoint's key goes out, and no other."""
    with served() as (server, opea):
        any_chat(sdk)(opea, QUESTION)
        headers = server.seen[0].headers
        assert headers["authorization"] == f"Bearer {KEY}"
        assert [name for name, value in headers.items() if "sk-" in value] == ["authorization"]


BEHAVIOURS: dict[str, Callable[[Any], None]] = {
    "chat": check_chat,
    "stream": check_stream,
    "tools": check_tools,
    "structured": check_structured,
    "async": check_async,
    "failover": check_failover,
    "429": check_rate_limit,
    "cut stream": check_cut,
    "last error": check_error,
    "key": check_key,
}
