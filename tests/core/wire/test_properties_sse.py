"""The event decoder beside one that sees the whole body at once;
and garbage, which must stay bounded.
"""

from __future__ import annotations

import re
from itertools import count, pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from same_examples import fixed

from opea_core import errors
from opea_core.wire.response_reader import ResponseReader
from opea_core.wire.response_spec import ResponseSpec
from opea_core.wire.sse import Event, EventTooLarge, SSEDecoder

BOM = b"\xef\xbb\xbf"

# --- streams: lines that may stand in one, each with a line end of its own

DATA = st.text(alphabet='aé你😀\u2028\x85\x0b {}":[],1', max_size=12).map(
    str.encode
) | st.sampled_from([b"[DONE]", b"{}", b"", b": c", b"\xff"])
LINES = (
    st.builds(lambda space, data: b"data:" + space + data, st.sampled_from([b"", b" ", b"  "]),
        DATA)
    | st.builds(lambda name: b"event: " + name, st.sampled_from([b"error", b"ping", "é".encode(),
        b""]))
    | st.builds(lambda data: b"error: " + data, DATA)
    | st.sampled_from([b": keep-alive", b":", b"id: 7", b"retry: 10", b"data", b"unknown: x",
        b" data: x", b"database: x"])
    | st.just(b"") | st.just(b"")
)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.builds(
    lambda bom, lines, rest: bom + b"".join(line + end for line, end in lines) + rest,
    st.sampled_from([b"", b"", BOM]),
    st.lists(st.tuples(LINES, ENDS), max_size=14),
    LINES,
)
CUTS = st.lists(st.integers(0, 300), max_size=12)


def pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    """The body cut at these places."""
    places = [0, *sorted(at for at in cuts if at < len(body)), len(body)]
    return [body[start:end] for start, end in pairwise(places)]


def bytewise(body: bytes) -> list[bytes]:
    return [body[n : n + 1] for n in range(len(body))]


def decoded(parts: list[bytes], bound: int = 10_000) -> list[Event]:
    decoder = SSEDecoder(bound)
    return [event for part in parts for event in decoder.feed(part)] + decoder.end()


def naive(body: bytes) -> list[Event]:
    """The events of a whole body, line by line, as the rules of the wire say."""
    events: list[Event] = []
    data: list[bytes] = []
    name = ""
    for line in [*re.split(rb"\r\n|\r|\n", body.removeprefix(BOM)), b""]:
        field, _, value = line.partition(b":")
        value = value.strip()
        if not line:
            if data:
                events.append(Event(b"\n".join(data), name))
            data, name = [], ""
        elif field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"error":
            name = "error"
            data += [value] if value else []
        elif field == b"data" and value and not value.startswith(b":"):
            data.append(value)
    return events


@fixed(300)
@given(body=STREAMS, cuts=CUTS)
@example(b"data: x\r\n\r\n", [8, 9])
@example(b"data: x\r", [])
@example(BOM + b"data: x", [1, 2])
def test_a_stream_gives_the_same_events_wherever_it_is_cut(body: bytes, cuts: list[int]) -> None:
    expected = naive(body)
    assert decoded([body]) == expected
    assert decoded(pieces(body, cuts)) == expected
    assert decoded(bytewise(body)) == expected


@fixed(200)
@given(body=STREAMS, cut=st.integers(0, 300))
def test_an_event_is_given_as_soon_as_its_blank_line_is_there(body: bytes, cut: int) -> None:
    """Nothing is held back: what is whole in the first part is given with the first part."""
    first = body[:cut]
    whole = re.search(rb"\A.*(?:\r\n|(?<!\r)\n|\r(?!\n)){2}", first.removeprefix(BOM), re.DOTALL)
    expected = naive(whole.group()) if whole else []
    found = SSEDecoder().feed(first)
    assert found[: len(expected)] == expected


# --- garbage

BITS = [
    b"data:",
    b"data: {",
    b"error:",
    b"event:",
    b"\r",
    b"\n",
    b"\n\n",
    b":",
    b"[DONE]",
    BOM,
    b"\xff\xfe",
    b"\x00",
    b'{"choices":',
    b"xxxxxxxxxxxx",
    b"}",
]
GARBAGE = st.binary(max_size=80) | st.lists(st.sampled_from(BITS), max_size=30).map(b"".join)


@fixed(400)
@given(body=GARBAGE, cuts=CUTS, bound=st.integers(1, 40))
def test_garbage_is_events_or_the_typed_error_and_stays_bounded(
    body: bytes, cuts: list[int], bound: int
) -> None:
    decoder = SSEDecoder(bound)
    found: list[Event] = []
    try:
        for part in pieces(body, cuts):
            found += decoder.feed(part)
        found += decoder.end()
    except EventTooLarge:
        assert (
            max(map(len, re.split(rb"\r\n|\r|\n", body))) > bound
            or body.count(b"data") + body.count(b"error") > 1
        )
    assert all(len(event.data.replace(b"\n", b"")) <= bound for event in found)


@fixed(100)
@given(size=st.integers(1, 50), bound=st.integers(1, 200))
def test_a_line_without_end_is_refused_once_it_is_longer_than_the_bound(
    size: int, bound: int
) -> None:
    decoder = SSEDecoder(bound)
    fed = 0
    for _ in count():
        fed += size
        try:
            decoder.feed(b"x" * size)
        except EventTooLarge:
            break
        assert fed <= bound, "more is kept than the bound allows"
    assert fed > bound


@fixed(300)
@given(
    body=GARBAGE | STREAMS,
    cuts=CUTS,
    status=st.sampled_from([200, 200, 200, 301, 404, 429, 500]),
    stream=st.booleans(),
    encoding=st.sampled_from(["", "", "", "gzip", "deflate", "br", "identity"]),
    cut=st.booleans(),
    shape=st.sampled_from(["chat", "document"]),
)
def test_a_body_of_garbage_is_an_answer_or_a_typed_error(
    body: bytes, cuts: list[int], status: int, stream: bool, encoding: str, cut: bool, shape: str
) -> None:
    expected = ResponseSpec(
        shape=shape,
        stream=stream,
        model="m",
        new_id=lambda: "new",
        max_response_bytes=60,
        max_event_bytes=30,
    )  # type: ignore[arg-type]
    response_reader = ResponseReader(status, {"content-encoding": encoding}, expected)
    for part in pieces(body, cuts):
        response_reader.feed(part)
    response_reader.end(cut)
    if response_reader.problem is None:
        assert status < 300
        assert (response_reader.response is not None) or (
            shape == "document" and response_reader.document is not None
        )
    else:
        assert issubclass(response_reader.problem.cls, errors.OPEAError)
        assert response_reader.response is None
        assert response_reader.problem.what or status >= 300
