"""Tool calls: which deltas make which calls, and what of them is handed on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from same_examples import fixed

from opea_core.types import InvalidToolCall, Json, ToolCall, ToolCallDelta
from opea_core.wire.tools import ToolAssembler

_ = object()
"""A key that the delta does not have."""
X, Y = '{"x":1}', '{"y":2}'

Entry = tuple[Any, Any, Any, Any]  # index, id, name, arguments
Call = tuple[str, str, str]  # id, name, arguments


def entry(index: Any, id_: Any, name: Any, arguments: Any) -> Json:
    """An entry of a delta's ``tool_calls`` with the keys that are given."""
    function = {
        key: value for key, value in (("name", name), ("arguments", arguments)) if value is not _
    }
    return {key: value for key, value in (("index", index), ("id", id_)) if value is not _} | {
        "function": function
    }


class Result(NamedTuple):
    valid: list[ToolCall]
    invalid: list[InvalidToolCall]
    deltas: list[ToolCallDelta]

    @property
    def calls(self) -> list[Call]:
        return [(call.id, call.name, call.arguments) for call in self.valid]

    @property
    def joined(self) -> list[Call]:
        """The calls as somebody sees them who only joins what is handed on;
        ids and names must come once.
        """
        ids: dict[int, list[str]] = {}
        names: dict[int, list[str]] = {}
        arguments: dict[int, str] = {}
        for delta in self.deltas:
            ids.setdefault(delta.index, []).extend([delta.id] if delta.id is not None else [])
            names.setdefault(delta.index, []).extend([delta.name] if delta.name is not None else [])
            arguments[delta.index] = arguments.get(delta.index, "") + delta.arguments
        return [
            (" ".join(ids[index]), " ".join(names[index]), arguments[index])
            for index in sorted(arguments)
        ]


def assemble(*deltas: Sequence[Json], cut: bool = False) -> Result:
    """Push the lists one after the other; invented ids are new1, new2 and so on."""
    tools, numbers = ToolAssembler(), count(1)
    handed = [delta for entries in deltas for delta in tools.push(list(entries))]
    valid, invalid, held = tools.finish(lambda: f"new{next(numbers)}", cut)
    return Result(valid, invalid, handed + held)


def one_by_one(*entries: Entry) -> list[list[Json]]:
    return [[entry(*fields)] for fields in entries]


def at_once(*entries: Entry) -> list[list[Json]]:
    return [[entry(*fields) for fields in entries]]


