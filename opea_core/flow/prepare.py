"""Building the request for the endpoint that was granted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, NamedTuple
from urllib.parse import urlencode

from pydantic import SecretStr

from opea_core.capabilities import Capabilities
from opea_core.config import Endpoint, Timeouts
from opea_core.flow import secrets
from opea_core.flow.effects import CallSpec, Request
from opea_core.flow.error_context import ErrorContext
from opea_core.policy.endpoint import EndpointState
from opea_core.settings import Settings
from opea_core.types import Json
from opea_core.urls import SUFFIX
from opea_core.wire.encoding import encode_body
from opea_core.wire.ignored_options import NOTHING, Asked, asked_of
from opea_core.wire.redact import Redactor
from opea_core.wire.request import build_body
from opea_core.wire.response_spec import ResponseSpec

# Keys that are renewed must not pile up (decision 9).
_MOST_PREPARED = 16


@dataclass(frozen=True, slots=True)
class Context:
    """What every call of an object shares."""

    settings: Settings
    chance: Callable[[], float]
    new_id: Callable[[], str]
    user_agent: str
    foreign_key: bool = False
    """Whether OPENAI_API_KEY is set, which is never sent."""
    lent: tuple[str, ...] = ()
    """Values of the headers that a caller's HTTP client adds."""
    proxy_of: Callable[[Endpoint], str | None] = attrgetter("proxy")
    """The proxy that requests to an endpoint go through, its own or the environment's."""


def build_request(
    spec: CallSpec,
    context: Context,
    endpoint: EndpointState,
    capabilities: Capabilities,
    key: str | None,
) -> tuple[Request, ErrorContext]:
    """The request as this endpoint takes it, and what an error about it must know."""
    config, settings = endpoint.config, context.settings
    model = model_of(spec, context, endpoint)
    built = _Built()
    if spec.raw is not None:
        # Byte for byte: an SDK that parses the answer knows what it asked for (U3).
        built.content = spec.raw.content if spec.method == "POST" else None
    elif spec.method == "POST":
        built = _built(spec, model, capabilities, endpoint.server_id)
    sent_key = spec.key or key
    if key and callable(config.api_key):
        endpoint.used_key(key)
    prepared = _prepared(spec, context, endpoint, capabilities, sent_key)
    # Ours first, so that an id that the caller sends in a header of its own wins.
    headers = {"x-request-id": spec.request_id, **prepared.headers}
    if spec.raw is not None:
        headers.update(spec.raw.headers)
    request = Request(
        method=spec.method,
        url=prepared.url,
        headers=headers,
        content=built.content,
        expected=_expected(spec, context, model, capabilities, built),
        timeouts=spec.timeouts or config.timeouts or settings.timeouts,
        deadline=spec.deadline,
        redact=prepared.redact,
        fields=built.fields,
    )
    # An error for an unknown model says so if it was the default, which nobody chose.
    given = bool(spec.body.get("model") or config.model or settings.model_given)
    key_sent = "authorization" in headers or config.auth_header.lower() in headers
    return request, ErrorContext(
        spec,
        endpoint,
        request,
        model,
        given,
        key_sent,
        context.foreign_key,
        sent_key,
        tuple(built.left_out),
    )


@dataclass(slots=True)
class _Built:
    """A body as it is sent, and what must be known of it to read the answer."""

    content: bytes | None = None
    fields: Json | None = None
    """What may be refused of it, where that is more than its own names."""
    left_out: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    asked: Asked = NOTHING


def _expected(
    spec: CallSpec, context: Context, model: str, capabilities: Capabilities, built: _Built
) -> ResponseSpec:
    """What the answer to this body is read by."""
    return ResponseSpec(
        shape=_shape(spec),
        stream=spec.stream,
        model=model,
        new_id=context.new_id,
        capabilities=capabilities,
        dialect=dialect_of(spec, capabilities),
        names=built.names,
        asked=built.asked,
        choices=_choices(spec.body.get("n", 1), spec.body.get("prompt")),
        max_response_bytes=context.settings.max_response_bytes,
        max_event_bytes=context.settings.max_event_bytes,
        raw=spec.raw,
    )


