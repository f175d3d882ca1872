"""What an answer may hold and take: limits of number and of memory,
and what every real answer stays below.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any, NamedTuple

import httpx
import pytest
from asking import Way, made
from hypothesis import given
from hypothesis import strategies as st
from same_examples import fixed
from thorough import most

from opea_core import OPEA, BadAnswerError, OPEAError
from opea_core.testing import Answer, ScriptedServer
from opea_core.transports import HTTPXTransport
from opea_core.types import Json
from opea_core.wire import jsontext
from opea_core.wire.braces import Braces
from opea_core.wire.response_reader import ResponseReader
from opea_core.wire.response_spec import ResponseSpec

PIECE = 64 * 1024
MB = 1_000_000
SMALL = most(MB, MB // 2)
"""Bytes of a body that could take much memory."""


def read(
    body: bytes,
    stream: bool = True,
    choices: int | None = 1,
    most: int = 128 * MB,
    encoding: str = "",
) -> ResponseReader:
    """A body read to its end, in pieces as they come from a socket."""
    numbers = count(1)
    expected = ResponseSpec(
        "chat", stream, "m", lambda: f"id{next(numbers)}", choices=choices, max_response_bytes=most
    )
    response_reader = ResponseReader(200, {"content-encoding": encoding}, expected)
    for piece in pieces(body):
        response_reader.feed(piece)
    response_reader.end()
    return response_reader


def pieces(body: bytes, size: int = PIECE) -> Iterator[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


def events(documents: Iterable[Json]) -> bytes:
    return (
        b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)
        + b"data: [DONE]\n\n"
    )


def entries(found: Iterable[Json]) -> bytes:
    """An event for each entry of ``choices``."""
    return events({"choices": [{"index": 0, **entry}]} for entry in found)


def deltas(fields: Iterable[Json]) -> bytes:
    return entries({"delta": delta} for delta in fields)


def plain(*choices: Json, **more: Any) -> bytes:
    return json.dumps({"choices": choices, **more}).encode()


def message(**fields: Any) -> Json:
    return {"message": {"role": "assistant", "content": "a", **fields}, "finish_reason": "stop"}


def keys(number: int) -> Json:
    return {f"k{n}": 1 for n in range(number)}


# --- how many of something

CALL: Json = {"id": "", "function": {"name": "f", "arguments": "{}"}}
FIELDS = "more than 10000 unknown fields"
VALUES = "too many values: they would take more than 4 x max_response_bytes"
TOO_MANY: dict[str, tuple[Callable[[], bytes], str]] = {
    "choices": (
        lambda: entries({"index": n, "delta": {"content": "x"}} for n in range(129)),
        "more than 128 choices",
    ),
    "choices in one event": (
        lambda: events([{"choices": [{"delta": {}}] * 129}]),
        "more than 128 choices",
    ),
    "whole choices": (lambda: plain(*[message()] * 129), "more than 128 choices"),
    "calls": (
        lambda: deltas({"tool_calls": [{**CALL, "index": n, "id": f"c{n}"}]} for n in range(1025)),
        "more than 1024 tool calls",
    ),
    "whole calls": (lambda: plain(message(tool_calls=[CALL] * 1025)), "more than 1024 tool calls"),
    "annotations": (
        lambda: deltas({"annotations": [n]} for n in range(10_001)),
        "more than 10000 annotations",
    ),
    "whole annotations": (
        lambda: plain(message(annotations=[*range(10_001)])),
        "more than 10000 annotations",
    ),
    "details": (
        lambda: deltas({"reasoning_details": [{"index": n}]} for n in range(10_001)),
        "more than 10000 details of reasoning",
    ),
    "whole details": (
        lambda: plain(message(reasoning_details=[{}] * 10_001)),
        "more than 10000 details of reasoning",
    ),
    "fields of a message": (lambda: deltas({key: 1} for key in keys(10_001)), FIELDS),
    "fields of a choice": (lambda: entries({key: 1, "delta": {}} for key in keys(10_001)), FIELDS),
    "fields": (lambda: events({key: 1, "choices": []} for key in keys(10_001)), FIELDS),
    "fields of a plain answer": (lambda: plain(message(), **keys(10_001)), FIELDS),
    "counts": (
        lambda: events({"choices": [], "usage": {key: 1}} for key in keys(10_001)),
        "more than 10000 counts",
    ),
    "values": (lambda: plain(message(), x=[[]] * 500_000), VALUES),
    "values of an event": (lambda: events([{"choices": [], "x": [[]] * 500_000}]), VALUES),
}


@pytest.mark.parametrize("name", TOO_MANY)
def test_more_than_any_answer_has_is_an_error_that_says_of_what(name: str) -> None:
    body, words = TOO_MANY[name]
    problem = read(body(), most=8 * MB).problem
    assert problem is not None
    assert (problem.cls, problem.retryable) == (BadAnswerError, False)
    assert words in problem.what


@pytest.mark.parametrize("name", ["calls", "whole details", "values"])
def test_what_is_too_much_is_asked_for_once(way: Way, server: ScriptedServer, name: str) -> None:
    body, words = TOO_MANY[name]
    server.always(Answer(steps=(body(),)))
    told = way.ask(made(server, max_response_bytes=8 * MB), "chat", "Hello")
    assert isinstance(told.error, BadAnswerError)
    assert words in str(told.error)
    assert len(server.seen) == 1


EMPTY = b"\0\0\0\xff\xff"  # a stored block without a byte
NOTHING: dict[str, tuple[str, bytes]] = {
    "empty members": ("gzip", gzip.compress(b"") * 20_000),
    "empty members, some of which": (
        "gzip",
        (gzip.compress(b"") * 99 + gzip.compress(b"\n")) * 200,
    ),
    "a file name that does not end": ("gzip", b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * 200_000),
    "empty blocks": ("deflate", b"\x78\x9c" + EMPTY * 50_000),
    "a text, then empty blocks": ("deflate", b"\x78\x9c\0\x01\0\xfe\xff{" + EMPTY * 50_000),
}


@pytest.mark.parametrize("name", NOTHING)
def test_a_packed_body_that_goes_on_and_holds_nothing_is_an_error(name: str) -> None:
    encoding, body = NOTHING[name]
    problem = read(body, encoding=encoding).problem
    assert problem is not None
    assert (problem.cls, problem.retryable, problem.what) == (
        BadAnswerError,
        False,
        "the packed body goes on and holds nothing",
    )


def test_bytes_count_before_they_are_unpacked_too() -> None:
    """In blocks of one byte each a body is six times as large packed."""
    text = plain(message(content="x" * 20_000))
    packed = (
        b"\x78\x01"
        + b"".join(b"\0" + struct.pack("<HH", 1, 0xFFFE) + byte for byte in pieces(text, 1))
        + b"\x01\0\0\xff\xff"
    )
    packed += struct.pack(">I", zlib.adler32(text))
    assert read(packed, encoding="deflate", most=200_000).response is not None
    problem = read(packed, encoding="deflate", most=50_000).problem
    assert problem is not None
    assert problem.what == "the answer is larger than 50000 bytes (max_response_bytes)"


def test_an_answer_nested_too_deeply_is_an_error() -> None:
    """Some depths can be parsed, but not be merged or written again:
    which, depends on the calls above.
    """
    call = {"function": {"name": "f", "arguments": "deep"}}
    bodies = [
        plain(message(), usage={"a": "deep"}),
        plain(message(annotations=["deep"])),
        plain(message(tool_calls=[call])),
        entries(
            [{"delta": {"annotations": ["deep"], "tool_calls": [call]}, "finish_reason": "stop"}]
        ),
    ]
    limit = sys.getrecursionlimit()
    depths = range(limit - 250, limit + 10, most(1, 6))
    for depth, body in itertools.product((100, *depths), bodies):
        response_reader = read(body.replace(b'"deep"', b'{"a":' * depth + b"1" + b"}" * depth))
        assert (response_reader.response is None) is (response_reader.problem is not None)
        assert response_reader.problem is None or (
            response_reader.problem.cls is BadAnswerError and depth > 100
        )


# --- what a real answer has

TOKEN: Json = {"token": " the", "logprob": -0.12345678, "bytes": [32, 116, 104, 101]}
ROWS = [{"id": n, "name": f"row {n}", "tags": {"a": [{}], "b": {}}} for n in range(20_000)]
REAL: dict[str, tuple[Callable[[], bytes], int | None]] = {
    "arguments of many braces": (
        lambda: plain(
            message(
                tool_calls=[
                    {"id": "c", "function": {"name": "f", "arguments": json.dumps({"rows": ROWS})}}
                ]
            )
        ),
        1,
    ),
    "arguments of many braces, piece by piece": (
        lambda: deltas(
            {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": piece}}]}
            for piece in ('{"rows":[', *(json.dumps(row) + "," for row in ROWS[:5000]), "{}]}")
        ),
        1,
    ),
    "a text of brackets": (lambda: plain(message(content='[{"a":[],},' * 500_000)), 1),
    "logprobs of 4096 tokens, 20 others for each": (
        lambda: plain(
            {**message(), "logprobs": {"content": [{**TOKEN, "top_logprobs": [TOKEN] * 20}] * 4096}}
        ),
        1,
    ),
    "100 choices": (lambda: plain(*[message()] * 100), 1),
    "1000 choices, as many as were asked for": (lambda: plain(*[message()] * 1000), 1000),
    "completions of 300 prompts": (
        lambda: plain(*({"index": n, "text": "x", "finish_reason": "stop"} for n in range(300))),
        None,
    ),
    "1024 calls": (lambda: plain(message(tool_calls=[CALL] * 1024)), 1),
    "10000 annotations": (lambda: plain(message(annotations=[*range(10_000)])), 1),
    "1500 events before the first content": (lambda: deltas([{}] * 1500 + [{"content": "a"}]), 1),
}


@pytest.mark.parametrize("name", REAL)
def test_what_a_real_answer_has_is_read(name: str) -> None:
    body, choices = REAL[name]
    response_reader = read(body(), choices=choices)
    assert response_reader.problem is None
    assert response_reader.response is not None
    assert response_reader.response.invalid_tool_calls == []
    assert [choice.index for choice in response_reader.response.choices] == [
        *range(len(response_reader.response.choices))
    ]
    assert response_reader.chunks[-1].response is response_reader.response


def test_vectors_and_completions_of_many_are_read(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    vectors = [
        {"object": "embedding", "index": n, "embedding": [n + k / 7 for k in range(256)]}
        for n in range(2048)
    ]
    server.always(
        Answer(steps=(json.dumps({"object": "list", "model": "m", "data": vectors}).encode(),))
    )
    embedded = way.ask(opea, "embed", ["a"] * 2048).response
    assert (len(embedded.embeddings), embedded.embeddings[2047][255]) == (2048, 2047 + 255 / 7)
    server.always(Answer(steps=(REAL["completions of 300 prompts"][0](),)))
    completed = way.ask(opea, "complete", [f"prompt {n}" for n in range(300)]).response
    assert len(completed.choices) == 300
    server.always(Answer(steps=(REAL["100 choices"][0](),)))
    assert len(way.ask(opea, "chat", "Hello", n=100).response.choices) == 100


# --- memory


class Sends(httpx.BaseTransport):
    """A caller's transport, which answers with a body in pieces as they come from a socket."""

    def __init__(self, body: bytes, status: int, packed: bool, size: int) -> None:
        self._body = gzip.compress(body, 1) if packed else body
        self._headers = {"content-encoding": "gzip"} if packed else {}
        self._status, self._size = status, size

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            self._status, headers=self._headers, stream=_Body(pieces(self._body, self._size))
        )


