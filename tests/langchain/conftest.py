"""A server to talk to, and an environment that says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lc_asking import ModelWith, chat_model

from langchain_opea import ChatOPEA
from opea_core.testing import ScriptedServer


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set on the machine of whoever runs the tests does not matter."""
    for name in (
        "OPEA_API_URL",
        "OPEA_API_KEY",
        "OPEA_LOG",
        "OPENAI_API_KEY",
        "LANGSMITH_TRACING",
        "LANGCHAIN_TRACING_V2",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def model_with(server: ScriptedServer) -> Iterator[ModelWith]:
    """Models at the server, closed after the test."""
    made: list[ChatOPEA] = []

    def model_with(**options: Any) -> ChatOPEA:
        made.append(chat_model(server, **options))
        return made[-1]

    yield model_with
    for model in made:
        model.client.close()
