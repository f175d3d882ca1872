"""A mutated answer: a sample, changed as a document, as events, as bytes, and in its head."""

from __future__ import annotations

import copy
import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from fuzz_samples import ERRORS, KINDS, sample
from fuzz_values import mutated, written

STATUSES = (200,) * 220 + (
    201, 202, 204, 206, 301, 304, 307, 400, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415,
    418, 422, 422, 424, 425, 429, 429, 429, 431, 451, 498, 499, 500, 500, 501, 502, 503, 503, 504,
    505, 520, 524, 529, 530, 598, 599, 600, 999,
)  # fmt: skip
TIMES = (
    "", " ", "0", "-1", "1", "0.5", "1.5", "1e-9", "1e999", "-1e999", "NaN", "inf", "-inf",
    "9" * 400, "1e308", "99999999999", "1800000000", "1800000000000",
    "1m30s", "10ms", "6m0s", "1h", "1d", "1.5.5s", "ms", "s", "0x10", "1,2", "1, 2", "+5", "1_0",
    "\xb2", "Wed, 21 Oct 2015 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
    "Mon, 01 Jan 0001 00:00:00 -2359", "Wed, 21 Oct 2099 07:28:00 +9999",
    "Thu, 99 Foo 20999 99:99:99 ZZZ", "Sunday", "2099-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59", "2024-02-30T00:00:00Z", "20240101", "2024-W01-1", "soon",
)  # fmt: skip
TIMED = (
    "retry-after", "retry-after", "retry-after-ms", "llm_provider-retry-after", "date",
    "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens",
    "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens", "x-ratelimit-limit-requests",
    "x-ratelimit-reset", "ratelimit-reset", "anthropic-ratelimit-requests-reset", "x-should-retry",
    "x-request-id", "request-id", "location", "content-location", "age", "server",
)  # fmt: skip
TYPES = (
    "application/json", "text/event-stream", "text/html", "text/plain; charset=utf-16",
    "application/json; charset=nonsense", "image/png", "", ";",
    "text/event-stream; charset=latin-1", "application/problem+json", "multipart/form-data",
    "application/x-ndjson", "\xe9", "a/b" * 300,
)  # fmt: skip
PACKINGS = (
    "gzip",
    "deflate",
    "br",
    "zstd",
    "identity",
    "gzip, gzip",
    "x-gzip",
    "GZIP",
    "compress",
    "",
    ",",
    "deflate, gzip",
    "utf-8",
    "\xff",
)
End = Literal["", "cut", "reset", "late"]


