"""The keywords about servers that the classes of every adapter take, as fields of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from opea_core.config import Endpoint, Timeouts

PER_CALL = frozenset({"adapt", "timeout", "max_retries", "deadline", "recovery_wait"})
"""With ``client=`` these are options of each call, not of the object."""


def hidden(default: Any = None) -> Any:
    """A field that does not change answers.

    It is not serialised, not part of a cache key, not shown, and not set later.
    """
    return Field(default=default, exclude=True, repr=False, frozen=True)


class ServerFields(BaseModel):
    """How a server is reached, asked and waited for; each means what it means for ``OPEA``."""

    model_config = ConfigDict(  # only subclasses are built, each with defer_build=False
        arbitrary_types_allowed=True,
        populate_by_name=True,
        protected_namespaces=(),
        hide_input_in_errors=True,
        defer_build=True,
    )

    api_key: Any = hidden()
    """A string, a SecretStr, or a sync or async function that gives one.

    OPEA_API_KEY if not given; ``""`` sends none.
    """
    client: Any = hidden()
    """An ``opea_core.OPEA`` object whose queue, limits and connections are shared.

    It is never closed here.
    """
    endpoints: Sequence[str | Mapping[str, Any] | Endpoint] | None = hidden()
    """Several interchangeable servers instead of one URL."""
    timeout: Any = hidden(Timeouts())
    """Seconds per attempt, (connect, read), ``opea_core.Timeouts``, or None for no limit."""
    max_retries: int | None = hidden()
    deadline: float | None = hidden()
    """Seconds for a whole call: queue, attempts and pauses."""
    default_headers: Mapping[str, str] | None = hidden()
    default_query: Mapping[str, str] | None = hidden()
    organization: str | None = hidden()
    proxy: str | None = hidden()
    http_client: Any = hidden()
    http_library: Literal["httpx", "httpx2", "aiohttp"] | None = hidden()
    """What own connections are made of; "aiohttp" for async calls only."""
    verify: Any = hidden()
    cert: Any = hidden()
    trust_env: bool | None = hidden()
    api_keys: Sequence[str] | None = hidden()
    auth_header: str | None = hidden()
    auth_scheme: str | None = hidden("Bearer")
    api_version: str | None = hidden()
    append_v1: bool | None = hidden()
    label: str | None = hidden()
    weight: float | None = hidden()
    tier: int | None = hidden()
    capabilities: Any = hidden()
    dialect: Literal["auto", "chat", "responses"] | None = hidden()
    """What calls are made in; ``auto`` (the default) goes over where the server asks for it."""
    adapt: bool | None = hidden()
    """False sends requests as they were given, and learns nothing from refusals."""
    max_concurrent: int | None = hidden()
    shared_limits: Any = hidden()
    """Where limits are kept together with other processes: ``"sqlite:///limits.db"``, ..."""
    rpm: int | None = hidden()
    """The most requests in any 60 seconds, per endpoint."""
    tpm: int | None = hidden()
    """The most tokens in any 60 seconds, per endpoint."""
    max_queued: int | None = hidden()
    queue_timeout: float | None = hidden()
    recovery_wait: float | None = hidden()
    initial_retry_delay: float | None = hidden()
    backoff_factor: float | None = hidden()
    max_delay: float | None = hidden()
    max_retry_after: float | None = hidden()
    retry: Any = hidden()
    breaker: Any = hidden()
    queue: Any = hidden()
    max_response_bytes: int | None = hidden()
    max_event_bytes: int | None = hidden()
    hooks: Any = hidden(())