def _built(spec: CallSpec, model: str, capabilities: Capabilities, server_id: str) -> _Built:
    built = _Built()
    if spec.kind == "responses":
        built.content = encode_body(_as_written(spec, model, capabilities, built.left_out))
        return built
    is_chat = _shape(spec) == "chat"
    body = build_body(
        spec.body,
        model,
        spec.stream if is_chat else None,
        capabilities,
        spec.output_schema,
        built.left_out,
        built.names,
        server_id,
    )
    if spec.kind == "embeddings" and capabilities.embedding_format is not None:
        body.setdefault("encoding_format", capabilities.embedding_format)
    if is_chat:
        built.asked = asked_of(spec.body, spec.output_schema, body.get("stream_options"))
    if dialect_of(spec, capabilities) == "responses":
        from opea_core.wire.responses.request import to_responses

        chat, body = body, to_responses(body, capabilities.dropped)
        built.fields = {name: body[name] for name in body if name != "input"} | chat
        # It is sent although nobody asked for it, so it may be what is refused (D3).
        if "strict" not in capabilities.dropped:
            built.fields.setdefault("strict", False)
        # Counts come with every stream of this dialect, unasked.
        built.asked = replace(built.asked, usage=False)
    built.content = encode_body(body)
    return built


def _as_written(
    spec: CallSpec, model: str, capabilities: Capabilities, left_out: list[str]
) -> Json:
    """The body of a call that was written in the Responses dialect."""
    body = {"model": model, **spec.body, "stream": spec.stream}
    left_out += sorted(capabilities.dropped & body.keys())
    return {
        name: value
        for name, value in body.items()
        if value is not None and name not in capabilities.dropped
    }


def dialect_of(spec: CallSpec, capabilities: Capabilities) -> Literal["chat", "responses"]:
    """What a call is made in; an exact path, or the bytes of another client, decide themselves."""
    # What a caller chose, an exact path among it, stays what it is (D2).
    is_ours = spec.kind == "chat" and spec.path is None and spec.raw is None
    goes_over = is_ours and capabilities.dialect == "responses"
    return "responses" if goes_over or spec.kind == "responses" else "chat"


def _shape(spec: CallSpec) -> Literal["chat", "document"]:
    is_chat = spec.kind in ("chat", "completion") or (spec.kind == "responses" and spec.stream)
    return "chat" if is_chat else "document"


def model_of(spec: CallSpec, context: Context, endpoint: EndpointState) -> str:
    """The model that a call asks for at an endpoint."""
    return str(spec.body.get("model") or endpoint.config.model or context.settings.model)


def with_connect(timeouts: Timeouts, seconds: float) -> Timeouts:
    """The same limits with another one for connecting."""
    return _limits(seconds, timeouts.first_event, timeouts.idle, timeouts.total)


@lru_cache(maxsize=64)
def _limits(
    connect: float, first_event: float | None, idle: float | None, total: float | None
) -> Timeouts:
    return Timeouts(connect=connect, first_event=first_event, idle=idle, total=total)


class _Prepared(NamedTuple):
    """What the requests of one kind to an endpoint have in common."""

    url: str
    headers: dict[str, str]
    redact: Redactor


def _prepared(
    spec: CallSpec,
    context: Context,
    endpoint: EndpointState,
    capabilities: Capabilities,
    key: str | None,
) -> _Prepared:
    """Made once, for calls with neither headers nor a query nor a path of their own.

    Of renewed keys a few are kept.
    """
    suffix = _suffix(spec, capabilities)
    alike = (suffix, spec.method, spec.stream, capabilities.rerank_beside_v1, key, endpoint.keys)
    ordinary = not (spec.headers or spec.query or spec.path)
    found: _Prepared | None = endpoint.prepared.get(alike) if ordinary else None
    if found is None:
        headers = _headers(spec, context, endpoint, key)
        found = _Prepared(
            _url(spec, endpoint, capabilities), headers, _redactor(spec, context, endpoint, key)
        )
        if ordinary:
            if len(endpoint.prepared) >= _MOST_PREPARED:
                endpoint.prepared.clear()
            endpoint.prepared[alike] = found
    return found