TABLE = {
    # rules P21 to P26, row by row
    "text in pieces": (
        one_by_one((0, "a", "f", ""), (0, _, _, '{"x"'), (0, _, _, ":1}")),
        [("a", "f", X)],
    ),
    "whole calls in one list, no index": (
        at_once((_, "a", "f", X), (_, "b", "g", Y)),
        [("a", "f", X), ("b", "g", Y)],
    ),
    "one index for two ids": (
        one_by_one((0, "a", "f", X), (0, "b", "g", Y)),
        [("a", "f", X), ("b", "g", Y)],
    ),
    "one index, no ids": (
        one_by_one((0, _, "f", X), (0, _, "g", Y)),
        [("new1", "f", X), ("new2", "g", Y)],
    ),
    "name and id on every fragment": (
        one_by_one((0, "a", "f", '{"x"'), (0, "a", "f", ":1}")),
        [("a", "f", X)],
    ),
    "sent twice": (one_by_one((0, "a", "f", X), (0, "a", "f", X)), [("a", "f", X)]),
    "sent three times": (
        one_by_one((0, "a", "f", X), (0, "a", "f", X), (0, "a", "f", X)),
        [("a", "f", X)],
    ),
    "tail under the next index": (
        one_by_one((0, "a", "f", X), (0, "b", "g", ""), (1, _, _, Y)),
        [("a", "f", X), ("b", "g", Y)],
    ),
    "id and name after the arguments": (
        one_by_one((0, "a", "f", X), (1, _, _, Y), (1, "b", "g", "")),
        [("a", "f", X), ("b", "g", Y)],
    ),
    "placeholder ids": (
        one_by_one((0, "0", "f", X), (1, "0", "g", Y)),
        [("0", "f", X), ("new1", "g", Y)],
    ),
    # index
    "first index is 1": (one_by_one((1, "a", "f", '{"x"'), (1, _, _, ":1}")), [("a", "f", X)]),
    "indices with a gap": (
        one_by_one((0, "a", "f", X), (7, "b", "g", Y)),
        [("a", "f", X), ("b", "g", Y)],
    ),
    "index null": (
        one_by_one((None, "a", "f", '{"x"'), (None, None, None, ":1}")),
        [("a", "f", X)],
    ),
    "index absent": (one_by_one((_, "a", "f", '{"x"'), (_, _, _, ":1}")), [("a", "f", X)]),
    "index is no number": (
        one_by_one(("0", "a", "f", '{"x"'), (True, _, _, ":1}")),
        [("a", "f", X)],
    ),
    "index is a boolean, which is no number": (
        one_by_one((False, "a", "f", X), (0, _, "f", X)),
        [("a", "f", X), ("new1", "f", X)],
    ),
    "parallel calls interleaved": (
        one_by_one(
            (0, "a", "f", ""),
            (1, "b", "g", ""),
            (0, _, _, '{"x"'),
            (1, _, _, '{"y"'),
            (0, _, _, ":1}"),
            (1, _, _, ":2}"),
        ),
        [("a", "f", X), ("b", "g", Y)],
    ),
    "interleaved by id alone": (
        one_by_one(
            (_, "a", "f", '{"x"'), (_, "b", "g", '{"y"'), (_, "a", _, ":1}"), (_, "b", _, ":2}")
        ),
        [("a", "f", X), ("b", "g", Y)],
    ),
    "later index first": (
        one_by_one((1, "b", "g", Y), (0, "a", "f", X)),
        [("b", "g", Y), ("a", "f", X)],
    ),
    "new ids at index 0 in pieces": (
        one_by_one(
            (0, "a", "f", '{"x"'), (0, _, _, ":1}"), (0, "b", "g", '{"y"'), (0, _, _, ":2}")
        ),
        [("a", "f", X), ("b", "g", Y)],
    ),
    "no index, one whole call in each list": (
        one_by_one((_, "a", "f", X), (_, "b", "g", Y)),
        [("a", "f", X), ("b", "g", Y)],
    ),
    "no index and no id, whole calls in one list": (
        at_once((_, _, "f", X), (_, _, "g", Y)),
        [("new1", "f", X), ("new2", "g", Y)],
    ),
    "no index and no id, one whole call in each list": (
        one_by_one((_, _, "f", X), (_, _, "g", Y)),
        [("new1", "f", X), ("new2", "g", Y)],
    ),
    "no index and no id, name on every fragment": (
        one_by_one((_, _, "f", '{"x"'), (_, _, "f", ":1}")),
        [("new1", "f", X)],
    ),
    "continuation under a new index, no id and no name": (
        one_by_one((0, "a", "f", '{"x"'), (1, _, _, ":1}")),
        [("a", "f", X)],
    ),
    # id
    "id empty": (one_by_one((0, "", "f", '{"x"'), (0, "", _, ":1}")), [("new1", "f", X)]),
    "id null": (one_by_one((0, None, "f", '{"x"'), (0, None, _, ":1}")), [("new1", "f", X)]),
    "id is the word null": (
        one_by_one((0, "null", "f", X), (1, "null", "g", Y)),
        [("new1", "f", X), ("new2", "g", Y)],
    ),
    "id is the word None": (
        one_by_one((0, "None", "f", X), (1, "None", "g", Y)),
        [("new1", "f", X), ("new2", "g", Y)],
    ),
    "id is no text": (one_by_one((0, 17, "f", X)), [("new1", "f", X)]),
    "id comes late": (one_by_one((0, _, "f", '{"x"'), (0, "a", _, ":1}")), [("a", "f", X)]),
    "id on the last fragment with the name again": (
        one_by_one((0, _, "f", '{"x"'), (0, "a", "f", ":1}")),
        [("a", "f", X)],
    ),
    "placeholder ids in pieces": (
        one_by_one(
            (0, "0", "f", '{"x"'), (0, "0", _, ":1}"), (1, "0", "g", '{"y"'), (1, "0", _, ":2}")
        ),
        [("0", "f", X), ("new1", "g", Y)],
    ),
    # name
    "name after the arguments": (
        one_by_one((0, "a", _, '{"x"'), (0, _, _, ":1}"), (0, _, "f", "")),
        [("a", "f", X)],
    ),
    "name empty on the other fragments": (
        one_by_one((0, "a", "f", '{"x"'), (0, "a", "", ":1}")),
        [("a", "f", X)],
    ),
    "same name, other arguments": (
        one_by_one((0, _, "f", X), (0, _, "f", Y)),
        [("new1", "f", X), ("new2", "f", Y)],
    ),
    "one id for two calls at one index": (
        one_by_one((0, "a", "f", X), (0, "a", "f", Y)),
        [("a", "f", X), ("new1", "f", Y)],
    ),
    # arguments
    "arguments as an object": (one_by_one((0, "a", "f", {"x": 1})), [("a", "f", '{"x": 1}')]),
    "arguments as an object, sent twice": (
        one_by_one((0, "a", "f", {"x": 1}), (0, "a", "f", {"x": 1})),
        [("a", "f", '{"x": 1}')],
    ),
    "arguments absent": (one_by_one((0, "a", "f", _)), [("a", "f", "{}")]),
    "arguments null": (one_by_one((0, "a", "f", None)), [("a", "f", "{}")]),
    "arguments empty": (one_by_one((0, "a", "f", "")), [("a", "f", "{}")]),
    "arguments blank": (one_by_one((0, "a", "f", " \n")), [("a", "f", "{}")]),
    "arguments an empty object": (
        one_by_one((0, "a", "f", ""), (0, _, _, "{"), (0, _, _, "}")),
        [("a", "f", "{}")],
    ),
    "arguments null between others": (
        one_by_one((0, "a", "f", None), (0, _, _, X), (0, _, _, None)),
        [("a", "f", X)],
    ),
    "blank after the arguments": (
        one_by_one((0, "a", "f", X), (0, _, _, "\n")),
        [("a", "f", X + "\n")],
    ),
}


