"""Twice as much of an answer takes twice as long to read:
no pattern and no stream of events is quadratic.
"""

from __future__ import annotations

import gc
import json
import re
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from types import ModuleType
from typing import Any, Literal, NamedTuple

import pytest
from pumped import Expression, expressions, modules, seconds, slow_at, takers, texts
from thorough import most

import langchain_opea
import llama_index_opea
import opea_core
from langchain_opea.answers import ChunkWriter, spoiler, unspoiled
from llama_index_opea.answers import ResponseWriter
from opea_core.adapters import Growth, json_text, read_answer
from opea_core.capabilities import Capabilities
from opea_core.types import ChatChunk, Json
from opea_core.wire.adaptations import DROPPABLE
from opea_core.wire.headers import retry_after
from opea_core.wire.jsontext import weighs_more
from opea_core.wire.refusal import adapt
from opea_core.wire.response_reader import ResponseReader
from opea_core.wire.response_spec import ResponseSpec

# --- patterns


@pytest.mark.parametrize(
    "package", [opea_core, langchain_opea, llama_index_opea], ids=lambda package: package.__name__
)
def test_no_pattern_is_slow_for_any_text(package: ModuleType) -> None:
    given_to = takers(package)
    found = [
        expression
        for module in modules(package)
        for expression in expressions(module, given_to=given_to)
    ]
    assert found
    slow = [
        (expression.name, text(60))
        for expression in found
        for text in texts(expression.pattern)[:: most(1, 8)]
        if slow_at(expression, text)
    ]
    assert slow == []


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(
            r"(?i)(?:wait|available)\s+(?:again\s+)?(?:in|after)?\s*:?\s*(?:about\s+)?(\d+)",
            id="blanks after a word",
        ),
        pytest.param(r"(?is)<title[^>]*>\s*(.*?)\s*</title", id="an element that is never closed"),
        pytest.param(r"```[a-zA-Z]*\s*\n\s*(?=[{\[])", id="line ends after a fence"),
        pytest.param(r"(exceed\w*|outside)( of)? context window", id="a word again and again"),
        pytest.param(r"\s+$", id="blanks before the end"),
        pytest.param(r"^(\w+\s?)*$", id="exponential"),
        pytest.param(rb'"(?:[^"\\]|\\.)*"', id="bytes: strings that do not end"),
    ],
)
def test_a_slow_pattern_would_be_found(pattern: str | bytes) -> None:
    expression = Expression("slow", re.compile(pattern))  # type: ignore[type-var]
    assert any(slow_at(expression, text) for text in texts(expression.pattern))


def test_patterns_are_found_wherever_they_stand() -> None:
    """Compiled or not, named or not, put together in a call, or chosen there."""
    module = ModuleType("written_for_this_test")
    source = (
        "import re\n_NAMED, _KEPT = r'a+', re.compile(rb'b+', re.DOTALL)\n"
        "def f(text, word):\n    re.search(_NAMED, text)\n    re.sub(r'(?i)c+', '', "
        "text)\n    re.match('d+', text, re.DOTALL)\n"
        "    re.findall(rf'e+{word}', text)\n    chosen = 'f+' if word else 'g+'\n    "
        "re.split(chosen, text)\n    _KEPT.match(b'')\n"
    )
    exec(compile(source, "written", "exec"), vars(module))
    found = list(expressions(module, source))
    assert [(e.pattern.pattern, e.anchored) for e in found] == [
        ("a+", False), ("(?i)c+", False), ("d+", True), ("e+word", False), ("f+", False), ("g+",
            False), (b"b+", True),
    ]  # fmt: skip
    assert found[2].pattern.flags & re.DOTALL


SENT: Json = {
    "messages": [
        {"role": "user", "content": "Hello there, all of you"},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {
            "role": "assistant",
            "content": "",
            "reasoning": "r",
            "tool_calls": [{"id": "call_1", "function": {"name": "a-b"}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "image_url"}]},
        {"role": "developer", "content": "x"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "a-b", "parameters": {"properties": {"x": {}}}}}
    ],
    "tool_choice": {"type": "function", "function": {"name": "a-b"}},
    "response_format": {"type": "json_schema"},
    "max_tokens": 3,
    **dict.fromkeys(DROPPABLE.keys() - {"name"}, 1),
}
PIECES = (
    "x", " ", "\n", "{", "[(", "{'a': ", "f(a=", "'x ", "seed, ", "not ", "'seed' unsupported ",
    "call", "tool ", "exceed", "a -> ", "body -> a\n ", "no n > 1 ", "content ",
    "system role first ", "reasoning must ", "one of ", ". ", '{"error":', '{"loc":["seed"],',
    "Hello there, all of you ",
)  # fmt: skip
FORMS = ({}, {"param": "seed"})
"""What stands beside the words."""


