"""A server to talk to, and an environment that says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import plain_environment
import pytest
from lc_asking import ModelWith, chat_model

from langchain_opea import ChatOPEA
from opea_core.testing import ScriptedServer


@pytest.fixture(scope="session", autouse=True)
def _plain_environment() -> Iterator[None]:
    """What is set on the machine of whoever runs the tests does not matter."""
    with pytest.MonkeyPatch.context() as patch:
        plain_environment.forget(patch)
        yield


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
