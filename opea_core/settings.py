"""How keyword options, metadata, environment and defaults become one ``Settings``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from opea_core.config import BreakerPolicy, Endpoint, QueuePolicy, RetryPolicy, Timeouts
from opea_core.errors import ConfigurationError, nearest
from opea_core.object_options import OPTIONS
from opea_core.secret_origins import bind, names_servers, origins
from opea_core.urls import DEFAULT_URL
from opea_core.values import Count, Value, check_seconds

DEFAULT_MODEL = "gpt-3.5-turbo"
DEFAULT_PREFIXES = ("gpt-", "text-", "claude-", "llama-", "mistral-", "mixtral-")


class Settings(Value):
    """Everything an OPEA object is made of, resolved."""

    endpoints: tuple[Endpoint, ...]
    model: str = DEFAULT_MODEL
    model_given: bool = False
    asks_for_model: bool = False
    """Whether servers are asked which model they have where a call names none."""
    timeouts: Timeouts = Field(default_factory=Timeouts)
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    breaker: BreakerPolicy = Field(default_factory=BreakerPolicy)
    queue: QueuePolicy = Field(default_factory=QueuePolicy)
    max_response_bytes: Count = 128 * 1024 * 1024
    max_event_bytes: Count = 16 * 1024 * 1024
    compatible_prefixes: tuple[str, ...] = DEFAULT_PREFIXES
    shared_limits: Any = Field(default=None, repr=False)
    """Where several processes keep their limits together (``SQLiteLimits``, ``RedisLimits``)."""

    @field_validator("shared_limits", mode="before")
    @classmethod
    def _shared(cls, value: Any) -> Any:
        if value is None:
            return None
        from opea_core.shared.stores import shared_limits

        return shared_limits(value)


_METADATA = {
    "opea_api_url": "base_url",
    "opea_api_key": "api_key",
    "opea_model": "model",
    "timeout": "timeout",
    "max_retries": "max_retries",
    "initial_retry_delay": "initial_retry_delay",
    "backoff_factor": "backoff_factor",
    "max_concurrent_requests": "max_concurrent",
    "queue_size": "max_queued",
}
# Options that replace a metadata key.
_SAME_AS = {"timeout": "timeouts", "base_url": "endpoints", "api_key": "api_keys"}
_MILLISECONDS = ("timeout", "initial_retry_delay")
_ALIASES = {
    "max_concurrent_requests": "max_concurrent",
    "queue_size": "max_queued",
    "initial_delay": "initial_retry_delay",
}
_POLICY_OPTIONS = {
    "max_retries": ("retry", "max_retries"),
    "initial_retry_delay": ("retry", "initial_delay"),
    "backoff_factor": ("retry", "backoff_factor"),
    "max_delay": ("retry", "max_delay"),
    "max_retry_after": ("retry", "max_retry_after"),
    "max_queued": ("queue", "max_queued"),
    "queue_timeout": ("queue", "queue_timeout"),
    "recovery_wait": ("queue", "recovery_wait"),
}
_ENDPOINT_OPTIONS = frozenset(Endpoint.model_fields) - {"timeouts"}
_PLAIN_OPTIONS = (
    "max_response_bytes",
    "max_event_bytes",
    "compatible_prefixes",
    "shared_limits",
)


def resolve(
    metadata: Mapping[str, Any] | None, options: Mapping[str, Any], environ: Mapping[str, str]
) -> Settings:
    """Settings from keyword options, over metadata, over environment, over the defaults.

    Raises ConfigurationError for an unknown option (naming the nearest) or a value that makes
    no sense.
    """
    given = _unalias(options)
    below = _from_metadata(metadata or {})
    taken = {
        name: value
        for name, value in below.items()
        if name not in given and _SAME_AS.get(name) not in given
    }
    given |= taken
    if names_servers(below):
        given = bind(given, dict.fromkeys(taken, origins(below)))
    unknown = next((name for name in given if name not in OPTIONS), None)
    if unknown is not None:
        raise ConfigurationError(f"There is no option {unknown!r}.{_suggestion(unknown)}")
    model = given.get("model") or environ.get("OPEA_MODEL")
    if "timeout" not in given and environ.get("OPEA_TIMEOUT"):
        given["timeout"] = _env_seconds(environ["OPEA_TIMEOUT"])
    values: dict[str, Any] = {name: given[name] for name in _PLAIN_OPTIONS if name in given}
    return Settings(
        endpoints=_endpoints(given, environ),
        model=model or DEFAULT_MODEL,
        model_given=bool(model),
        asks_for_model=not model and not below,  # the original's metadata has the original's model
        timeouts=_timeouts(given),
        **_policies(given),
        **values,
    )


_ELSEWHERE = {
    "api_base": "base_url",
    "default_headers": "headers",
    "default_query": "query",
    "hook": "hooks",
    "url": "base_url",
    "opea_api_url": "metadata={'opea_api_url': ...}",
    "opea_api_key": "metadata={'opea_api_key': ...}",
}
_PER_CALL = frozenset(
    {
        "temperature",
        "max_tokens",
        "top_p",
        "stop",
        "tools",
        "seed",
        "n",
        "stream",
        "messages",
        "response_format",
    }
)
_OTHER_KEYWORDS = (
    "hooks",
    "http_client",
    "http_library",
    "async_http_client",
    "transport",
    "async_transport",
    "resources",
    "metadata",
)


def _suggestion(name: str) -> str:
    if name in _ELSEWHERE:
        return f" Did you mean {_ELSEWHERE[name]!r}?"
    if name in _PER_CALL:
        return f" Pass it per call: chat(..., {name}=...)."
    return nearest(name, {*OPTIONS, *_OTHER_KEYWORDS})


def _from_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as the original takes it.

    Either spelling, times in milliseconds, keys of other backends ignored.
    """
    found: dict[str, Any] = {}
    for key, value in named("metadata", metadata).items():
        name = "".join("_" + c.lower() if c.isupper() else c for c in key)
        if name not in _METADATA:
            if not name.startswith("opea") and name.endswith(("_api_key", "_api_url", "_model")):
                continue  # belongs to another backend: metadata is shared between them
            raise ConfigurationError(f"There is no metadata key {key!r}.{nearest(name, _METADATA)}")
        if value is None:
            continue
        if name in _MILLISECONDS:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigurationError(f"metadata {key!r} must be a number of milliseconds.")
            value = value / 1000
        found[_METADATA[name]] = value
    return found


