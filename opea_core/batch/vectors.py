"""Vectors of many texts: put together into batches that fit, and taken apart again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from opea_core import errors
from opea_core.batch.feed import END, Feed, Raised
from opea_core.batch.many import AsyncMany
from opea_core.batch.result import Result
from opea_core.flow.embed import Sizes, embed_flow

if TYPE_CHECKING:
    from opea_core.calls import Call
    from opea_core.engine import Engine
    from opea_core.types import EmbeddingResponse

    MakeCall: TypeAlias = Callable[[], Callable[[list[str]], Call]]

AT_ONCE = 128
"""Texts of a batch, as long as the server does not refuse so many."""
_RECOVERY_WAIT = 600.0
"""Seconds that calls of a job wait for a server to come back, where the call does not say."""
_PATIENCE, _LONGEST = 0.02, 0.25
"""Seconds that a batch waits for its next text, and for all of them."""


def limits(options: Mapping[str, Any]) -> Limits:
    """``batch_size`` and ``max_concurrent``; raises ConfigurationError for what is not a count."""
    given = options.get("batch_size")
    size, most = AT_ONCE if given is None else given, options.get("max_concurrent")
    for name, value in (("batch_size", size), ("max_concurrent", 1 if most is None else most)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise errors.ConfigurationError(f"{name} must be a whole number above 0.")
    return Limits(size, most)


def shared_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of every call."""
    own = ("batch_size", "max_concurrent")
    given = {name: value for name, value in options.items() if name not in own}
    return {"recovery_wait": _RECOVERY_WAIT, **given}


class Group(NamedTuple):
    """Texts that go out together."""

    start: int
    """The place of the first one among all texts, counted from 0."""
    texts: list[Any]


class Limits(NamedTuple):
    """How many texts go out together, and how many batches at once."""

    size: int
    most: int | None


class Grouped:
    """A source of groups over a feed of texts."""

    def __init__(self, feed: Feed, sizes: Sizes, size: int) -> None:
        self._feed = feed
        self._sizes = sizes
        self._size = size
        self._pending: asyncio.Future[Any] | None = None
        self._count = 0

    async def next(self) -> Any:
        """The next group, END, or Raised."""
        texts: list[Any] = []
        clock = asyncio.get_running_loop().time
        end = clock() + _LONGEST
        while len(texts) < min(self._size, self._sizes.most or self._size):
            # A slow input must not keep texts that are there from being asked.
            patience = min(_PATIENCE, end - clock()) if texts else None
            found = await self._one(patience)
            if found is END or isinstance(found, Raised):
                if not texts:
                    return found
                break
            texts.append(found)
        group = Group(self._count, texts)
        self._count += len(texts)
        return group

    async def _one(self, patience: float | None) -> Any:
        """The next text; END for now if none comes in time. What ends the texts stays for later."""
        if self._pending is None:
            self._pending = asyncio.ensure_future(self._feed.next())
        if not self._pending.done():
            await asyncio.wait({self._pending}, timeout=patience and max(0.0, patience))
        if not self._pending.done():
            return END
        found = self._pending.result()
        if patience is None or not (found is END or isinstance(found, Raised)):
            self._pending = None
        return found

    def close(self) -> None:
        """No more is wanted."""
        if self._pending is not None:
            self._pending.cancel()
        self._feed.close()


class AsyncVectors(AsyncMany[list[float]]):
    """Results with the vector of each text, in the order of the texts."""

    def __init__(
        self, engine: Engine, feed: Feed, sizes: Sizes, make: MakeCall, limits: Limits
    ) -> None:
        self._engine = engine
        self._sizes = sizes
        self._make = make
        self._splits = True
        grouped: Any = Grouped(feed, sizes, limits.size)
        ask: Any = self._vectors
        super().__init__(grouped, ask, True, limits.most)

    async def _run(self) -> AsyncGenerator[Result[list[float]], None]:
        async with contextlib.aclosing(super()._run()) as results:
            async for result in results:
                group: Group = result.request
                for place, text in enumerate(group.texts):
                    found: Any = result.error or result.unwrap()[place]
                    one: Result[list[float]] = Result(group.start + place, None, text)
                    if isinstance(found, errors.OPEAError):
                        one.error = found
                    else:
                        one.response = found
                    yield one

    async def _vectors(
        self, group: Group, on_place: Callable[[bool], None]
    ) -> list[list[float] | errors.OPEAError]:
        """A vector or an error for each text of a group; raises what is wrong with all of them."""
        # What is not a text is an error of its own place, and not of its batch (M7).
        right = [text for text in group.texts if isinstance(text, str)]
        answered = await self._split(right, on_place) if right else []
        problems = [one for one in answered if isinstance(one, errors.OPEAError)]
        # As an error of the whole group it may show that nothing can ever work (M5).
        if problems and len(problems) == len(group.texts):
            self._splits = self._splits and len(problems) == 1  # it is the fault of no single text
            raise problems[0]
        found = iter(answered)
        return [
            next(found)
            if isinstance(text, str)
            else errors.ConfigurationError(f"A text must not be a {type(text).__name__}.")
            for text in group.texts
        ]

    async def _split(
        self, texts: Sequence[str], on_place: Callable[[bool], None]
    ) -> list[list[float] | errors.OPEAError]:
        """One bad text must not cost the others their vectors: a refused batch is halved."""
        try:
            return list(await self._ask_for(texts, on_place))
        except errors.InvalidRequestError as error:
            # Where every text is refused, halving would send each of them several times.
            if len(texts) == 1 or not self._splits:
                return [error] * len(texts)
        except errors.OPEAError as error:
            return [error] * len(texts)
        half = len(texts) // 2
        first = await self._split(texts[:half], on_place)
        return first + await self._split(texts[half:], on_place)

    async def _ask_for(
        self, texts: Sequence[str], on_place: Callable[[bool], None]
    ) -> Sequence[list[float]]:
        return (await self._ask_whole(texts, on_place)).embeddings

    async def _ask_whole(
        self, texts: Sequence[str], on_place: Callable[[bool], None]
    ) -> EmbeddingResponse:
        """One answer for several texts."""
        make = self._make()

        def call(batch: list[str]) -> Call:
            made = make(batch)
            made.spec.on_place = on_place
            return made

        whole: EmbeddingResponse = await self._engine.arun_all(
            embed_flow(list(texts), call, self._sizes)
        )
        return whole