@pytest.mark.parametrize("row", TABLE)
def test_which_calls_the_deltas_make(row: str) -> None:
    deltas, calls = TABLE[row]
    result = assemble(*deltas)
    assert result.calls == calls
    assert result.invalid == []
    assert [call.index for call in result.valid] == list(range(len(calls)))


@pytest.mark.parametrize("row", TABLE)
def test_joining_what_is_handed_on_gives_each_id_each_name_and_the_arguments_once(row: str) -> None:
    result = assemble(*TABLE[row][0])
    assert [(id_, name, json.loads(arguments)) for id_, name, arguments in result.joined] == [
        (call.id, call.name, call.args) for call in result.valid
    ]


MENDED: dict[str, tuple[list[Any], str]] = {
    "the word null": (["null"], "{}"),
    "the word null in pieces": (["nu", "ll"], "{}"),
    "the word null between blanks": ([" null", " "], "{}"),
    "the same object twice": ([X + X], X),
    "the same object twice, in pieces": ([X, '{"x"', ":1}"], X),
    "the same object twice, spaced differently": ([X + '\n{ "x": 1 }'], X),
    "a fuller object after an object": ([{}, {"x": 1}], '{"x": 1}'),
}


@pytest.mark.parametrize("row", MENDED)
def test_arguments_that_are_mended(row: str) -> None:
    pieces, arguments = MENDED[row]
    assert assemble(
        [entry(0, "a", "f", _)], *[[entry(0, _, _, piece)] for piece in pieces]
    ).calls == [("a", "f", arguments)]


@pytest.mark.parametrize("row", MENDED)
def test_joining_what_is_handed_on_gives_the_mended_arguments(row: str) -> None:
    pieces, arguments = MENDED[row]
    assert assemble(
        [entry(0, "a", "f", _)], *[[entry(0, _, _, piece)] for piece in pieces]
    ).joined == [("a", "f", arguments)]


def test_arguments_as_an_object_replace_text_that_came_before() -> None:
    assert assemble(*one_by_one((0, "a", "f", '{"x"'), (0, _, _, {"x": 1}))).calls == [
        ("a", "f", '{"x": 1}')
    ]


# --- the end


def test_arguments_that_were_encoded_twice_are_decoded() -> None:
    result = assemble([entry(0, "a", "f", '"{\\"x\\"')], [entry(0, None, None, ': 1}"')])
    assert ([call.args for call in result.valid], result.invalid) == ([{"x": 1}], [])


