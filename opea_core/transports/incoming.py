"""What another HTTP client wants to send: whether it is a call of the protocol, and which. No I/O.

The body and the harmless headers go out as they are. Where it goes and with which key is the
business of the endpoint that serves it, so the caller's URL, key, cookies and account are left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from opea_core.calls import Call, Kind
from opea_core.config import Endpoint, Timeouts
from opea_core.flow.effects import CallSpec
from opea_core.header_checks import NOT_YOURS
from opea_core.policy import SECOND
from opea_core.settings import Settings
from opea_core.transports.credentials import is_credential, names_credential
from opea_core.types import Json
from opea_core.wire import jsontext
from opea_core.wire.raw_reader import RawCall, RawHeaders

_POSTED: Mapping[str, Kind] = {
    "/chat/completions": "chat",
    "/completions": "completion",
    "/embeddings": "embeddings",
    "/rerank": "rerank",
    "/responses": "document",
}
_GOT: Mapping[str, Kind] = {"/models": "models"}
_BASE = re.compile(r"^.*?/(?:v\d[\w.-]*|openai(?:/v\d[\w.-]*|/deployments/[^/]+)?)(?=/)")
"""The base path of a caller's URL: up to the first /v1, or what Azure has in front."""
_REPLACED = frozenset({"accept-encoding", "host"})
_HARMLESS = frozenset({"accept", "accept-language", "content-type", "user-agent", "x-request-id"})
_PASSED = frozenset({"accept-encoding", "content-length", "transfer-encoding"})
"""What frames a body that is passed on as it comes, and how its answer may be packed."""
_SDK = "x-stainless-"
"""What the headers of SDKs begin with that read ``x-should-retry``."""
_SDK_DEFAULT = (5.0, 600.0)
"""Connect and read of an SDK that was told nothing: no wish of anybody's."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as it came; ``headers`` has lower-case names."""

    method: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    timeout: Mapping[str, float | None]
    kind: Kind | None
    """Which call of the protocol it is; None for anything else (files, audio)."""
    suffix: str
    """What stands behind the base of its URL."""

    @classmethod
    def of(cls, method: str, target: bytes, raw: RawHeaders, timeout: Any) -> Incoming:
        """From the request line and the headers as they would be written."""
        path, _, query = target.decode("ascii", "replace").partition("?")
        headers: dict[str, str] = {}
        for name, value in raw:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        kind, suffix = _operation(method, path)
        parsed = parse_qsl(query, keep_blank_values=True) if query else ()
        return cls(method, parsed, headers, timeout or {}, kind, suffix)

    @property
    def from_sdk(self) -> bool:
        """Whether an SDK sent it that leaves an answer alone which says so."""
        return any(name.startswith(_SDK) for name in self.headers)


@lru_cache(maxsize=256)
def _operation(method: str, path: str) -> tuple[Kind | None, str]:
    """The call of the protocol that a path ends like, and what stands behind the base URL."""
    known: Mapping[str, Kind] = {"POST": _POSTED, "GET": _GOT}.get(method, {})
    end = path.rstrip("/")
    found = next((suffix for suffix in known if end.endswith(suffix)), None)
    return (None, _BASE.sub("", path, count=1)) if found is None else (known[found], found)


@dataclass(frozen=True, slots=True)
class OwnNames:
    """Headers (lower-case) and query values that endpoints have of their own, and that win."""

    headers: frozenset[str]
    query: frozenset[str]

    @classmethod
    def of(cls, endpoints: Sequence[Endpoint]) -> OwnNames:
        """Those of any of the endpoints: one that fails over has no other's, nor the caller's."""
        headers = {name.lower() for endpoint in endpoints for name in endpoint.headers}
        headers |= {endpoint.auth_header.lower() for endpoint in endpoints}
        query = {name for endpoint in endpoints for name, _ in endpoint.url.query}
        query |= {name for endpoint in endpoints for name in endpoint.query}
        query |= {"api-version"} if any(endpoint.api_version for endpoint in endpoints) else set()
        return cls(frozenset(headers), frozenset(query))


def call_of(
    incoming: Incoming, content: bytes, settings: Settings, own: OwnNames, call_id: str, now: int
) -> Call:
    """The call of a request of the protocol. Raises ConfigurationError for impossible limits."""
    kind = incoming.kind
    assert kind is not None
    body = _read(content) if kind != "models" else {}
    spec = _spec(incoming, kind, content, settings, own, call_id)
    # Not sent, but read by limits of tokens and by what tells how many choices were asked for.
    spec.body = body
    spec.stream = body.get("stream") is True and kind in ("chat", "completion", "document")
    spec.timeouts = _timeouts(incoming.timeout)
    total = settings.timeouts.total
    if total is not None:
        spec.deadline_seconds, spec.deadline = total, now + int(total * SECOND)
    return Call(spec)


def passed_on(incoming: Incoming, settings: Settings, own: OwnNames, call_id: str) -> CallSpec:
    """A request that is no call of the protocol, as the first endpoint gets it."""
    return _spec(incoming, "document", b"", settings, own, call_id, kept=_PASSED)


def _spec(
    incoming: Incoming,
    kind: Kind,
    content: bytes,
    settings: Settings,
    own: OwnNames,
    call_id: str,
    kept: Collection[str] = (),
) -> CallSpec:
    harmless, others = _headers(incoming.headers, own, kept)
    events: Any = "responses" if incoming.suffix == "/responses" else "chat"
    return CallSpec(
        kind,
        {},
        False,
        None,
        settings.retry,
        call_id,
        incoming.headers.get("x-request-id") or call_id,
        method=incoming.method,
        headers=others,
        query=_query(incoming.query, own),
        recovery_wait=settings.queue.recovery_wait,
        adapt=False,
        raw=RawCall(content, incoming.suffix, harmless, events),
    )


def _headers(
    given: Mapping[str, str], own: OwnNames, kept: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The headers that say nothing secret, and the others."""
    harmless: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, value in given.items():
        if name in own.headers:
            continue
        if name in _HARMLESS or name in kept or name.startswith(_SDK):
            harmless[name] = value
        elif not (name in NOT_YOURS or name in _REPLACED or is_credential(name, value)):
            others[name] = value
    return harmless, others


def _query(given: Sequence[tuple[str, str]], own: OwnNames) -> dict[str, list[str]]:
    """The query without keys."""
    query: dict[str, list[str]] = {}
    for name, value in given:
        if name not in own.query and not names_credential(name):
            query.setdefault(name, []).append(value)
    return query


def _read(content: bytes) -> Json:
    """The body if it is a JSON object; else the server says what is wrong with it."""
    try:
        body = jsontext.decode(content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _timeouts(given: Mapping[str, float | None]) -> Timeouts | None:
    """The caller's limits, or None where it has none of its own."""
    if "read" not in given or (given.get("connect"), given["read"]) == _SDK_DEFAULT:
        return None
    return _limits(given.get("connect"), given["read"])


@lru_cache(maxsize=64)
def _limits(connect: float | None, read: float | None) -> Timeouts:
    return Timeouts(connect=connect, first_event=read, idle=read)
