"""Tool calls as odd servers send them, and the calls they mean."""

from __future__ import annotations

from typing import Any

from lc_asking import INVENTED, Told
from lc_shapes import Json, Shape, body, deltas

from opea_core.testing import chunk, sse

_ = object()
"""A key that is absent."""
X, Y = '{"x":1}', '{"y":2}'
F: Any = ("f", {"x": 1}, "a")
G: Any = ("g", {"y": 2}, "b")


def entry(index: Any, id_: Any, name: Any, args: Any) -> Json:
    function = {
        key: value for key, value in (("name", name), ("arguments", args)) if value is not _
    }
    return {key: value for key, value in (("index", index), ("id", id_)) if value is not _} | {
        "function": function
    }


def called(*calls: Any, text: str = "", finish: str | None = "tool_calls") -> Told:
    return Told(text, calls=calls, finish=finish)


def whole(*calls: tuple[Any, ...], finish: str = "tool_calls", content: Any = None) -> Any:
    """A plain answer with these calls: id, name, arguments."""
    return body(
        {
            "content": content,
            "tool_calls": [entry(_, *call) | {"type": "function"} for call in calls],
        },
        finish,
    )


def lists(*pieces: list[Json], finish: str | None = "tool_calls") -> Any:
    """A stream of lists of entries."""
    return deltas(*[{"tool_calls": piece} for piece in pieces], finish=finish)


def one_by_one(*entries: tuple[Any, ...], **more: Any) -> Any:
    return lists(*[[entry(*fields)] for fields in entries], **more)


_F, _G = ("a", "f", X), ("b", "g", Y)
_ONE, _TWO = whole(_F), whole(_F, _G)
_NO_IDS = whole((_, "f", X), (_, "g", Y))
_F_NEW, _G_NEW = (*F[:2], INVENTED), (*G[:2], INVENTED)