class _Body(httpx.SyncByteStream):
    def __init__(self, body: Iterator[bytes]) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return self._body


def many(
    unit: str | Callable[[int], str], before: str = "", after: str = "", size: int = SMALL
) -> Callable[[], bytes]:
    """A body of a size: a unit (or what a function makes of numbers) again and again."""

    def body() -> bytes:
        parts, length = [before], len(before) + len(after)
        for number in itertools.count():
            part = unit if isinstance(unit, str) else unit(number)
            length += len(part)
            if length > size:
                return "".join((*parts, after)).encode()
            parts.append(part)
        raise AssertionError

    return body


def listed(unit: str | Callable[[int], str], about: str = '"x"') -> Callable[[], bytes]:
    """A plain answer with a list of so many."""
    return many(
        unit,
        f'{{"choices":[{{"message":{{"content":"a"}},"finish_reason":"stop"}}],{about}:[',
        "1]}",
    )


def said(unit: str | Callable[[int], str], name: str) -> Callable[[], bytes]:
    """A plain answer with a list of so many in its message."""
    return many(unit, f'{{"choices":[{{"message":{{"{name}":[', '{}]},"finish_reason":"stop"}]}')


def sent(entry: str | Callable[[int], str], size: int = SMALL) -> Callable[[], bytes]:
    """A stream of so many events."""
    event = (lambda n: f"data: {entry(n)}\n\n") if callable(entry) else f"data: {entry}\n\n"
    return many(event, size=size)


