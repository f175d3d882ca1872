"""The parts of a batch that need no server: digests, templates, schemas, rows, settings."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from same_examples import fixed

from opea_core import ConfigurationError, errors
from opea_core.batch.identity import Digests, State, id_digest, request_hash
from opea_core.batch.job import Limit, read_form, read_shard
from opea_core.batch.outcome import may_help
from opea_core.batch.rows import Prompts, Record
from opea_core.batch.schema_check import keeps_to, read_json
from opea_core.batch.templates import Template

WORDS = st.integers(0, 2**64 - 1)
STATES = st.sampled_from([state for state in State if state])


@fixed(60)
@given(st.lists(st.tuples(st.integers(0, 9) | WORDS, WORDS, STATES)))
def test_the_table_of_digests_says_what_a_dict_would(rows: list[tuple[int, int, State]]) -> None:
    table, model = Digests(), dict[int, tuple[int, State]]()
    for digest, request, state in rows:
        table.put(digest, request, state)
        model[digest] = request, state
    assert {d: (table.request(d), table.state(d)) for d in table} == model
    assert len(table) == len(model)


def test_the_table_of_digests_grows_and_takes_at_most_32_bytes_a_row() -> None:
    table = Digests()
    for number in range(20_000):
        table.put(number * 2**40, number, State.ANSWERED)  # digests that end alike
        assert not table.see(number * 2**40)
    assert all(table.see(number * 2**40) for number in range(20_000))
    assert table.state(7) is State.EMPTY
    assert table.size * 17 < 20_000 * 33


def test_the_table_of_digests_is_never_there_twice() -> None:
    """While it grows, too: the index of a large job would take twice its memory then."""
    table, most = Digests(), 0.0
    tracemalloc.start()
    try:
        for number in range(4_000):
            table.put(id_digest(f"row-{number}"), number, State.OPEN)
            if number >= 2_000:
                most = max(most, tracemalloc.get_traced_memory()[1] / number)
                tracemalloc.reset_peak()
    finally:
        tracemalloc.stop()
    assert most < 40, "bytes a row, 66 if it were copied as a whole"


def test_the_hash_of_a_request_knows_no_order_of_fields() -> None:
    one = request_hash("chat", {"a": 1, "b": [1, 2]})
    assert one == request_hash("chat", {"b": [1, 2], "a": 1})
    assert len({one, request_hash("chat", {"a": 1, "b": [2, 1]}), request_hash("x", {})}) == 3


# --- templates


def test_a_template_puts_columns_into_a_text() -> None:
    template = Template("{{{a}}}: {b}, { c }")
    columns = {"a": "{x}", "b": 1.5, "c": None, "d": 0}
    assert template.fill(columns) == "{{x}}: 1.5, "
    assert Template("{a}").fill({"a": ["ä", 1]}) == '["ä", 1]'


@pytest.mark.parametrize("text", ["{", "a}", "{}", "{a", "{ }", "{a.{b}"])
def test_a_template_with_a_lone_brace_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="lone"):
        Template(text)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"no column 'txet'.*mean 'text'"):
        Template("{txet}").fill({"text": "a"})


# --- schemas

PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0}, "tags": {"$ref": "#/$defs/tags"}},
    "required": ["age"],
    "additionalProperties": False,
    "$defs": {"tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2}},
}


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({"age": 3}, True),
        ({"age": 3.0, "tags": ["a", "b"]}, True),
        ({}, False),
        ({"age": -1}, False),
        ({"age": True}, False),
        ({"age": "3"}, False),
        ({"age": 3, "tags": ["c"]}, False),
        ({"age": 3, "tags": ["a", "a", "a"]}, False),
        ({"age": 3, "more": 1}, False),
        ([], False),
    ],
)
def test_values_and_a_schema(value: Any, fits: bool) -> None:
    assert keeps_to(value, PERSON) is fits


@pytest.mark.parametrize(
    ("value", "schema", "fits"),
    [
        (None, {"type": ["string", "null"]}, True),
        (1, {"anyOf": [{"type": "string"}, {"const": 1}]}, True),
        (2, {"anyOf": [{"type": "string"}, {"const": 1}]}, False),
        ("", {"minLength": 1}, False),
        ("x", {"pattern": "never looked at"}, True),
        ([1, "a"], {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, True),
        ({"a": 1}, {"allOf": [{"required": ["a"]}, {"required": ["b"]}]}, False),
    ],
)
def test_other_values_and_schemas(value: Any, schema: Any, fits: bool) -> None:
    assert keeps_to(value, schema) is fits


def test_json_is_read_out_of_a_fence() -> None:
    assert read_json('```json\n{"a": 1}\n```') == read_json(' {"a": 1} ') == {"a": 1}


# --- rows


def body_of(value: Any, prompts: Prompts | None = None, is_table: bool = False) -> Any:
    row = (prompts or Prompts()).row(Record(1, value, is_table=is_table), 1)
    if row.problem is not None:
        raise row.problem
    return row.kind, row.body


USER = [{"role": "user", "content": "a"}]


def test_rows_of_every_form() -> None:
    chat = ("chat", {"messages": USER})
    assert body_of("a") == body_of({"prompt": "a"}) == body_of(USER) == chat
    assert body_of({"messages": USER, "id": 3, "seed": 1}) == (
        "chat",
        {"messages": USER, "seed": 1},
    )
    assert body_of({"input": "a", "custom_id": "x"}) == ("embeddings", {"input": "a"})
    assert body_of({"prompt": "a", "other": "column"}, is_table=True) == chat
    line = {"custom_id": "x", "method": "POST", "url": "/v1/completions", "body": {"prompt": "a"}}
    assert body_of(line) == ("completion", {"prompt": "a"})
    assert body_of({"body": {"input": ["a"]}}) == ("embeddings", {"input": ["a"]})


def test_a_template_and_a_system_message() -> None:
    prompts = Prompts(Template("say {x}"), "be brief")
    assert body_of({"x": "a", "y": "b"}, prompts)[1]["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "say a"},
    ]
    own = [{"role": "system", "content": "mine"}, *USER]
    assert body_of({"messages": own}, Prompts(None, "other"))[1]["messages"] == own


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (7, "It is of type int"),
        ({"text": "a"}, "neither messages, prompt nor input"),
        ({"prompt": 3}, "prompt must be a text"),
        ({"messages": 3}, "messages must be a list"),
        ({"body": {"messages": USER}, "url": "/v1/files"}, "url is '/v1/files'"),
        ({"body": {"messages": USER}, "url": "/v1/embeddings"}, "no input"),
        ({"body": {"messages": USER}, "method": "GET"}, "only POST"),
    ],
)
def test_what_is_no_request_names_its_line(value: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Line 1: .*{words}"):
        body_of(value)


# --- settings


def test_shards_are_counted_from_1() -> None:
    assert [read_shard(None), read_shard("1/1"), read_shard("2/8")] == [(0, 1), (0, 1), (1, 8)]
    for wrong in ("0/2", "3/2", "2", "a/b", "1/0"):
        with pytest.raises(ConfigurationError, match="counted from 1"):
            read_shard(wrong)


def test_when_failures_are_too_many() -> None:
    assert Limit.of(None) is None
    count, share = Limit.of(3), Limit.of("5%")
    assert count is not None
    assert share is not None
    assert [count.is_reached(failed, 1000) for failed in (2, 3)] == [False, True]
    reached = [share.is_reached(failed, ended) for failed, ended in ((50, 99), (5, 100), (6, 100))]
    assert reached == [False, False, True]
    for wrong in (0, -1, "a", "101%", True):
        with pytest.raises(ConfigurationError, match="stop_after_errors"):
            Limit.of(wrong)  # type: ignore[arg-type]


def test_the_form_of_an_output() -> None:
    assert [read_form(name, None) for name in ("a.jsonl", "a.csv", "-")] == [
        "openai",
        "csv",
        "openai",
    ]
    assert read_form("a.jsonl", "flat") == "flat"
    for name, form in (
        ("a.txt", None),
        ("a.jsonl.gz", None),
        ("a.csv", "openai"),
        ("a.jsonl", "x"),
    ):
        with pytest.raises(ConfigurationError):
            read_form(name, form)


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (errors.RateLimited("x"), True),
        (errors.AuthenticationError("x", status_code=401), True),
        (errors.NotFoundError("x", status_code=404), True),
        (errors.EndpointTimeout("x"), True),
        (errors.BadAnswerError("x"), True),
        (errors.ServerError("x", status_code=503), True),
        (errors.ServerError("x", status_code=501), False),
        (errors.InvalidRequestError("x", status_code=400), False),
        (errors.ContextOverflowError("x", status_code=400), False),
        (errors.ConfigurationError("x"), False),
    ],
)
def test_whether_trying_again_can_help(error: errors.OPEAError, helps: bool) -> None:
    assert may_help(error) is helps
