"""The keywords about servers that constructors of adapters take, for checkers and editors.

They say what ``Connection`` reads, names of the core and of OpenAI's SDK included. A class of an
adapter adds its own to them and names the whole beside its constructor; a test compares both.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from pydantic import SecretStr

from opea_core.capabilities import Capabilities
from opea_core.config import BreakerPolicy, Endpoint, QueuePolicy, RetryPolicy
from opea_core.header_checks import KeySource

if TYPE_CHECKING:
    import httpx
    import httpx2

    from opea_core.events import Hook
    from opea_core.opea import OPEA
    from opea_core.shared.stores import SharedLimits
    from opea_core.time_limits import Timeout
    from opea_core.transport.http.library import LibraryName


class ConnectionOptions(TypedDict, total=False):
    """Keywords about servers; times in seconds, None stands for "not given"."""

    client: OPEA | None
    """An object whose queue, limits and connections are shared; instead of the rest."""
    endpoints: Sequence[str | Mapping[str, Any] | Endpoint] | None
    """Several interchangeable servers instead of one URL."""
    api_key: str | SecretStr | KeySource | None
    """OPEA_API_KEY if not given; ``""`` sends none."""
    api_keys: Sequence[str] | None
    """Several keys for one server."""
    auth_header: str | None
    auth_scheme: str | None
    api_version: str | None
    organization: str | None
    default_headers: Mapping[str, str] | None
    default_query: Mapping[str, str] | None
    append_v1: bool | None
    label: str | None
    """What the endpoint is called in errors, logs and figures."""
    weight: float | None
    tier: int | None
    capabilities: Capabilities | Mapping[str, Any] | None
    dialect: Literal["auto", "chat", "responses"] | None
    """What calls are made in: ``/chat/completions`` or ``/responses``."""
    adapt: bool | None
    """False sends requests as they were given, and learns nothing from refusals."""

    # Time and repetition.
    timeout: Timeout
    """Per attempt, the queue not counted."""
    deadline: float | None
    """Seconds for a whole call: queue, attempts and pauses."""
    max_retries: int | None
    retry: RetryPolicy | Mapping[str, Any] | None
    initial_retry_delay: float | None
    backoff_factor: float | None
    max_delay: float | None
    max_retry_after: float | None
    breaker: BreakerPolicy | Mapping[str, Any] | bool | None

    # How many at once, and who waits.
    shared_limits: str | SharedLimits | None
    """Where limits are kept together with other processes: ``"sqlite:///limits.db"``, ..."""
    rpm: int | None
    """The most requests in any 60 seconds, per endpoint."""
    tpm: int | None
    """The most tokens in any 60 seconds, per endpoint."""
    max_concurrent: int | None
    """The most requests at once; found out if not given."""
    queue: QueuePolicy | Mapping[str, Any] | None
    max_queued: int | None
    queue_timeout: float | None
    recovery_wait: float | None
    """Seconds to wait for a server that is down; 0 fails at once."""

    # How it is sent, and how much is taken.
    http_client: httpx.Client | httpx2.Client | None
    http_library: LibraryName | None
    """What own connections are made of; ``aiohttp`` for async calls only."""
    verify: bool | str | Path | ssl.SSLContext | None
    cert: str | tuple[str, ...] | None
    proxy: str | None
    trust_env: bool | None
    max_response_bytes: int | None
    max_event_bytes: int | None
    hooks: Iterable[Hook]
    """Callables that get every event."""

    # Other names of the same, of the core and of OpenAI's SDK.
    headers: Mapping[str, str] | None
    query: Mapping[str, str] | None
    initial_delay: float | None
    max_concurrent_requests: int | None
    opea_api_key: str | SecretStr | KeySource | None
    queue_size: int | None
    request_timeout: Timeout
    timeouts: Timeout


__all__ = ["ConnectionOptions"]
