"""One generated answer, told plainly and told as a stream cut anywhere:
the reader gets the same.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from itertools import count
from random import Random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from same_examples import fixed
from test_response_reader import DONE, EVENT, data

from opea_core.capabilities import Capabilities
from opea_core.types import ChatChunk, ChatResponse, Json
from opea_core.wire.response_reader import ResponseReader
from opea_core.wire.response_spec import ResponseSpec

TEXT = st.text(alphabet='ab é你😀\n\r\t\u2028"\\{}<>&', max_size=20)
LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | TEXT
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(TEXT, JSON, max_size=3)
NAMES = st.sampled_from(["search", "get_weather", "f"])
COUNTS = st.integers(0, 10**6)


@dataclass
class Said:
    """One choice of an answer."""

    content: str
    reasoning: str
    refusal: str
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Name and arguments."""
    finish: str = "stop"


@st.composite
def choices(draw: st.DrawFn) -> Said:
    said = Said(draw(TEXT), draw(st.just("") | TEXT), draw(st.just("") | st.just("") | TEXT))
    said.calls = draw(st.lists(st.tuples(NAMES, ARGUMENTS.map(json.dumps)), max_size=3))
    said.finish = (
        "tool_calls" if said.calls else draw(st.sampled_from(["stop", "length", "content_filter"]))
    )
    return said


@st.composite
def answers(draw: st.DrawFn) -> Json:
    """What a server means to say."""
    usage = {
        "prompt_tokens": draw(COUNTS),
        "completion_tokens": draw(COUNTS),
        "total_tokens": draw(COUNTS),
    }
    return {
        "said": draw(st.lists(choices(), min_size=1, max_size=3)),
        "usage": draw(st.none() | st.just(usage)),
        "root": {"id": "c1", "model": "m1"} if draw(st.booleans()) else {},
        "thought": draw(st.sampled_from(["reasoning", "reasoning_content"])),
    }


def call_id(choice: int, number: int) -> str:
    return f"call_{choice}_{number}"


# --- told plainly


def plainly(answer: Json) -> bytes:
    entries = []
    for index, said in enumerate(answer["said"]):
        message: Json = {"role": "assistant", "content": said.content or None}
        if said.reasoning:
            message[answer["thought"]] = said.reasoning
        if said.refusal:
            message["refusal"] = said.refusal
        if said.calls:
            message["tool_calls"] = [
                {
                    "id": call_id(index, n),
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                }
                for n, (name, arguments) in enumerate(said.calls)
            ]
        entries.append({"index": index, "message": message, "finish_reason": said.finish})
    return json.dumps(
        {
            **answer["root"],
            "choices": entries,
            **({"usage": answer["usage"]} if answer["usage"] else {}),
        }
    ).encode()


# --- told as a stream


def cut_text(chance: Random, text: str) -> list[str]:
    """A text in pieces; some servers cut between the halves of a surrogate pair."""
    if chance.random() < 0.5:
        units = text.encode("utf-16-le", "surrogatepass")
        letters = [
            units[n : n + 2].decode("utf-16-le", "surrogatepass") for n in range(0, len(units), 2)
        ]
    else:
        letters = list(text)
    parts: list[str] = []
    while letters:
        size = chance.randint(1, 8)
        parts.append("".join(letters[:size]))
        letters = letters[size:]
    return parts


def deltas(chance: Random, answer: Json, index: int, said: Said) -> list[Json]:
    """The deltas of a choice, each a list entry of some event."""
    found: list[Json] = [{"role": "assistant", "content": ""}] if chance.random() < 0.5 else []
    found += [{answer["thought"]: part} for part in cut_text(chance, said.reasoning)]
    found += [{"content": part} for part in cut_text(chance, said.content)]
    found += [{"refusal": part} for part in cut_text(chance, said.refusal)]
    for n, (name, arguments) in enumerate(said.calls):
        parts = cut_text(chance, arguments)
        first = parts.pop(0) if parts and chance.random() < 0.5 else ""
        opening = {
            "index": n,
            "id": call_id(index, n),
            "type": "function",
            "function": {"name": name, "arguments": first},
        }
        found.append({"tool_calls": [opening]})
        found += [{"tool_calls": [{"index": n, "function": {"arguments": part}}]} for part in parts]
    return found


