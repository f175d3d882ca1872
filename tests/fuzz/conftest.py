"""An environment that says nothing, and helpers of the core's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import plain_environment
import pytest
from llama_index.core.utils import set_global_tokenizer

sys.path += [str(Path(__file__).parent.parent / "core")]


@pytest.fixture(scope="session", autouse=True)
def _plain_environment() -> Iterator[None]:
    """What is set on the machine of whoever runs the tests does not matter,
    and no tokenizer is downloaded.
    """
    with pytest.MonkeyPatch.context() as patch:
        plain_environment.forget(patch)
        set_global_tokenizer(str.split)
        yield
