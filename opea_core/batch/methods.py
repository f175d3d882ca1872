"""What ``OPEA`` does with many requests."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from opea_core.errors import ConfigurationError
from opea_core.lazy_imports import importing

if TYPE_CHECKING:
    from typing import Unpack

    from opea_core.batch.many import AsyncMany, Many
    from opea_core.call_options import ChatManyOptions
    from opea_core.engine import Engine
    from opea_core.types import ChatResponse

Request: TypeAlias = str | Sequence[Mapping[str, Any]] | Mapping[str, Any]
Requests: TypeAlias = Iterable[Request] | AsyncIterable[Request]
_RECOVERY_WAIT = 600.0
"""Seconds that calls of a job wait for a server to come back, where the call does not say."""


class ManyMethods:
    """Many calls at once. Results are values: an error is one, too, and never leaves the loop."""

    _engine: Engine

    def chat_many(
        self, requests: Requests, **options: Unpack[ChatManyOptions]
    ) -> Many[ChatResponse]:
        """Chat completions for many requests, their results in order.

        ``requests``: texts, lists of messages, or dicts (fields of a body, or lines of OpenAI's
        batch files; ``custom_id`` may stand in them), from any iterable, pulled as there is room.
        Options are those of ``chat``; ``max_concurrent`` is the most on their way at once, which is
        found out without it. Each result has ``index``, ``id``, ``request``, ``response`` and
        ``error``. What the iterable raises comes out after what is on its way has ended. Leaving
        the loop cancels what is on its way. Where nothing can work (each of the first requests is
        refused for its key or model, or nothing answers at the address) it ends early, and
        ``stopped`` says why.
        """
        return self._many(requests, options, ordered=True)

    def chat_as_completed(
        self, requests: Requests, **options: Unpack[ChatManyOptions]
    ) -> Many[ChatResponse]:
        """``chat_many`` whose results come as they are there."""
        return self._many(requests, options, ordered=False)

    def achat_many(
        self, requests: Requests, **options: Unpack[ChatManyOptions]
    ) -> AsyncMany[ChatResponse]:
        """``chat_many`` for async code; no ``await`` before ``async for``."""
        return self._maker(requests, options, ordered=True)()

    def achat_as_completed(
        self, requests: Requests, **options: Unpack[ChatManyOptions]
    ) -> AsyncMany[ChatResponse]:
        """``chat_as_completed`` for async code; no ``await`` before ``async for``."""
        return self._maker(requests, options, ordered=False)()

    def _many(
        self, requests: Requests, options: Mapping[str, Any], ordered: bool
    ) -> Many[ChatResponse]:
        if self._engine.drivers.only_sync:
            raise ConfigurationError(
                "Many calls are made in an event loop, and only a sync HTTP client was given.",
                "Give async_http_client= too, so that they go the same way.",
            )
        with importing:
            from opea_core.batch.many import Many

        make = self._maker(requests, options, ordered)
        return Many(make)

    def _maker(
        self, requests: Requests, options: Mapping[str, Any], ordered: bool
    ) -> Callable[[], AsyncMany[ChatResponse]]:
        with importing:
            from opea_core.batch.feed import Feed
            from opea_core.batch.many import AsyncMany
            from opea_core.batch.requests import read_request

        # A job of hours should survive a restart that nobody at a screen would wait for (M6).
        shared = {"recovery_wait": _RECOVERY_WAIT, **options}
        most = shared.pop("max_concurrent", None)
        if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
            raise ConfigurationError(
                "max_concurrent must be a whole number above 0.",
                "Leave it out to find out how many the server takes.",
            )
        core = self._engine

        async def ask(request: Any, on_place: Callable[[bool], None]) -> ChatResponse:
            asked = read_request(request, shared)
            call = core.calls.chat(asked.messages, asked.options, stream=False)
            call.spec.on_place = on_place
            response: ChatResponse = await core.arun(call)
            return response

        feed = Feed(requests)
        return lambda: AsyncMany(feed, ask, ordered, most)
