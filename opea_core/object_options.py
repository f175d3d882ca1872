"""The keywords of ``OPEA(...)``, and those that adapters share, for checkers and editors."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from pydantic import SecretStr

from opea_core.capabilities import Capabilities
from opea_core.config import BreakerPolicy, Endpoint, QueuePolicy, RateLimits, RetryPolicy
from opea_core.header_checks import KeySource
from opea_core.time_limits import Timeout

if TYPE_CHECKING:
    from opea_core.shared.stores import SharedLimits


class ServerOptions(TypedDict, total=False):
    """What ``OPEA`` and the classes of every adapter take about servers; times in seconds.

    None stands for "not given", except where it says what it means.
    """

    # Time and repetition.
    timeout: Timeout
    """Per attempt, the queue not counted; None for no limit."""
    timeouts: Timeout
    deadline: float | None
    """For a whole call: queue, attempts and pauses."""
    retry: RetryPolicy | Mapping[str, Any] | None
    max_retries: int | None
    initial_retry_delay: float | None
    initial_delay: float | None
    backoff_factor: float | None
    max_delay: float | None
    max_retry_after: float | None
    breaker: BreakerPolicy | Mapping[str, Any] | bool | None

    # Where to send, and with what.
    endpoints: Sequence[str | Mapping[str, Any] | Endpoint] | None
    """Several interchangeable servers instead of one URL."""
    api_key: str | SecretStr | KeySource | None
    """OPEA_API_KEY if not given; ``""`` sends none."""
    api_keys: Sequence[str] | None
    """Several keys for one server."""
    label: str | None
    """What the endpoint is called in errors, logs and figures."""
    headers: Mapping[str, str] | None
    query: Mapping[str, str] | None
    auth_header: str | None
    auth_scheme: str | None
    """None sends the key alone."""
    api_version: str | None
    append_v1: bool | None
    weight: float | None
    tier: int | None
    capabilities: Capabilities | Mapping[str, Any] | str | Path | Sequence[Any] | None
    """What is known of the server: a profile, its fields, its file, or several of these."""
    dialect: Literal["auto", "chat", "responses"] | None
    """What chat calls are made in: ``/chat/completions`` or ``/responses``.

    ``auto`` (the default) begins with chat and goes over where the server's words ask for it.
    """
    adapt: bool | None
    """False sends requests as they were given, and learns nothing from refusals."""

    # How many at once, and who waits.
    max_concurrent: int | None
    """The most requests at once; found out if not given."""
    max_concurrent_requests: int | None
    rpm: int | None
    """The most requests in any 60 seconds, per endpoint."""
    tpm: int | None
    """The most tokens in any 60 seconds, per endpoint."""
    shared_limits: str | SharedLimits | None
    """Limits kept together with other processes: ``"sqlite:///limits.db"`` (one host) or
    ``"redis://host:6379/0"`` (several)."""
    queue: QueuePolicy | Mapping[str, Any] | None
    max_queued: int | None
    queue_size: int | None
    queue_timeout: float | None
    """None for no limit."""
    recovery_wait: float | None
    """For a server that is down; 0 fails at once."""

    # How it is sent.
    verify: bool | str | Path | ssl.SSLContext | None
    cert: str | tuple[str, ...] | None
    proxy: str | None
    trust_env: bool | None


class Options(ServerOptions, total=False):
    """Every keyword of ``OPEA(...)`` that configures it; times in seconds."""

    base_url: str | None
    model: str | None
    models: Mapping[str, RateLimits | Mapping[str, int]] | None
    """Limits of single models: ``{"m": {"rpm": 60, "tpm": 100_000}}``."""
    context_window: int | None
    max_response_bytes: int
    max_event_bytes: int
    compatible_prefixes: tuple[str, ...]


OPTIONS = frozenset(Options.__annotations__)
