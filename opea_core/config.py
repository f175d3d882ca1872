"""Configuration as frozen values."""

from __future__ import annotations

import math
import re
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from opea_core.errors import ConfigurationError, nearest
from opea_core.urls import BaseURL, parse_base_url, redact_url

if TYPE_CHECKING:
    from pydantic import ModelWrapValidatorHandler

KeySource: TypeAlias = Callable[[], str | None] | Callable[[], Awaitable[str | None]]
"""A function that gives the key, sync or async; asked before each attempt."""


LONGEST = 10 * 365 * 86_400.0
"""Seconds; a longer time is this one, as clocks and locks take no more."""


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("must be a number")
    return value


def _capped(value: Any) -> Any:
    return (
        LONGEST
        if isinstance(_no_bool(value), int | float) and LONGEST < value < math.inf
        else value
    )


Seconds: TypeAlias = Annotated[float, BeforeValidator(_capped), Field(gt=0, allow_inf_nan=False)]
SecondsOr0: TypeAlias = Annotated[float, BeforeValidator(_capped), Field(ge=0, allow_inf_nan=False)]
Count: TypeAlias = Annotated[StrictInt, Field(ge=1, le=2**53)]
CountOr0: TypeAlias = Annotated[StrictInt, Field(ge=0, le=2**53)]


class Value(BaseModel):
    """Base of the configuration values.

    They are frozen and closed, with readable errors that show no values.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        try:
            return handler(data)
        except ValidationError as error:
            raise ConfigurationError(_explanation(cls, error)) from None

    def replace(self, **changes: Any) -> Any:
        """A validated copy with some fields changed; what was not set stays not set."""
        return type(self)(**{name: getattr(self, name) for name in self.model_fields_set} | changes)


def _explanation(cls: type[BaseModel], error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(
                f"{cls.__name__} knows no option {name!r}.{nearest(name, cls.model_fields)}"
            )
        else:
            text = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{cls.__name__}.{name}: {text}." if name else f"{cls.__name__}: {text}.")
    return " ".join(lines)


def check_seconds(name: str, value: Any) -> float:
    """The number of seconds; ConfigurationError unless it is finite and above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name} must be a number of seconds above 0, not {value!r}.")
    return min(value, LONGEST)


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
    backoff_factor: Annotated[
        float, BeforeValidator(_no_bool), Field(ge=1, allow_inf_nan=False)
    ] = 2.0
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
    failure_rate: Annotated[float, BeforeValidator(_no_bool), Field(gt=0, le=1)] = 0.5
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


class Capabilities(Value):
    """What a server takes and how it spells it. Learned from refusals unless set."""

    dialect: Literal["auto", "chat", "responses"] = "auto"
    """What chat calls are made in: ``/chat/completions`` or ``/responses``.

    ``auto`` begins with chat, and goes over once the server's own words ask for it.
    """
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The wire name of the token limit; None sends it as the caller wrote it."""
    developer_role: bool = False
    """Whether the role ``developer`` is understood; else it is sent as ``system``."""
    system_role: bool = True
    """Whether the role ``system`` is understood; else its text stands before the first user's."""
    late_system: Literal["keep", "user", "merge"] = "keep"
    """What becomes of a system message behind others.

    It is sent as it is, as the user's, or as part of the first (strict templates).
    """
    send_reasoning: Literal["auto", "never", "tool_turns", "always", "keep"] = "auto"
    """Which assistant messages of the history carry their reasoning back.

    ``keep`` sends what stands in them.
    """
    reasoning_field: str | None = None
    """The name to send it under; None for the name the server used."""
    prune: bool = True
    """Whether what means nothing is left out.

    A tool choice without tools, empty lists, stream options without a stream.
    """
    stream_usage: bool = True
    """Whether streams ask for token counts where the call says nothing of ``stream_options``.

    None there asks for none.
    """
    think_tags: bool = False
    """Take ``<think>...</think>`` out of the content and into the reasoning."""
    alternate_roles: bool = False
    """Join messages of the same role that follow each other (strict templates)."""
    tool_content: Literal["", "null", "omit", "keep"] = ""
    """What stands as content beside tool calls when there is no text."""
    content_lists: Literal["keep", "flatten", "text"] = "flatten"
    """How lists of content parts are sent.

    As they are; as one string where all parts are plain text; or where all are text, also if they
    carry more (``cache_control``).
    """
    tool_choice: Literal["named", "required", "auto"] = "named"
    """The most that may be asked.

    A named tool; else ``required`` with only that tool in the list; else ``auto``.
    """
    tool_names: Literal["keep", "clean", "plain"] = "clean"
    """How names of tools are sent.

    As they are; in at most 64 letters, digits, ``_`` and ``-`` (OpenAI's rule); or without ``-``,
    beginning with a letter. Calls come back under the caller's own names.
    """
    tool_media: bool = False
    """Whether a tool's message may hold images and the like.

    Else they follow in a user's message, as the protocol wants it.
    """
    structured_output: Literal["json_schema", "function_calling", "json_mode"] | None = None
    """How an answer of a given schema (``output_schema=``) is asked for.

    None tries ``json_schema``, then learns. With ``json_mode`` the schema stands in the last
    message.
    """
    strict_finish: bool = False
    """Raise when a stream ends with ``[DONE]`` but without a finish reason."""
    tool_id_length: Count | None = None
    """Ids of tool calls are sent as exactly so many letters and digits; None for any.

    The same id always becomes the same one.
    """
    media: frozenset[Literal["image", "audio", "video", "file"]] | None = None
    """What the server takes besides text, where that is known.

    LlamaIndex's blocks of other kinds are refused before sending.
    """
    cache_points: bool = False
    """Whether content parts may carry ``cache_control``.

    Else LlamaIndex's cache points are left out.
    """
    rerank_beside_v1: bool = False
    """Whether ``/rerank`` stands beside ``/v1`` and not below it."""
    embedding_dtype: Literal["float32", "int8"] = "float32"
    """What base64 vectors are made of."""
    embedding_format: Literal["float", "base64"] | None = None
    """How vectors are asked for where the call does not say; None leaves it to the server."""
    embedding_batch: Count | None = None
    """The most texts that are embedded by one request; None is found out by refusals."""
    context_window: Count | None = None
    """Tokens that the model takes, for an endpoint that has no ``context_window`` of its own."""
    tools: bool | None = None
    """Whether tools are called; None where that is not known."""
    parallel_tools: bool | None = None
    """Whether several are called at once."""
    tools_in_streams: bool | None = None
    """Whether they are called in streams, too."""
    reasoning: bool | None = None
    """Whether reasoning comes, by itself or when it is asked for."""
    dropped: frozenset[str] = frozenset()
    """Parameters that the server refused; they are not sent again."""
    strip_message_keys: frozenset[str] = frozenset({"annotations", "usage"})
    """Keys of assistant messages that are answers only."""

    def below(self, outranking: Capabilities) -> Capabilities:
        """These where the other ones set nothing; what is dropped by either is dropped."""
        set_there = {name: getattr(outranking, name) for name in outranking.model_fields_set}
        if "dropped" in set_there:
            set_there["dropped"] |= self.dropped
        merged: Capabilities = self.replace(**set_there)
        return merged

    def as_given(self) -> Capabilities:
        """What changes nothing of a request, but for what was set."""
        if not self.model_fields_set:
            return AS_GIVEN
        given: Capabilities = AS_GIVEN.replace(
            **{name: getattr(self, name) for name in self.model_fields_set}
        )
        return given


