"""What holds for every history: it becomes a body of plain JSON,
and nothing of the caller's changes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from li_asking import llm_at
from llama_index.core.base.llms.types import (
    CachePoint,
    CitableBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms import ChatMessage
from thorough import most

from llama_index_opea import OPEALLM
from opea_core import Capabilities
from opea_core.testing import ScriptedServer, chat

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
ARGUMENTS = (
    OBJECT | TEXT | OBJECT.map(json.dumps) | OBJECT.map(lambda value: json.dumps(value)[:-1])
)
IDS = st.sampled_from(["a", "b", "c", "", "x" * 50])
FOREIGN = st.one_of(
    st.builds(
        lambda i, n, a: {"id": i, "type": "function", "function": {"name": n, "arguments": a}},
        IDS,
        TEXT,
        ARGUMENTS | st.none(),
    ),
    st.builds(
        lambda i, n, a: {"id": i, "name": n, "input": a, "type": "tool_use"}, IDS, TEXT, OBJECT
    ),
    st.builds(lambda n, a: {"name": n, "args": a}, TEXT, OBJECT),
    st.builds(lambda n, a: {"function": {"name": n, "arguments": a}}, TEXT, OBJECT),
)
BLOCKS = st.one_of(
    st.builds(TextBlock, text=TEXT),
    st.builds(
        ThinkingBlock,
        content=TEXT | st.none(),
        additional_information=st.just({}) | st.just({"reasoning_field": "reasoning"}) | OBJECT,
    ),
    st.builds(ToolCallBlock, tool_call_id=IDS | st.none(), tool_name=TEXT, tool_kwargs=ARGUMENTS),
    st.builds(
        ImageBlock, url=st.just("http://example.test/i.png"), detail=st.none() | st.just("low")
    ),
    st.just(CachePoint(cache_control={"type": "ephemeral"})),
    st.builds(CitableBlock, title=TEXT, source=TEXT, content=TEXT),
)
KNOWN = st.fixed_dictionaries(
    {},
    optional={
        "tool_calls": st.lists(FOREIGN, max_size=3) | st.none(),
        "function_call": st.none()
        | st.builds(lambda n, a: {"name": n, "arguments": a}, TEXT, ARGUMENTS),
        "tool_call_id": IDS,
        "name": TEXT,
        "reasoning_content": TEXT,
        "refusal": TEXT,
        "citations": JSON,
    },
)
MESSAGES = st.builds(
    ChatMessage,
    role=st.sampled_from(MessageRole),
    blocks=st.lists(BLOCKS, max_size=4),
    additional_kwargs=KNOWN,
)
HISTORIES = st.lists(MESSAGES, min_size=1, max_size=5)
PROFILE = settings(
    max_examples=most(150, 25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(
    scope="module",
    params=[
        Capabilities(),
        Capabilities(cache_points=True, send_reasoning="always", tool_id_length=40),
    ],
)
def shared(request: pytest.FixtureRequest) -> Iterator[tuple[ScriptedServer, OPEALLM]]:
    """One server and one LLM for all examples."""
    with ScriptedServer() as server:
        server.always(chat("ok"))
        llm = llm_at(server, capabilities=request.param)
        yield server, llm
        llm.client.close()


def _sent(shared: tuple[ScriptedServer, OPEALLM], history: list[ChatMessage]) -> Any:
    server, llm = shared
    llm.chat(history)
    return server.seen[-1].body["messages"]


@PROFILE
@given(history=HISTORIES)
def test_every_history_can_be_sent(shared: Any, history: list[ChatMessage]) -> None:
    messages = _sent(shared, history)

    for message in messages:
        assert message["role"] in {"system", "user", "assistant", "tool", "function"}
        assert isinstance(message["content"], str | list)
        for call in message.get("tool_calls", ()):
            assert call["type"] == "function"
            assert isinstance(call["id"], str)
            assert isinstance(call["function"]["name"], str)
            assert isinstance(json.loads(call["function"]["arguments"]), dict)


@PROFILE
@given(history=HISTORIES)
def test_no_history_is_changed(shared: Any, history: list[ChatMessage]) -> None:
    before = copy.deepcopy(history)

    _sent(shared, history)

    assert history == before


@PROFILE
@given(
    texts=st.lists(TEXT, min_size=1, max_size=4),
    role=st.sampled_from(["system", "user", "assistant"]),
)
def test_text_is_sent_as_the_message_has_it(shared: Any, texts: list[str], role: str) -> None:
    message = ChatMessage(role=role, blocks=[TextBlock(text=text) for text in texts])

    assert _sent(shared, [message]) == [{"role": role, "content": message.content or ""}]


@PROFILE
@given(history=HISTORIES)
def test_results_follow_their_calls_without_anything_between(
    shared: Any, history: list[ChatMessage]
) -> None:
    roles = [message["role"] for message in _sent(shared, history)]
    plain = [
        "tool"
        if m.role == "tool" or (m.role == "function" and m.additional_kwargs.get("tool_call_id"))
        else "-"
        for m in history
    ]

    runs = [len(run) for run in "".join("t" if role == "tool" else " " for role in roles).split()]
    assert runs == [
        len(run) for run in "".join("t" if role == "tool" else " " for role in plain).split()
    ]
