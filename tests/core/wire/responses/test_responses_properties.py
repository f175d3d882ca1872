"""Any answer in any order of events that servers use says what it says written plainly."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from responses_written import (
    BEGUN,
    answer,
    call,
    done,
    ended,
    gist,
    handed,
    message,
    read,
    response,
    sse,
    summary,
    thought,
    whole,
    written,
)
from thorough import most

from opea_core.testing.responses_request import check_request
from opea_core.types import Json
from opea_core.wire.responses.request import to_responses

# --- answers

WORDS = st.text(st.sampled_from('ab é🙂\n{"'), min_size=1, max_size=8)
ARGUMENTS = st.dictionaries(st.sampled_from("xyz"), st.integers() | WORDS, max_size=2).map(
    lambda found: json.dumps(found, ensure_ascii=False)
)


@st.composite
def items(draw: Callable[..., Any]) -> list[Json]:
    """Items of every kind in any order, with ids of their own."""
    found: list[Json] = []
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["message", "summary", "thought", "call", "search", "comment"]))
        texts = draw(st.lists(WORDS, min_size=1, max_size=2))
        if kind in ("message", "comment"):
            phase = {"phase": "commentary"} if kind == "comment" else {}
            found.append(message(*texts, id=f"msg_{number}", **phase))
        elif kind == "call":
            found.append(call(draw(ARGUMENTS), number, draw(st.sampled_from("fgh"))))
        elif kind == "search":
            found.append({"type": "web_search_call", "id": f"ws_{number}", "status": "completed"})
        else:
            blob = {"encrypted_content": f"scripted.{number}"} if draw(st.booleans()) else {}
            make = summary if kind == "summary" else thought
            found.append(make(*texts, id=f"rs_{number}", **blob))
    return found


# --- orders of events


def interleaved(sequences: list[list[Json]], dice: random.Random) -> Iterator[Json]:
    """Each in its own order, in turns by chance; items are announced in the order of the answer."""
    waiting = [list(sequence) for sequence in sequences]
    opened = 0
    while any(waiting):
        places = [place for place in range(opened) if waiting[place]]
        if opened < len(waiting):
            places.append(opened)
        place = dice.choice(places)
        opened = max(opened, place + 1)
        yield waiting[place].pop(0)


def without(name: str) -> Callable[[list[Json], random.Random], list[Json]]:
    return lambda events, _: [{k: v for k, v in one.items() if k != name} for one in events]


def rotated(events: list[Json], dice: random.Random) -> list[Json]:
    """Another id in every event."""
    return [
        one
        | ({"item_id": f"odd_{dice.random()}"} if "item_id" in one else {})
        | ({"item": one["item"] | {"id": f"odd_{dice.random()}"}} if "item" in one else {})
        for one in events
    ]


def thinned(events: list[Json], dice: random.Random) -> list[Json]:
    """Some of what the ends of items tell anyway is missing."""
    return [one for one in events if "item" in one or dice.random() < 0.8]


def numbered(events: list[Json], dice: random.Random) -> list[Json]:
    """With numbers, and some of them sent again."""
    told = [{**one, "sequence_number": n} for n, one in enumerate(events)]
    return [one for one in told for _ in range(1 + (dice.random() < 0.2))]


def with_noise(events: list[Json], dice: random.Random) -> list[Json]:
    noise: list[Json] = [
        {"type": "keepalive"},
        {"type": "response.news", "delta": "no", "output_index": 0},
    ]
    said: list[Json] = []
    for event in events:
        said += [dice.choice(noise), event] if dice.random() < 0.5 else [event]
    return said


ODDITIES = [without("content_index"), rotated, with_noise, numbered]
"""In this order: what comes again comes as it was."""


@given(items(), st.integers(0, 2**32), st.lists(st.sampled_from(ODDITIES), max_size=3, unique=True),
       st.booleans(), st.booleans())  # fmt: skip
@settings(deadline=None, max_examples=most(1000, 60))
def test_a_stream_says_what_the_plain_answer_says(
    output: list[Json], seed: int, oddities: list[Any], is_empty: bool, is_mixed: bool
) -> None:
    dice = random.Random(seed)
    sequences = [list(written(place, item, 2)) for place, item in enumerate(output)]
    events = list(interleaved(sequences, dice)) if is_mixed else [*chain(*sequences)]
    for change in sorted(oddities, key=ODDITIES.index):
        events = change(events, dice)
    last = ended(*([] if is_empty else output))
    reader = read(sse([*BEGUN, *events, last], named=dice.random() < 0.5))
    said, plain = answer(reader), answer(read(response(*output)))
    # Text that overlaps with other text has no order of its own in a stream.
    kinds = ["reasoning" if item.get("phase") else item["type"] for item in output]
    if not is_mixed or max(kinds.count(kind) for kind in kinds) == 1:
        if rotated not in oddities:
            assert gist(said) == gist(plain)
        assert (said.content, said.reasoning) == (plain.content, plain.reasoning)
        assert handed(reader)[:2] == (said.content, said.reasoning)
    assert said.finish_reason == plain.finish_reason
    assert sorted(c.id for c in said.tool_calls) == sorted(c.id for c in plain.tool_calls)
    assert {c.id: (c.name, c.arguments) for c in said.tool_calls} == {
        c.id: (c.name, c.arguments) for c in plain.tool_calls
    }
    assert sorted(handed(reader)[3]) == sorted((c.id, c.name, c.arguments) for c in said.tool_calls)


@given(items(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=most(1000, 60))
def test_what_deltas_lack_the_ends_tell(output: list[Json], seed: int) -> None:
    dice = random.Random(seed)
    events = [one for place, item in enumerate(output) for one in written(place, item, 2)]
    said = answer(read(sse([*BEGUN, *thinned(events, dice), ended(*output)])))
    plain = answer(read(response(*output)))
    assert {c.id: c.arguments for c in said.tool_calls} == {
        c.id: c.arguments for c in plain.tool_calls
    }
    assert said.content == plain.content


@given(items(), st.integers(1, 40))
@settings(deadline=None, max_examples=most(1000, 60))
def test_where_the_bytes_are_cut_changes_nothing(output: list[Json], size: int) -> None:
    body = sse([*BEGUN, *[e for p, i in enumerate(output) for e in written(p, i)], ended(*output)])
    once, torn = read(body), read(body, size=size)
    assert gist(answer(torn)) == gist(answer(once))
    assert list(torn.chunks) == list(once.chunks)
    assert answer(torn) == answer(once)


@given(items())
@settings(deadline=None, max_examples=most(1000, 60))
def test_a_turn_goes_back_as_a_strict_server_takes_it(output: list[Json]) -> None:
    """Every sealed reasoning item that something followed, and every call, in their order."""
    told = answer(read(sse(whole(*output)))).message
    calls = told.get("tool_calls", ())
    outputs = [{"role": "tool", "tool_call_id": c["id"], "content": "x"} for c in calls]
    body = to_responses(
        {"model": "m", "messages": [{"role": "user", "content": "Hi"}, told, *outputs]}
    )
    check_request(body)
    back = [item for item in body["input"][1:] if not item["type"].endswith("_output")]
    sealed = [
        item
        for number, item in enumerate(output)
        if item["type"] != "reasoning"
        or (
            item.get("encrypted_content") and any(i["type"] != "reasoning" for i in output[number:])
        )
    ]
    if len(back) == len(sealed) and all(item.get("id") for item in back):
        assert [item["id"] for item in back] == [item["id"] for item in sealed]
    assert [i["call_id"] for i in back if i["type"] == "function_call"] == [
        i["call_id"] for i in output if i["type"] == "function_call"
    ]
    blobs = [i["encrypted_content"] for i in back if i["type"] == "reasoning"]
    assert blobs == [i["encrypted_content"] for i in sealed if i["type"] == "reasoning"]


@pytest.mark.parametrize("size", [*range(1, 30), 1000])
def test_every_splitting_of_one_answer(size: int) -> None:
    output = [summary("Häm 🙂."), message("Ä text, 🙂."), call('{"x": "é🙂"}')]
    output.append({"type": "web_search_call", "id": "ws_1", "status": "completed"})
    events = [e for p, i in enumerate(output) for e in written(p, i)]
    body = sse([*BEGUN, ": alive\n\n", *events, done(0, output[0]), ended(*output)])
    crlf = body.replace(b"\n", b"\r\n")
    for form in (body, crlf):
        reader = read(form, size=size)
        assert gist(answer(reader)) == gist(answer(read(response(*output))))
        assert handed(reader)[:2] == (answer(reader).content, answer(reader).reasoning)


def test_every_end_of_one_answer_is_whole_or_broken() -> None:
    """A stream that breaks off anywhere is an error, until the last event is there."""
    body = sse(whole(summary("Hm."), message("Hello.")))
    last = body.index(b"event: response.completed")
    for size in range(len(body)):
        reader = read(body[:size], is_cut=True)
        is_there = size > last and reader.problem is None
        assert is_there == (size >= len(body) - 2), size
