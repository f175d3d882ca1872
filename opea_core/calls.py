"""From what a caller writes to a checked call: reserved options apart, the rest into the body."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from opea_core.config import Timeouts
from opea_core.errors import ConfigurationError
from opea_core.flow.effects import CallSpec
from opea_core.header_checks import check_header_value, check_headers
from opea_core.policy import SECOND
from opea_core.policy.scheduler import DEFAULT_PRIORITY
from opea_core.settings import Settings
from opea_core.types import EmbeddingResponse, Json
from opea_core.urls import check_encodable
from opea_core.values import LONGEST, check_seconds
from opea_core.wire.embeddings import read_embeddings
from opea_core.wire.encoding import encode_body
from opea_core.wire.models import read_models, read_token_count
from opea_core.wire.request import check_body, check_messages
from opea_core.wire.rerank import read_rerank
from opea_core.wire.responses import read_response

RESERVED = frozenset(
    {
        "adapt",
        "deadline",
        "endpoint",
        "extra_body",
        "extra_headers",
        "extra_query",
        "max_retries",
        "output_schema",
        "priority",
        "recovery_wait",
        "request_id",
        "timeout",
    }
)
"""Options of a call that are never part of the body."""


_BELONGS_ELSEWHERE = {
    "api_key": "Give it to OPEA(...), or in endpoints=.",
    "base_url": "Give it to OPEA(...), or name one of its endpoints with endpoint=.",
    "headers": "Per call it is extra_headers=.",
    "query": "Per call it is extra_query=.",
    "http_client": "Give it to OPEA(...).",
    "proxy": "Give it to OPEA(...).",
    "verify": "Give it to OPEA(...).",
}


@lru_cache(maxsize=1024)
def _check_name(name: str) -> None:
    """Refuse what is surely no field of a body.

    Settings of the object, and typos of reserved options.
    """
    if name in _BELONGS_ELSEWHERE:
        raise ConfigurationError(
            f"{name}= is no option of a call; it would be sent as a field of the body.",
            _BELONGS_ELSEWHERE[name],
        )
    close = get_close_matches(name, RESERVED, n=1, cutoff=0.85)
    if close and name not in RESERVED:
        raise ConfigurationError(
            f"There is no option {name!r}. Did you mean {close[0]!r}?",
            "To send a field of that name, use extra_body=.",
        )


def _check_names(options: Mapping[str, Any]) -> None:
    for name in options:
        _check_name(name)


@dataclass(slots=True)
class Call:
    """A checked call and what its ticket needs."""

    spec: CallSpec
    endpoint: str | tuple[str, ...] | None = None
    """The label or labels of the endpoints that may serve it; None for all."""
    priority: int = DEFAULT_PRIORITY


Kind: TypeAlias = Literal[
    "chat", "responses", "completion", "embeddings", "models", "rerank", "document"
]
_KIND_BY_FIELD: tuple[tuple[str, Kind], ...] = (
    ("messages", "chat"),
    ("prompt", "completion"),
    ("input", "embeddings"),
)


def _kind(body: Json) -> Kind:
    """What a body asks for, by the field that only that kind has."""
    for field, kind in _KIND_BY_FIELD:
        if field in body:
            return kind
    return "document"


class CallMaker:
    """Makes checked calls with an object's settings as the defaults."""

    def __init__(
        self, settings: Settings, new_id: Callable[[], str], now: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._new_id = new_id
        self._now = now

    def chat(self, messages: Any, options: Mapping[str, Any], stream: bool) -> Call:
        """A chat of messages (or one string)."""
        return self.make("chat", {"messages": check_messages(messages)}, options, stream)

    def completion(self, prompt: Any, options: Mapping[str, Any], stream: bool) -> Call:
        """A legacy completion of a prompt."""
        if not isinstance(prompt, str | list) or not prompt:
            raise ConfigurationError("prompt must be a string or a list, and not empty.")
        return self.make("completion", {"prompt": prompt}, options, stream)

    def data(self, data: Any, options: Mapping[str, Any], stream: bool) -> Call:
        """A call whose body the caller wrote: with messages, a prompt, or an input to embed."""
        body = check_body(data)
        asked = body.pop("stream", None)
        if asked and not stream:
            raise ConfigurationError(
                "The request data asks for a stream.",
                "Use make_stream_request, make_stream_request_opea or stream_chat.",
            )
        kind = _kind(body)
        if kind in ("document", "embeddings") and stream:
            raise ConfigurationError(
                "The request data has neither messages nor a prompt, so there is nothing to stream."
            )
        return self.make(kind, body, options, stream)

    def responses(self, given: Any, options: Mapping[str, Any], stream: bool) -> Call:
        """A request written in the Responses dialect: a text, or items."""
        if not isinstance(given, str | list | tuple) or not given:
            raise ConfigurationError("input must be a string or a list of items, and not empty.")
        body: Json = {"input": given if isinstance(given, str) else list(given)}
        call = self.make("responses", body, options, stream)
        call.spec.decode = None if stream else read_response
        return call

    def embeddings(self, inputs: Sequence[str], options: Mapping[str, Any]) -> Call:
        """Vectors for texts."""
        call = self.make("embeddings", {"input": list(inputs)}, options, False)
        dtype = "int8" if "int8" in str(call.spec.body.get("encoding_format")) else None
        count, dimensions = len(inputs), call.spec.body.get("dimensions")

        def decode(document: Any) -> EmbeddingResponse:
            raw = document if isinstance(document, dict) else {"data": document}
            return read_embeddings(raw, count, dtype or self._dtype(), dimensions)

        call.spec.decode = decode
        return call

    def rerank(self, query: Any, documents: Any, top_n: Any, options: Mapping[str, Any]) -> Call:
        """The relevance of documents to a query."""
        if not isinstance(query, str) or not query:
            raise ConfigurationError("query must be a string, and not empty.")
        if top_n is not None and (
            isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1
        ):
            raise ConfigurationError("top_n must be a whole number above 0.")
        body: Json = {"query": query, "documents": documents} | ({"top_n": top_n} if top_n else {})
        call = self.make("rerank", body, options, False)
        call.spec.decode = lambda document: read_rerank(document, len(documents), top_n)
        return call

    def models(self, options: Mapping[str, Any]) -> Call:
        """The list of models."""
        call = self.make("models", {}, options, False)
        call.spec.method = "GET"
        call.spec.decode = read_models
        return call

    def props(self, endpoint: str) -> Call:
        """The properties llama.cpp's server tells; asked once, briefly."""
        brief = {"endpoint": endpoint, "timeout": 2.0, "max_retries": 0, "recovery_wait": 0}
        call = self._beside_v1("/props", {}, brief)
        call.spec.method = "GET"
        return call

    def tokens(self, text: str, options: Mapping[str, Any]) -> Call:
        """How many tokens a text has: vLLM reads ``prompt``, llama.cpp ``content``."""
        if not isinstance(text, str):
            raise ConfigurationError("The text to count must be a string.")
        call = self._beside_v1(
            "/tokenize",
            {"prompt": text, "content": text},
            {"endpoint": self._settings.endpoints[0].label, **options},
        )
        call.spec.decode = read_token_count
        return call

    def _beside_v1(self, path: str, body: Json, options: Mapping[str, Any]) -> Call:
        """A call of what servers have beside ``/v1``, at the endpoint that the options name."""
        call = self.make("document", body, options, False)
        config = next(
            (e for e in self._settings.endpoints if e.label == call.endpoint),
            self._settings.endpoints[0],
        )
        call.spec.path = config.url.path.removesuffix("/v1") + path
        return call

    def make(self, kind: Kind, body: Json, options: Mapping[str, Any], stream: bool) -> Call:
        """A call of any kind; raises ConfigurationError for an option that makes no sense."""
        _check_names(options)
        given = {name: value for name, value in options.items() if name in RESERVED}
        body = body | {name: value for name, value in options.items() if name not in RESERVED}
        if "messages" in options and kind == "chat":
            body["messages"] = check_messages(options["messages"])
        extra = given.get("extra_body")
        if extra is not None:
            body |= check_body(extra)
        if body.pop("stream", stream) is not stream:
            other = "chat" if stream else "stream_chat"
            raise ConfigurationError(
                f"stream={not stream} does not go with this method.",
                f"Use {other} (or its twin) instead.",
            )
        if not isinstance(body.get("model", ""), str | None):
            raise ConfigurationError("model must be a string.")
        encode_body(body)
        settings, call_id = self._settings, self._new_id()
        spec = CallSpec(
            kind,
            body,
            stream,
            None,
            settings.retry,
            call_id,
            call_id,
            recovery_wait=settings.queue.recovery_wait,
        )
        call = Call(spec)
        if given:
            self._take(call, given)
        self._deadline(spec, given)
        return call

    def _take(self, call: Call, given: Mapping[str, Any]) -> None:
        """The reserved options of a call."""
        spec = call.spec
        if "timeout" in given:
            spec.timeouts = Timeouts.of(given["timeout"])
        if given.get("max_retries") is not None:
            spec.retry = spec.retry.replace(max_retries=given["max_retries"])
        if given.get("request_id"):
            check_header_value("request_id", given["request_id"])
            spec.request_id = given["request_id"]
        if given.get("extra_headers"):
            spec.headers = check_headers("extra_headers", given["extra_headers"])
        spec.query = _query(given.get("extra_query"))
        spec.output_schema = _output_schema(given.get("output_schema"), spec.kind, spec.body)
        spec.adapt = given.get("adapt")
        if not isinstance(spec.adapt, bool | None):
            raise ConfigurationError("adapt must be True or False.")
        wait = _wait(given.get("recovery_wait"))
        spec.recovery_wait = spec.recovery_wait if wait is None else wait
        call.endpoint, call.priority = given.get("endpoint"), _priority(given.get("priority"))
        if not isinstance(call.endpoint, str | None):
            raise ConfigurationError("endpoint must be the label of an endpoint.")

    def _deadline(self, spec: CallSpec, given: Mapping[str, Any]) -> None:
        seconds = self._settings.timeouts.total
        if "deadline" in given:
            seconds = given["deadline"]
            if seconds is not None:
                seconds = check_seconds("deadline", seconds)
        elif spec.timeouts is not None and spec.timeouts.total is not None:
            seconds = spec.timeouts.total
        if seconds is not None:
            spec.deadline_seconds = seconds
            spec.deadline = self._now() + int(seconds * SECOND)

    def _dtype(self) -> str:
        return self._settings.endpoints[0].capabilities.embedding_dtype


def _priority(value: Any) -> int:
    if value is None:
        return DEFAULT_PRIORITY
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 9:
        raise ConfigurationError("priority must be a whole number from 0 (urgent) to 9.")
    return value


def _wait(value: Any) -> float | None:
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value < float("inf")
    ):
        raise ConfigurationError("recovery_wait must be a number of seconds, 0 or more.")
    return float(min(value, LONGEST))


def _output_schema(value: Any, kind: str, body: Json) -> Json | None:
    if value is None:
        return None
    if kind != "chat":
        raise ConfigurationError("output_schema= is an option of chat calls only.")
    if body.get("response_format") is not None:
        raise ConfigurationError(
            "output_schema= and response_format= both say how the answer is to look;"
            " give one of them."
        )
    if (
        not isinstance(value, Mapping)
        or not isinstance(value.get("name"), str)
        or not isinstance(value.get("schema"), Mapping)
    ):
        raise ConfigurationError(
            "output_schema must be a dict with a name and a schema.",
            'Write {"name": "Answer", "schema": {...}};'
            ' "strict" and "description" may stand beside them.',
        )
    checked = dict(value)
    encode_body(checked)
    return checked


def _query(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError("extra_query must be a mapping of names to values.")
    query = {name: str(item) for name, item in value.items()}
    check_encodable("extra_query", *query, *query.values())
    return query
