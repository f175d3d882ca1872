"""What the machine of whoever runs the tests says does not matter."""

from __future__ import annotations

import pytest

NAMES = (
    "OPEA_API_URL",
    "OPEA_API_KEY",
    "OPEA_MODEL",
    "OPEA_TIMEOUT",
    "OPEA_LOG",
    "OPENAI_API_KEY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LANGSMITH_TRACING",
    "LANGCHAIN_TRACING_V2",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
)


def forget(patch: pytest.MonkeyPatch) -> None:
    """Take the variables out, in either case."""
    for name in NAMES:
        patch.delenv(name, raising=False)
        patch.delenv(name.lower(), raising=False)