def delta(text: str) -> str:
    return f'{{"choices":[{{"index":0,"delta":{text}}}]}}'


def piece(text: str) -> str:
    """An event with some more of a call's arguments."""
    call = {"index": 0, "function": {"name": "f", "arguments": text}}
    return f"data: {delta(json.dumps({'tool_calls': [call]}))}\n\n"


def ask(opea: OPEA) -> Any:
    return opea.chat("Hello")


def stream(opea: OPEA) -> None:
    for _ in opea.stream_chat("Hello"):
        pass


def watch(opea: OPEA) -> None:
    chunks = opea.stream_chat("Hello")
    for _ in chunks:
        _ = chunks.response


def respond(opea: OPEA) -> Any:
    return opea.responses("Hello")


def stream_response(opea: OPEA) -> None:
    for _ in opea.stream_responses("Hello"):
        pass


def hand_on(path: str, streams: bool) -> Callable[[OPEA], None]:
    """A call of another client's, whose answer is handed on as bytes."""

    def call(opea: OPEA) -> None:
        with (
            contextlib.suppress(httpx.HTTPError),
            httpx.Client(
                transport=HTTPXTransport(opea), base_url="http://opea.invalid/v1"
            ) as client,
            client.stream("POST", path, json={"model": "m", "stream": streams}) as answer,
        ):
            for _ in answer.iter_raw():
                pass

    return call


