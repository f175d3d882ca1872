"""JSON as servers really write it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opea_core.wire import jsontext
from opea_core.wire.jsontext import TextJoiner


@pytest.mark.parametrize(
    ("data", "value"),
    [
        pytest.param(b'{"a":1}', {"a": 1}, id="ordinary"),
        pytest.param(b' \n{"a":1}\t ', {"a": 1}, id="blanks around it"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', {"a": 1}, id="a BOM"),
        pytest.param(
            b'{"a":NaN,"b":Infinity,"c":-Infinity}',
            {"a": None, "b": None, "c": None},
            id="NaN and infinities",
        ),
        pytest.param(b'{"a":1,"a":2}', {"a": 2}, id="the last of duplicate keys"),
        pytest.param(b'"\\ud83d\\ude00"', "😀", id="a surrogate pair"),
        pytest.param(b'"a\\ud83d"', "a\ud83d", id="half a surrogate pair"),
        pytest.param(b'"\\ude00b"', "\ude00b", id="the other half"),
        pytest.param(b'"a\tb\nc\x00"', "a\tb\nc\x00", id="raw control characters"),
        pytest.param(b'"caf\xe9"', "caf\ufffd", id="no UTF-8"),
        pytest.param('"\u2028\u0085"'.encode(), "\u2028\u0085", id="line separators"),
        pytest.param(b"1" * 400, int("1" * 400), id="a huge number"),
        pytest.param(b"null", None, id="null"),
    ],
)
def test_one_document(data: bytes, value: Any) -> None:
    assert jsontext.decode(data) == value


@pytest.mark.parametrize("depth", [150, 300])
def test_a_document_may_be_nested_deeply(depth: int) -> None:
    assert json.dumps(jsontext.decode(b"[" * depth + b"]" * depth)) == "[" * depth + "]" * depth


def is_refused(data: bytes) -> bool:
    try:
        jsontext.decode(data)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b'{"a":}',
        b"words",
        b"{}{}",
        b"{} x",
        b"{'a':1}",
        b'"\\x"',
        b"[" * 100_000,
        b"4" * 5000,
    ],
    ids=lambda data: data[:9].decode(),
)
def test_what_is_no_document_is_a_value_error(data: bytes) -> None:
    assert is_refused(data)


@given(st.binary() | st.text(alphabet='{}[]":,\\ud83 0nul\n').map(str.encode))
def test_any_bytes_are_a_document_or_a_value_error(data: bytes) -> None:
    assert is_refused(data) in (True, False)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_what_is_encoded_is_decoded_again(value: Any) -> None:
    assert jsontext.decode(jsontext.encode(value)) == value
    assert jsontext.decode(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("data", "value", "rest"),
    [
        (b'{"a":1}', {"a": 1}, ""),
        (b'{"a":1}\n\ndata: [DONE]\n\n', {"a": 1}, "data: [DONE]"),
        (b'\xef\xbb\xbf  {"a":1}{"b":2}', {"a": 1}, '{"b":2}'),
        (b"null x", None, "x"),
    ],
)
def test_the_first_document_and_what_follows_it(data: bytes, value: Any, rest: str) -> None:
    assert jsontext.decode_first(data) == (value, rest)


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b'{"a":1}\n{"b":2}', [{"a": 1}, {"b": 2}]),
        (b'{"a":1}{"b":"\\ud83d"}\n[DONE]', [{"a": 1}, {"b": "\ud83d"}]),
        (b"[DONE]", []),
        (b"", []),
    ],
)
def test_the_documents_of_glued_lines(data: bytes, values: list[Any]) -> None:
    assert list(jsontext.decode_lines(data)) == values


def test_glued_lines_with_anything_else_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="value"):
        list(jsontext.decode_lines(b'{"a":1}\nwords'))


def test_what_is_sent_is_compact_utf8() -> None:
    assert jsontext.encode({"a": [1, "é😀"], "b": None}) == '{"a":[1,"é😀"],"b":null}'.encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1, 2}, "\ud83d", b"x"])
def test_what_json_cannot_say_is_not_sent(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        jsontext.encode({"a": value})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", True), (' {"a": 1}\n', True), ('{"a": "\ud83d"}', True), ('{"a": NaN}', True),
        ("", False), ("{", False), ("[]", False), ("null", False),
        ('"{}"', False), ("{}{}", False), ("{} }", False), ("x}", False),
    ],
)  # fmt: skip
def test_whether_a_text_is_one_object(text: str, expected: bool) -> None:
    assert jsontext.is_object(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", "abc"), ("é😀", "é😀"), ("", ""), ("a\ud83d\ude00b", "a😀b"),
        ("\ud83d", "\ufffd"), ("\ude00a", "\ufffda"), ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"), ("\ufeffa\ud83d", "\ufeffa\ufffd"),
    ],
)  # fmt: skip
def test_surrogates_are_joined_or_replaced(text: str, expected: str) -> None:
    assert jsontext.mended(text) == expected


def join(*pieces: str) -> str:
    joiner = TextJoiner()
    return "".join([joiner.push(piece) for piece in pieces] + [joiner.end()])


@given(
    st.lists(st.text(alphabet=st.sampled_from("a é\ud83d\ude00😀\ufeff"), max_size=4), max_size=6)
)
def test_joining_pieces_gives_what_the_whole_would_be(pieces: list[str]) -> None:
    assert join(*pieces) == jsontext.mended("".join(pieces))


def test_every_piece_can_be_encoded() -> None:
    joiner = TextJoiner()
    assert [joiner.push(piece) for piece in ("a\ud83d", "", "\ude00", "\ud83d", "b")] == [
        "a",
        "",
        "😀",
        "",
        "\ufffdb",
    ]
    assert joiner.end() == ""
