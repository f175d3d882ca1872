"""An environment that says nothing, and helpers of the core's tests."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import plain_environment
import pytest

_CORE = Path(__file__).parent.parent / "core"
sys.path += [str(_CORE), str(_CORE / "transport")]

from fault_table import LABELS, Certificates, warm_up  # noqa: E402 - needs the folders
from fault_ways import Way, core_of  # noqa: E402
from llama_index.core.utils import set_global_tokenizer  # noqa: E402

from opea_core import BreakerPolicy, RetryPolicy  # noqa: E402
from opea_core.testing import ScriptedServer  # noqa: E402

QUICK = RetryPolicy(initial_delay=0.005, max_delay=0.01)
_resolve = socket.getaddrinfo


def _resolved(host: Any, *args: Any, **more: Any) -> Any:
    """What a name server says, without asking one."""
    if str(host).endswith(".invalid"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _resolve(host, *args, **more)


@pytest.fixture(scope="session", autouse=True)
def _plain_environment() -> Iterator[None]:
    """What is set on the machine of whoever runs the tests does not matter;
    no tokenizer is downloaded, no name server asked.
    """
    with pytest.MonkeyPatch.context() as patch:
        plain_environment.forget(patch)
        patch.setattr(socket, "getaddrinfo", _resolved)
        set_global_tokenizer(str.split)
        warm_up()
        yield


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def servers() -> Iterator[Callable[..., ScriptedServer]]:
    """Starts servers that are stopped after the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(ScriptedServer(**options))


@pytest.fixture
def server(servers: Callable[..., ScriptedServer]) -> ScriptedServer:
    return servers()


@pytest.fixture
def made() -> Iterator[Callable[..., Any]]:
    """Makes objects of a way's package at some servers, quick to try again;
    they are closed after the test.
    """
    objects: list[Any] = []

    def make(way: Way, *at: ScriptedServer, **options: Any) -> Any:
        endpoints = [
            {"base_url": server.url, "label": label}
            for server, label in zip(at, LABELS, strict=False)
        ]
        objects.append(
            way.make(
                **{
                    "endpoints": endpoints,
                    "retry": QUICK,
                    "breaker": BreakerPolicy(break_duration=0.05),
                }
                | options
            )
        )
        return objects[-1]

    yield make
    for it in objects:
        core_of(it).close()