AS_GIVEN = Capabilities(
    developer_role=True,
    send_reasoning="keep",
    prune=False,
    stream_usage=False,
    tool_media=True,
    tool_content="keep",
    content_lists="keep",
    tool_names="keep",
    strip_message_keys=frozenset(),
)
"""A request goes out as the caller wrote it."""


def _check_key(value: Any) -> Any:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        check_header_value("api_key", value)
        return SecretStr(value) if value else None
    if value is None or callable(value):
        return value
    raise ValueError("must be a string or a function that gives one")


def checked_key(key: Any) -> str | None:
    """A key given for one call, or ConfigurationError; its value is never shown."""
    found = _check_key(key) if isinstance(key, str | SecretStr | None) else key
    if not isinstance(found, SecretStr | None):
        raise ConfigurationError("api_key of a call must be a string (its value is not shown).")
    return None if found is None else found.get_secret_value()


def check_header_value(name: str, value: str) -> None:
    """Raise ConfigurationError unless ``value`` can stand in an HTTP header; never shows it."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a string (its value is not shown).")
    problem = None
    if value != value.strip():
        problem = "begins or ends with a blank or a line break"
    elif not value.isascii():
        problem = "holds characters outside ASCII"
    elif not value.isprintable():
        problem = "holds a control character or a line break"
    if problem:
        raise ConfigurationError(
            f"{name} {problem} (its value is not shown).", "Copy it again without extra characters."
        )


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING = "How long a body is and how it is sent is said by what sends it; leave the header out."
_KEPT = "Whether connections are kept is decided here; leave the header out."
_PROXY = "Give the proxy's user and password in its URL: proxy='http://user:password@host:port'."
NOT_YOURS: Mapping[str, str] = {
    "content-length": _FRAMING,
    "transfer-encoding": _FRAMING,
    "te": _FRAMING,
    "trailer": _FRAMING,
    "expect": "No server is asked before the body is sent; leave the header out.",
    "connection": _KEPT,
    "keep-alive": _KEPT,
    "proxy-connection": _KEPT,
    "upgrade": "HTTP/1.1 is spoken here; leave the header out.",
    "http2-settings": "HTTP/1.1 is spoken here; leave the header out.",
    "proxy-authorization": _PROXY,
    "proxy-authenticate": _PROXY,
}
"""Headers that belong to the connection or to the form of the body, and what to do instead."""


def check_headers(what: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers as a dict, or ConfigurationError naming the one that cannot be sent."""
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f"{what} must be a mapping of names to strings.")
    for name, value in headers.items():
        if not isinstance(name, str) or _TOKEN.fullmatch(name) is None:
            raise ConfigurationError(
                f"{what}: a header name is not valid.",
                "Names are ASCII letters, digits and dashes.",
            )
        if name.lower() in NOT_YOURS:
            raise ConfigurationError(
                f"{what}: {name.lower()} cannot be set.", NOT_YOURS[name.lower()]
            )
        check_header_value(f"{what}[{name!r}]", value)
    names = Counter(name.lower() for name in headers)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise ConfigurationError(
            f"{what}: {twice} is given twice.", "Names are compared without case; give one of them."
        )
    return dict(headers)


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
    weight: Annotated[float, BeforeValidator(_no_bool), Field(gt=0, allow_inf_nan=False)] = 1.0
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
    cert: str | tuple[str, ...] | None = Field(default=None, repr=False)
    proxy: str | None = Field(default=None, repr=False)
    trust_env: bool = True
    """Honour the proxy and CA variables of the environment."""
    append_v1: bool | None = None

    @field_validator("api_key", mode="before")
    @classmethod
    def _key(cls, value: Any) -> Any:
        return _check_key(value)

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
