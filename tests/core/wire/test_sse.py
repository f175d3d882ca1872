"""Server-sent events: how bytes become events, whatever pieces they arrive in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opea_core.wire.sse import Event, EventTooLarge, SSEDecoder

BOM = b"\xef\xbb\xbf"


def events(*pieces: bytes, max_event_bytes: int = 1000) -> list[Event]:
    decoder = SSEDecoder(max_event_bytes)
    found = [event for piece in pieces for event in decoder.feed(piece)]
    return found + decoder.end()


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data in pieces of the given sizes, over and over."""
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
    return pieces


@pytest.mark.parametrize(
    ("body", "data"),
    [
        pytest.param(b"data: x\n\n", [b"x"], id="one event"),
        pytest.param(b"data:x\n\n", [b"x"], id="no space after the colon"),
        pytest.param(b"data:  x \n\n", [b"x"], id="data is stripped"),
        pytest.param(b"data: x\r\n\r\n", [b"x"], id="CRLF"),
        pytest.param(b"data: x\r\r", [b"x"], id="CR"),
        pytest.param(b"data: x\r\n\rdata: y\n\r\n", [b"x", b"y"], id="mixed line ends"),
        pytest.param(b"data: x\n\ndata: y\n\n", [b"x", b"y"], id="two events"),
        pytest.param(b"data: x\ndata: y\n\n", [b"x\ny"], id="data lines of one event are joined"),
        pytest.param(
            b"data: x\r\ndata: y\r\n\r\n", [b"x\ny"], id="joined with LF whatever the line end"
        ),
        pytest.param(
            b"data: x\n", [b"x"], id="dispatched at the end of the body without blank line"
        ),
        pytest.param(b"data: x", [b"x"], id="dispatched at the end of the body without line end"),
        pytest.param(
            b"data: x\n\ndata: [DONE]", [b"x", b"[DONE]"], id="the end mark without line end"
        ),
        pytest.param(b": hello\n\ndata: x\n\n", [b"x"], id="comment"),
        pytest.param(b"data: x\n: hello\ndata: y\n\n", [b"x\ny"], id="comment inside an event"),
        pytest.param(b"data: : PROCESSING\n\ndata: x\n\n", [b"x"], id="comment wrapped into data"),
        pytest.param(b"data::x\n\n", [], id="comment wrapped into data without space"),
        pytest.param(b"data: \n\ndata:\n\ndata\n\n", [], id="heartbeat"),
        pytest.param(b"\n\n\r\n\r\n", [], id="nothing but blank lines"),
        pytest.param(b"", [], id="nothing"),
        pytest.param(
            b"id: 7\nretry: 10\nfoo: bar\ndata: x\n\n", [b"x"], id="other fields are ignored"
        ),
        pytest.param(b"data: a: b\n\n", [b"a: b"], id="the value begins at the first colon"),
        pytest.param(b" data: x\n\n", [], id="a field name has no blanks before it"),
        pytest.param(b"database: x\n\n", [], id="a field name is the whole name"),
        pytest.param(BOM + b"data: x\n\n", [b"x"], id="one leading BOM is dropped"),
        pytest.param(b"data: x\n\n" + BOM + b"data: y\n\n", [b"x"], id="a BOM later on is no BOM"),
        pytest.param(
            "data: a\u2028b\u0085c\x0bd\x0ce\n\n".encode(),
            ["a\u2028b\u0085c\x0bd\x0ce".encode()],
            id="no other line ends",
        ),
        pytest.param(
            "data: a\u2028b\u0085c\x0bd\x0ce\r\n\r\n".encode(),
            ["a\u2028b\u0085c\x0bd\x0ce".encode()],
            id="none beside CRLF",
        ),
        pytest.param("data: 你好 😀\n\n".encode(), ["你好 😀".encode()], id="UTF-8"),
        pytest.param(
            b"data: \xff\xfe\n\n",
            [b"\xff\xfe"],
            id="bytes that are no UTF-8 are left to the reader",
        ),
    ],
)
def test_what_the_events_of_a_body_are(body: bytes, data: list[bytes]) -> None:
    assert [event.data for event in events(body)] == data
    assert [event.data for event in events(*cut(body, [1]))] == data


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"event: ping\ndata: x\n\n", Event(b"x", "ping"), id="event before data"),
        pytest.param(b"data: x\nevent:ping\n\n", Event(b"x", "ping"), id="event after data"),
        pytest.param(
            b"event: a\nevent: b\ndata: x\n\n", Event(b"x", "b"), id="the last name counts"
        ),
        pytest.param(
            b"event: a\n\ndata: x\n\n",
            Event(b"x", ""),
            id="the name of an event without data is forgotten",
        ),
        pytest.param(
            b'error: {"detail": "m"}\n\n',
            Event(b'{"detail": "m"}', "error"),
            id="a field named error is an error",
        ),
        pytest.param(
            b'error:{"detail": "m"}',
            Event(b'{"detail": "m"}', "error"),
            id="a field named error at the end of the body",
        ),
    ],
)
def test_the_name_of_an_event(body: bytes, expected: Event) -> None:
    assert events(body) == [expected]


