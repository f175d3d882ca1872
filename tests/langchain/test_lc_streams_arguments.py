"""Arguments of tool calls in streams: whole ones arrive,
cut ones never become a call that nobody meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from lc_asking import chat_model, merged, output_v3
from lc_shapes_tools import one_by_one
from thorough import most

from langchain_opea import ChatOPEA
from opea_core.testing import ScriptedServer

ASK: dict[str, Callable[[ChatOPEA, ChatOPEA], AIMessage]] = {
    "v0": lambda v0, v1: merged(v0.stream("Hi")),
    "v1": lambda v0, v1: merged(v1.stream("Hi")),
    "v3": lambda v0, v1: output_v3(v0),
}
_TEXTS = st.text(alphabet=st.sampled_from('ab"\\{}[]:,\n \u00e9\u4f60\U0001f600'), max_size=6)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.sampled_from([0.5, -1e9]) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(_TEXTS, _VALUES, min_size=1, max_size=3)
_FEW = settings(max_examples=most(40, 15), deadline=None)


@pytest.fixture(scope="module", params=ASK)
def ask(request: pytest.FixtureRequest) -> Iterator[Callable[[list[str]], AIMessage]]:
    """Streams a call whose arguments come in these pieces, and adds the stream up."""
    with ScriptedServer() as server:
        v0, v1 = chat_model(server), chat_model(server, output_version="v1")

        def ask(pieces: list[str]) -> AIMessage:
            server.script(
                one_by_one((0, "a", "f", ""), *((0, None, None, piece) for piece in pieces))
            )
            return ASK[request.param](v0, v1)

        yield ask
        v0.client.close()
        v1.client.close()


def _cut(text: str, places: list[int]) -> list[str]:
    at = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(at)]


_PLACES = st.lists(st.integers(0, 200), max_size=4)


@_FEW
@given(value=OBJECTS, places=_PLACES, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_whole_arguments_arrive_however_they_are_cut(
    ask: Any, value: Any, places: list[int], ascii_only: bool, indent: int | None
) -> None:
    message = ask(_cut(json.dumps(value, ensure_ascii=ascii_only, indent=indent), places))

    assert [call["args"] for call in message.tool_calls] == [value]
    assert message.invalid_tool_calls == []


@_FEW
@given(value=OBJECTS, end=st.integers(1, 200), places=_PLACES, ascii_only=st.booleans())
@example(value={"a": ["b\\"]}, end=8, places=[], ascii_only=True)
@example(value={"a": [1, 2]}, end=9, places=[], ascii_only=True)
@example(value={"a": {"b": "]"}}, end=13, places=[], ascii_only=True)
def test_arguments_that_broke_off_are_one_invalid_call(
    ask: Any, value: Any, end: int, places: list[int], ascii_only: bool
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    text = text[: 1 + end % (len(text) - 1)]

    message = ask(_cut(text, places))

    assert message.tool_calls == []
    (call,) = message.invalid_tool_calls
    assert (call["name"], call["id"]) == ("f", "a")
    assert call["args"].startswith(text)


@_FEW
@given(
    value=OBJECTS, behind=st.text(alphabet='ab"\\{}[]:,1', min_size=1, max_size=5), places=_PLACES
)
def test_arguments_with_something_behind_are_one_invalid_call(
    ask: Any, value: Any, behind: str, places: list[int]
) -> None:
    message = ask(_cut(json.dumps(value) + behind, places))

    assert message.tool_calls == []
    assert len(message.invalid_tool_calls) == 1


@_FEW
@given(
    value=_VALUES.filter(lambda value: value is not None and not isinstance(value, dict)),
    places=_PLACES,
)
def test_arguments_that_are_json_but_no_object_are_one_invalid_call(
    ask: Any, value: Any, places: list[int]
) -> None:
    message = ask(_cut(json.dumps(value), places))

    assert message.tool_calls == []
    assert len(message.invalid_tool_calls) == 1