@pytest.mark.parametrize("pieces", [['{"x"', ": 1", "}"], ["", '{"x": 1', "}"]])
def test_a_call_whose_every_piece_has_a_new_id_and_the_name_is_one(pieces: list[str]) -> None:
    result = assemble(
        *([entry(0, f"r{number}", "f", piece)] for number, piece in enumerate(pieces))
    )
    assert ([(call.id, call.args) for call in result.valid], result.invalid) == (
        [("r0", {"x": 1})],
        [],
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"x":', id="broken off"),
        pytest.param("x=1", id="no JSON"),
        pytest.param("false", id="JSON, but no object: false"),
        pytest.param("[1]", id="JSON, but no object: a list"),
        pytest.param('"a"', id="JSON, but no object: text"),
        pytest.param(X + Y, id="two different objects"),
        pytest.param(X + "}", id="something after the object"),
        pytest.param("nullnull", id="null twice"),
    ],
)
def test_arguments_that_are_no_object_make_an_invalid_call_with_the_raw_text(text: str) -> None:
    result = assemble([entry(0, "a", "f", text)])
    assert result.valid == []
    (call,) = result.invalid
    assert (call.id, call.name, call.arguments) == ("a", "f", text)
    assert "arguments" in call.error
    with pytest.raises(ValueError, match="f: "):
        assert call.args


def test_list_arguments_make_an_invalid_call() -> None:
    assert [call.arguments for call in assemble([entry(0, "a", "f", [1])]).invalid] == ["[1]"]


def test_an_invalid_call_does_not_spoil_the_others() -> None:
    result = assemble(*one_by_one((0, "a", "f", "{"), (1, "b", "g", Y)))
    assert result.calls == [("b", "g", Y)]
    assert [(call.id, call.index) for call in result.invalid] == [("a", 0)]
    assert [call.index for call in result.valid] == [1]


def test_a_call_without_name_is_invalid() -> None:
    result = assemble([entry(0, "a", _, X)])
    assert result.valid == []
    assert ["name" in call.error for call in result.invalid] == [True]


def test_the_token_limit_marks_the_last_call_truncated() -> None:
    result = assemble(*one_by_one((0, "a", "f", X), (1, "b", "g", Y)), cut=True)
    assert [call.truncated for call in result.valid] == [False, True]


def test_the_token_limit_marks_a_broken_last_call_truncated() -> None:
    result = assemble(*one_by_one((0, "a", "f", X), (1, "b", "g", '{"y"')), cut=True)
    assert [call.truncated for call in result.valid] == [False]
    assert [call.truncated for call in result.invalid] == [True]


def test_without_the_token_limit_nothing_is_marked_truncated() -> None:
    assert [call.truncated for call in assemble([entry(0, "a", "f", '{"y"')]).invalid] == [False]


def test_a_custom_call_is_unsupported() -> None:
    result = assemble(
        [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}]
    )
    assert result.valid == []
    assert ["custom" in call.error for call in result.invalid] == [True]


def test_unknown_keys_of_an_entry_are_kept() -> None:
    result = assemble(
        [entry(0, "a", "f", "") | {"extra_content": {"signature": "s"}}],
        [entry(0, _, _, X) | {"x": 1}],
        [entry(0, _, _, "") | {"x": 2}],
    )
    assert result.valid[0].extra == {"extra_content": {"signature": "s"}, "x": 2}


# --- what is handed on


def test_pieces_are_handed_on_as_they_come() -> None:
    tools = ToolAssembler()
    assert tools.push([entry(0, "a", "f", "")]) == [ToolCallDelta(0, "a", "f", "")]
    assert tools.push([entry(0, _, _, '{"x"')]) == [ToolCallDelta(0, None, None, '{"x"')]
    assert tools.push([entry(0, _, _, ":1}")]) == [ToolCallDelta(0, None, None, ":1}")]
    assert tools.finish(lambda: "new", False)[2] == []


def test_an_id_that_never_comes_is_handed_on_at_the_end() -> None:
    tools = ToolAssembler()
    assert tools.push([entry(0, _, "f", X)]) == [ToolCallDelta(0, None, "f", X)]
    assert tools.finish(lambda: "new", False)[2] == [ToolCallDelta(0, "new", None, "")]


def test_an_id_that_comes_late_is_handed_on_when_it_comes() -> None:
    tools = ToolAssembler()
    tools.push([entry(0, _, "f", X)])
    assert tools.push([entry(0, "a", _, "")]) == [ToolCallDelta(0, "a", None, "")]
    assert tools.finish(lambda: "new", False)[2] == []


def test_an_id_is_invented_once() -> None:
    numbers = count(1)
    tools = ToolAssembler()
    tools.push([entry(0, _, "f", X)])
    first = tools.finish(lambda: f"new{next(numbers)}", False)
    assert first[0][0].id == first[2][0].id == "new1"


def test_nothing_is_handed_on_for_a_call_sent_again() -> None:
    tools = ToolAssembler()
    tools.push([entry(0, "a", "f", X)])
    assert tools.push([entry(0, "a", "f", X)]) == []


