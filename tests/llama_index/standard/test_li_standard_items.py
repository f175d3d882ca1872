"""That the conformance suite runs whole, with every flag on, that none of it is bent,
and that the cassettes are its alone.
"""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from readable_cassettes import private_parts
from standard_cassettes import (
    FOLDER,
    cassette_path,
    checked_statuses,
)
from test_li_standard_embedding import TestEmbedding as Embedding
from test_li_standard_llm import TestLLM as Llm
from test_li_standard_rerank import TestRerank as Rerank

import llama_index_opea
from llama_index_opea import testing
from llama_index_opea.testing import EmbeddingConformance, LLMConformance, RerankConformance
from llama_index_opea.testing.base import Conformance, needs
from llama_index_opea.testing.settings import LLMSettings

HERE = Path(__file__).parent
CASSETTES = FOLDER / "llama_index"
SUITES: dict[type, type[Conformance]] = {
    Llm: LLMConformance,
    Embedding: EmbeddingConformance,
    Rerank: RerankConformance,
}
COUNTS = {"TestLLM": 231, "TestEmbedding": 33, "TestRerank": 24}
FILES = sorted(CASSETTES.rglob("*.yaml"))
PROMISED = [
    "class_in_mro", "init", "class_name", "metadata_cheap", "no_secret_leak", "roundtrip_dict",
    "pickle_after_use", "chat", "achat", "complete", "acomplete", "stream_chat", "astream_chat",
    "stream_complete", "astream_complete", "usage_chat", "usage_stream_last", "token_counter",
    "events_balanced", "rate_limiter_once", "tool_call", "tool_call_stream", "parallel_tools",
    "tool_required", "tool_choice_name", "text_and_tool", "no_argument_tool",
    "tool_result_roundtrip", "history_not_mutated", "foreign_history", "trim_to_one_call",
    "reasoning_block", "thinking_delta", "reasoning_roundtrip", "image", "audio", "document",
    "tool_result_image", "logprobs", "logprobs_stream", "structured_predict", "astructured_predict",
    "stream_structured_predict", "astream_structured_predict", "as_structured_llm",
    "function_agent", "react_agent", "agent_workflow", "query_engine", "chat_engine_stream",
    "two_event_loops", "stream_abandoned_closes", "call_kwargs_win", "unknown_init_argument_raises",
    "no_overrides",
]  # fmt: skip


def collected(session: pytest.Session) -> Iterator[pytest.Item]:
    """The suite's tests as pytest finds them."""
    for name in ("llm", "embedding", "rerank"):
        for cls in pytest.Module.from_parent(
            session, path=HERE / f"test_li_standard_{name}.py"
        ).collect():
            assert isinstance(cls, pytest.Class)
            yield from (item for item in cls.collect() if isinstance(item, pytest.Item))


class TestItems:
    def test_are_as_many_as_there_are(self, request: pytest.FixtureRequest) -> None:
        found: dict[str, int] = {}
        for item in collected(request.session):
            assert item.parent is not None
            found[item.parent.name] = found.get(item.parent.name, 0) + 1
        assert found == COUNTS

    def test_are_expected_to_run_and_to_pass(self, request: pytest.FixtureRequest) -> None:
        marks = [
            (item.nodeid, mark.name)
            for item in collected(request.session)
            for mark in item.iter_markers()
        ]
        assert not [mark for mark in marks if mark[1] in ("skip", "skipif", "xfail")]

    def test_are_those_that_are_promised(self) -> None:
        assert [name for name in PROMISED if not hasattr(LLMConformance, f"test_{name}")] == []

    @pytest.mark.parametrize("cls", SUITES)
    def test_are_the_suites_own(self, cls: type) -> None:
        names = [name for name in dir(cls) if name.startswith("test_")]
        assert all(getattr(cls, name) is getattr(SUITES[cls], name) for name in names)

    @pytest.mark.parametrize("suite", SUITES.values())
    def test_say_what_they_prove(self, suite: type) -> None:
        assert not [
            name
            for name in dir(suite)
            if name.startswith("test_") and not getattr(suite, name).__doc__
        ]

    @pytest.mark.parametrize("suite", SUITES.values())
    def test_async_ones_are_marked_and_can_be_switched_off(self, suite: type) -> None:
        for name in (name for name in dir(suite) if name.startswith("test_")):
            test = getattr(suite, name)
            is_async = bool(test.__code__.co_flags & 0x80)
            assert (
                any(mark.name == "asyncio" for mark in getattr(test, "pytestmark", ())) == is_async
            ), name
            assert not is_async or "has_async" in test.needs, name

    @pytest.mark.parametrize("suite", SUITES.values())
    def test_need_only_settings_that_there_are(self, suite: type) -> None:
        wanted = {
            flag
            for name in dir(suite)
            if name.startswith("test_")
            for flag in getattr(getattr(suite, name), "needs", ())
        }
        assert wanted
        assert not [flag for flag in wanted if not hasattr(suite, flag)]


