"""What is known of a server, as LlamaIndex plans by it."""

from __future__ import annotations

from typing import Any

import pytest

from llama_index_opea import OPEALLM


def llm(known: Any, **options: Any) -> OPEALLM:
    return OPEALLM(model="m", api_base="http://localhost:9", capabilities=known, **options)


def test_the_window_of_the_profile_is_used() -> None:
    assert llm({"context_window": 2048}).metadata.context_window == 2048


@pytest.mark.parametrize(("known", "calls"), [({"tools": False}, False), ({"tools": True}, True)])
def test_whether_tools_are_called(known: Any, calls: bool) -> None:
    known = {"context_window": 2048, **known}
    assert llm(known).metadata.is_function_calling_model is calls
    assert llm(known, is_function_calling_model=True).metadata.is_function_calling_model is True
