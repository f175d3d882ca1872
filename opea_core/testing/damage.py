"""How a right answer is broken: each function takes an answer and gives what comes of it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

from opea_core.testing.answers import (
    JSON_HEADERS,
    SSE_HEADERS,
    Answer,
    Forever,
    Step,
    Wait,
    encode,
    error,
    html,
    json_answer,
    raw,
)

_SETTLE = Wait(0.05)  # lets the client read what was sent, before a reset throws it away
_BLOCK = b"x" * 65536
_PIECES = 8
_DEEP = 100_000
SERVER_ERROR = {
    "error": {"message": "CUDA out of memory", "type": "server_error", "param": None, "code": None}
}
LOGIN_PAGE = (
    "<!doctype html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"
)


def wire(answer: Answer) -> bytes:
    """The whole answer as it is sent, head and framing included."""
    return (
        answer.head
        + b"".join(answer.frame(step) for step in answer.steps if isinstance(step, bytes))
        + answer.tail
    )


def started(answer: Answer, share: float = 0.5) -> Answer:
    """The head that promises the whole body, and this share of its bytes."""
    left = int(len(answer.body) * share)
    return answer.replace(
        length=len(answer.body) if answer.length == "auto" else answer.length,
        steps=tuple(_first(answer.steps, left)) or (b"",),
    )


def _first(steps: tuple[Step, ...], left: int) -> Iterator[Step]:
    for step in steps:
        if left <= 0:
            return
        yield step[:left] if isinstance(step, bytes) else step
        left -= len(step) if isinstance(step, bytes) else 0


def cut(answer: Answer, share: float = 0.5) -> Answer:
    """The connection is closed when this share of the body was sent."""
    return started(answer, share).replace(end="cut")


def reset(answer: Answer, share: float = 0.5) -> Answer:
    """The connection is reset when this share of the body was sent."""
    begun = started(answer, share)
    return begun.replace(steps=(*begun.steps, _SETTLE), end="reset")


def stall(answer: Answer, share: float = 0.5) -> Answer:
    """Nothing more comes when this share of the body was sent, and the connection stays open."""
    return started(answer, share).replace(end="hang")


def cut_head(answer: Answer) -> Answer:
    """The connection is closed in the middle of the headers."""
    return raw(answer.head[: len(answer.head) // 2])


def reset_head(answer: Answer) -> Answer:
    """The connection is reset in the middle of the headers."""
    return raw(answer.head[: len(answer.head) // 2], _SETTLE, end="reset")


def drip_head(_: Answer) -> Answer:
    """Headers without end, one at a time."""
    return raw(b"HTTP/1.1 200 OK\r\n", Forever(b"x-drip: 1\r\n", 0.02))


def huge_head(_: Answer) -> Answer:
    """Headers without end, as fast as they are read."""
    return raw(b"HTTP/1.1 200 OK\r\n", Forever(b"x-huge: %b\r\n" % _BLOCK[:8192]))


def slow(answer: Answer, seconds: float = 0.05) -> Answer:
    """Everything comes, with so many seconds between two events.

    In a plain answer, between two eighths of it.
    """
    pieces = answer.steps if answer.is_stream else _pieces(answer.body)
    steps = [step for piece in pieces for step in (Wait(seconds), piece)]
    return answer.replace(steps=tuple(steps[1:]))


def _pieces(body: bytes) -> list[Step]:
    size = max(1, -(-len(body) // _PIECES))
    return [body[at : at + size] for at in range(0, len(body), size)]


def keepalives(answer: Answer, share: float = 0.0, seconds: float = 0.02) -> Answer:
    """This share of it, then signs of life for ever.

    They are comments between the events of a stream, blanks in a plain answer.
    """
    if answer.is_stream:
        events = answer.steps[: int(len(answer.steps) * share)]
        return answer.replace(steps=(*events, Forever(b": keep-alive\n\n", seconds)))
    begun = started(answer, share)
    return begun.replace(steps=(*begun.steps, Forever(b" ", seconds)), length="chunked")


def long_length(answer: Answer) -> Answer:
    """A Content-Length that promises more than comes."""
    return answer.replace(length=len(answer.body) + 100, end="cut")


def short_length(answer: Answer) -> Answer:
    """A Content-Length that promises half of what comes."""
    return answer.replace(length=len(answer.body) // 2, end="close")


def cut_chunk(answer: Answer) -> Answer:
    """Chunked, and closed inside a chunk."""
    return raw(_half_chunked(answer) + b"ffff\r\n" + answer.body[len(answer.body) // 2 :][:8])


def bad_chunk(answer: Answer) -> Answer:
    """Chunked, with a chunk whose size is no number."""
    return raw(_half_chunked(answer) + b"size?\r\n")


def _half_chunked(answer: Answer) -> bytes:
    return wire(started(answer.replace(length="chunked")).replace(end="cut"))


def no_length(answer: Answer) -> Answer:
    """The body ends with the connection, as in HTTP/1.0."""
    return answer.replace(length="none", end="close")


def no_length_cut(answer: Answer) -> Answer:
    """The same, but it ends too early, and nothing shows it."""
    return started(answer.replace(length="none")).replace(end="cut")


def stray(answer: Answer) -> Answer:
    """Right, and followed by an answer to nothing on the same connection."""
    return raw(wire(answer) + b"HTTP/1.1 500 Stray\r\ncontent-length: 5\r\n\r\nstray", end="keep")


def interim(answer: Answer) -> Answer:
    """Right, after an interim answer that announces it."""
    return raw(
        b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n" + wire(answer), end=answer.end
    )


def page(_: Answer) -> Answer:
    """A login page with status 200."""
    return html(200, LOGIN_PAGE)


def bad_gateway(_: Answer) -> Answer:
    """The page of a proxy whose upstream is down."""
    return html(
        502,
        "<html><head><title>502 Bad Gateway</title></head>"
        "<body><center><h1>502 Bad Gateway</h1></center></body></html>",
    )


def error_in_success(_: Answer) -> Answer:
    """Status 200, and an error in the body."""
    return json_answer(SERVER_ERROR)


def broken_json(answer: Answer) -> Answer:
    """JSON that breaks off, although all promised bytes came; in a stream, in the first event."""
    first = answer.body.partition(b"\n\n")[0]
    body = (
        first[: len(first) // 2] + b"\n\n"
        if answer.is_stream
        else answer.body[: len(answer.body) // 2]
    )
    return answer.replace(steps=(body,), length="auto", end="keep")


def deep_json(answer: Answer) -> Answer:
    """JSON nested so deeply that parsers give up."""
    deep = b'{"choices":' + b"[" * _DEEP + b"]" * _DEEP + b"}"
    return answer.replace(
        steps=(b"data: %b\n\n" % deep if answer.is_stream else deep,), length="auto", end="keep"
    )


def empty(answer: Answer) -> Answer:
    """Status 200 and no body."""
    return answer.replace(steps=(), length="auto")


def empty_object(answer: Answer) -> Answer:
    """JSON without anything that was asked for."""
    return answer.replace(
        steps=(b"data: {}\n\ndata: [DONE]\n\n" if answer.is_stream else b"{}",), length="auto"
    )


def error_first(answer: Answer) -> Answer:
    """A stream that begins with an error; a plain answer that is one."""
    return _with_error(answer, 0) if answer.is_stream else error_in_success(answer)


def error_midway(answer: Answer) -> Answer:
    """A stream that ends with an error; a plain answer that is one."""
    return (
        _with_error(answer, len(answer.steps) // 2)
        if answer.is_stream
        else error_in_success(answer)
    )


def _with_error(answer: Answer, events: int) -> Answer:
    return answer.replace(steps=(*answer.steps[:events], b"data: %b\n\n" % encode(SERVER_ERROR)))


def unfinished(answer: Answer) -> Answer:
    """A stream that ends in good order after half of its events; half of a plain answer.

    The stream has no finish reason and no ``[DONE]``.
    """
    return (
        answer.replace(steps=answer.steps[: len(answer.steps) // 2])
        if answer.is_stream
        else broken_json(answer)
    )


def torn(answer: Answer) -> Answer:
    """Right, byte by byte, each in a chunk of its own."""
    return answer.replace(steps=tuple(bytes([byte]) for byte in answer.body), length="chunked")


def glued(answer: Answer) -> Answer:
    """Right, all in one piece."""
    return answer.replace(steps=(answer.body,))


def with_comments(answer: Answer) -> Answer:
    """Right, with a comment before each event and CRLF line ends; blanks before a plain answer."""
    if not answer.is_stream:
        return answer.after(b" " * 64)
    return answer.replace(
        steps=tuple(
            b": alive\r\n\r\n" + step.replace(b"\n", b"\r\n") if isinstance(step, bytes) else step
            for step in answer.steps
        )
    )


def gzipped(answer: Answer) -> Answer:
    """Right, and compressed."""
    return answer.replace(
        headers={**answer.headers, "content-encoding": "gzip"}, steps=(gzip.compress(answer.body),)
    )


def bomb(answer: Answer) -> Answer:
    """Compressed blanks without end: a thousand times what comes over the line."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    begin = b"data: " if answer.is_stream else b'{"choices":[{"message":{"content":"'
    head = squeeze.compress(begin) + squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(_BLOCK * 16) + squeeze.flush(zlib.Z_FULL_FLUSH)
    headers = {**(SSE_HEADERS if answer.is_stream else JSON_HEADERS), "content-encoding": "gzip"}
    return Answer(200, headers, (head, Forever(block)), length="chunked")


