"""That the standard tests are all there, with every flag on, that none is bent,
and that the cassettes are theirs alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_tests.base import BaseStandardTests
from langchain_tests.unit_tests.chat_models import ChatModelTests
from readable_cassettes import private_parts
from standard_cassettes import (
    FOLDER,
    STORED_URL,
    base_url,
    cassette_path,
    checked_statuses,
)
from standard_flags import DETAILS
from standard_names import CHAT, CHAT_UNIT, EMBEDDINGS, EMBEDDINGS_UNIT, OVERRIDES, items
from standard_reports import passed_or_failed
from test_standard_chat import TestChatAutomatic as Automatic
from test_standard_chat import TestChatFunctionCalling as FunctionCalling
from test_standard_chat import TestChatJsonSchema as JsonSchema
from test_standard_embeddings import TestEmbeddings as EmbeddingsAsked
from test_standard_responses import TestChatResponses as Responses
from test_standard_unit import TestChatUnit as ChatUnit
from test_standard_unit import TestEmbeddingsUnit as EmbeddingsUnit

HERE = Path(__file__).parent
# the second stands in a prompt of a standard test
HOSTS = r"scripted\.test/v1/|raw\.githubusercontent\.com/langchain-ai/docs/"
INTEGRATION = {
    Automatic: CHAT,
    FunctionCalling: CHAT,
    JsonSchema: CHAT,
    Responses: CHAT,
    EmbeddingsAsked: EMBEDDINGS,
}
ALL = {ChatUnit: CHAT_UNIT, EmbeddingsUnit: EMBEDDINGS_UNIT, **INTEGRATION}
EXPECTED = {cls.__name__: items(names) for cls, names in ALL.items()}
FILES = [
    cassette_path("langchain", cls.__name__, name)
    for cls, names in INTEGRATION.items()
    for name in items(names)
    if name != OVERRIDES
]
each_class = pytest.mark.parametrize("cls", ALL)


def collected(session: pytest.Session) -> Iterator[pytest.Item]:
    """The standard tests as pytest finds them."""
    for name in ("chat", "responses", "unit", "embeddings"):
        path = HERE / f"test_standard_{name}.py"
        for cls in pytest.Module.from_parent(session, path=path).collect():
            assert isinstance(cls, pytest.Class)
            yield from (item for item in cls.collect() if isinstance(item, pytest.Item))


class TestItems:
    def test_are_those_of_langchain_tests(self, request: pytest.FixtureRequest) -> None:
        found: dict[str, list[str]] = {}
        for item in collected(request.session):
            assert item.parent is not None
            found.setdefault(item.parent.name, []).append(item.name)
        assert {cls: sorted(names) for cls, names in found.items()} == {
            cls: sorted(names) for cls, names in EXPECTED.items()
        }

    def test_are_as_many_as_there_are(self) -> None:
        assert [len(names) for names in EXPECTED.values()] == [10, 3, 50, 50, 50, 50, 5]

    def test_are_expected_to_run_and_to_pass(self, request: pytest.FixtureRequest) -> None:
        marks = [
            (item.nodeid, mark.name)
            for item in collected(request.session)
            for mark in item.iter_markers()
        ]
        assert not [mark for mark in marks if mark[1] in ("skip", "xfail")]

    @each_class
    def test_are_langchains_own(self, cls: type[BaseStandardTests]) -> None:
        (standard,) = (
            base for base in cls.__bases__ if base.__module__.startswith("langchain_tests.")
        )
        names = [name for name in dir(cls) if name.startswith("test_")]
        assert sorted(names) == sorted(ALL[cls])
        assert all(getattr(cls, name) is getattr(standard, name) for name in names)

    @pytest.mark.parametrize("outcome", ["skipped", "xfailed", "xpassed"])
    def test_fail_when_they_are_skipped_or_excused(self, outcome: str) -> None:
        report = pytest.TestReport(
            "x::y",
            ("x", 1, "y"),
            {},
            "passed" if outcome == "xpassed" else "skipped",
            "a reason",
            "call",
        )
        if outcome != "skipped":
            report.wasxfail = "a reason"  # type: ignore[attr-defined]
        changed = passed_or_failed(report)
        assert changed.failed
        assert not hasattr(changed, "wasxfail")
        assert "a reason" in str(changed.longrepr)

    @pytest.mark.parametrize("outcome", ["passed", "failed"])
    def test_stay_what_they_are_otherwise(self, outcome: str) -> None:
        report = pytest.TestReport("x::y", ("x", 1, "y"), {}, outcome, "a reason", "call")
        assert passed_or_failed(report).outcome == outcome
        assert report.longrepr == "a reason"


class TestFlags:
    FLAGS = [
        name
        for name in dir(ChatModelTests)
        if name.startswith(("has_", "supports_", "returns_", "enable_"))
    ]

    def test_are_those_that_are_known(self) -> None:
        assert len(self.FLAGS) == 15

    @pytest.mark.parametrize("cls", [ChatUnit, Automatic, FunctionCalling, JsonSchema, Responses])
    def test_are_on(self, cls: type[ChatModelTests]) -> None:
        assert [flag for flag in self.FLAGS if getattr(cls(), flag) is not True] == []

    @pytest.mark.parametrize("cls", [ChatUnit, Automatic, FunctionCalling, JsonSchema])
    def test_every_kind_of_token_is_told(self, cls: type[ChatModelTests]) -> None:
        assert len(DETAILS) == 5
        assert cls().supported_usage_metadata_details == {"invoke": DETAILS, "stream": DETAILS}

    @pytest.mark.parametrize("cls", [ChatUnit, Automatic, FunctionCalling, JsonSchema])
    def test_another_model_can_be_asked(self, cls: type[ChatModelTests]) -> None:
        assert cls().model_override_value == "m2"

    @pytest.mark.parametrize("cls", [ChatUnit, EmbeddingsUnit])
    def test_environment_is_read(self, cls: type[ChatUnit]) -> None:
        variables, _, expected = cls().init_from_env_params
        assert variables.keys() == {"OPEA_API_KEY", "OPEA_API_URL"}
        assert expected.keys() == {"api_key", "base_url"}

    def test_every_way_to_structured_output_is_taken(self) -> None:
        kwargs = [
            cls().structured_output_kwargs for cls in (Automatic, FunctionCalling, JsonSchema)
        ]
        assert kwargs == [{}, {"method": "function_calling"}, {"method": "json_schema"}]


class TestCassettes:
    def test_each_item_has_one_and_each_is_an_items(self) -> None:
        assert len(FILES) == len(set(FILES)) == 4 * 49 + 4
        assert set(FILES) == {path for path in (FOLDER / "langchain").rglob("*") if path.is_file()}

    def test_hold_nothing_private(self) -> None:
        found = {path: private_parts(path.read_text("utf-8"), HOSTS) for path in FILES}
        assert {path: what for path, what in found.items() if what} == {}

    def test_hold_only_what_matters_and_are_readable(self) -> None:
        for path in FILES:
            # In the Responses dialect a few fields of chat are refused, and left out then.
            is_answered = checked_statuses(path) == {200}
            assert is_answered or path.parent.name == "chat-responses", path

    def test_say_where_they_come_from(self) -> None:
        readme = (FOLDER / "README.md").read_text("utf-8")
        assert all(
            f"langchain/{folder.name}/" in readme for folder in (FOLDER / "langchain").iterdir()
        )


@pytest.mark.parametrize(
    ("cls", "name", "path"),
    [
        ("TestChatJsonSchema", "test_stream[model0]", "chat-json-schema/stream-model0.yaml"),
        (
            "TestChatAutomatic",
            "test_structured_output_async[json_schema]",
            "chat-automatic/structured-output-async-json-schema.yaml",
        ),
        ("TestEmbeddings", "test_aembed_query", "embeddings/aembed-query.yaml"),
    ],
)
def test_name_of_a_cassette(cls: str, name: str, path: str) -> None:
    assert cassette_path("langchain", cls, name) == FOLDER / "langchain" / path


def test_the_stored_host_leads_nowhere() -> None:
    assert STORED_URL.split("/")[2].endswith(".test"), "a name that is reserved for this"
    assert base_url().startswith(("http://127.0.0.1:", STORED_URL))