def in_turn(chance: Random, queues: list[list[Any]]) -> list[Any]:
    """The entries of several lists, mixed, each list in its own order."""
    mixed = []
    while any(queues):
        queue = chance.choice([q for q in queues if q])
        mixed.append(queue.pop(0))
    return mixed


BEFORE = [
    [],
    [b": keep-alive"],
    [b"event: message"],
    [b"id: 1", b"retry: 3"],
    [b": k", b""],
    [b"data:", b""],
]


def on_the_wire(chance: Random, event: Json) -> bytes:
    """An event in any legal dress: a name, a comment before it,
    several data lines, any line end.
    """
    end = chance.choice([b"\n", b"\r\n", b"\r"])
    text = json.dumps(
        event,
        ensure_ascii=chance.random() < 0.5 or _has_surrogates(event),
        indent=chance.choice([None, None, 1]),
    ).encode()
    lines = [b"data: " + line for line in text.split(b"\n")]
    lines[:0] = chance.choice(BEFORE)
    return b"".join(line + end for line in [*lines, b""])


def _has_surrogates(event: Json) -> bool:
    text = json.dumps(event, ensure_ascii=False)
    return any("\ud800" <= letter <= "\udfff" for letter in text)


@st.composite
def streams(draw: st.DrawFn) -> tuple[Json, bytes]:
    """An answer, and its stream."""
    answer, chance = draw(answers()), Random(draw(st.integers(0, 10**6)))
    queues = []
    for index, said in enumerate(answer["said"]):
        entries: list[Json] = [
            {"index": index, "delta": delta} for delta in deltas(chance, answer, index, said)
        ]
        entries.append({"index": index, "delta": {}, "finish_reason": said.finish})
        queues.append(entries)
    events: list[Json] = [
        {**answer["root"], "choices": [entry]} for entry in in_turn(chance, queues)
    ]
    if answer["usage"]:
        events.append({**answer["root"], "choices": [], "usage": answer["usage"]})
    tail = chance.choice([b"data: [DONE]\n\n", b"data: [DONE]", b"data:[DONE]\r\n\r\n"])
    return answer, chance.choice([b"", b"\xef\xbb\xbf", b"\n"]) + b"".join(
        on_the_wire(chance, e) for e in events
    ) + tail


# --- reading


def read(parts: list[bytes], stream: bool) -> tuple[ChatResponse, list[ChatChunk]]:
    numbers = count(1)
    response_reader = ResponseReader(
        200,
        {},
        ResponseSpec(
            shape="chat", stream=stream, model="asked", new_id=lambda: f"new{next(numbers)}"
        ),
    )
    for part in parts:
        response_reader.feed(part)
    response_reader.end()
    assert response_reader.problem is None, response_reader.problem
    assert response_reader.response is not None
    return response_reader.response, list(response_reader.chunks)


def seen(response: ChatResponse) -> Json:
    """What a caller looks at."""
    usage = response.usage
    return {
        "id": response.id,
        "model": response.model,
        "usage": usage and (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens),
        "warnings": response.warnings,
        "choices": [
            (
                c.index,
                c.role,
                c.content,
                c.reasoning,
                c.refusal,
                c.finish_reason,
                [(t.id, t.name, t.arguments) for t in c.tool_calls],
                [(t.id, t.name, t.error) for t in c.invalid_tool_calls],
            )
            for c in response.choices
        ],
    }


def _used_up(said: list[Said]) -> list[str]:
    cut = [s for s in said if s.finish == "length" and s.reasoning and not s.content]
    return ["reasoning used up the token limit: there is no text" for _ in cut]


def _unsaid(said: list[Said]) -> list[str]:
    silent = [
        s
        for s in said
        if s.reasoning and not (s.content or s.calls or s.refusal) and s.finish != "length"
    ]
    return ["all of the answer is in its reasoning; there is no text" for _ in silent]


def meant(answer: Json) -> Json:
    """What a caller should look at."""
    said, usage = answer["said"], answer["usage"]
    return {
        "id": answer["root"].get("id", ""),
        "model": answer["root"].get("model", "asked"),
        "usage": usage
        and (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]),
        "warnings": [*_used_up(said[:1]), *_unsaid(said)],
        "choices": [
            (
                index,
                "assistant",
                s.content,
                s.reasoning,
                s.refusal or None,
                s.finish,
                [
                    (call_id(index, n), name, arguments)
                    for n, (name, arguments) in enumerate(s.calls)
                ],
                [],
            )
            for index, s in enumerate(said)
        ],
    }