def _choices(n: object, prompt: object) -> int | None:
    # Several prompts.
    if isinstance(prompt, list) and len(prompt) > 1 and not isinstance(prompt[0], int):
        return None
    return 1 if n == 1 else n if isinstance(n, int) and n > 0 else None


def models_request(spec: CallSpec, context: Context, where: ErrorContext) -> Request:
    """A best-effort request for the list of models, bounded by two seconds."""
    listing = replace(
        spec,
        kind="models",
        method="GET",
        path=None,
        stream=False,
        body={},
        timeouts=_BRIEF,
        raw=None,
    )
    request, _ = build_request(
        listing, context, where.endpoint, where.endpoint.config.capabilities, where.key
    )
    return request


_BRIEF = Timeouts(connect=2.0, first_event=2.0, idle=2.0)


def _url(spec: CallSpec, endpoint: EndpointState, capabilities: Capabilities) -> str:
    base = endpoint.url
    root = (
        base.root.removesuffix("/v1")
        if spec.kind == "rerank" and capabilities.rerank_beside_v1
        else base.root
    )
    url = base.origin + spec.path if spec.path else root + _suffix(spec, capabilities)
    query = _layered(base.query, endpoint.config.query.items(), spec.query.items())
    if endpoint.config.api_version:
        query.setdefault("api-version", [endpoint.config.api_version])
    return f"{url}?{urlencode(query, doseq=True)}" if query else url


def _suffix(spec: CallSpec, capabilities: Capabilities) -> str:
    """What stands behind an endpoint's base."""
    if spec.raw is not None:
        return spec.raw.suffix
    return SUFFIX["responses" if dialect_of(spec, capabilities) == "responses" else spec.kind]


def _layered(*layers: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    """The query of a URL.

    A layer replaces what those before it say of a name, and may itself say it several times.
    """
    query: dict[str, list[Any]] = {}
    for layer in layers:
        own: dict[str, list[Any]] = {}
        for name, value in layer:
            own.setdefault(name, []).extend(value if isinstance(value, list) else [value])
        query |= own
    return query


def _headers(
    spec: CallSpec, context: Context, endpoint: EndpointState, key: str | None
) -> dict[str, str]:
    """Caller's headers over the endpoint's over ours, names compared without case."""
    config, url = endpoint.config, endpoint.url
    headers = {
        "accept": "text/event-stream, application/json" if spec.stream else "application/json",
        "accept-encoding": "identity" if spec.stream else "gzip, deflate",
        "user-agent": context.user_agent,
    }
    if spec.method == "POST":
        headers["content-type"] = "application/json"
    if key:
        headers[config.auth_header.lower()] = (
            f"{config.auth_scheme} {key}" if config.auth_scheme else key
        )
    elif url.user is not None:
        headers["authorization"] = "Basic " + secrets.user_info(url)[-1]
    _override(headers, config.headers)
    _override(headers, spec.headers)
    return headers


def _redactor(
    spec: CallSpec, context: Context, endpoint: EndpointState, key: str | None
) -> Redactor:
    """Takes out of a server's words all that must not be shown of a request."""
    config, url = endpoint.config, endpoint.url
    query = _layered(config.query.items(), spec.query.items())
    values = [value for several in query.values() for value in several]
    headers = (*config.headers.values(), *spec.headers.values(), *context.lent)
    proxy = context.proxy_of(config)
    return secrets.redactor(url, (key, *endpoint.keys), headers, values, proxy)


def redactor_of(endpoint: EndpointState, context: Context) -> Redactor:
    """Takes out what any request to an endpoint may hold, whatever call it belongs to."""
    config, source = endpoint.config, endpoint.config.api_key
    key = source.get_secret_value() if isinstance(source, SecretStr) else None
    headers, query = (*config.headers.values(), *context.lent), config.query.values()
    keys = (key, *endpoint.keys)
    return secrets.redactor(endpoint.url, keys, headers, query, context.proxy_of(config))


def _override(headers: dict[str, str], given: Mapping[str, Any]) -> None:
    headers.update({name.lower(): value for name, value in given.items()})
