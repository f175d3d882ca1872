"""Stages without Ray: batches in, batches with the columns of answers and errors out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow
import pytest

from opea_core import ConfigurationError
from opea_core.on_ray import ChatStage, EmbedStage
from opea_core.on_ray.columns import field_kinds, fitting
from opea_core.testing import Answer, ScriptedServer, Seen, chat, error, json_answer

CALLED = {"retry": {"initial_delay": 0.01}, "model": "scripted-model"}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        yield scripted


def echo(seen: Seen) -> Answer:
    """The last message comes back; "bad" is refused for good, "never" may be tried again."""
    said = seen.body["messages"][-1]["content"]
    if said.startswith("bad"):
        return error(400, "no such thing")
    return error(500, "not yet") if said.startswith("never") else chat(said)


async def asked(stage: ChatStage | EmbedStage, batch: Any) -> Any:
    """The batch that comes back; the stage is closed."""
    try:
        return await stage(batch)
    finally:
        stage.close()


def chat_stage(server: ScriptedServer, **options: Any) -> ChatStage:
    return ChatStage(**{"base_url": server.url, **CALLED, **options})


# --- chats


async def test_rows_keep_their_order_their_columns_and_get_answers(server: ScriptedServer) -> None:
    server.always(echo)
    given = pyarrow.table({"id": [7, 8, 9], "text": ["a", "b", None]})
    out = await asked(chat_stage(server, template="Say {text}!", system="Be brief."), given)
    assert out.select(["id", "text"]).equals(given)
    assert out["answer"].to_pylist() == ["Say a!", "Say b!", "Say !"]
    assert out["endpoint"].to_pylist() == [server.origin.removeprefix("http://")] * 3
    assert out["answered_by"].to_pylist() == ["scripted-model"] * 3
    assert out["attempts"].to_pylist() == [1, 1, 1]
    assert min(out["prompt_tokens"].to_pylist() + out["completion_tokens"].to_pylist()) > 0
    assert [seen.body["messages"][0] for seen in server.seen] == [
        {"role": "system", "content": "Be brief."}
    ] * 3


async def test_an_error_is_a_value_of_its_row(server: ScriptedServer) -> None:
    server.always(echo)
    texts = ["fine", "bad", "never"]
    out = await asked(chat_stage(server, max_retries=0), {"prompt": texts})
    rows = out.to_pylist()
    assert [row["answer"] for row in rows] == ["fine", None, None]
    assert [row["error_type"] for row in rows] == [None, "InvalidRequestError", "ServerError"]
    assert [row["retryable"] for row in rows] == [None, False, True]
    assert rows[0]["error"] is None
    assert "no such thing" in rows[1]["error"]


async def test_types_are_the_same_with_errors_and_without(server: ScriptedServer) -> None:
    """Files of one data set are read with one schema, so no column may change its type."""
    server.always(echo)
    schemas = set()
    for text in ("fine", "bad"):
        out = await asked(chat_stage(server, max_retries=0), pyarrow.table({"prompt": [text]}))
        schemas.add(out.schema.to_string())
    assert len(schemas) == 1


async def test_a_column_of_messages(server: ScriptedServer) -> None:
    """In Arrow each message has every field; what is None was not given."""
    server.always(echo)
    messages = [
        [{"role": "system", "content": "x"}, {"role": "user", "content": "a", "name": "n"}],
        [{"role": "user", "content": "b"}],
        [],
    ]
    out = await asked(chat_stage(server), pyarrow.table({"messages": messages}))
    assert out["answer"].to_pylist()[:2] == ["a", "b"]
    assert [seen.body["messages"] for seen in server.seen] == messages[:2]
    assert out["error_type"].to_pylist()[2] == "ConfigurationError"


SCHEMA = {
    "title": "City",
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "people": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "area": {"type": ["number", "null"]},
        "capital": {"type": "boolean"},
        "rivers": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name"],
}


async def test_parts_of_messages_have_only_their_own_fields(server: ScriptedServer) -> None:
    server.always(chat("I see."))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aa"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]
    await asked(chat_stage(server), pyarrow.table({"messages": [messages]}))
    assert server.seen[0].body["messages"] == messages


async def test_structured_output_is_columns(server: ScriptedServer) -> None:
    answers = [
        '{"name": "Paris", "people": 2100000, "area": 105, "capital": true, "rivers": ["Seine"]}',
        '{"name": "Ghost", "people": "many"}',
        "I cannot say.",
    ]
    server.script(*[chat(answer) for answer in answers])
    stage = chat_stage(server, schema=SCHEMA, max_concurrent=1)
    out = await asked(stage, pyarrow.table({"prompt": ["a", "b", "c"]}))
    rows = out.select(["name", "people", "area", "capital", "rivers", "suspect"]).to_pylist()
    assert [list(row.values()) for row in rows] == [
        ["Paris", 2100000, 105.0, True, '["Seine"]', None],
        ["Ghost", None, None, None, None, "schema"],
        [None, None, None, None, None, "schema"],
    ]
    assert out["answer"].to_pylist() == answers
    form = server.seen[0].body["response_format"]
    assert form["json_schema"]["name"] == "City"


async def test_the_whole_answer_on_demand(server: ScriptedServer) -> None:
    server.always(echo)
    out = await asked(chat_stage(server, keep_response=True), {"prompt": ["a"]})
    assert '"choices"' in out["response"].to_pylist()[0]


async def test_a_job_in_which_nothing_can_work_ends(server: ScriptedServer) -> None:
    """Else a wrong key would make every row an error, and each of them would count as done."""
    server.always(error(401, "wrong key"))
    stage = chat_stage(server)
    with pytest.raises(ConfigurationError, match="all failed alike"):
        await asked(stage, {"prompt": ["a", "b", "c", "d", "e"]})


async def test_a_job_in_which_something_worked_goes_on(server: ScriptedServer) -> None:
    server.script(chat("fine"))
    stage = chat_stage(server, max_concurrent=1)
    await stage({"prompt": ["a"]})
    server.always(error(401, "wrong key"))
    out = await asked(stage, {"prompt": ["a"] * 6})
    assert out["error_type"].to_pylist() == ["AuthenticationError"] * 6


# --- vectors


async def test_vectors_with_the_tokens_of_each_request_once(server: ScriptedServer) -> None:
    stage = EmbedStage(base_url=server.url, template="{a} {b}", options={"batch_size": 2}, **CALLED)
    out = await asked(stage, pyarrow.table({"a": ["x", "y", "z"], "b": [1, 2, 3]}))
    assert [sent for seen in server.seen for sent in seen.body["input"]] == ["x 1", "y 2", "z 3"]
    assert out.schema.field("embedding").type == pyarrow.list_(pyarrow.float32())
    assert {len(vector) for vector in out["embedding"].to_pylist()} == {8}
    assert [tokens is None for tokens in out["prompt_tokens"].to_pylist()] == [False, True, False]
    assert out["error"].null_count == 3


async def test_a_bad_text_costs_the_others_nothing(server: ScriptedServer) -> None:
    vectors = {"data": [{"index": 0, "embedding": [1.0]}], "model": "m"}
    server.always(
        lambda seen: (
            error(400, "bad text")
            if "bad" in seen.body["input"]
            else json_answer({**vectors, "data": vectors["data"] * len(seen.body["input"])})
        )
    )
    stage = EmbedStage(base_url=server.url, **CALLED)
    out = await asked(stage, {"input": ["a", "bad", "c"]})
    assert out["embedding"].to_pylist() == [[1.0], None, [1.0]]
    assert out["error_type"].to_pylist() == [None, "InvalidRequestError", None]


# --- forms of batches


async def test_a_frame_of_pandas_stays_one(server: ScriptedServer) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is there with Ray: make ray")
    server.always(echo)
    frame = pandas.DataFrame({"prompt": ["a", None, "bad"]}, index=[5, 6, 7])
    out = await asked(chat_stage(server), frame)
    assert list(out.index) == [5, 6, 7]
    assert list(out["answer"]) == ["a", "", None]
    assert [type(count) for count in out["prompt_tokens"]] == [int, int, type(None)]
    assert [seen.body["messages"][0]["content"] for seen in server.seen].count("") == 1


async def test_arrays_of_numpy_become_a_table(server: ScriptedServer) -> None:
    numpy = pytest.importorskip("numpy", reason="NumPy is there with Ray: make ray")
    server.always(echo)
    batch = {"n": numpy.array([1, 2]), "tags": numpy.array([["x"], ["y", "z"]], dtype=object)}
    out = await asked(chat_stage(server, template="{n} {tags}"), batch)
    assert out["answer"].to_pylist() == ['1 ["x"]', '2 ["y", "z"]']
    assert out["n"].to_pylist() == [1, 2]
    with pytest.raises(ConfigurationError, match="'image' cannot be made a column of Arrow"):
        await asked(
            chat_stage(server, template="{n}"),
            {"n": numpy.array([1]), "image": numpy.zeros((1, 2, 2))},
        )


async def test_a_template_without_columns_asks_for_every_row(server: ScriptedServer) -> None:
    server.always(echo)
    out = await asked(chat_stage(server, template="Hello"), pyarrow.table({"n": [1, 2]}))
    assert out["answer"].to_pylist() == ["Hello", "Hello"]


# --- what can never work


@pytest.mark.parametrize(
    ("options", "batch", "words"),
    [
        ({"template": "{txt}"}, {"text": ["a"]}, "no column 'txt'.*'text'"),
        ({}, {"text": ["a"]}, "no column prompt or messages; they have: text"),
        ({}, {"prompt": ["a"], "error": [""], "seconds": [1]}, "adds, too: error, seconds"),
        ({}, ["a"], "batch must be a table"),
        ({}, {}, "no column prompt"),
    ],
)
async def test_a_batch_that_cannot_be_asked_ends_the_job(
    server: ScriptedServer, options: Any, batch: Any, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        await asked(chat_stage(server, **options), batch)
    assert server.seen == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"template": "{"}, "lone"),
        ({"templat": "x"}, "no option 'templat'"),
        ({"schema": {"properties": {"error": {}}}}, "The schema has a field 'error'"),
        ({"options": {"messages": []}}, "messages"),
    ],
)
def test_a_stage_that_cannot_work_is_refused_at_once(options: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        ChatStage(base_url="http://127.0.0.1:9", **options)
    with pytest.raises(ConfigurationError, match="batch_size"):
        EmbedStage(base_url="http://127.0.0.1:9", options={"batch_size": 0})


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "string"),
        ({"enum": ["a", "b"]}, "string"),
        ({"enum": ["a", 1]}, "json"),
        ({"type": ["integer", "null"]}, "int64"),
        ({"type": ["integer", "string"]}, "json"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "float64"),
        ({"anyOf": [{"type": "number"}, {"type": "string"}]}, "json"),
        ({"type": "object"}, "json"),
        ({"$ref": "#/$defs/x"}, "json"),
        (True, "json"),
    ],
)
def test_the_kind_of_a_field(schema: Any, kind: str) -> None:
    assert field_kinds({"properties": {"x": schema}}) == {"x": kind}


@pytest.mark.parametrize(
    ("kind", "value", "held"),
    [
        ("int64", 3.0, 3),
        ("int64", 3.5, None),
        ("int64", 1 << 63, None),
        ("int64", True, None),
        ("int64", float("inf"), None),
        ("float64", 10**400, None),
        ("bool", 1, None),
        ("string", 1, None),
        ("json", "x", '"x"'),
    ],
)
def test_what_a_column_cannot_hold_is_left_out(kind: Any, value: Any, held: Any) -> None:
    assert fitting(kind, value) == held
