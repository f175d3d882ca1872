"""The answers of the server, made once: bodies, and streams as lists of writes."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

MODEL = "bench-model"
_WORDS = (" the", " quick", " brown", " fox", " jumps", " over", " a", " lazy", " dog", ",",
          " while", " seven", " étoiles", " shine", " bright", ".")  # fmt: skip
_USAGE = {
    "prompt_tokens": 24,
    "total_tokens": 324,
    "completion_tokens": 300,
    "prompt_tokens_details": None,
}
_HEAD = {
    "id": "chatcmpl-7f3d2c1b9a8e4f60b1d2c3e4f5a6b7c8",
    "object": "chat.completion",
    "created": 1790000000,
    "model": MODEL,
}
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; "
    b"charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)


@dataclass(frozen=True)
class Options:
    """What the first path segment of a URL asks for: ``/n=2000,co=64/v1``."""

    n: int = 300
    """Chunks with text in a stream."""
    co: int = 1
    """Events in one write."""
    gap: int = 0
    """Microseconds between writes."""
    lat: int = 0
    """Milliseconds before the answer."""
    hold: int = 0
    """Answer only when so many requests have come."""
    args: int = 0
    """Bytes of tool arguments, instead of text."""
    step: int = 5
    """Characters of tool arguments in one chunk."""
    batch: int = 256
    dims: int = 1024


@cache
def options(segment: str) -> Options:
    """Read a path segment; what is no option is skipped, and tells clients apart."""
    pairs = (part.partition("=") for part in segment.split(","))
    return Options(
        **{name: int(value) for name, _, value in pairs if name in Options.__dataclass_fields__}
    )


def document(body: bytes) -> bytes:
    """A whole answer of 200 with this JSON."""
    head = (
        "HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: "
        f"application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@cache
def chat() -> bytes:
    """A plain answer of 300 tokens."""
    text = "".join(_WORDS[i % 16] for i in range(300))
    message: dict[str, Any] = {
        "role": "assistant",
        "reasoning_content": None,
        "content": text,
        "tool_calls": [],
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": "stop",
        "stop_reason": None,
    }
    return document(_json({**_HEAD, "choices": [choice], "usage": _USAGE, "prompt_logprobs": None}))


@cache
def embeddings(batch: int, dims: int, as_base64: bool) -> bytes:
    """Vectors of 32-bit floats, written as numbers or as base64."""
    data = [
        {"object": "embedding", "index": i, "embedding": vector}
        for i, vector in enumerate(_vectors(batch, dims, as_base64))
    ]
    usage = {"prompt_tokens": 2560, "total_tokens": 2560}
    return document(_json({"object": "list", "data": data, "model": MODEL, "usage": usage}))


def _vectors(batch: int, dims: int, as_base64: bool) -> Iterator[str | tuple[float, ...]]:
    state, layout = 12345, f"<{dims}f"
    for _ in range(batch):
        values = []
        for _ in range(dims):
            state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
            values.append((state >> 8) / 16777216 * 0.2 - 0.1)
        packed = struct.pack(layout, *values)
        yield base64.b64encode(packed).decode() if as_base64 else struct.unpack(layout, packed)


@cache
def stream(asked: Options, usage: bool) -> list[bytes]:
    """The writes of a stream: each has ``co`` events, each event is one HTTP chunk."""
    events = [b"data: " + _json(event) + b"\n\n" for event in _events(asked, usage)]
    events.append(b"data: [DONE]\n\n")
    framed = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    writes = [b"".join(framed[i : i + asked.co]) for i in range(0, len(framed), asked.co)]
    return [STREAM_HEAD + writes[0], *writes[1:], b"0\r\n\r\n"]


def _events(asked: Options, usage: bool) -> Iterator[dict[str, Any]]:
    yield _event({"role": "assistant", "content": ""})
    if asked.args:
        yield from (_event({"tool_calls": [call]}) for call in _tool_deltas(asked))
        yield _event({}, "tool_calls")
    else:
        yield from (_event({"content": _WORDS[i % 16]}) for i in range(asked.n))
        yield _event({"content": ""}, "stop")
    if usage:
        yield {**_HEAD, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}


def _event(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**_HEAD, "object": "chat.completion.chunk", "choices": [choice]}


def _tool_deltas(asked: Options) -> Iterator[dict[str, Any]]:
    yield {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "save", "arguments": ""},
    }
    text = tool_arguments(asked.args)
    for start in range(0, len(text), asked.step):
        yield {"index": 0, "function": {"arguments": text[start : start + asked.step]}}


def tool_arguments(size: int) -> str:
    """A JSON object of exactly ``size`` characters."""
    text = "abcdefg hijklmn opqrstu vwxyz " * (size // 30 + 1)
    return '{"text":"' + text[: size - 11] + '"}'
