"""What ``OPEA`` knows besides its own endpoints: those that were created, and URLs of calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opea_core import errors
from opea_core.bounded_dict import Bounded
from opea_core.config import Endpoint
from opea_core.header_checks import checked_key
from opea_core.object_options import Options
from opea_core.secret_origins import SECRETS, bind, names_servers
from opea_core.settings import resolve, with_labels
from opea_core.urls import SUFFIX, BaseURL, split_endpoint_url, with_user

if TYPE_CHECKING:
    from typing import Unpack

    from opea_core.calls import Call
    from opea_core.engine import Engine
    from opea_core.policy.stats import Recent


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


class EndpointMethods:
    """Endpoints of their own, figures, and the engine behind each."""

    _engine: Engine
    _created: dict[str, Engine]
    _foreign: Bounded[tuple[str, str | None], Engine]

    @property
    def model(self) -> str | None:
        """The model that calls use which name none."""
        raise NotImplementedError

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
        state: breaker, closed_for, max_concurrent (what was set), concurrency_limit (how many go
        out at once now); latency and first_content percentiles in seconds. Raises
        ConfigurationError for an unknown id.
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


def _figures(core: Engine) -> dict[str, Any]:
    """The figures of a created endpoint, which may stand for several."""
    endpoints = core.settings.endpoints
    return core.limiter.stats(endpoints[0].label if len(endpoints) == 1 else None)


def _check_target(call: Call, path: str | None) -> None:
    if call.spec.kind == "document" and path is None:
        raise errors.ConfigurationError(
            "The request data has no messages, prompt or input.",
            "Or give the whole URL of the operation.",
        )