DELTAS = {
    "text in pieces": Shape(
        one_by_one((0, "a", "f", ""), (0, _, _, '{"x"'), (0, _, _, ":1}")), called(F), _ONE
    ),
    "whole calls in one list, no index": Shape(
        lists([entry(_, *_F), entry(_, *_G)]), called(F, G), _TWO
    ),
    "one index for two ids": Shape(one_by_one((0, *_F), (0, *_G)), called(F, G), _TWO),
    "one index, no ids": Shape(
        one_by_one((0, _, "f", X), (0, _, "g", Y)), called(_F_NEW, _G_NEW), _NO_IDS
    ),
    "name and id on every fragment": Shape(
        one_by_one((0, "a", "f", '{"x"'), (0, "a", "f", ":1}")), called(F), _ONE
    ),
    "sent twice": Shape(one_by_one((0, *_F), (0, *_F)), called(F), _ONE),
    "tail under the next index": Shape(
        one_by_one((0, *_F), (0, "b", "g", ""), (1, _, _, Y)), called(F, G), _TWO
    ),
    "id and name after the arguments": Shape(
        one_by_one((0, *_F), (1, _, _, Y), (1, "b", "g", "")), called(F, G), _TWO
    ),
    "placeholder ids": Shape(
        one_by_one((0, "0", "f", X), (1, "0", "g", Y)),
        called((*F[:2], "0"), _G_NEW),
        whole(("0", "f", X), ("0", "g", Y)),
    ),
    "index null": Shape(
        one_by_one((None, "a", "f", '{"x"'), (None, None, None, ":1}")), called(F), _ONE
    ),
    "index absent": Shape(one_by_one((_, "a", "f", '{"x"'), (_, _, _, ":1}")), called(F), _ONE),
    "first index is 1": Shape(one_by_one((1, "a", "f", '{"x"'), (1, _, _, ":1}")), called(F), _ONE),
    "indices with a gap": Shape(one_by_one((0, *_F), (7, *_G)), called(F, G), _TWO),
    "calls interleaved": Shape(
        one_by_one(
            (0, "a", "f", '{"x"'), (1, "b", "g", '{"y"'), (0, _, _, ":1}"), (1, _, _, ":2}")
        ),
        called(F, G),
        _TWO,
    ),
    "one whole call after the other, no index": Shape(
        one_by_one((_, *_F), (_, *_G)), called(F, G), _TWO
    ),
    "the same call with two ids": Shape(
        one_by_one((0, "a", "f", X), (0, "b", "f", X)),
        called(F, ("f", {"x": 1}, "b")),
        whole(_F, ("b", "f", X)),
    ),
    "id empty": Shape(
        one_by_one((0, "", "f", '{"x"'), (0, "", _, ":1}")), called(_F_NEW), whole(("", "f", X))
    ),
    "id null in words": Shape(
        one_by_one((0, "null", "f", X)), called(_F_NEW), whole(("null", "f", X))
    ),
    "name only at the end": Shape(
        one_by_one((0, "a", _, '{"x"'), (0, _, _, ":1}"), (0, _, "f", "")), called(F), _ONE
    ),
    "id only at the end": Shape(
        one_by_one((0, _, "f", '{"x"'), (0, _, _, ":1}"), (0, "a", _, "")), called(F), _ONE
    ),
    "function null between": Shape(
        lists(
            [entry(0, "a", "f", '{"x"')], [{"index": 0, "function": None}], [entry(0, _, _, ":1}")]
        ),
        called(F),
        _ONE,
    ),
    "all in one delta with the finish reason": Shape(
        sse(chunk({"tool_calls": [entry(0, *_F), entry(1, *_G)]}, "tool_calls")), called(F, G), _TWO
    ),
    "calls after the finish reason": Shape(
        sse(chunk({}, "tool_calls"), chunk({"tool_calls": [entry(0, *_F)]})), called(F), _ONE
    ),
    "finish reason stop": Shape(
        one_by_one((0, *_F), finish="stop"), called(F), whole(_F, finish="stop")
    ),
    "finish reason function_call": Shape(
        one_by_one((0, *_F), finish="function_call"), called(F), whole(_F, finish="function_call")
    ),
    "no finish reason": Shape(
        one_by_one((0, *_F), finish=None),
        called(F, finish=None),
        body({"tool_calls": [entry(_, *_F)]}, None),
    ),
    "text before": Shape(
        sse(chunk({"content": "Wait."}), chunk({"tool_calls": [entry(0, *_F)]}, "tool_calls")),
        called(F, text="Wait."),
        whole(_F, content="Wait."),
    ),
    "text after": Shape(
        sse(chunk({"tool_calls": [entry(0, *_F)]}), chunk({"content": "Wait."}, "tool_calls")),
        called(F, text="Wait."),
        whole(_F, content="Wait."),
    ),
    "text between the fragments": Shape(
        sse(
            chunk({"tool_calls": [entry(0, "a", "f", '{"x"')]}),
            chunk({"content": "Wait."}),
            chunk({"tool_calls": [entry(0, _, _, ":1}")]}, "tool_calls"),
        ),
        called(F, text="Wait."),
        whole(_F, content="Wait."),
    ),
    "text and call in one delta": Shape(
        sse(chunk({"content": "Wait.", "tool_calls": [entry(0, *_F)]}, "tool_calls")),
        called(F, text="Wait."),
        whole(_F, content="Wait."),
    ),
    "a plain answer to a stream": Shape(whole(_F, _G, content="Wait."), called(F, G, text="Wait.")),
    "legacy function call": Shape(
        deltas(
            {"function_call": {"name": "f", "arguments": '{"x"'}},
            {"function_call": {"arguments": ":1}"}},
            finish="function_call",
        ),
        called(_F_NEW),
        body({"content": None, "function_call": {"name": "f", "arguments": X}}, "function_call"),
    ),
    "empty decoy of a function call": Shape(
        deltas({"content": "Hello", "function_call": {"name": "", "arguments": ""}}),
        Told("Hello"),
        body({"content": "Hello", "function_call": {"name": "", "arguments": ""}}),
    ),
    "an empty list beside the text": Shape(
        deltas({"content": "Hello", "tool_calls": []}),
        Told("Hello"),
        body({"content": "Hello", "tool_calls": []}),
    ),
    "null beside the text": Shape(
        deltas({"content": "Hello", "tool_calls": None}),
        Told("Hello"),
        body({"content": "Hello", "tool_calls": None}),
    ),
}


def _args(sent: Any, args: Json) -> Shape:
    return Shape(one_by_one((0, "a", "f", sent)), called(("f", args, "a")), whole(("a", "f", sent)))


