"""An environment that says nothing, and helpers of the core's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_index.core.utils import set_global_tokenizer

sys.path += [str(Path(__file__).parent.parent / "core")]

_NAMES = (
    "OPEA_API_URL",
    "OPEA_API_KEY",
    "OPEA_MODEL",
    "OPEA_TIMEOUT",
    "OPEA_LOG",
    "OPENAI_API_KEY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
_NAMES += (
    "LANGSMITH_TRACING",
    "LANGCHAIN_TRACING_V2",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
)


@pytest.fixture(scope="session", autouse=True)
def _plain_environment() -> Iterator[None]:
    """What is set on the machine of whoever runs the tests does not matter,
    and no tokenizer is downloaded.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in _NAMES:
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        set_global_tokenizer(str.split)
        yield
