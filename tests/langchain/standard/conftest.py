"""LangChain's standard tests, played from cassettes without a network; ``OPEA_RECORD=1`` records them from a scripted upstream."""

from __future__ import annotations

import importlib
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import standard_media
from langchain_tests.conftest import base_vcr_config
from langchain_tests.integration_tests import chat_models
from pytest_socket import disable_socket, enable_socket
from standard_cassettes import FOLDER, RECORDS, SERVER, cassette_path, prepare, request_as_stored, response_as_stored
from standard_reports import passed_or_failed
from standard_upstream import Upstream
from vcr import VCR
from vcr.record_mode import RecordMode

SERIALIZABLE = ("langchain_opea", "chat_models", "ChatOPEA")


# --- cassettes


@pytest.fixture(scope="session")
def record_mode() -> str:
    return "rewrite" if RECORDS else "none"


@pytest.fixture
def vcr_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    """LangChain's configuration; an answer is played once, but for the test that measures how long that takes."""
    changed = {
        "match_on": ["method", "path", "json_body"],
        "before_record_request": request_as_stored,
        "before_record_response": response_as_stored,
        "allow_playback_repeats": request.node.originalname == "test_stream_time",
    }
    ours = ("record_mode", "cassette_library_dir", "path_transformer")
    return {key: value for key, value in base_vcr_config().items() if key not in ours} | changed


@pytest.fixture
def vcr_cassette_dir(request: pytest.FixtureRequest) -> str:
    return str(_cassette_path(request).parent)


@pytest.fixture
def default_cassette_name(request: pytest.FixtureRequest) -> str:
    return _cassette_path(request).stem


def _cassette_path(request: pytest.FixtureRequest) -> Path:
    return cassette_path(request.cls.__name__ if request.cls else "", request.node.name)


def pytest_recording_configure(config: pytest.Config, vcr: VCR) -> None:
    if str(vcr.cassette_library_dir).startswith(str(FOLDER)):
        prepare(vcr)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A test that leaves a recorded answer unasked fails."""
    result = yield
    played = pyfuncitem.funcargs.get("vcr")
    if played is not None and played.record_mode == RecordMode.NONE:
        assert played.all_played, f"{played.play_count} of the {len(played)} recorded answers were asked for"
    return result


# --- the world around a test


@pytest.fixture(scope="session", autouse=True)
def _upstream() -> Iterator[None]:
    if SERVER is None:
        yield
        return
    with SERVER:
        yield


@pytest.fixture(autouse=True)
def _fresh_upstream(_upstream: None) -> None:
    """What one test makes the upstream remember is forgotten before the next."""
    if SERVER is not None:
        SERVER.always(Upstream())


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest) -> Iterator[None]:
    """No sockets but those inside of event loops, unless a cassette is being recorded."""
    node = request.node
    if node.get_closest_marker("enable_socket") or (RECORDS and node.get_closest_marker("vcr")):
        yield
        return
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures, documents and sounds are made here; only the standard tests' own downloads are replaced."""
    monkeypatch.setattr(chat_models, "httpx", SimpleNamespace(get=standard_media.get))
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "not used")


@pytest.fixture(autouse=True)
def _loadable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``allowed_objects="all"`` means what langchain-core itself knows; a partner package is known to it by this table."""
    load = importlib.import_module("langchain_core.load.load")
    monkeypatch.setitem(load.ALL_SERIALIZABLE_MAPPINGS, SERIALIZABLE, SERIALIZABLE)
    load._default_class_paths_cache.clear()
    yield
    load._default_class_paths_cache.clear()


@pytest.fixture
def benchmark(request: pytest.FixtureRequest, benchmark: Any) -> Any:
    """Runs what it is given once: how long that takes is nothing to pass or fail by."""
    benchmark.disabled = True
    if RECORDS and request.node.originalname == "test_stream_time":
        benchmark(lambda: None)  # the test does without it then, which would be a warning
    return benchmark


# --- no way out


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that is skipped, or fails as expected, fails."""
    report = yield
    return passed_or_failed(report)