@dataclass(frozen=True)
class Sent:
    """An answer as it is sent."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    size: int = 0
    """How long its pieces are; 0 sends it whole."""
    end: End = ""
    """What happens after the body: nothing, or an error of the connection."""

    @property
    def pieces(self) -> list[bytes]:
        size = self.size or max(1, len(self.body))
        return [self.body[at : at + size] for at in range(0, len(self.body), size)]


def answer(chance: Random, kind: str) -> Sent:
    """A mutated answer to a request of this kind, now and then to one of another kind."""
    if chance.random() < 0.06:
        kind = chance.choice(KINDS)
    status = chance.choice(STATUSES)
    is_stream = "stream" in kind and (status == 200 or chance.random() < 0.1)
    if status >= 400 and chance.random() < 0.85:
        body = written(chance, _refusal(chance))
        is_stream = False
    elif is_stream:
        body = _stream(chance, kind)
    else:
        body = _document(chance, kind)
    headers = {"content-type": "text/event-stream" if is_stream else "application/json"}
    body = _changed_bytes(chance, body)
    _change_headers(chance, headers, status)
    if chance.random() < 0.08:
        body = _packed(chance, body, headers)
    size = (
        chance.choice((0, 0, 0, 1, 7, 64, 1000))
        if len(body) < 3000
        else chance.choice((0, 500, 4096))
    )
    end: End = chance.choice(("cut", "reset", "late")) if chance.random() < 0.05 else ""
    return Sent(status, tuple(headers.items()), body, size, end)


def _refusal(chance: Random) -> Any:
    return mutated(chance, copy.deepcopy(chance.choice(ERRORS)))


def _document(chance: Random, kind: str) -> bytes:
    found = sample(chance, kind)
    if isinstance(found, list):
        found = chance.choice(found)
    text = written(chance, mutated(chance, found))
    return text if chance.random() < 0.95 else b"data: " + text + b"\n\n"


# --- streams


def _stream(chance: Random, kind: str) -> bytes:
    events = sample(chance, kind)
    if chance.random() < 0.8:
        for _ in range(chance.choice((1, 1, 2, 4))):
            number = chance.randrange(len(events))
            events[number] = mutated(chance, events[number])
    else:
        events = mutated(chance, events)
    events = events if isinstance(events, list) else [events]
    blocks = [_dressed(chance, written(chance, event)) for event in events]
    if chance.random() < 0.9:
        blocks.append(b"data: [DONE]\n\n")
    for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
        if blocks:
            chance.choice(_MOVES)(chance, blocks)
    if chance.random() < 0.05:
        blocks = [block.replace(b"\n", chance.choice((b"\r\n", b"\r"))) for block in blocks]
    return b"".join(blocks)


def _dressed(chance: Random, text: bytes) -> bytes:
    if chance.random() < 0.9:
        return b"data: " + text.replace(b"\n", b"\ndata: ") + b"\n\n"
    return chance.choice(_DRESSES).replace(b"%", text)


_DRESSES = (
    b"data:%\n\n", b"%\n\n", b"data: %\n", b"data: %\r\n\r\n", b"event: error\ndata: %\n\n",
    b"event: message\nid: \x00\nretry: 1e9\ndata: %\n\n",
    b": hello\n\ndata: %\n\n", b"data: %\ndata: %\n\n", b" data: %\n\n", b"DATA: %\n\n",
    b"data\n\ndata: %\n\n", b"error: %\n\n", b"data: [DONE] %\n\n",
    b"data: data: %\n\n", b"event: ping\ndata: %\n\n", b"data: %%\n\n", b"\xef\xbb\xbfdata: %\n\n",
    b"id: 1\n\n%", b"data: \x1e%\n\n",
)  # fmt: skip
_Blocks = list[bytes]


def _leave_out(chance: Random, blocks: _Blocks) -> None:
    del blocks[chance.randrange(len(blocks))]


def _repeat(chance: Random, blocks: _Blocks) -> None:
    at = chance.randrange(len(blocks))
    blocks[at:at] = [blocks[at]] * chance.choice((1, 1, 2, 50))


def _move(chance: Random, blocks: _Blocks) -> None:
    blocks.insert(chance.randrange(len(blocks)), blocks.pop(chance.randrange(len(blocks))))


def _shuffle(chance: Random, blocks: _Blocks) -> None:
    chance.shuffle(blocks)


def _break_off(chance: Random, blocks: _Blocks) -> None:
    del blocks[chance.randrange(len(blocks)) :]


def _put_in(chance: Random, blocks: _Blocks) -> None:
    other = written(
        chance,
        chance.choice(
            (
                mutated(chance, sample(chance, "chat")),
                _refusal(chance),
                chance.choice(sample(chance, "stream")),
            )
        ),
    )
    blocks.insert(
        chance.randrange(len(blocks) + 1),
        chance.choice(
            (b"data: [DONE]\n\n", b"data:\n\n", b":\n\n", b"\n", _dressed(chance, other))
        ),
    )


_MOVES: tuple[Callable[[Random, _Blocks], None], ...] = (
    _leave_out,
    _leave_out,
    _repeat,
    _move,
    _shuffle,
    _break_off,
    _put_in,
    _put_in,
)


# --- bytes


def _changed_bytes(chance: Random, body: bytes) -> bytes:
    if chance.random() < 0.8 or not body:
        return body
    return chance.choice(_BYTES)(chance, bytearray(body))


def _flip(chance: Random, body: bytearray) -> bytes:
    for _ in range(chance.choice((1, 1, 3, 20))):
        body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
    return bytes(body)


def _cut_out(chance: Random, body: bytearray) -> bytes:
    at = chance.randrange(len(body))
    del body[at : at + chance.choice((1, 2, 10, 100))]
    return bytes(body)


def _double(chance: Random, body: bytearray) -> bytes:
    at, end = sorted((chance.randrange(len(body)), chance.randrange(len(body))))
    return bytes(body[:end] + body[at:])


def _noise(chance: Random, body: bytearray) -> bytes:
    at = chance.randrange(len(body) + 1)
    return bytes(body[:at]) + chance.randbytes(chance.choice((1, 2, 8, 64))) + bytes(body[at:])


_BYTES: tuple[Callable[[Random, bytearray], bytes], ...] = (
    _flip, _flip, _cut_out, _double, _noise,
    lambda chance, body: bytes(body[: chance.randrange(len(body))]),
    lambda _, body: b"",
    lambda _, body: bytes(body) * 2,
    lambda _, body: b"\xef\xbb\xbf" + bytes(body),
    lambda _, body: bytes(body).decode("utf-8", "replace").encode("utf-16"),
    lambda _, body: bytes(body).decode("utf-8", "replace").encode("utf-32"),
    lambda _, body: b"<html><head><title>Hi \xff</title>" + bytes(body),
    lambda _, body: b")]}'\n" + bytes(body) + b"\x00",
    lambda chance, _: chance.randbytes(chance.choice((1, 5, 200))),
)  # fmt: skip


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # the usual time would be another one each time


_HOW: tuple[Callable[[bytes], bytes], ...] = (
    _gzip,
    zlib.compress,
    lambda data: zlib.compress(data)[2:-4],
    lambda data: _gzip(_gzip(data)),
    bytes,
)


def _packed(chance: Random, body: bytes, headers: dict[str, str]) -> bytes:
    """Compressed, or said to be; often broken."""
    headers["content-encoding"] = chance.choice(PACKINGS)
    how = chance.choice(_HOW)
    made = how(body)
    return (
        made
        if chance.random() < 0.6
        else _changed_bytes(Random(chance.random()), made)[
            : chance.choice((None, 10, len(made) // 2))
        ]
    )


def _change_headers(chance: Random, headers: dict[str, str], status: int) -> None:
    if chance.random() < 0.12:
        headers["content-type"] = chance.choice(TYPES)
    if chance.random() < (0.6 if status >= 400 else 0.15):
        for _ in range(chance.choice((1, 1, 2, 4))):
            headers[chance.choice(TIMED)] = chance.choice(TIMES)


# --- as bytes on a connection


def on_the_wire(chance: Random, sent: Sent) -> bytes:
    """The whole answer with its head and framing, both changed, too."""
    status = sent.status if 100 <= sent.status <= 999 else 200
    lines = [
        f"HTTP/1.1 {status} OK".encode(),
        *(f"{name}: {value}".encode("latin-1") for name, value in sent.headers),
    ]
    body = sent.body
    if chance.random() < 0.5:
        lines.append(b"content-length: %d" % len(body))
    elif chance.random() < 0.7:
        lines.append(b"transfer-encoding: chunked")
        body = (
            b"".join(
                b"%x\r\n%b\r\n" % (len(piece), piece)
                for piece in replace(sent, size=max(sent.size, 50)).pieces
            )
            + b"0\r\n\r\n"
        )
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        chance.choice(_HEADS)(chance, lines)
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if chance.random() < 0.15:
        head = _changed_bytes(Random(chance.random()), head)
    if chance.random() < 0.05:
        body = _flip(chance, bytearray(body or b"x"))
    whole = chance.choice(_BEFORE) + head + body
    return whole[: chance.randrange(len(whole))] if sent.end else whole


_BEFORE = (b"",) * 16 + (
    b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 30,
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n",
    b"\r\n", b"\x16\x03\x01", b"SSH-2.0\r\n", b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
)  # fmt: skip
_STATUS_LINES = (
    b"HTTP/1.0 200 OK", b"HTTP/1.1 200", b"HTTP/1.1  200 OK", b"HTTP/2 200", b"HTTP/1.1 20 OK",
    b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 OK", b"HTTP/0.9 200 OK",
    b"ICY 200 OK", b"200 OK", b"HTTP/1.1 200 \xff\xfe", b"HTTP/1.1 200 OK\x00", b"HTTP/1.1 -1 OK",
    b"http/1.1 200 OK", b"HTTP/1.1 \xb2\xb2\xb2 OK", b"",
)  # fmt: skip
_LINES = (
    b"content-length: -1", b"content-length: 5", b"content-length: 1, 1", b"content-length: 1e3",
    b"content-length: " + b"9" * 30, b"content-length:",
    b"content-length: 00000000000000000000000005", b"content-length: \xb2",
    b"transfer-encoding: chunked", b"transfer-encoding: gzip, chunked",
    b"transfer-encoding: identity", b"transfer-encoding: Chunked ", b"connection: close",
    b"connection: upgrade, keep-alive", b"upgrade: websocket",
    b"content-encoding: gzip", b"x: " + b"y" * 9000, b"x y: z", b"no colon", b": empty", b" folded",
    b"x:\x00", b"x: \xff\xfe", b"\xe9: x", b"x: a\rb",
    b"set-cookie: a=b", b"set-cookie: a=b", b"retry-after: 1", b"retry-after: 2", b"trailer: x",
    b"content-type: text/html", b"keep-alive: timeout=-1",
)  # fmt: skip


def _other_status_line(chance: Random, lines: list[bytes]) -> None:
    lines[:1] = [chance.choice(_STATUS_LINES)]


def _further_line(chance: Random, lines: list[bytes]) -> None:
    lines.insert(chance.randint(1, len(lines)) if lines else 0, chance.choice(_LINES))


def _without_line(chance: Random, lines: list[bytes]) -> None:
    if lines:
        del lines[chance.randrange(len(lines))]


def _doubled_line(chance: Random, lines: list[bytes]) -> None:
    if lines:
        lines.append(chance.choice(lines))


def _many_lines(chance: Random, lines: list[bytes]) -> None:
    lines += [b"x-%d: y" % number for number in range(chance.choice((50, 120, 5000)))]


_HEADS = (
    _other_status_line,
    _further_line,
    _further_line,
    _further_line,
    _without_line,
    _doubled_line,
    _many_lines,
)
