"""Answers as data: what the scripted server sends, step by step."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import responses
from typing import Any, Literal, TypeAlias

Json: TypeAlias = dict[str, Any]

MODEL = "scripted-model"
USAGE: Mapping[str, Any] = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
JSON_HEADERS: Mapping[str, str] = {"content-type": "application/json"}
SSE_HEADERS: Mapping[str, str] = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
}
HTML_HEADERS: Mapping[str, str] = {"content-type": "text/html; charset=utf-8"}
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Wait:
    """A step that takes so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """A step that takes until the test sets the event (noticed within a few milliseconds)."""

    event: threading.Event


@dataclass(frozen=True, slots=True)
class Forever:
    """A step without end: these bytes again and again, so many seconds apart.

    0: as fast as they are read.
    """

    data: bytes
    seconds: float = 0.0


Step: TypeAlias = bytes | Wait | Hold | Forever
End: TypeAlias = Literal["keep", "close", "cut", "reset", "hang"]
Before: TypeAlias = Literal["answer", "close", "reset", "hang"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: a head, steps, and what becomes of the connection.

    Each ``bytes`` step is written and flushed on its own. The head goes out in one write with the
    first of them: a ``Wait`` before any bytes delays the head too, and ``b""`` sends the head
    alone.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent as they are; nothing but the framing header is added."""
    steps: tuple[Step, ...] = ()
    length: Literal["auto", "chunked", "none"] | int = "auto"
    """How the length of the body is told.

    ``auto``: a Content-Length that is right; ``chunked``: each bytes step is one chunk; ``none``:
    no framing, the body ends with the connection; a number: a Content-Length that says so, right
    or not.
    """
    end: End = "keep"
    """What becomes of the connection after the last step.

    ``keep`` it; ``close`` it after a complete answer; ``cut``: close it without the last chunk;
    ``reset`` it (RST); ``hang`` until the client goes or the server stops.
    """
    before: Before = "answer"
    """Other than ``answer``: this happens to the connection instead of an answer."""
    bare: bool = False
    """The steps are all that is sent, status line included; see ``raw``."""
    name: str = ""
    """What the record calls it, the status unless given."""

    def replace(self, **changes: Any) -> Answer:
        """A copy with some fields changed: ``chat("x").replace(end="close")``."""
        return dataclasses.replace(self, **changes)

    def after(self, *steps: Step) -> Answer:
        """The same answer after these steps: ``chat("x").after(Hold(event))``."""
        return dataclasses.replace(self, steps=(*steps, *self.steps))

    @property
    def label(self) -> str:
        """A word for what happens: the name, the status, or what comes instead of an answer."""
        return self.name or (
            str(self.status) if self.before == "answer" and not self.bare else self.before
        )

    @property
    def is_stream(self) -> bool:
        """Whether it is an event stream."""
        return "event-stream" in self.headers.get("content-type", "")

    @property
    def body(self) -> bytes:
        """All bytes steps together."""
        return b"".join(step for step in self.steps if isinstance(step, bytes))

    @property
    def head(self) -> bytes:
        """The status line and headers as they are sent."""
        if self.bare:
            return b""
        lines = [
            f"HTTP/1.1 {self.status} {responses.get(self.status, 'Unknown')}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        if self.length == "chunked":
            lines.append("transfer-encoding: chunked")
        elif self.length != "none":
            lines.append(
                f"content-length: {len(self.body) if self.length == 'auto' else self.length}"
            )
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def frame(self, data: bytes) -> bytes:
        """A bytes step as it is sent: a chunk of its own where the answer is chunked."""
        if self.bare or self.length != "chunked" or not data:
            return data
        return b"%x\r\n%b\r\n" % (len(data), data)

    @property
    def tail(self) -> bytes:
        """What completes the body after the last step."""
        complete = self.end in ("keep", "close") and self.length == "chunked" and not self.bare
        return LAST_CHUNK if complete else b""


def raw(*steps: Step, end: End = "close") -> Answer:
    """Exactly these bytes, status line included.

    For broken heads, truncated chunks, wrong lengths.
    """
    return Answer(steps=steps, end=end, bare=True)


def json_answer(
    document: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    """A JSON document."""
    return Answer(status, {**JSON_HEADERS, **(headers or {})}, (encode(document),))


def html(
    status: int = 200,
    text: str = "<html><body>scripted</body></html>",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """A page, as a proxy sends it instead of an answer."""
    return Answer(status, {**HTML_HEADERS, **(headers or {})}, (text.encode(),))


def error(
    status: int,
    message: str,
    *,
    code: str | int | None = None,
    type: str | None = None,  # noqa: A002 - the protocol's own name
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An error as OpenAI spells it: ``{"error": {"message", "type", "param", "code"}}``."""
    return json_answer(
        {"error": {"message": message, "type": type, "param": param, "code": code}}, status, headers
    )


def tool_call(
    name: str,
    arguments: Mapping[str, Any] | str,
    id: str = "call_1",  # noqa: A002
) -> Json:
    """A tool call of a message; arguments that are no text are written as JSON."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": id, "type": "function", "function": {"name": name, "arguments": text}}


def chat(
    content: str | None = "",
    *,
    reasoning: str | None = None,
    reasoning_field: str = "reasoning_content",
    tool_calls: Sequence[Json] = (),
    finish_reason: str | None = None,
    usage: Mapping[str, Any] | None = USAGE,
    model: str = MODEL,
    **root: Any,
) -> Answer:
    """A plain chat completion.

    ``finish_reason`` defaults to ``tool_calls`` or ``stop``; ``usage=None`` leaves it out; further
    keywords go into the document beside ``choices``.
    """
    message: Json = {"role": "assistant", "content": content}
    if reasoning is not None:
        message[reasoning_field] = reasoning
    if tool_calls:
        message["tool_calls"] = list(tool_calls)
    finish = finish_reason or ("tool_calls" if tool_calls else "stop")
    document = envelope(
        "chat.completion", model, [{"index": 0, "message": message, "finish_reason": finish}]
    )
    if usage is not None:
        document["usage"] = dict(usage)
    return json_answer(document | root)


def stream(
    pieces: Iterable[str | Mapping[str, Any] | Wait | Hold],
    *,
    finish_reason: str | None = "stop",
    usage: Mapping[str, Any] | None = None,
    done: bool = True,
    model: str = MODEL,
    end: End = "keep",
    **root: Any,
) -> Answer:
    """A streamed chat completion, one event and one chunk per piece.

    A piece is a text, a delta (``{"reasoning_content": "..."}``), or a ``Wait`` or ``Hold`` between
    two events. The first delta carries the role. Then come an event with the finish reason (unless
    None), one with the usage (if given) and ``[DONE]`` (unless ``done=False``). Further keywords go
    into each event.
    """
    return sse(*_events(pieces, finish_reason, usage, model, root), done=done, end=end)


def _events(
    pieces: Iterable[str | Mapping[str, Any] | Wait | Hold],
    finish_reason: str | None,
    usage: Mapping[str, Any] | None,
    model: str,
    root: Json,
) -> Iterator[Json | Wait | Hold]:
    role: Json = {"role": "assistant"}
    for piece in pieces:
        if isinstance(piece, Wait | Hold):
            yield piece
            continue
        yield (
            chunk(
                {**role, **({"content": piece} if isinstance(piece, str) else piece)}, model=model
            )
            | root
        )
        role = {}
    if finish_reason is not None:
        yield chunk({}, finish_reason, model=model) | root
    if usage is not None:
        yield envelope("chat.completion.chunk", model, []) | {"usage": dict(usage)} | root


def sse(
    *events: Mapping[str, Any] | str | bytes | Wait | Hold,
    done: bool = True,
    headers: Mapping[str, str] | None = None,
    end: End = "keep",
) -> Answer:
    """An event stream.

    A dict is an event of JSON, a ``str`` the text of an event, ``bytes`` are sent as they are.
    """
    steps = [_event(event) for event in (*events, *(["[DONE]"] if done else []))]
    return Answer(200, {**SSE_HEADERS, **(headers or {})}, tuple(steps), length="chunked", end=end)


def _event(event: Mapping[str, Any] | str | bytes | Wait | Hold) -> Step:
    if isinstance(event, bytes | Wait | Hold):
        return event
    return b"data: %b\n\n" % (event.encode() if isinstance(event, str) else encode(event))


def chunk(
    delta: Mapping[str, Any],
    finish_reason: str | None = None,
    *,
    index: int = 0,
    model: str = MODEL,
    **choice: Any,
) -> Json:
    """One event of a streamed chat completion, as a document for ``sse``."""
    return envelope(
        "chat.completion.chunk",
        model,
        [{"index": index, "delta": dict(delta), "finish_reason": finish_reason, **choice}],
    )


def envelope(kind: str, model: str, choices: list[Json]) -> Json:
    """A document of the completions protocol around its choices."""
    return {
        "id": "scripted-1",
        "object": kind,
        "created": 1_700_000_000,
        "model": model,
        "choices": choices,
    }


def encode(document: Any) -> bytes:
    """JSON text as the server sends it."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
