"""Streams of the Responses dialect: every trap that servers set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from responses_written import (
    BEGUN,
    added,
    answer,
    call,
    cut,
    done,
    ended,
    event,
    gist,
    handed,
    message,
    on,
    problem,
    read,
    response,
    sse,
    summary,
    text_part,
    thought,
    told,
    whole,
    written,
)

from opea_core import errors
from opea_core.types import Json

SAID = message("Hello, you.")
THOUGHT = summary("First.", "Second.", encrypted_content="whole")
CALL = call('{"city": "Paris"}')


def of_calls(reader: Any) -> list[tuple[str, str, str]]:
    return [(c.id, c.name, c.arguments) for c in answer(reader).tool_calls]


# --- the order of things


def test_an_answer_is_read_as_one_of_chat() -> None:
    said = told(whole(THOUGHT, SAID, usage={"input_tokens": 3, "output_tokens": 5}))
    assert (said.content, said.reasoning) == ("Hello, you.", "First.\n\nSecond.")
    assert (said.finish_reason, said.id, said.model) == ("stop", "resp_1", "m-1")
    assert said.usage is not None
    assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (3, 5)
    assert said.raw["output"] == [THOUGHT, SAID]
    assert said.warnings == []


def test_the_text_is_handed_out_piece_by_piece() -> None:
    reader = read(sse(whole(SAID)))
    assert [chunk.content for chunk in reader.chunks if chunk.content] == cut("Hello, you.", 3)


@pytest.mark.parametrize(
    "events",
    [
        [*BEGUN, added(0, SAID), added(1, THOUGHT), done(0, SAID), done(1, THOUGHT)],
        [
            *BEGUN,
            added(0, SAID),
            added(1, THOUGHT),
            on(1, THOUGHT, "reasoning_summary_text.delta", summary_index=0, delta="First."),
            on(0, SAID, "output_text.delta", delta="Hello"),
            on(1, THOUGHT, "reasoning_summary_text.delta", summary_index=1, delta="Sec"),
            on(0, SAID, "output_text.delta", delta=", you."),
            done(0, SAID),
            done(1, THOUGHT),
        ],
    ],
    ids=["at their ends", "in turns"],
)
def test_items_overlap(events: list[Json]) -> None:
    reader = read(sse([*events, ended(SAID, THOUGHT)]))
    assert answer(reader).content == "Hello, you."
    assert answer(reader).reasoning == "First.\n\nSecond."
    assert handed(reader)[:2] == ("Hello, you.", "First.\n\nSecond.")


# --- what calls an item by its name


def renamed(events: list[Json]) -> list[Json]:
    """Every event has another id for its item."""
    changed = []
    for number, one in enumerate(events):
        one = {**one, "item_id": f"odd_{number}"} if "item_id" in one else one
        if "item" in one:
            one = {**one, "item": {**one["item"], "id": f"odd_{number}"}}
        changed.append(one)
    return changed


def at(events: list[Json], **places: Callable[[int], int]) -> list[Json]:
    """Every event tells another place."""
    return [
        one | {name: move(one[name]) for name, move in places.items() if name in one}
        for one in events
    ]


def without(events: list[Json], *names: str) -> list[Json]:
    return [{k: v for k, v in one.items() if k not in names} for one in events]


def with_constant_ids(events: list[Json]) -> list[Json]:
    changed = [{**one, "item_id": "x"} if "item_id" in one else one for one in events]
    return [
        {**one, "item": {**one["item"], "id": "x"}} if "item" in one else one for one in changed
    ]


ITEMS = [THOUGHT, message("One. "), CALL, call('{"n": 2}', 2, "g"), message("Two.", id="msg_2")]


@pytest.mark.parametrize(
    "changed",
    [
        renamed,
        with_constant_ids,
        lambda events: without(events, "output_index"),
        lambda events: without(events, "sequence_number", "content_index", "logprobs"),
        lambda events: at(events, output_index=lambda _: 0),
        lambda events: at(events, content_index=lambda _: 1),
        lambda events: at(events, output_index=lambda place: place + 1),
        lambda events: [one for one in events if not one["type"].endswith(".added")],
        lambda events: [one for one in events if not one["type"].endswith((".delta", ".added"))],
        lambda events: [one for one in events if "output_item.done" not in one["type"]],
        lambda events: [one for one in events if "item" in one or "response" in one],
        lambda events: events[-1:],
        lambda events: renamed(without(events, "output_index")),
        lambda events: without(events, "output_index", "item_id"),
    ],
    ids=[
        "ids rotate", "one id for all", "no output_index", "nothing but what is needed",
        "one index for all", "a wrong content_index", "counted from 1", "never announced",
        "ends only", "no item ends", "items only", "only the end", "ids rotate without an index",
        "no place and no id",
    ],
)  # fmt: skip
def test_it_says_the_same(changed: Any) -> None:
    reader = read(sse(changed(whole(*ITEMS))))
    said = answer(reader)
    assert (said.content, said.reasoning) == ("One. Two.", "First.\n\nSecond.")
    assert [(c.id, c.name, c.arguments) for c in said.tool_calls] == [
        ("call_1", "f", '{"city": "Paris"}'),
        ("call_2", "g", '{"n": 2}'),
    ]
    assert said.finish_reason == "tool_calls"
    assert handed(reader)[:2] == (said.content, said.reasoning)
    assert handed(reader)[3] == [(c.id, c.name, c.arguments) for c in said.tool_calls]
    assert said.warnings == []


def test_calls_at_once_without_ids_are_told_apart_by_what_is_to_be_answered() -> None:
    one, other = (
        {k: v for k, v in call(arguments, number).items() if k != "id"}
        for number, arguments in ((1, '{"a": 1}'), (2, '{"b": 2}'))
    )
    events: list[Json] = []
    for item in (one, other):
        events.append(event("output_item.added", item={**item, "arguments": ""}))
        events += [
            event("function_call_arguments.delta", item_id=item["call_id"], delta=piece)
            for piece in cut(item["arguments"], 3)
        ]
    events += [event("output_item.done", item=item) for item in (one, other)]
    reader = read(sse([*BEGUN[:1], *events, ended(one, other)]))
    assert of_calls(reader) == [("call_1", "f", '{"a": 1}'), ("call_2", "f", '{"b": 2}')]


def test_a_call_is_answered_by_its_call_id() -> None:
    events = [*BEGUN, on(0, CALL, "function_call_arguments.done", name="f", arguments='{"x": 1}')]
    item = {**CALL, "arguments": '{"x": 1}'}
    assert of_calls(read(sse([*events, done(0, item), ended(item)]))) == [
        ("call_1", "f", '{"x": 1}')
    ]


def test_a_call_with_one_id_is_answered_by_it() -> None:
    item = {k: v for k, v in CALL.items() if k != "call_id"}
    assert [c.id for c in told(whole(item)).tool_calls] == ["fc_1"]


def test_arguments_that_are_an_object_are_taken_as_text() -> None:
    item = {**CALL, "arguments": {"city": "Paris"}}
    assert [c.args for c in told([*BEGUN, done(0, item), ended(item)]).tool_calls] == [
        {"city": "Paris"}
    ]


def test_a_reasoning_id_for_every_delta_is_still_one_item() -> None:
    events = [
        event("reasoning_text.delta", item_id=f"rs_{n}", delta=piece)
        for n, piece in enumerate(cut("One thought.", 2))
    ]
    said = told([*BEGUN, *events, ended(SAID)])
    assert (said.reasoning, said.content) == ("One thought.", "Hello, you.")


def test_ends_of_items_that_were_never_opened_are_items() -> None:
    items = [call("{}", 1), call("{}", 2)]
    events = [event("output_item.done", item=item) for item in items]
    assert [c.id for c in told([*BEGUN, *events, ended()]).tool_calls] == ["call_1", "call_2"]


# --- done and delta


def test_the_last_word_on_arguments_counts() -> None:
    events = [
        *BEGUN,
        added(0, CALL),
        on(0, CALL, "function_call_arguments.delta", delta='{"city": "Lon'),
        on(0, CALL, "function_call_arguments.done", arguments=CALL["arguments"]),
        done(0, CALL),
        ended(CALL),
    ]
    assert of_calls(read(sse(events))) == [("call_1", "f", '{"city": "Paris"}')]


def test_the_last_word_on_a_text_counts_and_is_told() -> None:
    events = [
        *BEGUN,
        added(0, SAID),
        on(0, SAID, "output_text.delta", delta="Hullo"),
        done(0, SAID),
    ]
    said = told([*events, ended(SAID)])
    assert said.content == "Hello, you."
    assert said.warnings == ["the streamed text is not the one of the final answer"]


def test_what_only_the_end_of_a_part_tells_is_handed_out() -> None:
    parts = [on(0, SAID, "content_part.done", content_index=0, part=text_part("Hello, you."))]
    reader = read(sse([*BEGUN, added(0, SAID), *parts, ended()]))
    assert handed(reader)[0] == answer(reader).content == "Hello, you."


@pytest.mark.parametrize("kind", ["content_part.done", "reasoning_part.done"])
def test_raw_reasoning_stands_in_either_kind_of_part(kind: str) -> None:
    item = thought("Hm.")
    events = [*BEGUN, added(0, item), on(0, item, kind, content_index=0, part=item["content"][0])]
    assert told([*events, ended(item, SAID)]).reasoning == "Hm."


def test_an_empty_final_output_takes_nothing_away() -> None:
    said = told([*whole(THOUGHT, SAID, CALL)[:-1], ended()])
    assert gist(said) == gist(told(whole(THOUGHT, SAID, CALL)))
    assert said.raw["output"] == [THOUGHT, SAID, CALL]


def test_a_final_output_that_lacks_the_first_item_moves_nothing() -> None:
    one, two = message("One. "), message("Two.", id="msg_2")
    said = told([*whole(one, two)[:-1], ended(two)])
    assert (said.content, said.warnings) == ("One. Two.", [])


def test_what_only_the_final_output_tells_is_handed_out() -> None:
    reader = read(sse([*BEGUN, *written(0, THOUGHT), ended(THOUGHT, SAID, CALL)]))
    assert handed(reader)[0] == "Hello, you."
    assert of_calls(reader) == [("call_1", "f", '{"city": "Paris"}')]


def test_the_last_encrypted_reasoning_counts() -> None:
    stub = added(0, {**THOUGHT, "encrypted_content": "stub"})
    said = told([*BEGUN, stub, *list(written(0, THOUGHT))[1:], *written(1, SAID), ended()])
    items = said.message["response_items"]
    assert [item.get("encrypted_content") for item in items] == ["whole", None]


def test_annotations_come_once() -> None:
    cited = [{"type": "url_citation", "url": f"http://{n}.example", "title": n} for n in "abc"]
    item = {**SAID, "content": [text_part("Hello, you.", annotations=cited)]}
    events = list(written(0, item))
    events[2:2] = [on(0, item, "output_text.annotation.added", annotation=one) for one in cited]
    wanted = [
        {"type": "url_citation", "url_citation": {"url": o["url"], "title": o["title"]}}
        for o in cited
    ]
    assert told([*BEGUN, *events, ended(item)]).choices[0].extra["annotations"] == wanted
    assert answer(read(response(item))).choices[0].extra["annotations"] == wanted


# --- kinds of reasoning and of messages


def test_of_raw_reasoning_and_a_summary_the_raw_one_counts() -> None:
    both = {**thought("Raw."), "summary": [{"type": "summary_text", "text": "Short."}]}
    assert told(whole(both, SAID)).reasoning == "Raw."
    assert answer(read(response(both, SAID))).reasoning == "Raw."


def test_commentary_is_not_the_answer() -> None:
    comment = message("Let me look.", phase="commentary")
    final = message("It is so.", id="msg_2", phase="final_answer")
    reader = read(sse(whole(comment, final)))
    assert (answer(reader).content, answer(reader).reasoning) == ("It is so.", "Let me look.")
    assert handed(reader)[:2] == ("It is so.", "Let me look.")
    assert gist(answer(reader)) == gist(answer(read(response(comment, final))))


def test_a_refusal_is_no_text() -> None:
    item = {**SAID, "content": [{"type": "refusal", "refusal": "I will not."}]}
    reader = read(sse(whole(item)))
    said = answer(reader)
    assert (said.content, said.refusal, said.finish_reason) == ("", "I will not.", "stop")
    assert handed(reader)[2] == "I will not."
    assert gist(said) == gist(answer(read(response(item))))


def test_empty_encrypted_reasoning_is_none() -> None:
    said = told(whole(thought("Hm.", encrypted_content=""), SAID))
    assert said.reasoning == "Hm."


def test_free_text_for_a_custom_tool_is_no_json() -> None:
    item = {
        "type": "custom_tool_call",
        "id": "ctc_1",
        "call_id": "call_1",
        "name": "sh",
        "input": "ls *",
    }
    events = [
        *BEGUN,
        added(0, {**item, "input": ""}),
        *[on(0, item, "custom_tool_call_input.delta", delta=piece) for piece in ("ls", " *")],
        on(0, item, "custom_tool_call_input.done", input="ls *"),
        done(0, item),
        ended(item),
    ]
    said = told(events)
    assert said.finish_reason == "tool_calls"
    assert said.message["tool_calls"] == [
        {"id": "call_1", "type": "custom", "custom": {"name": "sh", "input": "ls *"}}
    ]


def test_items_of_tools_that_the_server_ran_are_parts_and_no_calls() -> None:
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"query": "x"},
    }
    progress = [on(0, search, f"web_search_call.{stage}") for stage in ("in_progress", "completed")]
    events = [*BEGUN, added(0, search), *progress, done(0, search), *written(1, SAID)]
    said = told([*events, ended(search, SAID)])
    assert (said.choices[0].parts, said.tool_calls, said.finish_reason) == ([search], [], "stop")
    assert said.message["response_items"] == [search, {"type": "message", "id": "msg_1"}]


# --- events beside it


@pytest.mark.parametrize(
    "noise",
    [
        {"type": "keepalive", "sequence_number": 4},
        {"type": "response.news.of.next.year", "output_index": 0, "delta": "no"},
        {"type": "response.output_text.delta.extra", "delta": "no"},
        {"type": 7},
        ": OPENROUTER PROCESSING\n\n",
        ": \n\n",
        "event: ping\ndata: {}\n\n",
    ],
    ids=str,
)
def test_what_says_nothing_changes_nothing(noise: Json | str) -> None:
    events = [item for one in whole(THOUGHT, SAID, CALL) for item in (noise, one)]
    assert gist(told(events, size=5)) == gist(told(whole(THOUGHT, SAID, CALL)))


def test_keep_alives_show_life_and_are_no_progress() -> None:
    reader = read(sse([*BEGUN, *[{"type": "keepalive", "sequence_number": n} for n in range(9)]]))
    assert reader.progress == len(BEGUN)


def test_events_that_come_again_under_their_number_count_once() -> None:
    events = [{**one, "sequence_number": n} for n, one in enumerate(whole(SAID, CALL))]
    twice = [one for one in events for _ in range(2)]
    reader = read(sse(twice))
    assert handed(reader)[0] == "Hello, you."
    assert of_calls(reader) == [("call_1", "f", '{"city": "Paris"}')]


def test_the_same_piece_twice_is_two_pieces() -> None:
    item = message("haha")
    pieces = [on(0, item, "output_text.delta", delta="ha", sequence_number=n) for n in (4, 5)]
    assert told([*BEGUN, added(0, item), *pieces, done(0, item), ended(item)]).content == "haha"
    bare = [on(0, item, "output_text.delta", delta="ha") for _ in range(2)]
    assert told([*BEGUN, added(0, item), *bare, done(0, item), ended(item)]).content == "haha"


def test_events_without_a_type_go_by_their_name() -> None:
    lines = [
        f"event: {one['type']}\n"
        + sse([{**one}], named=False).decode().replace(f'"type": "{one["type"]}", ', "", 1)
        for one in whole(SAID, CALL)
    ]
    assert gist(told(lines)) == gist(told(whole(SAID, CALL)))


def test_names_of_events_are_not_needed() -> None:
    assert gist(answer(read(sse(whole(THOUGHT, SAID), named=False)))) == gist(
        told(whole(THOUGHT, SAID))
    )


def test_nothing_is_read_after_the_end() -> None:
    reader = read(sse([*whole(SAID), *whole(message("More."))]) + b"data: [DONE]\n\n")
    assert answer(reader).content == "Hello, you."
    assert reader.done


def test_an_end_mark_before_the_end_is_a_broken_stream() -> None:
    reader = read(sse([*whole(SAID)[:-1]]) + b"data: [DONE]\n\n")
    assert problem(reader).cls is errors.EndpointConnectionError


def test_logprobs_are_those_of_chat() -> None:
    chance = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
    item = message("Hi")
    events = [
        *BEGUN,
        added(0, item),
        on(0, item, "output_text.delta", delta="Hi", logprobs=[chance]),
    ]
    assert told([*events, ended(item)]).logprobs == {"content": [chance]}


def test_each_chunk_has_its_event_and_no_event_is_lost() -> None:
    events = whole(THOUGHT, SAID, CALL)
    found: list[Json] = []
    for chunk in read(sse(events)).chunks:
        if chunk.raw and (not found or chunk.raw is not found[-1]):
            found.append(chunk.raw)
    assert found == events


def test_two_calls_at_one_place_are_two() -> None:
    """Opened one after the other, told in turns, and ended together."""
    one, other = call('{"a": 1}', 1), call('{"b": 2}', 2, "g")
    pieces = [
        on(0, item, "function_call_arguments.delta", delta=piece)
        for pair in zip(cut(one["arguments"], 4), cut(other["arguments"], 4), strict=True)
        for item, piece in zip((one, other), pair, strict=True)
    ]
    events = [*BEGUN, added(0, one), added(0, other), *pieces, done(0, one), done(0, other)]
    reader = read(sse([*events, ended(one, other)]))
    assert of_calls(reader) == [("call_1", "f", '{"a": 1}'), ("call_2", "g", '{"b": 2}')]
    assert handed(reader)[3] == of_calls(reader)


def test_pieces_behind_the_end_of_a_text_are_another_text() -> None:
    """Without places, ids and announcements."""
    events: list[Json] = []
    for text in ("One. ", "Two."):
        events += [event("output_text.delta", delta=piece) for piece in cut(text, 2)]
        item = {"type": "message", "role": "assistant", "content": [text_part(text)]}
        events.append(event("output_item.done", item=item))
    reader = read(sse([*BEGUN, *events, ended()]))
    assert handed(reader)[0] == answer(reader).content == "One. Two."
    assert answer(reader).warnings == []


def test_items_whose_ends_never_came_are_what_their_pieces_said() -> None:
    ends = ("output_item.done", "_text.done", "part.done", "arguments.done")
    events = [one for one in whole(THOUGHT, SAID, CALL)[:-1] if not one["type"].endswith(ends)]
    said = told([*events, ended()])
    assert (said.content, said.reasoning) == ("Hello, you.", "First.\n\nSecond.")
    assert [(c.id, c.args) for c in said.tool_calls] == [("call_1", {"city": "Paris"})]
    assert [item["type"] for item in said.raw["output"]] == [
        "reasoning",
        "message",
        "function_call",
    ]


def test_a_call_that_was_never_ended_is_whole_or_cut() -> None:
    pieces = [on(0, CALL, "function_call_arguments.delta", delta='{"city": ')]
    said = told([*BEGUN, added(0, CALL), *pieces, ended()])
    assert (said.finish_reason, said.tool_calls) == ("length", [])
    assert [c.arguments for c in said.invalid_tool_calls] == ['{"city": ']