class Heavy(NamedTuple):
    """A small body that could take much memory."""

    body: Callable[[], bytes]
    call: Callable[[OPEA], Any] = ask
    status: int = 200
    packed: bool = False
    size: int = PIECE


VALUES = "[" + "{}," * 40 + "{}]"
"""What takes much more memory than its text."""
HEAVY = {
    # --- one document
    "choices": Heavy(many(lambda n: f'{{"index":{n}}},', '{"choices":[', "{}]}")),
    "lists": Heavy(listed("[],")),
    "objects": Heavy(listed("{},")),
    "objects with a field": Heavy(listed('{"":0},')),
    "objects with a field of their own": Heavy(listed(lambda n: f'{{"{n}":0}},')),
    "nested lists": Heavy(listed("[" * 100 + "]" * 100 + ",")),
    "numbers": Heavy(listed("0.5,")),
    "strings": Heavy(listed(lambda n: f'"{n}",')),
    "strings of a letter": Heavy(listed('"é",')),
    "empty strings and numbers": Heavy(listed('"",12,')),
    "empty strings and numbers, and no end": Heavy(many('"",12,', '{"choices":[[')),
    "escaped quotes": Heavy(many('\\"', '{"choices":[' + "[" * 300_000)),
    "fields": Heavy(many(lambda n: f'"k{n}":1,', '{"choices":[],', '"a":1}')),
    "counts": Heavy(many(lambda n: f'"k{n}":1,', '{"choices":[],"usage":{', '"a":1}}')),
    "details": Heavy(said("{},", "reasoning_details")),
    "annotations": Heavy(said("{},", "annotations")),
    "parts": Heavy(said("{},", "content")),
    "parts of text": Heavy(said('{"type":"text","text":"a"},', "content")),
    "calls": Heavy(said('{"index":1},', "tool_calls")),
    "logprobs": Heavy(listed('{"token":"x"},', '"logprobs"')),
    "arguments": Heavy(
        many(
            "[],",
            '{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"a":[',
            "1]}}}]}}]}",
        )
    ),
    "arguments as text": Heavy(
        many(
            "[],",
            '{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{\\"a\\":[',
            '1]}"}}]},"finish_reason":"stop"}]}',
        )
    ),
    "a document in tiny pieces": Heavy(
        many(
            "ab",
            '{"choices":[{"message":{"content":"',
            '"},"finish_reason":"stop"}]}',
            size=SMALL // 4,
        ),
        size=2,
    ),
    "no document": Heavy(many("x", "{")),
    # --- other documents
    "integers of a vector": Heavy(
        many("0,", '{"data":[{"embedding":[', "0]}]}"), lambda opea: opea.embed("a")
    ),
    "vectors": Heavy(many('{"embedding":[1]},', '{"data":[', "1]}"), lambda opea: opea.embed("a")),
    "models": Heavy(many('{"id":"a"},', '{"data":[', '{"id":"b"}]}'), lambda opea: opea.models()),
    "ranks": Heavy(
        many(lambda n: f'{{"index":{n},"score":1}},', '{"results":[', "1]}"),
        lambda opea: opea.rerank("a", ["a"] * (SMALL // 24)),
    ),
    "tokens": Heavy(many("0,", '{"tokens":[', "0]}"), lambda opea: opea.count_tokens("a")),
    "details of an error": Heavy(many("{},", '{"detail":[', "{}]}"), status=429),
    "details of an error in a 200": Heavy(many("{},", '{"detail":[', "{}]}")),
    # --- streams
    "streamed arguments": Heavy(many(piece("[]," * 5000), piece('{"a":['), piece("1]}")), stream),
    "streamed choices": Heavy(sent(lambda n: f'{{"choices":[{{"index":{n},"delta":{{}}}}]}}')),
    "streamed fields": Heavy(sent(lambda n: f'{{"k{n}":1}}')),
    "streamed counts": Heavy(sent(lambda n: f'{{"usage":{{"d":{{"k{n}":1}}}}}}')),
    "streamed logprobs": Heavy(
        sent('{"choices":[{"delta":{},"logprobs":{"content":[{"token":"x"}]}}]}')
    ),
    "a stream for a plain call": Heavy(sent(delta('{"content":"a"}'), size=MB)),
    "text": Heavy(sent(delta('{"content":"a"}')), stream),
    "text, stream.response at each chunk": Heavy(sent(delta('{"content":"a"}')), watch),
    "new fields of the message": Heavy(sent(lambda n: delta(f'{{"x{n}":[]}}')), stream),
    "new calls": Heavy(
        sent(lambda n: delta(f'{{"tool_calls":[{{"index":{n},"function":{{"name":"f"}}}}]}}')),
        stream,
    ),
    "new fields of a call": Heavy(
        sent(lambda n: delta(f'{{"tool_calls":[{{"index":0,"k{n}":1}}]}}')), stream
    ),
    "values of a new field of the message": Heavy(
        sent(lambda n: delta(f'{{"x{n}":{VALUES}}}')), stream
    ),
    "values of new fields of the choice": Heavy(
        sent(lambda n: f'{{"choices":[{{"delta":{{}},"x{n}":{VALUES}}}]}}'), stream
    ),
    "values of new fields of the answer": Heavy(sent(lambda n: f'{{"x{n}":{VALUES}}}'), stream),
    "values in probabilities": Heavy(
        sent(f'{{"choices":[{{"delta":{{"content":"a"}},"logprobs":{{"content":{VALUES}}}}}]}}'),
        stream,
    ),
    "values in annotations": Heavy(
        sent(lambda n: delta(f'{{"content":"a","annotations":[{{"n":{n},"x":{VALUES}}}]}}')), stream
    ),
    "values in details": Heavy(
        sent(lambda n: delta(f'{{"reasoning_details":[{{"index":{n},"x":{VALUES}}}]}}')), stream
    ),
    "values in parts": Heavy(
        sent(delta(f'{{"content":[{{"type":"image_url","x":{VALUES}}}]}}')), stream
    ),
    "values in audio": Heavy(sent(lambda n: delta(f'{{"audio":{{"x{n}":{VALUES}}}}}')), stream),
    "values in fields of a call": Heavy(
        sent(lambda n: delta(f'{{"tool_calls":[{{"index":0,"x{n}":{VALUES}}}]}}')), stream
    ),
    "values in counts": Heavy(sent(lambda n: f'{{"usage":{{"x{n}":{VALUES}}}}}'), stream),
    "nothing but parts": Heavy(sent(delta('{"content":[{}]}')), stream),
    "nothing but events": Heavy(sent("{}"), stream),
    "lines of one event": Heavy(many("data:x\n", size=MB), stream),
    "documents of one event": Heavy(many("{} ", "data: ", "\n\n"), stream),
    "entries of one event": Heavy(
        many('{"delta":{"content":"a"}},', 'data: {"choices":[', "{}]}\n\n"), stream
    ),
    "line ends": Heavy(many("\r", "data: {}"), stream),
}
LISTS = {
    "a stream": (many("[],", 'data: {"choices":[],"x":[', "1]}\n\n"), stream),
    "a stream without its last line end": (many("[],", 'data: {"x":[', "1]}"), stream),
    "a plain answer": (listed("[],"), ask),
    "an event of a response": (many("[],", 'data: {"type":"x","x":[', "1]}\n\n"), stream_response),
    "a response": (many("[],", '{"output":[],"x":[', "1]}"), respond),
}
"""Lists of nothing, as each form of an answer has them, and who asks for it."""
PATHS = {stream: "chat/completions", ask: "chat/completions"}
HEAVY |= {
    f"{who}: {what}": Heavy(body, call)
    for what, (body, own) in LISTS.items()
    for who, call in (
        ("lists", own),
        (
            "lists, handed on",
            hand_on(PATHS.get(own, "responses"), own in (stream, stream_response)),
        ),
    )
}
LONG = {"text, stream.response at each chunk", "streamed counts", "line ends"}
"""What is like another one and takes seconds."""
FLOOR = 5_200_000
"""Bytes that any answer may take, however small ``max_response_bytes`` is,
and for the call itself.
"""


def peak(heavy: Heavy, body: bytes) -> int:
    """The most memory that a call takes which may take as much as the body is long."""
    transport = Sends(body, heavy.status, heavy.packed, heavy.size)
    opea = OPEA(
        "http://127.0.0.1:9",
        transport=transport,
        model="m",
        max_retries=0,
        recovery_wait=0,
        max_response_bytes=len(body),
    )
    tracemalloc.start()
    try:
        heavy.call(opea)
    except OPEAError:
        pass
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most


@pytest.mark.parametrize(
    "heavy",
    [
        *(
            pytest.param(heavy, id=name, marks=pytest.mark.slow if name in LONG else ())
            for name, heavy in HEAVY.items()
        ),
        *(
            pytest.param(heavy._replace(packed=True), id=f"packed: {name}")
            for name, heavy in HEAVY.items()
            if name in ("lists", "parts")
        ),
        pytest.param(
            HEAVY["text"]._replace(packed=True), id="packed: text", marks=pytest.mark.slow
        ),
    ],
)
def test_an_answer_takes_a_few_times_its_size(heavy: Heavy) -> None:
    body = heavy.body()
    assert peak(heavy, body) < 4 * len(body) + FLOOR


# --- braces and weights, against the obvious ways to count


JSON = st.recursive(
    st.none() | st.integers(-9, 9) | st.text('{}[]",:\\ a\n\u2028é\ud800', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('{}"\\a', max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text('{}"\\a', max_size=4), JSON, max_size=3)
TEXTS = (
    st.builds(json.dumps, OBJECTS, indent=st.sampled_from([None, 1]), ensure_ascii=st.booleans())
    | st.builds(json.dumps, JSON)
    | st.text('{}[]",:\\ a\n\u2028\ufeff', max_size=30)
)
CUTS = st.lists(st.integers(1, 7), min_size=1, max_size=5)


def cut(text: str, sizes: list[int]) -> list[str]:
    steps = itertools.cycle(sizes)
    parts = []
    while text:
        size = next(steps)
        parts.append(text[:size])
        text = text[size:]
    return parts


def counted(parts: Iterable[str]) -> tuple[bool, bool]:
    braces = Braces()
    for part in parts:
        braces.feed(part)
    return braces.ended, braces.goes_on


@fixed(1000, few=250)
@given(text=TEXTS, tail=st.sampled_from(["", "", " ", "\n\u2028", "}", "{}", "x", '"']), sizes=CUTS)
def test_braces_end_where_an_object_does_however_it_is_cut(
    text: str, tail: str, sizes: list[int]
) -> None:
    ended, goes_on = counted(cut(text + tail, sizes))
    assert (ended, goes_on) == counted([text + tail])
    if jsontext.is_object(text + tail):
        assert (ended, goes_on) == (True, False)
    if jsontext.is_object(text):
        whole = text.rstrip()
        assert (ended, goes_on) == (True, bool(tail.strip()))
        assert not any(counted([whole[:end]])[0] for end in range(len(whole)))


def weight(text: str) -> int:
    """What the values of a document weigh, letter by letter."""
    total, inside, escaped = 0, False, False
    for letter in text:
        if inside:
            inside, escaped = escaped or letter != '"', not escaped and letter == "\\"
        elif letter == '"':
            inside = True
        else:
            total += {"{": 130, "[": 72, ":": 60, ",": 32}.get(letter, 0)
    return total


@fixed(1000, few=250)
@given(
    text=st.builds(json.dumps, JSON), end=st.none() | st.integers(0, 40), chunk=st.integers(1, 9)
)
def test_a_document_is_weighed_outside_of_its_strings(
    text: str, end: int | None, chunk: int
) -> None:
    text = text[:end]
    heavy = weight(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsontext, "_CHUNK", chunk)
        assert not jsontext.weighs_more(text.encode(), heavy)
        assert not heavy or jsontext.weighs_more(text.encode(), heavy - 1)