def endless(answer: Answer) -> Answer:
    """A body without end: events with content in a stream, one string in a plain answer."""
    if answer.is_stream:
        event = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % _BLOCK
        return answer.replace(steps=(Forever(event),), length="chunked")
    return answer.replace(
        steps=(b'{"choices":[{"message":{"content":"', Forever(_BLOCK)), length="chunked"
    )


def long_line(answer: Answer) -> Answer:
    """One event whose line does not end; in a plain answer a body without end."""
    return (
        answer.replace(steps=(b"data: ", Forever(_BLOCK)), length="chunked")
        if answer.is_stream
        else endless(answer)
    )


def not_http(_: Answer) -> Answer:
    """Some other protocol."""
    return raw(b"SSH-2.0-OpenSSH_9.6\r\n")


def http10(answer: Answer) -> Answer:
    """Right, in HTTP/1.0, where the body ends with the connection."""
    return raw(
        answer.replace(length="none").head.replace(b"HTTP/1.1", b"HTTP/1.0", 1) + answer.body
    )


def redirect(_: Answer, to: str = "http://elsewhere.invalid/v1", status: int = 302) -> Answer:
    """The client is sent to another place."""
    return Answer(status, {"location": to})


def status(code: int, message: str = "", **fields: str) -> Answer:
    """An error of the protocol with this status."""
    return error(code, message or f"scripted {code}", **fields)  # type: ignore[arg-type]
