"""Token counts and rate limits: the server's usage exactly once,
one place in the limiter for each request.
"""

from __future__ import annotations

from typing import Any

import pytest
from li_object_support import (
    STRUCTURED,
    USAGE,
    WAYS,
    WITH_TOOLS,
    Counter,
    ask,
    counted,
    embedding,
    llm,
)
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler

from opea_core.testing import ScriptedServer, chat, chunk, sse, stream

# --- token counts


def _counter() -> TokenCountingHandler:
    return TokenCountingHandler(tokenizer=str.split)


@pytest.mark.parametrize("way", WAYS)
def test_the_servers_usage_is_counted_exactly_once(server: ScriptedServer, way: str) -> None:
    server.always(counted)
    counter = _counter()
    ask(way, llm(server, callback_manager=CallbackManager([counter])))
    assert (
        counter.prompt_llm_token_count,
        counter.completion_llm_token_count,
        counter.total_llm_token_count,
    ) == (17, 5, 22)
    assert len(counter.llm_token_counts) == 1


@pytest.mark.parametrize("way", WAYS)
def test_without_usage_it_is_estimated_and_nothing_breaks(server: ScriptedServer, way: str) -> None:
    server.always(
        lambda seen: stream(["one two"]) if seen.body.get("stream") else chat("one two", usage=None)
    )
    counter = _counter()
    ask(way, llm(server, callback_manager=CallbackManager([counter])))
    assert counter.total_llm_token_count > 0
    assert len(counter.llm_token_counts) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 17},
        {},
        {"prompt_tokens": None, "completion_tokens": 5},
        {"total_tokens": 9},
    ],
    ids=str,
)
def test_odd_usage_does_not_break_the_counter(
    server: ScriptedServer, way: str, usage: dict[str, Any]
) -> None:
    server.always(
        lambda seen: (
            stream(["one two"], usage=usage)
            if seen.body.get("stream")
            else chat("one two", usage=usage)
        )
    )
    counter = _counter()
    ask(way, llm(server, callback_manager=CallbackManager([counter])))
    assert counter.total_llm_token_count > 0


def test_usage_in_every_chunk_is_counted_once(server: ScriptedServer) -> None:
    events = [
        chunk({"content": text}) | {"usage": {**USAGE, "completion_tokens": n}}
        for n, text in enumerate(["a", "b"], 4)
    ]
    server.always(sse(*events, chunk({}, "stop") | {"usage": USAGE}))
    counter = _counter()
    ask("stream_chat", llm(server, callback_manager=CallbackManager([counter])))
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (17, 5)


def test_the_counter_counts_embeddings(server: ScriptedServer) -> None:
    counter = _counter()
    made = embedding(server, embed_batch_size=2, callback_manager=CallbackManager([counter]))
    made.get_text_embedding_batch(["one two", "three", "four"])
    assert counter.total_embedding_token_count == 4


# --- rate limiter


@pytest.mark.parametrize("way", WAYS)
def test_a_rate_limiter_is_asked_once(server: ScriptedServer, way: str) -> None:
    limiter = Counter()
    ask(way, llm(server, rate_limiter=limiter))
    assert (limiter.sync, limiter.asynchronous) == ((0, 1) if way.startswith("a") else (1, 0))


@pytest.mark.parametrize("way", WAYS)
def test_a_rate_limiter_is_asked_once_in_completions_mode(server: ScriptedServer, way: str) -> None:
    limiter = Counter()
    ask(way, llm(server, rate_limiter=limiter, is_chat_model=False))
    assert limiter.total == 1


@pytest.mark.parametrize("name", [*WITH_TOOLS, *STRUCTURED])
def test_a_rate_limiter_is_asked_once_with_tools_or_a_form(
    server: ScriptedServer, name: str
) -> None:
    limiter = Counter()
    (WITH_TOOLS | STRUCTURED)[name](llm(server, rate_limiter=limiter))
    assert limiter.total == len(server.seen) == 1
