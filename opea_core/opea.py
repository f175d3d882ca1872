"""``OPEA``: the backend a user holds."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from opea_core import errors
from opea_core.argument_checks import check_arguments, check_borrowed
from opea_core.backend import BaseApiBackend
from opea_core.batch.methods import ManyMethods
from opea_core.bounded_dict import Bounded
from opea_core.config import Endpoint
from opea_core.display_text import fit
from opea_core.doctor.methods import DiagnoseMethods
from opea_core.documents import DocumentMethods
from opea_core.header_checks import checked_key
from opea_core.lazy_imports import importing
from opea_core.original_methods import OriginalMethods
from opea_core.responses_methods import ResponsesMethods
from opea_core.secret_origins import SECRETS, bind, names_servers
from opea_core.settings import Options, Settings, resolve, with_labels
from opea_core.urls import DEFAULT_URL, SUFFIX, BaseURL, split_endpoint_url, with_user

if TYPE_CHECKING:
    from typing import Unpack

    import httpx
    import httpx2

    from opea_core import events
    from opea_core.call_options import ChatOptions, CompletionOptions
    from opea_core.calls import Call
    from opea_core.engine import Engine
    from opea_core.flow.embed import Sizes
    from opea_core.policy.stats import Recent
    from opea_core.transport.stream import AsyncChatStream, ChatStream
    from opea_core.types import ChatResponse, Messages

_MAX_FOREIGN = 64
_MOST_LISTED = 10_000
# Fields of an endpoint that are not handed on.
_OWN_FIELDS = frozenset(
    {
        "base_url",
        "api_key",
        "model",
        "label",
        "headers",
        "query",
        "cert",
        "timeouts",
        "context_window",
    }
)


class OPEA(
    DiagnoseMethods, DocumentMethods, ManyMethods, OriginalMethods, ResponsesMethods, BaseApiBackend
):
    """One object that talks to any server speaking OpenAI's chat-completions protocol.

    Build one per program: its queue, limits, breakers and statistics hold for all threads and all
    event loops that use it. Use it as a context manager, or call ``close`` / ``aclose``.

    Args:
        resources: kept for backends that need them; a string is taken as ``base_url``.
        metadata: the original's dict (``opea_api_url``, ``opea_api_key``, ``opea_model`` in either
            spelling; ``timeout`` and ``initial_retry_delay`` in MILLISECONDS there).
        hooks: callables that get every event.
        http_client, async_http_client (or http_async_client), transport, async_transport: your own
            httpx client or transport, used as it is and never closed by us.
            ``async_http_client="aiohttp"`` (extra ``[aiohttp]``) makes our own async connections
            with aiohttp, for thousands of streams in one process.
        options: see ``Options`` for every keyword; times are in SECONDS. Keywords win over
            metadata, over the environment (OPEA_API_URL, OPEA_API_KEY, OPEA_MODEL, OPEA_TIMEOUT in
            seconds), over the defaults.

    Raises:
        ConfigurationError: at once, for anything that can never work; nothing is sent.
    """

    def __init__(
        self,
        resources: Mapping[str, Any] | str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        hooks: Iterable[events.Hook] = (),
        http_client: httpx.Client | httpx2.Client | None = None,
        async_http_client: httpx.AsyncClient
        | httpx2.AsyncClient
        | Literal["aiohttp"]
        | None = None,
        http_async_client: httpx.AsyncClient
        | httpx2.AsyncClient
        | Literal["aiohttp"]
        | None = None,
        transport: httpx.BaseTransport | httpx2.BaseTransport | None = None,
        async_transport: httpx.AsyncBaseTransport | httpx2.AsyncBaseTransport | None = None,
        **options: Unpack[Options],
    ) -> None:
        hooks = tuple(hooks) if isinstance(hooks, Iterable) else hooks
        given: dict[str, Any] = dict(options)
        check_arguments(resources, metadata, hooks)
        if isinstance(resources, str):
            if "base_url" in given:
                raise errors.ConfigurationError(
                    "The first argument and base_url= both give the URL; give one of them."
                )
            given["base_url"], resources = resources, None
        super().__init__(resources, metadata)
        borrowed = {
            "http_client": http_client,
            "async_http_client": async_http_client or http_async_client,
            "transport": transport,
            "async_transport": async_transport,
        }
        check_borrowed(borrowed, given)
        self._borrowed: dict[str, Any] = {
            name: value for name, value in borrowed.items() if value is not None
        }
        self._setup(resolve(self.metadata, given, os.environ), hooks)

    def _setup(self, settings: Settings, hooks: tuple[events.Hook, ...]) -> None:
        with importing:
            # With the first object: most of the import is this and the HTTP client.
            from opea_core import events, log
            from opea_core.engine import Drivers, Engine

        log.attach_from_env()
        drivers = Drivers(
            **self._borrowed, origins=[endpoint.url.origin for endpoint in settings.endpoints]
        )
        self._engine = Engine(settings, events.Emitter(hooks, log.LogHook()), drivers)
        self._created: dict[str, Engine] = {}
        self._foreign: Bounded[tuple[str, str | None], Engine] = Bounded(_MAX_FOREIGN)
        self._listed: Bounded[str, None] = Bounded(_MOST_LISTED)
        self._batches: Bounded[str, Sizes] = Bounded(_MAX_FOREIGN)

    # --- chat and completions

    def chat(self, messages: Messages | str, **options: Unpack[ChatOptions]) -> ChatResponse:
        """One chat completion.

        ``messages`` is a list of message dicts, or one string as the user's message. Options go
        into the body as they are (``model``, ``temperature``, ``tools``, ``response_format``, ``n``
        ...), except the reserved ones: ``timeout``, ``deadline``, ``max_retries``, ``priority``,
        ``request_id``, ``endpoint``, ``recovery_wait``, ``extra_headers``, ``extra_query``,
        ``extra_body``. Raises an OPEAError.
        """
        response: ChatResponse = self._engine.run(
            self._engine.calls.chat(messages, options, stream=False)
        )
        return response

    async def achat(self, messages: Messages | str, **options: Unpack[ChatOptions]) -> ChatResponse:
        """``chat`` for async code."""
        response: ChatResponse = await self._engine.arun(
            self._engine.calls.chat(messages, options, stream=False)
        )
        return response

    def stream_chat(self, messages: Messages | str, **options: Unpack[ChatOptions]) -> ChatStream:
        """One chat completion in chunks; the request goes out at the first ``next`` or ``with``."""
        return self._engine.stream(self._engine.calls.chat(messages, options, stream=True))

    def astream_chat(
        self, messages: Messages | str, **options: Unpack[ChatOptions]
    ) -> AsyncChatStream:
        """``stream_chat`` for async code; no ``await`` before ``async for``."""
        return self._engine.astream(self._engine.calls.chat(messages, options, stream=True))

    def complete(
        self, prompt: str | list[Any], **options: Unpack[CompletionOptions]
    ) -> ChatResponse:
        """One legacy completion of a prompt (``/completions``); the text is ``response.text``."""
        response: ChatResponse = self._engine.run(
            self._engine.calls.completion(prompt, options, stream=False)
        )
        return response

    async def acomplete(
        self, prompt: str | list[Any], **options: Unpack[CompletionOptions]
    ) -> ChatResponse:
        """``complete`` for async code."""
        response: ChatResponse = await self._engine.arun(
            self._engine.calls.completion(prompt, options, stream=False)
        )
        return response

    def stream_complete(
        self, prompt: str | list[Any], **options: Unpack[CompletionOptions]
    ) -> ChatStream:
        """One legacy completion in chunks."""
        return self._engine.stream(self._engine.calls.completion(prompt, options, stream=True))

    def astream_complete(
        self, prompt: str | list[Any], **options: Unpack[CompletionOptions]
    ) -> AsyncChatStream:
        """``stream_complete`` for async code."""
        return self._engine.astream(self._engine.calls.completion(prompt, options, stream=True))

    # --- models

    @property
    def model(self) -> str | None:
        """The model that calls use which name none.

        None if none was given and none was discovered.
        """
        settings = self._engine.settings
        return settings.endpoints[0].model or (settings.model if settings.model_given else None)

    @property
    def context_window(self) -> int | None:
        """Tokens every endpoint takes, as far as it was set or discovered."""
        return min(
            (e.context_window for e in self.endpoints if e.context_window is not None), default=None
        )

    def is_compatible_model(self, model: str) -> bool:
        """Whether the name has a known prefix, is configured, or was listed by the server."""
        if not isinstance(model, str) or not model:
            return False
        settings = self._engine.settings
        configured = {e.model for e in settings.endpoints} | (
            {settings.model} if settings.model_given else set()
        )
        return (
            model.lower().startswith(settings.compatible_prefixes)
            or model in configured
            or model in self._listed
        )

    # --- other endpoints

    def create_endpoint(self, **options: Unpack[Options]) -> str:
        """An endpoint with its own URL, key, model, limits and statistics.

        Gives its id (``endpoint_1``).

        Takes the keywords of ``OPEA(...)``; what is not given is as this object has it, except the
        key and headers, which go only to a URL of the same origin.
        """
        given: dict[str, Any] = dict(options)
        ours = self._engine.settings
        base = ours.endpoints[0]
        shared = (
            "retry",
            "breaker",
            "queue",
            "model",
            "timeouts",
            "max_response_bytes",
            "max_event_bytes",
            "compatible_prefixes",
        )
        defaults: dict[str, Any] = {
            name: getattr(base, name) for name in Endpoint.model_fields if name not in _OWN_FIELDS
        }
        defaults |= {name: getattr(ours, name) for name in shared}
        if "timeout" in given or "deadline" in given:
            del defaults["timeouts"]
        if self.model:
            defaults["model"] = self.model
        elif ours.asks_for_model:
            del defaults["model"]
        if "max_concurrent_requests" in given:
            del defaults["max_concurrent"]
        if not names_servers(given):
            defaults["base_url"] = base.base_url
        secrets = {
            name: getattr(base, name)
            for name in Endpoint.model_fields
            if name in SECRETS and name not in given
        }
        if "api_keys" in given:
            secrets.pop("api_key", None)
        settings = resolve(
            None,
            bind(defaults | secrets | given, dict.fromkeys(secrets, frozenset({base.url.origin}))),
            {},
        )
        name = f"endpoint_{len(self._created) + 1}"
        self._created[name] = self._engine.derived(settings)
        return name

    def endpoint_ids(self) -> list[str]:
        """Every id that ``get_stats`` and ``make_request_with_endpoint`` take."""
        return [*(e.label for e in self._engine.limiter.endpoints), *self._created]

    def get_stats(self, endpoint_id: str | None = None) -> dict[str, Any]:
        """Figures of one endpoint, or of the whole object.

        The endpoint is its label, or an id of ``create_endpoint``.

        Counts: requests, success, errors, errors_by_class, retries, in_flight, queued, tokens;
        state: breaker, gated_for, max_concurrent (what was set), concurrency_limit (how many go out
        at once now); latency and first_content percentiles in seconds. Raises ConfigurationError
        for an unknown id.
        """
        if endpoint_id is None:
            figures = self._engine.limiter.stats()
            figures["endpoints"] |= {name: _figures(core) for name, core in self._created.items()}
            return figures
        if isinstance(endpoint_id, str) and endpoint_id in self._created:
            return _figures(self._created[endpoint_id])
        self._check_id(endpoint_id)
        return self._engine.limiter.stats(endpoint_id)

    def recent_requests(self) -> list[Recent]:
        """The last finished calls (at most 256 per endpoint).

        Request id, endpoint, seconds, status, attempts.
        """
        return [
            recent
            for core in (self._engine, *self._created.values(), *self._foreign.values())
            for recent in core.limiter.recent()
        ]

    def _engine_of(self, endpoint_id: str) -> Engine:
        if isinstance(endpoint_id, str) and endpoint_id in self._created:
            return self._created[endpoint_id]
        self._check_id(endpoint_id)
        return self._engine

    def _check_id(self, endpoint_id: str) -> None:
        known = self.endpoint_ids()
        if not isinstance(endpoint_id, str) or endpoint_id not in known:
            raise errors.ConfigurationError(
                f"There is no endpoint {endpoint_id!r}.{errors.nearest(str(endpoint_id), known)}",
                f"There are: {', '.join(known)}.",
            )

    def _at_url(
        self, url: str | None, make: Any, api_key: str | None = None
    ) -> tuple[Engine, Call]:
        """The core and the call for an endpoint URL.

        Ours where the origin is ours, else one without our key.
        """
        if url is None:
            call: Call = make(self._engine)
            _check_target(call, None)
            call.spec.key = checked_key(api_key)
            servers = {
                e.url.origin for e in self._engine.pinned(call) or self._engine.limiter.endpoints
            }
            if call.spec.key is not None and len(servers) > 1:
                raise errors.ConfigurationError(
                    "api_key= of a call does not say for which of several servers.",
                    "Name the server with endpoint= or give its URL.",
                )
            return self._engine, call
        base, path = split_endpoint_url(url)
        api_key = checked_key(api_key)
        ours = (
            ()
            if base.user is not None
            else tuple(
                e.label for e in self._engine.limiter.endpoints if e.url.origin == base.origin
            )
        )
        core = self._engine if ours else self._foreign_engine(base, api_key)
        call = make(core)
        call.spec.key = api_key
        repeated = {
            name: [value for other, value in base.query if other == name] for name, _ in base.query
        }
        call.spec.query = {**repeated, **call.spec.query}
        _check_target(call, path)
        call.spec.path = path or base.path + SUFFIX[call.spec.kind]
        call.endpoint = ours or None
        return core, call

    def _foreign_engine(self, url: BaseURL, api_key: str | None) -> Engine:
        """The core for another server, or for another user there; those used last are kept."""
        key = (with_user(url), api_key)
        core = self._foreign.get(key)
        if core is None:
            base = self._engine.settings.endpoints[0]
            endpoint = Endpoint(
                base_url=key[0],
                api_key=api_key,
                max_concurrent=base.max_concurrent,
                verify=base.verify,
                proxy=base.proxy,
                trust_env=base.trust_env,
            )
            core = self._engine.derived(
                self._engine.settings.replace(
                    endpoints=with_labels([endpoint]), asks_for_model=False
                )
            )
        self._foreign[key] = core
        return core

    # --- the object itself

    def _lend_client_to(self, name: str, origins: Iterable[str]) -> None:
        """Say for which origins the HTTP client of this name was lent, in place of its own."""
        drivers = self._engine.drivers
        (drivers.async_lent if name == "async_http_client" else drivers.lent).to(origins)

    def add_hook(self, hook: events.Hook) -> None:
        """Tell this callable every event from now on."""
        if not callable(hook):
            raise errors.ConfigurationError("A hook is a callable that takes one event.")
        self._engine.emitter.hooks = (*self._engine.emitter.hooks, hook)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The configured endpoints."""
        return self._engine.settings.endpoints

    @property
    def settings(self) -> Settings:
        """Everything this object was made of."""
        return self._engine.settings

    def close(self) -> None:
        """End everything: waiting and running calls and open streams get ClientClosed.

        Twice does nothing more.
        """
        self._engine.drivers.close()

    async def aclose(self) -> None:
        """The same; closes the connections of the running loop gracefully."""
        await self._engine.drivers.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        labels = ", ".join(e.label for e in self._engine.settings.endpoints)
        return f"OPEA({labels}; model={fit(self.model or self._engine.settings.model, 200)!r})"

    def __copy__(self) -> OPEA:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> OPEA:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        parts = {
            **self._borrowed,
            "hooks": self._engine.emitter.hooks,
            "api_key": [e.api_key for e in self.endpoints],
            "verify": [e.verify for e in self.endpoints],
        }
        for name, value in parts.items():
            try:
                pickle.dumps(value)
            except Exception as error:  # noqa: BLE001 - pickle raises whatever the object raises
                raise errors.ConfigurationError(
                    f"This OPEA object cannot be pickled because of {name}="
                    f" ({type(error).__name__}).",
                    "Use something a worker process can rebuild.",
                ) from None
        return _restore, (
            type(self),
            self.settings,
            self._engine.emitter.hooks,
            self._borrowed,
            self.resources,
            self.metadata,
        )


def _figures(core: Engine) -> dict[str, Any]:
    """The figures of a created endpoint, which may stand for several."""
    endpoints = core.settings.endpoints
    return core.limiter.stats(endpoints[0].label if len(endpoints) == 1 else None)


def _restore(
    cls: type[OPEA],
    settings: Settings,
    hooks: tuple[events.Hook, ...],
    borrowed: dict[str, Any],
    resources: Any,
    metadata: Any,
) -> OPEA:
    opea = cls.__new__(cls)
    BaseApiBackend.__init__(opea, resources, metadata)
    opea._borrowed = borrowed
    opea._setup(settings, hooks)
    return opea


def _check_target(call: Call, path: str | None) -> None:
    if call.spec.kind == "document" and path is None:
        raise errors.ConfigurationError(
            "The request data has no messages, prompt or input.",
            "Or give the whole URL of the operation.",
        )


__all__ = ["DEFAULT_URL", "OPEA"]
