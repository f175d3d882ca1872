"""Here so that tests in every folder can import the modules that lie beside it."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Generator
from typing import Any

import cpu_budget
import pytest
import spared_ways
import thorough
from hypothesis import settings

from opea_core.policy import SECOND
from opea_core.transport import deadline

# On a busy machine, what breaks at once is told late; the tests of the rule set their own.
deadline._AT_ONCE = 10 * SECOND


def pytest_configure(config: Any) -> None:
    _hear_ctrl_c()
    config.pluginmanager.register(cpu_budget.Meter())
    thorough.choose(config.option.markexpr)
    if hasattr(config.option, "loadscopereorder"):
        # or the files with few and long tests would come last, one worker busy with each
        config.option.loadscopereorder = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores: while one waits for a deadline another one works."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else 3


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    spared_ways.spare(items)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Imports and thousands of tests are no garbage, so nobody looks for any among them."""
    settings.register_profile("part", settings.default, max_examples=thorough.most(100, 50))
    settings.load_profile("part")
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Thousands of tests stay as they are: who looks for garbage need not go through them."""
    _set_aside()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """What a file leaves behind stays, too: modules, schemas, reports of pytest."""
    if nextitem is not None and nextitem.path != item.path:
        _set_aside()


def _set_aside() -> None:
    """Free what is garbage; what lives is not looked at again, so that ``gc.collect`` is quick."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def vcr() -> None:
    """pytest-recording looks for cassettes before every test; ``standard`` alone has any for it."""


@pytest.fixture(scope="session")
def block_network() -> None:
    """As ``vcr``."""


def _hear_ctrl_c() -> None:
    """Hear Ctrl-C where a shell began this in the background: there it is ignored by all below."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
