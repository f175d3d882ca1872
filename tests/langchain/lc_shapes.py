"""Answers as odd servers send them, and the one message that each of them means:
events, ends, content.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lc_asking import Told

from opea_core.testing import Answer, chunk, json_answer, sse

Json = dict[str, Any]

HELLO = Told("Hello")
SSE = {"content-type": "text/event-stream"}


@dataclass(frozen=True)
class Shape:
    """An answer to a stream, the same as a plain answer (None:
    the events serve for both), and what they mean.
    """

    streamed: Answer
    expected: Told
    plain: Answer | None = None
    options: Json = field(default_factory=dict)
    """Of the model."""

    def answer(self, stream: bool) -> Answer:
        return self.streamed if stream or self.plain is None else self.plain


def deltas(*pieces: Json, finish: str | None = "stop", **root: Any) -> Answer:
    """A stream of these deltas, and a finish reason."""
    ends = [] if finish is None else [chunk({}, finish)]
    return sse(*[event | root for event in [*(chunk(piece) for piece in pieces), *ends]])


def body(message: Json | None, finish: str | None = "stop", **root: Any) -> Answer:
    """A plain answer."""
    choice: Json = {"index": 0, "finish_reason": finish}
    if message is not None:
        choice["message"] = {"role": "assistant", **message}
    return json_answer(
        {"id": "c-1", "object": "chat.completion", "model": "scripted-model", "choices": [choice]}
        | root
    )


def events(*steps: bytes, length: Any = "chunked") -> Answer:
    """An event stream of exactly these bytes."""
    return Answer(200, SSE, steps, length=length)


def choice(**entry: Any) -> Json:
    """An event that holds one choice and nothing else."""
    return {"choices": [entry]}


def _with_text(*before: Json, after: tuple[Json, ...] = (), **root: Any) -> Answer:
    return sse(
        *before,
        chunk({"content": "Hel"}) | root,
        chunk({"content": "lo"}) | root,
        chunk({}, "stop") | root,
        *after,
    )


_DATA = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}'
_PLAIN = body({"content": "Hello"})
_EMOJI = (
    'data: {"choices":[{"delta":{"content":"H\u00e9 \U0001f600 '
    '\u4f60\u2028"},"finish_reason":"stop"}]}\n\n'
).encode()

FRAMING = {
    "no space after the colon, CRLF": Shape(
        events(_DATA.replace(b"data: ", b"data:") + b"\r\n\r\ndata:[DONE]\r\n\r\n"), HELLO
    ),
    "comments and heartbeats between": Shape(
        events(b": KEEPALIVE\n\ndata: : PROCESSING\n\ndata: \n\n" + _DATA + b"\n\ndata: [DONE]"),
        HELLO,
    ),
    "no blank line at the end": Shape(events(_DATA), HELLO),
    "characters cut between reads": Shape(
        events(*[bytes([byte]) for byte in _EMOJI], b"data: [DONE]\n\n"),
        Told("H\u00e9 \U0001f600 \u4f60\u2028"),
    ),
    "surrogates cut between events": Shape(
        events(
            rb'data: {"choices":[{"delta":{"content":"\ud83d"}}]}' + b"\n\n",
            rb'data: {"choices":[{"delta":{"content":"\ude00"},"finish_reason":"stop"}]}' + b"\n\n",
        ),
        Told("\U0001f600"),
    ),
    "called JSON, but events": Shape(
        events(_DATA + b"\n\n").replace(headers={"content-type": "application/json"}), HELLO
    ),
    "a plain answer to a stream": Shape(_PLAIN, HELLO),
    "a plain answer and an end mark": Shape(
        Answer(
            200,
            SSE,
            (
                b'{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}\n',
                b"data: [DONE]\n\n",
            ),
        ),
        HELLO,
    ),
    "padding before a plain answer": Shape(
        Answer(
            200,
            SSE,
            (b" \n" * 100, b'{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}'),
        ),
        HELLO,
    ),
}

CHUNKS = {
    "choices empty, first": Shape(
        _with_text(
            {"id": "", "object": "", "model": "", "choices": [], "prompt_filter_results": []}
        ),
        HELLO,
    ),
    "choices null and absent": Shape(
        _with_text({"choices": None}, {"id": "x"}, after=({"choices": None},)), HELLO
    ),
    "choices null between": Shape(
        sse(chunk({"content": "Hel"}), {"choices": None}, chunk({"content": "lo"}, "stop")), HELLO
    ),
    "delta absent beside the finish reason": Shape(
        sse(choice(index=0, delta={"content": "Hello"}), choice(finish_reason="stop")), HELLO
    ),
    "delta null beside the finish reason": Shape(
        sse(choice(index=0, delta={"content": "Hello"}), choice(delta=None, finish_reason="stop")),
        HELLO,
    ),
    "finish reason beside the text": Shape(sse(chunk({"content": "Hello"}, "stop")), HELLO, _PLAIN),
    "object empty": Shape(_with_text(object=""), HELLO),
    "object of a whole answer": Shape(_with_text(object="chat.completion"), HELLO),
    "text completions": Shape(
        sse(
            *[
                {"object": "text_completion"} | choice(index=0, text=t, finish_reason=f)
                for t, f in (("Hel", None), ("lo", "stop"))
            ]
        ),
        HELLO,
    ),
    "delta and cumulative message": Shape(
        sse(
            choice(
                index=0, delta={"content": "Hel"}, message={"role": "assistant", "content": "Hel"}
            ),
            choice(
                index=0,
                delta={"content": "lo"},
                message={"role": "assistant", "content": "Hello"},
                finish_reason="stop",
            ),
        ),
        HELLO,
    ),
    "cumulative message beside empty deltas": Shape(
        sse(
            choice(index=0, delta={}, message={"role": "assistant", "content": "Hel"}),
            choice(
                index=0,
                delta={},
                message={"role": "assistant", "content": "Hello"},
                finish_reason="stop",
            ),
        ),
        HELLO,
    ),
    "a delta in a plain answer": Shape(
        json_answer({"choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]}),
        HELLO,
    ),
    "id, model and created missing": Shape(
        sse(choice(delta={"content": "Hello"}), choice(delta={}, finish_reason="stop")), HELLO
    ),
    "id changes": Shape(
        sse(
            chunk({"content": "Hel"}) | {"id": "a"}, chunk({"content": "lo"}, "stop") | {"id": "b"}
        ),
        HELLO,
    ),
    "created in odd forms": Shape(
        sse(
            chunk({"content": "Hel"}) | {"created": 1.5},
            chunk({"content": "lo"}, "stop") | {"created": 0},
        ),
        HELLO,
    ),
    "role on every chunk": Shape(
        sse(
            *[chunk({"role": "assistant", "content": t}) for t in ("Hel", "lo")],
            chunk({"role": "assistant"}, "stop"),
        ),
        HELLO,
    ),
    "role null": Shape(sse(chunk({"role": None, "content": "Hello"}, "stop")), HELLO),
    "a second choice that nobody asked for": Shape(
        sse(
            chunk({"content": "Hel"}),
            chunk({"content": "Good"}, index=1),
            chunk({"content": "lo"}),
            chunk({"content": "bye"}, "length", index=1),
            chunk({}, "stop"),
        ),
        HELLO,
    ),
    "the only choice is number 1": Shape(
        sse(chunk({"content": "Hello"}, index=1), chunk({}, "stop", index=1)),
        HELLO,
        json_answer(
            {"choices": [{"index": 1, "message": {"content": "Hello"}, "finish_reason": "stop"}]}
        ),
    ),
}

ENDS = {
    "finish reason, no [DONE]": Shape(
        sse(chunk({"content": "Hello"}), chunk({}, "stop"), done=False), HELLO
    ),
    "[DONE], no finish reason": Shape(
        sse(chunk({"content": "Hello"})),
        Told("Hello", finish=None),
        body({"content": "Hello"}, None),
    ),
    "text after the finish reason": Shape(
        sse(chunk({"content": "Hel"}, "stop"), chunk({"content": "lo"})), HELLO
    ),
    "finish reason again": Shape(
        sse(chunk({"content": "Hello"}), chunk({}, "stop"), chunk({}, "stop"), chunk({}, "")), HELLO
    ),
    "finish reason changes": Shape(
        sse(chunk({"content": "Hello"}), chunk({}, "stop"), chunk({}, "length")),
        Told("Hello", finish="length"),
    ),
    "finish reason empty on every chunk": Shape(
        sse(chunk({"content": "Hel"}, ""), chunk({"content": "lo"}, ""), chunk({}, "stop")), HELLO
    ),
    "nothing but a finish reason": Shape(
        sse(chunk({}, "length")), Told("", finish="length"), body({"content": ""}, "length")
    ),
    "camel case": Shape(sse(choice(delta={"content": "Hello"}, finishReason="stop")), HELLO),
    "finish details": Shape(
        sse(choice(delta={"content": "Hello"}, finish_details={"type": "max_tokens"})),
        Told("Hello", finish="length"),
    ),
} | {
    f"finish reason {raw}": Shape(
        deltas({"content": "Hello"}, finish=raw),
        Told("Hello", finish=meaning),
        body({"content": "Hello"}, raw),
    )
    for raw, meaning in [
        ("STOP", "stop"),
        ("eos", "stop"),
        ("eos_token", "stop"),
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("model_length", "length"),
        ("content_filter", "content_filter"),
        ("repetition_detected", "repetition_detected"),
    ]
}

_PARTS = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
_UNKNOWN = {"type": "reference", "reference_ids": [1]}
_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}

CONTENT = {
    "content null": Shape(deltas({"content": None}), Told(""), body({"content": None})),
    "content absent": Shape(deltas({}), Told(""), body({})),
    "content a list of texts": Shape(deltas({"content": _PARTS}), HELLO, body({"content": _PARTS})),
    "content lists in pieces": Shape(
        deltas({"content": _PARTS[:1]}, {"content": _PARTS[1:]}), HELLO, body({"content": _PARTS})
    ),
    "content an object": Shape(
        deltas({"content": {"a": 1}}), Told('{"a": 1}'), body({"content": {"a": 1}})
    ),
    "content empty on every chunk": Shape(
        deltas({"content": ""}, {"content": "Hello"}, {"content": ""}),
        HELLO,
        body({"content": "Hello"}),
    ),
    "refusal": Shape(
        deltas({"refusal": "I "}, {"refusal": "won't."}),
        Told("", refusal="I won't."),
        body({"content": None, "refusal": "I won't."}),
    ),
    "message absent": Shape(
        sse(choice(index=0, finish_reason="content_filter")),
        Told("", finish="content_filter"),
        body(None, "content_filter"),
    ),
}

ODD_PARTS = {
    "an unknown part": Shape(
        deltas({"content": [_PARTS[0], _UNKNOWN, _PARTS[1]]}),
        HELLO,
        body({"content": [_PARTS[0], _UNKNOWN, _PARTS[1]]}),
    ),
    "an image": Shape(
        deltas({"content": [*_PARTS, _IMAGE]}), HELLO, body({"content": [*_PARTS, _IMAGE]})
    ),
}
"""Answers with blocks that are neither text nor reasoning nor calls."""