def joined(chunks: list[ChatChunk]) -> dict[int, Json]:
    """What the chunks of each choice add up to."""
    made: dict[int, Json] = {}
    for chunk in chunks:
        for piece in (chunk, *chunk.other_choices):
            mine = made.setdefault(
                piece.index, {"content": "", "reasoning": "", "refusal": "", "calls": {}}
            )
            mine["content"] += piece.content
            mine["reasoning"] += piece.reasoning
            mine["refusal"] += piece.refusal
            for call in piece.tool_calls:
                known = mine["calls"].setdefault(
                    call.index, {"id": [], "name": [], "arguments": ""}
                )
                known["id"] += [call.id] if call.id else []
                known["name"] += [call.name] if call.name else []
                known["arguments"] += call.arguments
    return made


def cut_bytes(body: bytes, sizes: list[int]) -> list[bytes]:
    parts, at = [], 0
    while at < len(body):
        size = sizes[len(parts) % len(sizes)]
        parts.append(body[at : at + size])
        at += size
    return parts


SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=6)


@fixed(150, few=50)
@given(told=streams(), sizes=SIZES)
def test_a_stream_cut_anywhere_is_the_plain_answer(
    told: tuple[Json, bytes], sizes: list[int]
) -> None:
    answer, body = told
    plain, _ = read([plainly(answer)], stream=False)
    streamed, _ = read(cut_bytes(body, sizes), stream=True)
    assert seen(streamed) == seen(plain) == meant(answer)


@fixed(80, few=30)
@given(told=streams(), sizes=SIZES)
def test_it_is_the_same_whole_in_pieces_and_byte_by_byte(
    told: tuple[Json, bytes], sizes: list[int]
) -> None:
    _, body = told
    whole, chunks = read([body], stream=True)
    for parts in (cut_bytes(body, sizes), cut_bytes(body, [1])):
        again, others = read(parts, stream=True)
        assert seen(again) == seen(whole)
        assert again.raw == whole.raw
        assert joined(others) == joined(chunks)


@fixed(80, few=30)
@given(told=streams(), sizes=SIZES)
def test_the_chunks_add_up_to_the_answer_once(told: tuple[Json, bytes], sizes: list[int]) -> None:
    _, body = told
    response, chunks = read(cut_bytes(body, sizes), stream=True)
    made = joined(chunks)
    for choice in response.choices:
        mine = made[choice.index]
        assert (mine["content"], mine["reasoning"], mine["refusal"]) == (
            choice.content,
            choice.reasoning,
            choice.refusal or "",
        )
        calls = [
            (c["id"], c["name"], json.loads(c["arguments"]))
            for _, c in sorted(mine["calls"].items())
        ]
        assert calls == [([t.id], [t.name], t.args) for t in choice.tool_calls], (
            "each id and each name once"
        )
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


@fixed(120, few=50)
@given(told=streams(), sizes=SIZES, cut=st.integers(0, 2000))
def test_a_stream_that_breaks_off_is_a_prefix_or_an_error_never_something_else(
    told: tuple[Json, bytes], sizes: list[int], cut: int
) -> None:
    answer, body = told
    response_reader = ResponseReader(
        200, {}, ResponseSpec(shape="chat", stream=True, model="asked", new_id=lambda: "new")
    )
    for part in cut_bytes(body[: min(cut, len(body))], sizes):
        response_reader.feed(part)
    response_reader.end(cut=True)
    found = response_reader.response or response_reader.partial()
    for choice in found.choices if found else []:
        if choice.index < len(answer["said"]):
            said = answer["said"][choice.index]
            content = choice.content.rstrip("\ufffd")
            assert said.content.startswith(content)
            assert said.reasoning.startswith(choice.reasoning.rstrip("\ufffd"))
    if response_reader.problem is None and len(answer["said"]) == 1:
        said, response = answer["said"][0], response_reader.response
        assert response is not None
        assert response.finish_reason == said.finish
        assert (response.content, response.reasoning, len(response.tool_calls)) == (
            said.content,
            said.reasoning,
            len(said.calls),
        )


# --- an answer so far


