"""LangChain's standard tests, played from cassettes without a network;
``OPEA_RECORD=1`` records them from a scripted upstream.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import standard_media
from langchain_tests.conftest import base_vcr_config
from langchain_tests.integration_tests import chat_models
from pytest_recording.plugin import block_network, vcr  # noqa: F401
from responses_upstream import ResponsesUpstream
from standard_cassettes import RECORDS, SERVER, request_as_stored, response_as_stored
from standard_world import (  # noqa: F401
    _no_network,
    _upstream,
    default_cassette_name,
    pytest_pyfunc_call,
    pytest_recording_configure,
    pytest_runtest_makereport,
    record_mode,
    vcr_cassette_dir,
)

SERIALIZABLE = ("langchain_opea", "chat_models", "ChatOPEA")


# --- cassettes


@pytest.fixture
def vcr_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    """LangChain's configuration; an answer is played once,
    but for the test that measures how long that takes.
    """
    changed = {
        "match_on": ["method", "path", "json_body"],
        "before_record_request": request_as_stored,
        "before_record_response": response_as_stored,
        "allow_playback_repeats": request.node.originalname == "test_stream_time",
    }
    ours = ("record_mode", "cassette_library_dir", "path_transformer")
    return {key: value for key, value in base_vcr_config().items() if key not in ours} | changed


# --- the world around a test


@pytest.fixture(autouse=True)
def _fresh_upstream() -> None:
    """What one test makes the upstream remember is forgotten before the next."""
    if SERVER is not None:
        SERVER.always(ResponsesUpstream())


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures, documents and sounds are made here;
    only the standard tests' own downloads are replaced.
    """
    monkeypatch.setattr(chat_models, "httpx", SimpleNamespace(get=standard_media.get))
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "not used")


@pytest.fixture(autouse=True)
def _loadable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``allowed_objects="all"`` means what langchain-core itself knows;
    a partner package is known to it by this table.
    """
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