class TestFlags:
    FLAGS = [
        name
        for name in dir(LLMSettings)
        if name.startswith(("has_", "supports_", "returns_", "repeats_"))
    ]
    GIVEN = [name for name in dir(LLMSettings) if name.endswith(("_params", "_kwargs"))]

    def test_are_those_that_are_known(self) -> None:
        assert (len(self.FLAGS), len(self.GIVEN)) == (16, 12)

    def test_are_on(self) -> None:
        assert [flag for flag in self.FLAGS if getattr(Llm(), flag) is not True] == []

    def test_are_given(self) -> None:
        assert [name for name in self.GIVEN if not getattr(Llm(), name)] == []


class TestOverrides:
    """``test_no_overrides`` is what keeps a suite straight."""

    def test_a_changed_test_fails(self) -> None:
        class Bent(Llm):
            def test_chat(self) -> None:
                """Nothing."""

        with pytest.raises(AssertionError, match="test_chat"):
            Bent().test_no_overrides()

    def test_a_deleted_test_fails(self) -> None:
        class Bent(Llm):
            test_chat = None  # type: ignore[assignment]

        with pytest.raises(AssertionError, match="test_chat"):
            Bent().test_no_overrides()

    def test_an_excuse_without_a_reason_fails(self) -> None:
        class Bent(Llm):
            @pytest.mark.xfail
            def test_chat(self) -> None:
                super().test_chat()

        with pytest.raises(AssertionError, match="test_chat"):
            Bent().test_no_overrides()

    def test_an_excuse_with_a_reason_does_not(self) -> None:
        class Excused(Llm):
            @pytest.mark.xfail(reason="a bug of the server")
            def test_chat(self) -> None:
                super().test_chat()

            def test_of_its_own(self) -> None:
                """More is no less."""

        Excused().test_no_overrides()


class TestSkipping:
    def test_a_flag_that_is_off_skips(self, request: pytest.FixtureRequest) -> None:
        class Off(LLMSettings):
            supports_tools = False

            @needs("supports_tools", "has_async")
            def test(self) -> None:
                """Needs both."""

        class Asked:
            function = Off.test

        with pytest.raises(pytest.skip.Exception, match=r"Off\.supports_tools is off or not given"):
            inspect.unwrap(Off._skipped_where_off)(Off(), Asked())

    def test_of_llms_that_cannot_call_functions_tool_tests_are_off(self) -> None:
        from llama_index.core.llms import MockLLM

        class Mock(LLMConformance):
            llm_class = MockLLM

        assert (Mock().supports_tools, Mock().supports_tool_choice, Mock().supports_agents) == (
            False,
            False,
            False,
        )


class TestPackage:
    def test_all_is_sorted(self) -> None:
        assert sorted(testing.__all__) == testing.__all__

    def test_the_package_needs_neither_pytest_nor_what_is_not_asked_for(self) -> None:
        code = (
            "import sys; from llama_index_opea import OPEALLM; "
            "print(*sys.modules); from llama_index_opea import *; print(*sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(llama_index_opea.__file__).parents[1],
        )
        one, whole = (set(line.split()) for line in done.stdout.splitlines())
        assert "llama_index_opea.llm" in one
        assert "llama_index_opea.rerank" not in one
        assert "llama_index_opea.rerank" in whole
        assert {"pytest", "llama_index_opea.testing"} & whole == set()

    def test_the_suite_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.startswith("llama_index_opea.testing")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "pytest", None)
        with pytest.raises(ImportError, match="pip install pytest"):
            importlib.import_module("llama_index_opea.testing")

    def test_knows_nothing_of_ours(self) -> None:
        lines = [
            line
            for path in Path(testing.__file__).parent.glob("*.py")
            for line in path.read_text("utf-8").splitlines()
            if line.lstrip().startswith(("import ", "from "))
        ]
        assert lines
        assert not [
            line for line in lines if "opea" in line and "llama_index_opea.testing" not in line
        ]


class TestCassettes:
    def test_each_is_an_items(self, request: pytest.FixtureRequest) -> None:
        items = [item for item in collected(request.session) if item.parent is not None]
        paths = [
            cassette_path("llama_index", item.parent.name, item.name)
            for item in items
            if item.parent
        ]
        assert len(paths) == len(set(paths)), "two items share a cassette"
        assert len(FILES) > 200
        assert set(FILES) <= set(paths)
        assert {path for path in CASSETTES.rglob("*") if path.is_file()} == set(FILES)

    def test_hold_nothing_private(self) -> None:
        hosts = r"scripted\.test/v1/"
        found = {path: private_parts(path.read_text("utf-8"), hosts) for path in FILES}
        assert {path: what for path, what in found.items() if what} == {}

    def test_hold_only_what_matters_and_are_readable(self) -> None:
        for path in FILES:
            allowed = {200, 404} if "error-raises" in path.stem else {200}
            assert checked_statuses(path) <= allowed, path

    def test_say_where_they_come_from(self) -> None:
        readme = (FOLDER / "README.md").read_text("utf-8")
        assert all(f"llama_index/{folder.name}/" in readme for folder in CASSETTES.iterdir())