def _broken(raw: str, *pieces: str, finish: str = "tool_calls") -> Shape:
    first, *rest = pieces or (raw,)
    expected = Told(invalid=(("f", raw, "a"),), finish=finish)
    return Shape(
        one_by_one((0, "a", "f", first), *((0, _, _, piece) for piece in rest), finish=finish),
        expected,
        whole(("a", "f", raw), finish=finish),
    )


ARGUMENTS = {
    "blank": _args("", {}),
    "only spaces": _args("  ", {}),
    "null": _args(None, {}),
    "absent": _args(_, {}),
    "null in words": _args("null", {}),
    "an object": _args({"x": 1}, {"x": 1}),
    "an empty object": _args({}, {}),
    "the same object twice": _args(X + X, {"x": 1}),
    "numbers, nulls and nesting": _args(
        '{"a": [1, {"b": null}], "c": -1.5e3, "d": true}',
        {"a": [1, {"b": None}], "c": -1500.0, "d": True},
    ),
    "text of every kind": _args(
        '{"t": "\u4f60\\n\\u00e9 \U0001f600 \\"q\\" }{ ]"}',
        {"t": '\u4f60\n\u00e9 \U0001f600 "q" }{ ]'},
    ),
    "a line break inside a text": _args('{"t": "one\ntwo"}', {"t": "one\ntwo"}),
    "spaces around": _args(' {"x": 1} \n', {"x": 1}),
    "null in words, then the text": Shape(
        one_by_one((0, "a", "f", "null"), (0, _, _, "")),
        called(("f", {}, "a")),
        whole(("a", "f", "null")),
    ),
    "an empty object, then a fuller one": Shape(
        one_by_one((0, "a", "f", {}), (0, _, _, {"x": 1})), called(F), _ONE
    ),
    "an object, then the same again": Shape(
        one_by_one((0, "a", "f", {"x": 1}), (0, _, _, {"x": 1})), called(F), _ONE
    ),
}

BROKEN = {
    "cut in a text": _broken('{"path": "/ho', '{"path"', ': "/ho', finish="length"),
    "cut after a name": _broken('{"path"'),
    "cut after a colon": _broken('{"path":'),
    "cut in a list": _broken('{"a": [1, 2'),
    "cut in a list of texts": _broken('{"a": ["b'),
    "cut after a backslash": _broken('{"a": "b\\'),
    "cut before the last bracket": _broken('{"a": {"b": 1}'),
    "one bracket": _broken("{"),
    "something behind": _broken('{"x":1} and more'),
    "two objects": _broken(X + Y),
    "a bracket too many": _broken('{"x":1}}'),
    "no JSON": _broken("x=1"),
    "false": _broken("false"),
    "a number": _broken("7"),
    "a text": _broken('"x"'),
    "a list": _broken("[1]"),
    "a list of objects": _broken('[{"x": 1}]'),
    "an open list": _broken("[1, 2"),
    "single quotes": _broken("{'x': 1}"),
    "a trailing comma": _broken('{"x": 1,}'),
    "python words": _broken('{"x": True}'),
}

MIXED = {
    "one good, one broken": Shape(
        one_by_one((0, *_F), (1, "b", "g", '{"y": ')),
        Told(calls=(F,), invalid=(("g", '{"y": ', "b"),), finish="tool_calls"),
        whole(_F, ("b", "g", '{"y": ')),
    ),
    "one broken, one good": Shape(
        one_by_one((0, "a", "f", '{"x": '), (1, *_G)),
        Told(calls=(G,), invalid=(("f", '{"x": ', "a"),), finish="tool_calls"),
        whole(("a", "f", '{"x": '), _G),
    ),
    "two broken, with text": Shape(
        sse(
            chunk({"content": "Wait."}),
            chunk(
                {"tool_calls": [entry(0, "a", "f", "{"), entry(1, "b", "g", "[1]")]}, "tool_calls"
            ),
        ),
        Told("Wait.", invalid=(("f", "{", "a"), ("g", "[1]", "b")), finish="tool_calls"),
        whole(("a", "f", "{"), ("b", "g", "[1]"), content="Wait."),
    ),
    "a broken one in a plain answer to a stream": Shape(
        whole(_F, ("b", "g", "{")),
        Told(calls=(F,), invalid=(("g", "{", "b"),), finish="tool_calls"),
    ),
    "no id, broken": Shape(
        one_by_one((0, _, "f", "{")),
        Told(invalid=(("f", "{", INVENTED),), finish="tool_calls"),
        whole((_, "f", "{")),
    ),
}