def test_several_entries_are_handed_on_in_their_order() -> None:
    assert ToolAssembler().push([entry(0, "a", "f", X), entry(1, "b", "g", Y)]) == [
        ToolCallDelta(0, "a", "f", X),
        ToolCallDelta(1, "b", "g", Y),
    ]


def test_surrogates_cut_between_two_pieces_are_joined() -> None:
    result = assemble(*one_by_one((0, "a", "f", '{"x":"\ud83d'), (0, _, _, '\ude00"}')))
    assert result.calls == result.joined == [("a", "f", '{"x":"😀"}')]


def test_a_lone_surrogate_is_replaced() -> None:
    result = assemble([entry(0, "a", "f", '{"x":"\ud83d"}')])
    assert result.calls == result.joined == [("a", "f", '{"x":"\ufffd"}')]


def test_half_a_surrogate_pair_at_the_end_is_replaced() -> None:
    result = assemble([entry(0, "a", "f", '{"x":"\ud83d')])
    assert [call.arguments for call in result.invalid] == ['{"x":"\ufffd']
    assert result.joined == [("a", "f", '{"x":"\ufffd')]


ARGUMENTS = st.dictionaries(
    st.text(max_size=8), st.text() | st.integers() | st.none() | st.lists(st.booleans()), max_size=5
)
LAYOUTS = {
    "index": (0, _, _),
    "index and id": (0, "a", _),
    "index, id and name": (0, "a", "f"),
    "index and name": (0, _, "f"),
    "id": (_, "a", _),
    "nothing": (_, _, _),
    "nulls": (None, None, None),
}


@given(
    ARGUMENTS,
    st.booleans(),
    st.sampled_from(sorted(LAYOUTS)),
    st.lists(st.integers(1, 9), min_size=1, max_size=9),
)
def test_every_splitting_of_the_arguments_gives_the_same_call(
    value: Json, ascii_only: bool, layout: str, sizes: list[int]
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    deltas, at = [[entry(0, "a", "f", "")]], 0
    while at < len(text):
        size = sizes[len(deltas) % len(sizes)]
        deltas.append([entry(*LAYOUTS[layout], text[at : at + size])])
        at += size
    result = assemble(*deltas)
    assert result.calls == result.joined == [("a", "f", text)]
    assert result.valid[0].args == value


@given(
    st.lists(
        st.sampled_from(
            ["{", "}", "[", "null", '"x"', ":", "1", " ", "\ufeff", "\n", "\ud83d", "NaN"]
        ),
        max_size=8,
    ).map("".join)
)
@example("\ufeff{}")
def test_the_arguments_of_a_valid_call_can_always_be_read(text: str) -> None:
    result = assemble([entry(0, "a", "f", text)])
    assert [isinstance(call.args, dict) for call in result.valid] + [
        bool(call.error) for call in result.invalid
    ] == [True]


FIELDS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-1, 2)
    | st.sampled_from(["", "a", "b", X, '{"', "null"])
    | st.just({})
    | st.just([])
)


@given(
    st.lists(
        st.lists(
            st.none()
            | st.fixed_dictionaries(
                {},
                optional={
                    "index": FIELDS,
                    "id": FIELDS,
                    "type": FIELDS,
                    "function": FIELDS
                    | st.fixed_dictionaries({}, optional={"name": FIELDS, "arguments": FIELDS}),
                },
            ),
            max_size=3,
        ),
        max_size=5,
    )
)
def test_whatever_the_deltas_ids_and_names_are_handed_on_once(deltas: list[list[Json]]) -> None:
    result = assemble(*deltas)
    expected = {call.index: (call.id, call.name) for call in [*result.valid, *result.invalid]}
    assert [(id_, name) for id_, name, _ in result.joined] == [
        expected[index] for index in sorted(expected)
    ]


@pytest.mark.parametrize("entries", [None, "x", 1, [], [None], ["x"], {}])
def test_what_is_no_list_of_entries_makes_no_valid_call(entries: Any) -> None:
    tools = ToolAssembler()
    tools.push(entries)
    assert tools.finish(lambda: "new", False)[0] == []


def test_a_single_entry_may_stand_without_list() -> None:
    tools = ToolAssembler()
    tools.push(entry(0, "a", "f", X))
    assert [call.id for call in tools.finish(lambda: "new", False)[0]] == ["a"]


# --- whole and legacy calls


def whole(*entries: Json) -> Result:
    tools, numbers = ToolAssembler(), count(1)
    for raw in entries:
        tools.push_whole(raw)
    return Result(*tools.finish(lambda: f"new{next(numbers)}", False))


