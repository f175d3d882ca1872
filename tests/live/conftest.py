"""The live suite: the same tests on recorded answers, on running servers, and while recording.

- replay (the default): answers come from the cassettes, and any attempt to reach the network fails
  the test;
- record (``OPEA_RECORD=1``): asks the running servers and writes the cassettes anew;
- live (``OPEA_LIVE=1``): asks the running servers, no cassettes.

``OPEA_LIVE_LLAMA``, ``OPEA_LIVE_EMBED``, ``OPEA_LIVE_RERANK`` and ``OPEA_LIVE_LITELLM`` are base
URLs (set to nothing: skip that server), ``OPEA_LIVE_KEY`` is the key of all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from vcr.cassette import Cassette
from vcr.record_mode import RecordMode

from opea_core import OPEA

pytest.register_assert_rewrite(
    "live_cases",
    "live_langchain",
    "live_langchain_asking",
    "live_llama_index",
    "live_llama_index_agents",
    "live_llama_index_asking",
    "live_llama_index_engines",
    "live_responses",
)

from live_cassettes import cassette_path, no_network  # noqa: E402
from live_servers import KEY, MODE, RECORDER, URLS, Client, Server  # noqa: E402

HERE = Path(__file__).parent


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest) -> str:
    """Every case is tried with the sync methods and with their async twins."""
    way: str = request.param
    return way


@pytest.fixture
def cassette(request: pytest.FixtureRequest, server: Server, way: str) -> Iterator[Cassette | None]:
    """What the test plays or records.

    Both ways of a case share a cassette: the sync one records it.
    """
    if not server.url or not server.embed_url:
        pytest.skip(f"no URL for {server.name}")
    if MODE == "live":
        yield None
        return
    path = cassette_path(server.name, request.node.originalname)
    if MODE == "record" and way == "sync":
        path.unlink(missing_ok=True)
        with RECORDER.use_cassette(str(path), record_mode="all") as recorded:
            yield recorded
        return
    with no_network(), RECORDER.use_cassette(str(path), record_mode="none") as played:
        yield played


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A test that leaves a recorded answer unasked fails."""
    result = yield
    played = pyfuncitem.funcargs.get("cassette")
    if played is not None and played.record_mode == RecordMode.NONE:
        assert played.all_played, (
            f"{played.play_count} of the {len(played)} recorded answers were asked for"
        )
    return result


@pytest.fixture
def connect(server: Server, cassette: Cassette | None, way: str) -> Iterator[Callable[..., Client]]:
    """Makes a client of the server; options as for OPEA.

    Nothing is tried twice unless a test says so.
    """
    clients: list[Client] = []
    runner = asyncio.Runner() if way == "async" else None

    def connect(**options: Any) -> Client:
        given = {
            "base_url": server.url,
            "api_key": KEY,
            "model": server.model,
            "max_retries": 0,
            "timeout": 60.0,
        } | options
        clients.append(Client(OPEA(**given), runner))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()
    if runner is not None:
        runner.close()


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    """A client of the chat model."""
    return connect()


@pytest.fixture
def embedder(connect: Callable[..., Client], server: Server) -> Client:
    """A client of the embedding model."""
    return connect(base_url=server.embed_url, model=server.embed_model)


def pytest_report_header() -> str:
    """Says which of the three modes runs."""
    return f"live suite: {MODE}" + (
        "" if MODE == "replay" else " " + ", ".join(url for url in URLS.values() if url)
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what talks to a server, and look at the cassettes last, when they have been recorded."""
    for item in items:
        if MODE != "replay" and "cassette" in getattr(item, "fixturenames", ()):
            item.add_marker("live")
    items.sort(key=lambda item: item.path == HERE / "test_cassettes.py")