def _unalias(options: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in options.items():
        name = _ALIASES.get(key, key)
        if name in found:
            raise ConfigurationError(f"{key!r} is another name of {name!r}; give one of them.")
        found[name] = value
    return found


def named(what: str, options: Mapping[Any, Any]) -> Mapping[str, Any]:
    """The options, or ConfigurationError if one has no name."""
    odd = next((key for key in options if not isinstance(key, str)), None)
    if odd is not None:
        raise ConfigurationError(f"{what} has the key {odd!r}, which is no name of an option.")
    return options


def _env_seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 < value < math.inf):
        raise ConfigurationError("OPEA_TIMEOUT must be a number of seconds above 0.")
    return value


def _timeouts(given: Mapping[str, Any]) -> Timeouts:
    if "timeout" in given and "timeouts" in given:
        raise ConfigurationError("timeout= and timeouts= say the same; give one of them.")
    timeouts = Timeouts()
    if "timeout" in given:
        timeouts = Timeouts.of(given["timeout"])
    elif given.get("timeouts") is not None:
        timeouts = Timeouts.of(given["timeouts"])
    if given.get("deadline") is not None:
        timeouts = timeouts.replace(total=check_seconds("deadline", given["deadline"]))
    return timeouts


def _policies(given: Mapping[str, Any]) -> dict[str, Any]:
    policies: dict[str, Any] = {
        "retry": RetryPolicy(),
        "queue": QueuePolicy(),
        "breaker": BreakerPolicy(),
    }
    for name, cls in (("retry", RetryPolicy), ("queue", QueuePolicy), ("breaker", BreakerPolicy)):
        value = given.get(name)
        if name == "breaker" and value is False:
            value = BreakerPolicy(enabled=False)
        if isinstance(value, Mapping):
            value = cls(**named(name, value))
        if value is not None:
            if not isinstance(value, cls):
                raise ConfigurationError(f"{name}= takes a {cls.__name__}.")
            policies[name] = value
    for option, (policy, field_name) in _POLICY_OPTIONS.items():
        if option in given and (given[option] is not None or field_name == "queue_timeout"):
            policies[policy] = policies[policy].replace(**{field_name: given[option]})
    return policies


def _endpoints(given: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[Endpoint, ...]:
    shared = {
        name: given[name]
        for name in _ENDPOINT_OPTIONS
        if name in given and (given[name] is not None or name == "auth_scheme")
    }
    specs, keys = given.get("endpoints"), given.get("api_keys")
    if keys is not None and ("api_key" in shared or not _is_list(keys)):
        raise ConfigurationError("api_keys= takes a list of keys, and no api_key= beside it.")
    if specs is None:
        found = [
            _default_endpoint(shared, environ, wants_key="api_key" not in given and keys is None)
        ]
    elif "base_url" in shared:
        raise ConfigurationError(
            "base_url= and endpoints= both say where to send; give one of them."
        )
    elif not _is_list(specs):
        raise ConfigurationError(
            "endpoints= takes a list of URLs, dicts or Endpoint objects, at least one."
        )
    else:
        found = [_endpoint(spec, shared) for spec in specs]
    if keys is not None:
        found = [endpoint.replace(api_key=key) for endpoint in found for key in keys]
    return with_labels(found)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) > 0


def _default_endpoint(
    shared: dict[str, Any], environ: Mapping[str, str], wants_key: bool
) -> Endpoint:
    """The one endpoint when none are listed; only here the environment's URL and key count."""
    shared.setdefault("base_url", environ.get("OPEA_API_URL") or DEFAULT_URL)
    if wants_key and environ.get("OPEA_API_KEY"):
        shared["api_key"] = environ["OPEA_API_KEY"]
    return Endpoint(**shared)


def _endpoint(spec: Any, shared: Mapping[str, Any]) -> Endpoint:
    if isinstance(spec, Endpoint):
        missing = {
            name: value for name, value in shared.items() if name not in spec.model_fields_set
        }
        return spec.replace(**missing) if missing else spec
    if isinstance(spec, str):
        spec = {"base_url": spec}
    if not isinstance(spec, Mapping):
        raise ConfigurationError("An endpoint is a URL, a dict or an Endpoint object.")
    own = _unalias(spec)
    if "timeout" in own:
        own["timeouts"] = Timeouts.of(own.pop("timeout"))
    return Endpoint(**{**shared, **own})


def with_labels(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Endpoints with api_version in the query and labels that are all different."""
    labelled: list[Endpoint] = []
    taken: set[str] = set()
    for endpoint in endpoints:
        label, count = endpoint.label, 1
        while label in taken:
            count += 1
            label = f"{endpoint.label}#{count}"
        taken.add(label)
        labelled.append(endpoint if label == endpoint.label else endpoint.replace(label=label))
    return tuple(labelled)
