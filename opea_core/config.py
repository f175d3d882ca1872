"""Configuration as frozen values."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    StrictInt,
    field_validator,
    model_validator,
)

from opea_core.capabilities import Capabilities
from opea_core.display_text import redact_url
from opea_core.errors import ConfigurationError
from opea_core.header_checks import check_header_value, check_headers, check_key
from opea_core.urls import BaseURL, check_encodable, parse_base_url
from opea_core.values import Count, CountOr0, Seconds, SecondsOr0, Value, check_seconds, no_bool

if TYPE_CHECKING:
    pass


class Timeouts(Value):
    """Time limits in seconds; None means no limit."""

    connect: Seconds | None = 5.0
    """Name lookup, connection and TLS."""
    first_event: Seconds | None = 600.0
    """From sending to the first content of a stream, or the first byte of a plain answer."""
    idle: Seconds | None = 120.0
    """Between pieces with content; keep-alives do not count."""
    total: Seconds | None = None
    """The whole call: queue, every attempt, every pause. ``deadline=`` sets it."""

    @classmethod
    def of(cls, value: Any) -> Timeouts:
        """Read a ``timeout=``.

        A number of seconds, (connect, read), None, or an httpx-like object.
        """
        if isinstance(value, Timeouts):
            return value
        if value is None:
            return cls(connect=None, first_event=None, idle=None)
        if isinstance(value, tuple | list):
            if len(value) != 2:
                raise ConfigurationError("A timeout pair is (connect, read) in seconds.")
            connect, read = value
        elif isinstance(value, Mapping):
            return cls.model_validate(dict(value))
        elif hasattr(value, "connect") and hasattr(value, "read"):
            connect, read = value.connect, value.read
        else:
            value = check_seconds("timeout", value)
            connect, read = min(5.0, value), value
        return cls(connect=connect, first_event=read, idle=read)


class RetryPolicy(Value):
    """How often and when a failed call is tried again."""

    max_retries: CountOr0 = 3
    """Attempts after the first, over all endpoints."""
    initial_delay: SecondsOr0 = 1.0
    backoff_factor: Annotated[float, BeforeValidator(no_bool), Field(ge=1, allow_inf_nan=False)] = (
        2.0
    )
    max_delay: SecondsOr0 = 20.0
    jitter: Literal["equal", "full", "none"] = "equal"
    """How much of its delay a pause takes.

    By chance between half and all of it (``equal``), between nothing and all (``full``), or all.
    """
    max_retry_after: SecondsOr0 = 60.0
    """The longest wait a server may ask for; beyond it the call fails over or fails."""


class BreakerPolicy(Value):
    """When an endpoint is left alone for a while."""

    enabled: bool = True
    window: Count = 20
    """How many of the last results count."""
    min_calls: Count = 10
    failure_rate: Annotated[float, BeforeValidator(no_bool), Field(gt=0, le=1)] = 0.5
    connect_failure_threshold: Count = 3
    """So many connection failures in a row open it at once."""
    break_duration: Seconds = 1.0
    """Seconds it stays open."""
    steady: Count = 10
    """So many times in a row; then it doubles, up to ``max_break_duration``."""
    max_break_duration: Seconds = 60.0
    probe_interval: Seconds = 2.0
    """After so long without a verdict another probe is let through."""


class QueuePolicy(Value):
    """How calls wait for a place."""

    max_queued: CountOr0 = 1_000_000
    """Calls that may wait; 0 means never wait. The default only stops a runaway loop."""
    queue_timeout: Seconds | None = None
    """The longest wait for a place; None for no limit."""
    aging: SecondsOr0 = 5.0
    """One step of priority is worth so many seconds of waiting."""
    recovery_wait: SecondsOr0 = 30.0
    """How long a call waits for a failed server to come back; 0 fails at once."""


class RateLimits(Value):
    """What one model may be asked in any 60 seconds."""

    rpm: Count | None = None
    """Requests."""
    tpm: Count | None = None
    """Tokens, of prompts and answers together."""


class Endpoint(Value):
    """One URL with one key: where requests may go."""

    base_url: str = Field(repr=False)
    api_key: Any = Field(default=None, repr=False)
    """A string, or a sync or async function that gives one; None sends no key."""
    model: str | None = None
    label: str = ""
    """The name in errors, events and statistics; host and port if not given."""
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    query: Mapping[str, str] = Field(default_factory=dict, repr=False)
    auth_header: str = "Authorization"
    auth_scheme: str | None = "Bearer"
    api_version: str | None = None
    context_window: Count | None = None
    """Tokens the served model takes; ``discover()`` fills it where the server tells."""
    max_concurrent: Count | None = None
    """The most requests at once.

    None (the default) finds out from the answers how many the server takes.
    """
    rpm: Count | None = None
    """The most requests in any 60 seconds, all models together."""
    tpm: Count | None = None
    """The most tokens in any 60 seconds: reserved before a request, settled by its usage."""
    models: Mapping[str, RateLimits] = Field(default_factory=dict)
    """Limits of single models, beside those of the endpoint: ``{"m": {"rpm": 60}}``."""
    weight: Annotated[float, BeforeValidator(no_bool), Field(gt=0, le=1e6)] = 1.0
    tier: StrictInt = 0
    """Lower tiers are used first."""
    timeouts: Timeouts | None = None
    capabilities: Capabilities = Field(default_factory=Capabilities)
    dialect: Literal["auto", "chat", "responses"] | None = None
    """What chat calls are made in; None as ``capabilities`` say, which begin with ``auto``."""
    adapt: bool = True
    """Whether requests are changed to what the server takes.

    False sends them as they were given.
    """
    verify: bool | str | Path | ssl.SSLContext = Field(default=True, repr=False)
    """True, False, a PEM file or a folder, a context, or ``"system"`` (extra ``[truststore]``)."""
    cert: str | tuple[str, ...] | None = Field(default=None, repr=False)
    proxy: str | None = Field(default=None, repr=False)
    trust_env: bool = True
    """Honour the proxy and CA variables of the environment."""
    append_v1: bool | None = None

    @field_validator("api_key", mode="before")
    @classmethod
    def _key(cls, value: Any) -> Any:
        return check_key(value)

    @field_validator("headers", mode="before")
    @classmethod
    def _headers(cls, value: Any) -> Any:
        return check_headers("headers", value or {})

    @field_validator("capabilities", mode="before")
    @classmethod
    def _capabilities(cls, value: Any) -> Any:
        from opea_core.profiles import read_profile  # it needs Capabilities, which are above

        return read_profile(value)

    @field_validator("timeouts", mode="before")
    @classmethod
    def _timeouts(cls, value: Any) -> Any:
        return None if value is None else Timeouts.of(value)

    @field_validator("proxy", mode="after")
    @classmethod
    def _proxy(cls, value: str | None) -> str | None:
        if value is not None and "://" not in value:
            raise ValueError("must be a URL such as http://proxy:3128")
        check_encodable("proxy", value or "")
        return value

    @field_validator("query", mode="after")
    @classmethod
    def _query(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        check_encodable("query", *value, *value.values())
        return value

    @field_validator("auth_header", mode="after")
    @classmethod
    def _auth_header(cls, value: str) -> str:
        return next(iter(check_headers("auth_header", {value: ""})))

    @field_validator("api_version", mode="after")
    @classmethod
    def _api_version(cls, value: str | None) -> str | None:
        if value is not None:
            check_header_value("api_version", value)
        return value

    @field_validator("auth_scheme", mode="after")
    @classmethod
    def _auth_scheme(cls, value: str | None) -> str | None:
        if value is not None:
            check_header_value("auth_scheme", value)
        return value or None

    @model_validator(mode="after")
    def _base_url(self) -> Endpoint:
        url = self.url
        if url.user is not None and self.api_key is not None:
            raise ConfigurationError(
                f"{url.root}: there is an api_key and a user name in the URL.",
                "Give one of them; both would be the Authorization header.",
            )
        if self.timeouts is not None and self.timeouts.total is not None:
            raise ConfigurationError(
                f"{url.root}: total is a limit on a whole call, over all endpoints.",
                "Set deadline= on OPEA(...) or per call.",
            )
        if not self.label:
            object.__setattr__(self, "label", url.host)
        if self.context_window is None and self.capabilities.context_window is not None:
            object.__setattr__(self, "context_window", self.capabilities.context_window)
        if self.dialect is not None and self.dialect != self.capabilities.dialect:
            known = self.capabilities.replace(dialect=self.dialect)
            object.__setattr__(self, "capabilities", known)
        return self

    @property
    def url(self) -> BaseURL:
        """The parsed base URL."""
        return parse_base_url(self.base_url, self.append_v1)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        yield "base_url", redact_url(self.base_url)
        yield "label", self.label
        yield "api_key", None if self.api_key is None else "***"
        yield "model", self.model