def test_the_name_does_not_outlive_its_event() -> None:
    assert [event.name for event in events(b"event: error\ndata: x\n\ndata: y\n\n")] == [
        "error",
        "",
    ]


def test_an_event_is_given_as_soon_as_its_blank_line_comes() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: x\n") == []
    assert decoder.feed(b"\n") == [Event(b"x")]
    assert decoder.end() == []


def test_with_bare_cr_an_event_does_not_wait_for_the_next_read() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: x\r\r") == [Event(b"x")]


def test_the_end_gives_nothing_twice() -> None:
    decoder = SSEDecoder()
    decoder.feed(b"data: x")
    assert decoder.end() == [Event(b"x")]
    assert decoder.end() == []


def test_a_crlf_that_straddles_two_reads_is_one_line_end() -> None:
    assert events(b"data: x\r", b"\ndata: y\r", b"\n\r", b"\ndata: z\n\n") == [
        Event(b"x\ny"),
        Event(b"z"),
    ]


def test_an_empty_read_changes_nothing() -> None:
    assert events(b"data: x\r", b"", b"\ndata: y\r\n\r\n") == [Event(b"x\ny")]


def test_a_bom_that_straddles_reads_is_dropped() -> None:
    assert events(BOM[:1], BOM[1:2], BOM[2:] + b"da", b"ta: x\n\n") == [Event(b"x")]


def test_a_character_that_straddles_two_reads_stays_whole() -> None:
    text = "data: 😀\n\n".encode()
    assert events(text[:8], text[8:]) == [Event("😀".encode())]


FRAGMENTS = [
    b"data:", b"data: ", b"data: {}\n\n", b"event: x\n", b"error: e\n", b": c\n", b"data: : c\n",
    b"[DONE]", b"id: 1\n", b"x", b" ", b":", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", BOM,
    "\u2028".encode(), "😀".encode(), b"\xff",
]  # fmt: skip
BODIES = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join) | st.binary(max_size=60)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=8)


@given(BODIES, SIZES)
def test_any_splitting_of_the_same_bytes_gives_the_same_events(
    body: bytes, sizes: list[int]
) -> None:
    assert events(*cut(body, sizes)) == events(body)


def test_an_event_may_be_megabytes_long_by_default() -> None:
    data = b"x" * (16 * 1024 * 1024 - 100)
    assert SSEDecoder().feed(b"data: " + data + b"\n\n") == [Event(data)]


@pytest.mark.parametrize("sizes", [[10_000], [7], [1]])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"data: " + b"x" * 101 + b"\n\n", id="one long line"),
        pytest.param(b"data: " + b"x" * 500, id="a line without end"),
        pytest.param(b"data: xxxxxxxxxx\n" * 11, id="an event without end"),
        pytest.param(b"x" * 500, id="bytes without line end"),
        pytest.param(b"error: xxxxxxxxxx\n" * 50, id="an error without end"),
    ],
)
def test_an_event_beyond_the_bound_is_refused(body: bytes, sizes: list[int]) -> None:
    with pytest.raises(EventTooLarge, match="100 bytes"):
        events(*cut(body, sizes), max_event_bytes=100)


@pytest.mark.parametrize("sizes", [[10_000], [7], [1]])
@pytest.mark.parametrize(
    ("body", "count"),
    [
        pytest.param(b"data: " + b"x" * 90 + b"\n\n", 1, id="an event below the bound"),
        pytest.param(
            b"data: " + b"x" * 60 + b"\n\n" + b"data: " + b"y" * 60 + b"\n\n",
            2,
            id="the bound is for each event",
        ),
        pytest.param(
            (b"data: x\n\n" + b": alive\n\n" * 20) * 20, 20, id="keep-alives do not add up"
        ),
        pytest.param(b"data: x\n" + b": alive\n" * 50 + b"\n", 1, id="nor inside an event"),
    ],
)
def test_what_is_within_the_bound_is_read(body: bytes, count: int, sizes: list[int]) -> None:
    assert len(events(*cut(body, sizes), max_event_bytes=100)) == count
