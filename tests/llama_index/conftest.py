"""A server to talk to, an environment that says nothing, and no file from the network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plain_environment
import pytest
from li_asking import LLMWith, llm_at
from llama_index.core.utils import set_global_tokenizer

from llama_index_opea import OPEALLM
from opea_core.testing import ScriptedServer

sys.path.append(
    str(Path(__file__).parent.parent / "langchain")
)  # for the table of odd answers that lies there


@pytest.fixture(scope="session", autouse=True)
def _plain_environment() -> Iterator[None]:
    """What is set on the machine of whoever runs the tests does not matter."""
    with pytest.MonkeyPatch.context() as patch:
        plain_environment.forget(patch)
        yield


@pytest.fixture(autouse=True)
def _own_tokenizer() -> None:
    """No tokenizer is downloaded, whatever the test before chose."""
    set_global_tokenizer(str.split)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def llm_with(server: ScriptedServer) -> Iterator[LLMWith]:
    """LLMs at the server, closed after the test."""
    made: list[OPEALLM] = []

    def llm_with(**options: Any) -> OPEALLM:
        made.append(llm_at(server, **options))
        return made[-1]

    yield llm_with
    for llm in made:
        llm.client.close()


@pytest.fixture
def llm(llm_with: LLMWith) -> OPEALLM:
    """An LLM at the server as it is by default."""
    return llm_with()