@pytest.mark.parametrize(
    ("entries", "calls"),
    [
        pytest.param(
            [(_, "a", "f", X), (_, "b", "g", Y)],
            [("a", "f", X), ("b", "g", Y)],
            id="one call for each entry",
        ),
        pytest.param(
            [(_, "a", "f", X), (_, "b", "f", X)],
            [("a", "f", X), ("b", "f", X)],
            id="equal calls are two calls",
        ),
        pytest.param(
            [(_, _, "f", X), (_, None, "f", X)],
            [("new1", "f", X), ("new2", "f", X)],
            id="equal calls without id are two",
        ),
        pytest.param(
            [(_, "a", "f", X), (_, "a", "g", Y)],
            [("a", "f", X), ("new1", "g", Y)],
            id="an id used twice",
        ),
        pytest.param(
            [(0, "a", "f", X), (0, "b", "g", Y)],
            [("a", "f", X), ("b", "g", Y)],
            id="indices mean nothing",
        ),
        pytest.param(
            [(_, "a", "f", {"x": 1})], [("a", "f", '{"x": 1}')], id="arguments as an object"
        ),
        pytest.param([(_, "a", "f", None)], [("a", "f", "{}")], id="arguments null"),
        pytest.param([(_, "a", "f", "null")], [("a", "f", "{}")], id="arguments the word null"),
        pytest.param([(_, "a", "f", X + X)], [("a", "f", X)], id="arguments doubled"),
    ],
)
def test_whole_calls_need_no_assembly(entries: list[Entry], calls: list[Call]) -> None:
    result = whole(*[entry(*fields) for fields in entries])
    assert result.calls == calls
    assert result.invalid == []


def test_whole_calls_follow_the_same_end_rules() -> None:
    result = whole(
        entry(_, "a", "f", "false"),
        entry(_, "b", _, X),
        {"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}},
    )
    assert result.valid == []
    assert [call.id for call in result.invalid] == ["a", "b", "c"]


def test_a_legacy_function_call_is_one_call_without_id() -> None:
    tools = ToolAssembler()
    for raw in ({"name": "f"}, {"arguments": '{"x"'}, {"arguments": ":1}"}):
        tools.push_legacy(raw)
    assert Result(*tools.finish(lambda: "new", False)).calls == [("new", "f", X)]


@pytest.mark.parametrize(
    "decoy", [{"name": "", "arguments": ""}, {"name": None, "arguments": None}, {}]
)
def test_the_empty_decoy_is_no_call(decoy: Json) -> None:
    tools = ToolAssembler()
    assert tools.push_legacy(decoy) == []
    assert not tools


def test_raw_calls_have_the_shape_of_a_plain_answer() -> None:
    tools = ToolAssembler()
    tools.push([entry(0, "a", "f", '{"x"') | {"extra_content": 1}])
    tools.push([entry(0, _, _, ":1}")])
    tools.finish(lambda: "new", False)
    assert tools.raw() == [
        {
            "id": "a",
            "type": "function",
            "extra_content": 1,
            "function": {"name": "f", "arguments": X},
        }
    ]


# --- the short way of what most deltas are


class Longer(ToolAssembler):
    """Every delta goes the long way."""

    def _continued(self, raw: Any) -> Any:
        return None


_TEXTS = st.sampled_from(
    [
        "",
        "{",
        '{"a": 1}',
        '{"a',
        '": 1}',
        "}",
        " ",
        "{}",
        "null",
        '{"a": 1}{"b": 2}',
        "\ud83d",
        "\ude00",
    ]
)
_FUNCTIONS = st.fixed_dictionaries(
    {"arguments": _TEXTS}, optional={"name": st.sampled_from(["f", "g", "", None])}
)
_DELTAS = st.fixed_dictionaries(
    {"index": st.sampled_from([0, 0, 0, 1, True, None]), "function": _FUNCTIONS},
    optional={
        "id": st.sampled_from(["a", "b", "", None]),
        "type": st.just("function"),
        "x": st.just(1),
    },
)


@fixed(400)
@given(deltas=st.lists(_DELTAS, max_size=8), cut=st.booleans())
def test_the_short_way_is_the_long_one(deltas: list[dict[str, Any]], cut: bool) -> None:
    one, other = ToolAssembler(), Longer()
    assert [one.push([delta]) for delta in deltas] == [other.push([delta]) for delta in deltas]
    assert one.finish(lambda: "new", cut) == other.finish(lambda: "new", cut)