@pytest.mark.parametrize("piece", PIECES)
def test_a_refusal_is_read_in_bounded_time(piece: str) -> None:
    """Four times as much takes not much more than four times as long, whatever it says."""
    known = Capabilities(developer_role=True, tool_media=True)
    for form in FORMS:

        def read(size: int, form: Json = form) -> Callable[[], object]:
            text = json.dumps({"error": {"message": (piece * size)[:size], **form}})
            return lambda: adapt(SENT, text, known, any_form=True)

        assert growth(Shape(read, most(4096, 1024))) < TOO_MUCH


# --- streams


def event(**choice: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


def delta(**fields: Any) -> bytes:
    return event(delta=fields)


def arguments(text: Any, index: int = 0, name: str | None = None, **fields: Any) -> bytes:
    function = {"arguments": text} | ({"name": name} if name else {})
    return delta(tool_calls=[{"index": index, "function": function, **fields}])


def response_reader(
    stream: bool = True,
    think_tags: bool = False,
    headers: Json | None = None,
    dialect: Literal["chat", "responses"] = "chat",
) -> ResponseReader:
    numbers = count(1)
    capabilities = Capabilities(think_tags=think_tags)
    spec = ResponseSpec(
        "chat", stream, "m", lambda: f"id{next(numbers)}", capabilities, dialect, choices=1
    )
    return ResponseReader(200, headers or {}, spec)


def said(kind: str, **fields: Any) -> bytes:
    """An event of the Responses dialect."""
    return b"data: " + json.dumps({"type": f"response.{kind}", **fields}).encode() + b"\n\n"


def in_responses(pieces: Iterable[bytes]) -> Callable[[], None]:
    """Events of the Responses dialect, read."""
    return reading(pieces, dialect="responses")


def reading(
    pieces: Iterable[bytes],
    each: Callable[[ResponseReader], object] = lambda _: None,
    **options: Any,
) -> Callable[[], None]:
    """A body that is read; ``each`` is done after each piece."""
    listed = list(pieces)

    def read() -> None:
        reader = response_reader(**options)
        for piece in listed:
            reader.feed(piece)
            each(reader)
        reader.end()

    return read


def written(make: Callable[[], Any], more: bool, pieces: Iterable[bytes]) -> Callable[[], None]:
    """An adapter that hands on what came; ``more``: it comes all at once."""
    reader = response_reader()
    for piece in pieces:
        reader.feed(piece)
    chunks: list[ChatChunk] = list(reader.chunks)

    def write() -> None:
        writer = make()
        for chunk in chunks:
            writer.write(chunk, more)

    return write


class Shape(NamedTuple):
    """Work for n of something; it takes about 5 ms or more for ``n``."""

    work: Callable[[int], Callable[[], object]]
    n: int


WORDS = "x" * 500


def big(n: int) -> str:
    """Arguments that grow with n, too, and do not end."""
    return '{"a":[' + "1," * (100 * n) + "1"


ENDED = {
    "text": ("output_text", "text", {}),
    "a refusal": ("refusal", "refusal", {}),
    "reasoning": ("reasoning_text", "text", {}),
    "a summary": ("reasoning_summary_text", "text", {"summary_index": 0}),
    "arguments": ("function_call_arguments", "arguments", {}),
}
"""How events of the Responses dialect spell a part, and the name of its text."""


def _ends(part: str, n: int) -> Callable[[], None]:
    """A part that grows with n, too, and whose end comes behind each further letter."""
    begin, name, place = ENDED[part]
    about: Json = {"output_index": 0, **place}
    call = {"type": "function_call", "call_id": "a", "name": "f"}
    ends = [
        said(f"{begin}.delta", **about, delta="x"),
        said(f"{begin}.done", **about, **{name: ""}),
        said(f"{begin}.done", **about, **{name: WORDS}),
    ]
    first = said(f"{begin}.delta", **about, delta="x" * 2000 * n)
    return in_responses(
        [said("output_item.added", **about, item=call)] * (part == "arguments") + [first] + ends * n
    )


def _item(number: int) -> Json:
    return {"type": "message", "id": f"m{number}", "content": []}


def _completed(items: Iterable[Json]) -> bytes:
    return said("completed", response={"status": "completed", "output": [*items]})


SHAPES = {
    # --- text
    "text": Shape(lambda n: reading(delta(content="word ") for _ in range(n)), 2000),
    "reasoning": Shape(lambda n: reading(delta(reasoning="word ") for _ in range(n)), 2000),
    "stream.response at each chunk": Shape(
        lambda n: reading((delta(content="word ") for _ in range(n)), each=ResponseReader.partial),
        10_000,
    ),
    "reasoning, stream.response at each chunk": Shape(
        lambda n: reading(
            (delta(reasoning="word ") for _ in range(n)), each=ResponseReader.partial
        ),
        10_000,
    ),
    "think_tags: blanks": Shape(
        lambda n: reading((delta(content=" " * 500) for _ in range(n)), think_tags=True), 2000
    ),
    "think_tags: half an end": Shape(
        lambda n: reading(
            (delta(content=t) for t in ["<think>"] + [WORDS + "</thin"] * n), think_tags=True
        ),
        2000,
    ),
    "messages that do not continue": Shape(
        lambda n: reading(event(message={"content": f"{k}{WORDS * 2}"}) for k in range(n)), 3000
    ),
    # --- the Responses dialect
    "a text of a response": Shape(
        lambda n: in_responses(
            said("output_text.delta", output_index=0, delta="word ") for _ in range(n)
        ),
        2000,
    ),
    "a text of a response under changing ids": Shape(
        lambda n: in_responses(
            said("output_text.delta", output_index=0, item_id=str(k), delta="word ")
            for k in range(n)
        ),
        2000,
    ),
    "two texts in turns": Shape(
        lambda n: in_responses(
            said("output_text.delta", output_index=k % 2, delta="word ") for k in range(n)
        ),
        2000,
    ),
    "arguments of a response": Shape(
        lambda n: in_responses(
            [
                said(
                    "output_item.added",
                    output_index=0,
                    item={"type": "function_call", "call_id": "a", "name": "f"},
                ),
                *(
                    said("function_call_arguments.delta", output_index=0, delta=WORDS)
                    for _ in range(n)
                ),
            ]
        ),
        2000,
    ),
    "items of a response": Shape(
        lambda n: in_responses(
            said("output_item.done", output_index=k, item={"type": "reasoning", "id": str(k)})
            for k in range(n)
        ),
        1000,
    ),
    **{f"ends behind each piece of {part}": Shape(partial(_ends, part), 1000) for part in ENDED},
    "ends of a text behind pieces of nothing": Shape(
        lambda n: in_responses(
            [
                *(
                    said("output_text.delta", output_index=0, delta="x" * (k == 0))
                    for k in range(n)
                ),
                said("output_text.delta", output_index=0, delta="z"),
                *(said("output_text.done", output_index=0, text="x.") for _ in range(n)),
            ]
        ),
        2000,
    ),
    "items that the final response has in another order": Shape(
        lambda n: in_responses(
            [
                *(said("output_item.added", output_index=k, item=_item(k)) for k in range(n)),
                _completed(_item(k) for k in reversed(range(n))),
            ]
        ),
        4000,
    ),
    "items that the final response has under other ids and places": Shape(
        lambda n: in_responses(
            [
                *(said("output_item.added", output_index=n + k, item=_item(k)) for k in range(n)),
                _completed(_item(-1 - k) for k in range(n)),
            ]
        ),
        4000,
    ),
    # --- tool calls
    "arguments": Shape(lambda n: reading(arguments(WORDS) for _ in range(n)), 2000),
    "arguments that end an object": Shape(
        lambda n: reading(arguments(t) for t in ['{"a":['] + ['{"b":"' + WORDS + '"}'] * n), 2000
    ),
    "large arguments, then braces": Shape(
        lambda n: reading(arguments(t) for t in [big(n)] + ["}", "{"] * n), 1000
    ),
    "whole arguments, then a call that has no name": Shape(
        lambda n: reading(
            [arguments(big(n) + "]}", name="f"), *(arguments("x", index=k + 1) for k in range(n))]
        ),
        1000,
    ),
    "whole arguments, again and again": Shape(
        lambda n: reading(arguments(big(500) + "]}", name="f", id="a") for _ in range(n)), 50
    ),
    "whole arguments, then others under their name": Shape(
        lambda n: reading(
            [
                arguments(big(n) + "]}", name="f"),
                *(arguments('{"a":1}'[: k % 7], name="f") for k in range(n)),
            ]
        ),
        1000,
    ),
    "one id for many calls": Shape(
        lambda n: reading(
            [
                arguments(big(n) + "]}", name="f", id="0"),
                *(arguments("{}", index=k, name="f", id="0") for k in range(1, n)),
            ]
        ),
        500,
    ),
    "blanks as arguments": Shape(lambda n: reading(arguments(" " * 500) for _ in range(n)), 2000),
    "an object, and another one": Shape(
        lambda n: reading(arguments(t) for t in ['{}{"a":"'] + [WORDS] * n), 2000
    ),
    "arguments as objects": Shape(
        lambda n: reading(arguments({"a": WORDS}, name="f") for _ in range(n)), 1000
    ),
    "new fields of a call": Shape(
        lambda n: reading(arguments("x", **{f"k{k}": 1}) for k in range(n)), 2000
    ),
    "arguments that end an object, stream.response at each": Shape(
        lambda n: reading(
            (arguments(t) for t in ['{"a":['] + ['{"b":1}'] * n), each=ResponseReader.partial
        ),
        1000,
    ),
    # --- other fields
    "details of one index": Shape(
        lambda n: reading(
            delta(reasoning_details=[{"index": 0, "type": "t", "text": WORDS}]) for _ in range(n)
        ),
        1500,
    ),
    "details of new indices": Shape(
        lambda n: reading(
            delta(reasoning_details=[{"index": k, "type": "t", "text": "x"}]) for k in range(n)
        ),
        2000,
    ),
    "details in one event": Shape(
        lambda n: reading([delta(reasoning_details=[{"index": k} for k in range(n)])]), 4000
    ),
    "annotations": Shape(lambda n: reading(delta(annotations=[{"a": k}]) for k in range(n)), 2000),
    "annotations in one event": Shape(
        lambda n: reading([delta(annotations=[{"a": k} for k in range(n)])]), 4000
    ),
    "audio": Shape(lambda n: reading(delta(audio={"data": WORDS}) for _ in range(n)), 2000),
    "unknown fields of a message": Shape(
        lambda n: reading(delta(**{f"k{k}": 1}) for k in range(n)), 2000
    ),
    "unknown fields": Shape(
        lambda n: reading(b'data: {"choices":[],"k%d":1}\n\n' % k for k in range(n)), 4000
    ),
    "usage": Shape(
        lambda n: reading(b'data: {"choices":[],"usage":{"k%d":1}}\n\n' % k for k in range(n)), 2000
    ),
    "counts in usage": Shape(
        lambda n: reading(
            b'data: {"choices":[],"usage":{"d":{"k%d":1}}}\n\n' % k for k in range(n)
        ),
        4000,
    ),
    "logprobs": Shape(
        lambda n: reading(
            event(delta={"content": "x"}, logprobs={"content": [{"token": "x"}] * 50})
            for _ in range(n)
        ),
        1000,
    ),
    "entries of one choice": Shape(lambda n: reading([_entries({"content": WORDS}, n)]), 3000),
    "entries of one choice, each a call": Shape(
        lambda n: reading(
            [_entries({"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}, n)]
        ),
        3000,
    ),
    # --- bytes
    "an event of many lines": Shape(lambda n: reading([b"data: " + b"x" * 200 + b"\n"] * n), 5000),
    "a line in many pieces": Shape(
        lambda n: reading([b'data: {"a":"', *([b"x" * 1000] * n)]), 3000
    ),
    "a document in many pieces": Shape(
        lambda n: reading([b'{"a":"', *([b"x" * 100] * n)], stream=False), 5000
    ),
    "blanks before a document": Shape(lambda n: reading([b" " * 1000] * n, stream=False), 3000),
    "documents glued into one event": Shape(
        lambda n: reading([b"data: " + b'{"choices":[]} ' * n + b"\n\n"]), 15_000
    ),
    "documents glued into one body": Shape(
        lambda n: reading([b'{"choices":[]}\n' * n], stream=False), 15_000
    ),
    "events cut after each byte": Shape(
        lambda n: reading(bytes([b]) for b in delta(content="word ") * (n // 10)), 5000
    ),
    "deflate in many pieces": Shape(
        lambda n: reading(
            _bytewise(zlib.compress(json.dumps([*range(n)]).encode())),
            headers={"content-encoding": "deflate"},
        ),
        3000,
    ),
    "a document in which a string never ends": Shape(
        lambda n: lambda: weighs_more(b"[" + b'\\"' * n, 0), 20_000
    ),
    "a number of many digits": Shape(
        lambda n: reading([b'data: {"choices":[],"a":1.' + b"1" * n + b"}\n\n"]), 500_000
    ),
    "digits in a header": Shape(
        lambda n: lambda: retry_after(429, {"retry-after": "1" * n}, "", 0.0), 50_000
    ),
    "words in a header": Shape(
        lambda n: lambda: retry_after(429, {"retry-after": "a " * n, "date": "1:" * n}, "", 0.0),
        10_000,
    ),
    # --- adapters
    "json_text: a fence and line ends": Shape(
        lambda n: lambda: json_text("x```" + "\n" * n + "x"), 100_000
    ),
    "read_answer: a fence and words": Shape(
        lambda n: lambda: read_answer("x```json " + "a " * n + '\n{"a":1}'), 100_000
    ),
    "LangChain: held arguments": Shape(
        lambda n: written(ChunkWriter, True, (arguments(WORDS) for _ in range(n))), 2000
    ),
    "LangChain: arguments that nothing mends": Shape(
        lambda n: lambda: unspoiled('{"a":' + "[" * n + '"}'), 50_000
    ),
    "LangChain: arguments cut between strings": Shape(
        lambda n: lambda: spoiler('{"rows": [' + '"b",' * n), 10_000
    ),
    "LangChain: arguments cut in a string": Shape(
        lambda n: lambda: spoiler('{"a":"' + '\\"' * n), 50_000
    ),
    "LlamaIndex: held arguments": Shape(
        lambda n: written(ResponseWriter, True, (arguments(WORDS) for _ in range(n))), 3000
    ),
}
FLOOR = 0.02
"""Seconds of CPU that may always be."""
TOO_MUCH = 8
"""So many times as long for four times as much:
in the middle between linear (4) and quadratic (16).
"""


def _entries(fields: Json, n: int) -> bytes:
    """One event with so many entries of one choice."""
    return (
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": fields}] * n}).encode() + b"\n\n"
    )


def _bytewise(data: bytes) -> list[bytes]:
    return [data[n : n + 1] for n in range(len(data))]


def growth(shape: Shape) -> float:
    """How many times as long four times as much takes;
    measured again while that is much, as other work only ever adds.
    """
    works, least = (shape.work(shape.n // 2), shape.work(2 * shape.n)), [float("inf"), float("inf")]
    gc.disable()
    try:
        for _ in range(5):
            least = [min(known, seconds(work)) for known, work in zip(least, works, strict=True)]
            if least[1] < max(FLOOR, TOO_MUCH * least[0]):
                break
    finally:
        gc.enable()
    return least[1] / max(least[0], FLOOR / TOO_MUCH)


@pytest.mark.parametrize("name", SHAPES)
def test_four_times_as_much_takes_four_times_as_long(name: str) -> None:
    assert growth(SHAPES[name]) < TOO_MUCH


def test_a_growing_answer_is_not_parsed_with_each_letter() -> None:
    """What is read of it, in letters, and how much of it is not read yet at any time."""

    def read(size: int) -> int:
        growth = Growth()
        return sum(letters for letters in range(size) if growth.is_due(letters))

    assert read(800_000) < 3 * read(400_000)
    due, last = Growth(), 0
    for letters in range(100_000):
        if due.is_due(letters):
            last = letters
        assert letters - last <= max(1, letters / 40)
