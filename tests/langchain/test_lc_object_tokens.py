"""Counting tokens: about, by the server, or by the caller's own function; nothing is downloaded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.exceptions import ModelNotFoundError
from langchain_core.messages import HumanMessage, SystemMessage
from lc_asking import ModelWith

from opea_core.testing import ScriptedServer, error, json_answer

MESSAGES = [SystemMessage("Be brief."), HumanMessage("How are you?")]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}


def test_about_without_asking_anybody(server: ScriptedServer, model_with: ModelWith) -> None:
    model = model_with()
    assert 3 < model.get_num_tokens("a text of some words") < 15
    assert (
        model.get_num_tokens_from_messages(MESSAGES, [TOOL])
        > model.get_num_tokens_from_messages(MESSAGES)
        > 5
    )
    assert server.seen == []


def test_by_the_server_where_it_is_to_be_asked(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(json_answer({"tokens": [1] * 5}), json_answer({"count": 17}))
    model = model_with(count_tokens_on_server=True)
    assert (
        model.get_num_tokens("a text"),
        model.get_num_tokens_from_messages(MESSAGES, [TOOL]),
    ) == (5, 17)
    asked: Any = server.seen[1].body
    assert asked["prompt"] == "System: Be brief.\nHuman: How are you?" + json.dumps([TOOL])


def test_a_server_that_cannot_count_is_an_error(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(error(404, "no such path"))
    with pytest.raises(ModelNotFoundError):
        model_with(count_tokens_on_server=True).get_num_tokens("a text")


def test_a_function_of_the_callers_wins(server: ScriptedServer, model_with: ModelWith) -> None:
    model = model_with(
        count_tokens_on_server=True, custom_get_token_ids=lambda text: [1] * len(text)
    )
    assert model.get_num_tokens("four") == 4
    assert server.seen == []