class Reading:
    """A body that is read, event by event, and what was asked of it meanwhile."""

    def __init__(self, think_tags: bool) -> None:
        numbers = count(1)
        capabilities = Capabilities(think_tags=think_tags)
        self.response_reader = ResponseReader(
            200,
            {},
            ResponseSpec("chat", True, "asked", lambda: f"<new{next(numbers)}>", capabilities),
        )
        self.so_far: list[tuple[ChatResponse, str]] = []

    def ask(self) -> None:
        response = self.response_reader.partial()
        if response is not None:
            self.so_far.append((response, told(response)))

    def outcome(self) -> str:
        """All that came of it, with our ids numbered as they turn up."""
        response_reader = self.response_reader
        chunks = [asdict(chunk) for chunk in response_reader.chunks]
        text = (
            f"{told(response_reader.response)} {response_reader.problem} {chunks} "
            f"{response_reader.warnings}"
        )
        ours: dict[str, int] = {}
        return re.sub(r"<new\d+>", lambda found: f"<{ours.setdefault(found[0], len(ours))}>", text)


def told(response: ChatResponse | None) -> str:
    return "" if response is None else repr(asdict(response))


def given_ids(response: ChatResponse) -> dict[tuple[int, int], str]:
    """Our ids of calls, by the places of their choices and their own."""
    calls = [
        (choice.index, call)
        for choice in response.choices
        for call in (*choice.tool_calls, *choice.invalid_tool_calls)
    ]
    return {(index, call.index): call.id for index, call in calls if call.id.startswith("<new")}


def one(delta: Json | None = None, **choice: Any) -> Json:
    return {"choices": [{"index": 0, "delta": delta or {}, **choice}]}


GROWING = [
    one({"content": "Hi"}),
    one({"content": [{"type": "image", "image": "x"}]}),
    one({"refusal": "no", "audio": {"data": "AA", "transcript": "a"}, "annotations": [{"a": 1}]}),
    one({"reasoning_details": [{"index": 0, "type": "t", "text": "why"}]}),
    one({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a":'}}]}),
    one(
        {
            "tool_calls": [
                {"index": 0, "function": {"arguments": "1}"}},
                {"index": 1, "function": {"name": "g"}},
            ]
        }
    ),
    one({"content": "x"}, logprobs={"content": [{"token": "x"}]}),
    one(message={"content": "Hi"}),
    one(message={"content": "", "tool_calls": [{"function": {"name": "f"}}]}),
    one(finish_reason="stop"),
    {"choices": [], "usage": {"completion_tokens": 1, "details": {"a": 1}}},
    {"choices": [], "usage": {"completion_tokens": 2, "details": {"a": 2}}},
]
"""What an answer grows by; some send the message so far beside empty deltas."""
EVENTS = st.lists(EVENT, max_size=5) | st.lists(st.sampled_from(GROWING), min_size=2, max_size=8)


def sent(events: list[Any]) -> bytes:
    return ("".join(data(json.dumps(event)) for event in events) + DONE).encode()


@fixed(300, few=100)
@given(
    body=streams().map(lambda made: made[1]) | EVENTS.map(sent),
    asked=st.lists(st.booleans(), min_size=1, max_size=5),
    think_tags=st.booleans(),
)
@example(body=sent(GROWING * 2), asked=[True], think_tags=False)
@example(
    body=sent([GROWING[at] for at in (3, 2, 7, 5)]),
    asked=[False, True, True, True, False],
    think_tags=True,
)
def test_asking_for_the_answer_so_far_changes_nothing(
    body: bytes, asked: list[bool], think_tags: bool
) -> None:
    left_alone, polled = Reading(think_tags), Reading(think_tags)
    for number, piece in enumerate(body.splitlines(keepends=True)):
        left_alone.response_reader.feed(piece)
        polled.response_reader.feed(piece)
        if asked[number % len(asked)]:
            polled.ask()
    left_alone.response_reader.end()
    polled.response_reader.end()
    assert polled.outcome() == left_alone.outcome()
    assert [told(response) for response, _ in polled.so_far] == [
        words for _, words in polled.so_far
    ], "an answer so far stays as it was"
    known: dict[tuple[int, int], str] = {}
    for response in [response for response, _ in polled.so_far] + (
        [polled.response_reader.response] if polled.response_reader.response else []
    ):
        for place, ours in given_ids(response).items():
            assert known.setdefault(place, ours) == ours, "an id that was shown stays"
