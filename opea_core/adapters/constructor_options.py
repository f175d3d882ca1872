"""The keywords about servers that constructors of adapters take, for checkers and editors.

They say what ``Connection`` reads, names of the core and of OpenAI's SDK included. A class of an
adapter adds its own to them and names the whole beside its constructor; a test compares both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pydantic import SecretStr

from opea_core.header_checks import KeySource
from opea_core.object_options import ServerOptions

if TYPE_CHECKING:
    import httpx
    import httpx2

    from opea_core.events import Hook
    from opea_core.opea import OPEA
    from opea_core.time_limits import Timeout
    from opea_core.transport.http.library import LibraryName


class ConnectionOptions(ServerOptions, total=False):
    """Keywords about servers; times in seconds, None stands for "not given"."""

    client: OPEA | None
    """An object whose queue, limits and connections are shared; instead of the rest."""
    organization: str | None
    default_headers: Mapping[str, str] | None
    default_query: Mapping[str, str] | None
    http_client: httpx.Client | httpx2.Client | None
    http_library: LibraryName | None
    """What own connections are made of; ``aiohttp`` for async calls only."""
    max_response_bytes: int | None
    max_event_bytes: int | None
    hooks: Iterable[Hook]
    """Callables that get every event."""

    # Other names of the same, of the core and of OpenAI's SDK.
    opea_api_key: str | SecretStr | KeySource | None
    request_timeout: Timeout


__all__ = ["ConnectionOptions"]
