"""The world around a standard test: the cassette of its name, no sockets, no skips.

For the ``conftest.py`` of each suite.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from pytest_socket import disable_socket, enable_socket
from standard_cassettes import FOLDER, RECORDS, SERVER, cassette_path, prepare
from standard_reports import passed_or_failed
from vcr import VCR
from vcr.record_mode import RecordMode

# --- cassettes


@pytest.fixture(scope="session")
def record_mode() -> str:
    return "rewrite" if RECORDS else "none"


@pytest.fixture
def vcr_cassette_dir(request: pytest.FixtureRequest) -> str:
    return str(_cassette_path(request).parent)


@pytest.fixture
def default_cassette_name(request: pytest.FixtureRequest) -> str:
    return _cassette_path(request).stem


def _cassette_path(request: pytest.FixtureRequest) -> Path:
    """The framework is the name of the folder above ``standard``."""
    return cassette_path(
        request.path.parents[1].name, request.cls.__name__ if request.cls else "", request.node.name
    )


def pytest_recording_configure(config: pytest.Config, vcr: VCR) -> None:
    if str(vcr.cassette_library_dir).startswith(str(FOLDER)):
        prepare(vcr)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A test that leaves a recorded answer unasked fails."""
    result = yield
    played = pyfuncitem.funcargs.get("vcr")
    if played is not None and played.record_mode == RecordMode.NONE:
        assert played.all_played, (
            f"{played.play_count} of the {len(played)} recorded answers were asked for"
        )
    return result


# --- the network


@pytest.fixture(scope="session", autouse=True)
def _upstream() -> Iterator[None]:
    if SERVER is None:
        yield
        return
    with SERVER:
        yield


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


# --- no way out


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that is skipped, or fails as expected, fails."""
    report = yield
    return passed_or_failed(report)
