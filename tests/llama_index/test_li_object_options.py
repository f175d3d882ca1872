"""What is sent: fields, further fields and options of a call, in their layers;
and what is about the call only.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from li_object_support import (
    CHATS,
    STREAMED,
    WAYS,
    WHOLE,
    ask,
    body,
    embedding,
    llm,
    question,
    ranked,
    reranker,
)
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llama_index_opea import OPEALLM
from opea_core import Capabilities, ConfigurationError, EndpointTimeout, ServerError
from opea_core.testing import Hold, ScriptedServer, chat, error


@pytest.fixture
def second() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


class Answer(BaseModel):
    """A form."""

    text: str


class _Words:
    def encode(self, text: str) -> list[int]:
        return [1] * len(text.split())


# --- the minimal body


@pytest.mark.parametrize("way", WHOLE)
def test_a_plain_request_says_model_messages_and_temperature(
    server: ScriptedServer, way: str
) -> None:
    ask(way, llm(server))
    found = dict(server.seen[-1].body)
    assert found.pop("stream", False) is False
    assert found == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.1,
    }


@pytest.mark.parametrize("way", STREAMED)
def test_a_plain_stream_says_that_and_wants_the_usage(server: ScriptedServer, way: str) -> None:
    ask(way, llm(server))
    assert server.seen[-1].body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("way", WAYS)
def test_completions_mode_says_model_prompt_and_temperature(
    server: ScriptedServer, way: str
) -> None:
    ask(way, llm(server, is_chat_model=False))
    found = {
        key: value for key, value in server.seen[-1].body.items() if not key.startswith("stream")
    }
    assert server.seen[-1].path == "/v1/completions"
    assert "Hello" in found.pop("prompt")
    assert found == {"model": "m", "temperature": 0.1}


@pytest.mark.parametrize("way", WAYS)
def test_temperature_none_is_not_sent(server: ScriptedServer, way: str) -> None:
    ask(way, llm(server, temperature=None))
    assert body(server) == {"model": "m"}


@pytest.mark.parametrize("model", ["o1", "o3-mini", "gpt-5", "gpt-5-mini", "deepseek-r1"])
def test_a_given_temperature_is_never_overwritten(server: ScriptedServer, model: str) -> None:
    ask("complete", llm(server, model=model, temperature=0.3))
    assert body(server)["temperature"] == 0.3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", ["qwen3", "gpt-4o", "o1"])
def test_reasoning_effort_goes_to_any_model(server: ScriptedServer, way: str, model: str) -> None:
    ask(way, llm(server, model=model, reasoning_effort="high"))
    assert body(server)["reasoning_effort"] == "high"


FIELDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "max_tokens": ({"max_tokens": 5}, {"max_tokens": 5}),
    "stop, one": ({"stop": "END"}, {"stop": "END"}),
    "stop, several": ({"stop": ["A", "B"]}, {"stop": ["A", "B"]}),
    "sampling": (
        {
            "top_p": 0.5,
            "seed": 1,
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
            "logit_bias": {5: 1},
        },
        {
            "top_p": 0.5,
            "seed": 1,
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
            "logit_bias": {"5": 1},
        },
    ),
    "zeros": (
        {"temperature": 0, "top_p": 0.0, "seed": 0, "presence_penalty": 0},
        {"temperature": 0, "top_p": 0.0, "seed": 0, "presence_penalty": 0},
    ),
    "logprobs": ({"logprobs": True}, {"logprobs": True}),
    "logprobs and others": (
        {"logprobs": True, "top_logprobs": 3},
        {"logprobs": True, "top_logprobs": 3},
    ),
    "others without logprobs": ({"top_logprobs": 3}, {}),
    "audio": (
        {"modalities": ["text", "audio"], "audio_config": {"voice": "v", "format": "wav"}},
        {"modalities": ["text", "audio"], "audio": {"voice": "v", "format": "wav"}},
    ),
    "further": (
        {"additional_kwargs": {"user": "u"}, "extra_body": {"top_k": 5}},
        {"user": "u", "top_k": 5},
    ),
    "service": (
        {"verbosity": "low", "service_tier": "flex"},
        {"verbosity": "low", "service_tier": "flex"},
    ),
}


@pytest.mark.parametrize("way", CHATS)
@pytest.mark.parametrize("case", FIELDS)
def test_fields_are_sent_when_set(server: ScriptedServer, case: str, way: str) -> None:
    given, sent = FIELDS[case]
    ask(way, llm(server, **given))
    assert body(server) == {"model": "m", "temperature": 0.1} | sent


@pytest.mark.parametrize(
    ("logprobs", "sent"), [({"logprobs": True}, 0), ({"logprobs": True, "top_logprobs": 3}, 3)]
)
def test_logprobs_are_a_number_in_completions_mode(
    server: ScriptedServer, logprobs: dict[str, Any], sent: int
) -> None:
    ask("complete", llm(server, is_chat_model=False, **logprobs))
    assert body(server) == {"model": "m", "temperature": 0.1, "logprobs": sent}


@pytest.mark.parametrize("way", WAYS)
def test_a_tokenizer_gives_completions_the_rest_of_the_window(
    server: ScriptedServer, way: str
) -> None:
    made = llm(
        server,
        is_chat_model=False,
        tokenizer=_Words(),
        context_window=100,
        messages_to_prompt=lambda messages: "one two three",
    )
    ask(way, made, "one two three")
    assert body(server)["max_tokens"] == 97


@pytest.mark.parametrize("options", [{"max_tokens": 5}, {"is_chat_model": True, "max_tokens": 5}])
def test_given_max_tokens_win_over_the_tokenizer(
    server: ScriptedServer, options: dict[str, Any]
) -> None:
    ask(
        "complete",
        llm(
            server,
            **{"is_chat_model": False, "tokenizer": _Words(), "context_window": 100} | options,
        ),
    )
    assert body(server)["max_tokens"] == 5


def test_max_tokens_of_a_call_win_over_the_tokenizer(server: ScriptedServer) -> None:
    ask(
        "complete",
        llm(server, is_chat_model=False, tokenizer=_Words(), context_window=100),
        max_tokens=5,
    )
    assert body(server)["max_tokens"] == 5


# --- layers


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.9),
        ("max_tokens", 5),
        ("stop", ["y"]),
        ("seed", 7),
        ("model", "other"),
        ("reasoning_effort", "low"),
        ("user", "u"),
    ],
)
def test_options_of_a_call_win_over_fields(
    server: ScriptedServer, way: str, name: str, value: Any
) -> None:
    made = llm(
        server,
        max_tokens=1,
        stop=["x"],
        seed=1,
        reasoning_effort="high",
        additional_kwargs={"user": "a"},
    )
    ask(way, made, **{name: value})
    assert body(server)[name] == value


@pytest.mark.parametrize("way", WAYS)
def test_unknown_options_of_a_call_go_into_the_body(server: ScriptedServer, way: str) -> None:
    ask(
        way,
        llm(server),
        top_k=5,
        chat_template_kwargs={"enable_thinking": False},
        guided_json={"type": "object"},
    )
    found = body(server)
    assert (found["top_k"], found["chat_template_kwargs"], found["guided_json"]) == (
        5,
        {"enable_thinking": False},
        {"type": "object"},
    )


@pytest.mark.parametrize("way", ["chat", "acomplete", "stream_chat", "astream_complete"])
def test_every_layer_wins_over_those_below(server: ScriptedServer, way: str) -> None:
    names = "abcdef"
    made = llm(
        server,
        additional_kwargs={
            **dict.fromkeys(names[:5], "kwargs"),
            "extra_body": dict.fromkeys(names[:4], "kwargs' body"),
        },
        extra_body=dict.fromkeys(names[:3], "body"),
    )
    ask(way, made, a="call", b="call", extra_body={"a": "call's body"})
    found = body(server)
    assert [found.get(name) for name in names] == [
        "call's body",
        "call",
        "body",
        "kwargs' body",
        "kwargs",
        None,
    ]


def test_a_body_of_the_call_may_set_model_and_temperature(server: ScriptedServer) -> None:
    ask("chat", llm(server), extra_body={"model": "other", "temperature": 0.9})
    assert body(server) == {"model": "other", "temperature": 0.9}


@pytest.mark.parametrize("field", ["additional_kwargs", "extra_body"])
def test_further_fields_may_name_the_model(server: ScriptedServer, field: str) -> None:
    ask("chat", OPEALLM(api_base=server.url, max_retries=0, **{field: {"model": "other"}}))
    assert [seen.path for seen in server.seen] == ["/v1/chat/completions"]
    assert body(server)["model"] == "other"


def test_none_in_a_call_takes_a_field_out(server: ScriptedServer) -> None:
    ask("chat", llm(server, max_tokens=5), temperature=None, max_tokens=None)
    assert body(server) == {"model": "m"}


@pytest.mark.parametrize("spelling", ["max_tokens", "max_completion_tokens"])
def test_one_limit_of_tokens_is_sent_whatever_its_spelling(
    server: ScriptedServer, spelling: str
) -> None:
    ask("chat", llm(server, max_tokens=5), **{spelling: 9})
    found = body(server)
    assert [found[name] for name in ("max_tokens", "max_completion_tokens") if name in found] == [9]


def test_the_given_dicts_are_not_changed(server: ScriptedServer) -> None:
    kwargs, extra, of_call = {"a": 1, "extra_body": {"b": 1}}, {"c": 1}, {"d": 1}
    made = llm(server, additional_kwargs=kwargs, extra_body=extra)
    ask("chat", made, extra_body=of_call)
    ask("stream_chat", made, extra_body=of_call)
    assert (kwargs, extra, of_call) == ({"a": 1, "extra_body": {"b": 1}}, {"c": 1}, {"d": 1})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["call", "additional_kwargs", "extra_body"])
def test_several_answers_per_call_are_refused(server: ScriptedServer, where: str, way: str) -> None:
    made = llm(server) if where == "call" else llm(server, **{where: {"n": 2}})
    with pytest.raises(ConfigurationError, match="one answer"):
        ask(way, made, **({"n": 2} if where == "call" else {}))
    assert server.seen == []


def test_one_answer_per_call_may_be_said(server: ScriptedServer) -> None:
    ask("chat", llm(server), n=1)
    assert len(server.seen) == 1


@pytest.mark.parametrize("way", WAYS)
def test_stream_as_an_option_changes_nothing(server: ScriptedServer, way: str) -> None:
    ask(way, llm(server), stream=way in WHOLE)
    assert bool(server.seen[-1].body.get("stream")) == (way in STREAMED)


def test_usage_of_streams_can_be_switched_off(server: ScriptedServer) -> None:
    ask("stream_chat", llm(server, additional_kwargs={"stream_options": {"include_usage": False}}))
    assert server.seen[-1].body["stream_options"] == {"include_usage": False}


def test_an_endpoint_may_refuse_stream_options(server: ScriptedServer) -> None:
    server.script(
        error(400, "Unrecognized request argument supplied: stream_options", param="stream_options")
    )
    assert ask("stream_chat", llm(server)).message.content
    assert "stream_options" not in server.seen[-1].body


def test_a_class_as_response_format_is_sent_as_its_schema(server: ScriptedServer) -> None:
    ask("chat", llm(server), response_format=Answer)
    sent = body(server)["response_format"]
    assert sent["type"] == "json_schema"
    assert (sent["json_schema"]["name"], sent["json_schema"]["schema"]["required"]) == (
        "Answer",
        ["text"],
    )


def test_the_words_of_a_server_are_known(server: ScriptedServer) -> None:
    ask(
        "chat",
        llm(
            server,
            max_tokens=5,
            capabilities=Capabilities(max_tokens_field="max_completion_tokens"),
        ),
    )
    assert body(server)["max_completion_tokens"] == 5
    assert "max_tokens" not in body(server)


# --- options that are about the call


@pytest.mark.parametrize("way", WAYS)
def test_options_about_the_call_are_not_in_the_body(server: ScriptedServer, way: str) -> None:
    options = {
        "timeout": 5,
        "deadline": 9,
        "max_retries": 1,
        "priority": 1,
        "request_id": "req-1",
        "recovery_wait": 1,
        "endpoint": "one",
    }
    ask(
        way, llm(server, label="one"), **options, extra_headers={"x-a": "b"}, extra_query={"q": "1"}
    )
    seen = server.seen[-1]
    assert body(server) == {"model": "m", "temperature": 0.1}
    assert (seen.headers["x-request-id"], seen.headers["x-a"], seen.query) == (
        "req-1",
        "b",
        {"q": "1"},
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["api_key", "api_base", "base_url"])
def test_what_the_object_is_made_of_is_no_option_of_a_call(
    server: ScriptedServer, way: str, name: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ask(way, llm(server), **{name: "sk-secret"})
    assert "sk-secret" not in str(caught.value)
    assert server.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_a_timeout_of_a_call(server: ScriptedServer, way: str) -> None:
    held = threading.Event()
    server.always(chat("late").after(Hold(held)))
    with pytest.raises(EndpointTimeout):
        ask(way, llm(server), timeout=0.05)
    held.set()


@pytest.mark.parametrize("way", WAYS)
def test_retries_of_a_call(server: ScriptedServer, way: str) -> None:
    server.always(error(503, "no"))
    with pytest.raises(ServerError):
        ask(way, llm(server, initial_retry_delay=0, breaker=False), max_retries=2)
    assert len(server.seen) == 3


@pytest.mark.parametrize("way", ["chat", "astream_complete"])
def test_headers_among_further_fields_are_headers(server: ScriptedServer, way: str) -> None:
    made = llm(
        server,
        additional_kwargs={"extra_headers": {"x-a": "b"}, "extra_query": {"q": "1"}, "user": "u"},
    )
    ask(way, made)
    assert (server.seen[-1].headers["x-a"], server.seen[-1].query) == ("b", {"q": "1"})
    assert body(server) == {"model": "m", "temperature": 0.1, "user": "u"}


def test_the_priority_of_the_object_and_of_a_call_is_not_sent(server: ScriptedServer) -> None:
    made = llm(server, priority=3)
    ask("chat", made)
    ask("chat", made, priority=0)
    assert all("priority" not in seen.body for seen in server.seen)


@pytest.mark.parametrize("priority", [-1, 10, "high"])
def test_a_priority_is_0_to_9(server: ScriptedServer, priority: Any) -> None:
    with pytest.raises(ValueError, match="priority"):
        llm(server, priority=priority)


# --- tools


def test_options_reach_calls_with_tools(server: ScriptedServer) -> None:
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    llm(server).chat_with_tools(
        [FunctionTool.from_defaults(add)],
        user_msg="x",
        temperature=0.9,
        top_k=3,
        extra_headers={"x-a": "b"},
    )
    found = body(server)
    assert (found["temperature"], found["top_k"], found["tool_choice"]) == (0.9, 3, "auto")
    assert server.seen[-1].headers["x-a"] == "b"


# --- embeddings and rerank


def test_embeddings_send_model_input_and_what_was_set(server: ScriptedServer) -> None:
    embedding(server).get_text_embedding("x")
    assert server.seen[-1].body == {"model": "e", "input": ["x"]}
    made = embedding(
        server,
        dimensions=4,
        additional_kwargs={"user": "u", "truncate": "END"},
        extra_body={"user": "v"},
    )
    made.get_text_embedding("x")
    assert server.seen[-1].body == {
        "model": "e",
        "input": ["x"],
        "dimensions": 4,
        "user": "v",
        "truncate": "END",
    }


def test_embeddings_take_a_body_among_further_fields(server: ScriptedServer) -> None:
    embedding(
        server, additional_kwargs={"extra_body": {"a": 1, "b": 1}}, extra_body={"b": 2}
    ).get_text_embedding("x")
    assert server.seen[-1].body == {"model": "e", "input": ["x"], "a": 1, "b": 2}


def test_rerank_sends_query_documents_and_what_was_set(server: ScriptedServer) -> None:
    server.always(ranked((0, 1.0)))
    nodes = [NodeWithScore(node=TextNode(text="a"))]
    reranker(
        server, top_n=3, additional_kwargs={"user": "u"}, extra_body={"truncate_prompt_tokens": 5}
    ).postprocess_nodes(nodes, query_str="q")
    assert server.seen[-1].body == {
        "model": "r", "query": "q", "documents": ["a"], "top_n": 3, "user": "u",
        "truncate_prompt_tokens": 5,
    }  # fmt: skip


@pytest.mark.parametrize("way", ["complete", "acomplete", "stream_complete", "astream_complete"])
@pytest.mark.parametrize("prompt", [5, None, ["x"]], ids=str)
def test_a_prompt_is_a_string(server: ScriptedServer, prompt: Any, way: str) -> None:
    with pytest.raises((ConfigurationError, ValueError, TypeError)):
        ask(way, llm(server), prompt)
    assert server.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_prompt_and_messages_may_be_named(server: ScriptedServer, way: str) -> None:
    made = llm(server)
    name = "messages" if "chat" in way else "prompt"

    async def asynchronously() -> None:
        found = await getattr(made, way)(**{name: question(way)})
        if way in STREAMED:
            async for _ in found:
                pass

    if way.startswith("a"):
        asyncio.run(asynchronously())
    else:
        list(getattr(made, way)(**{name: question(way)}))
    assert server.seen[-1].body["messages"] == [{"role": "user", "content": "Hello"}]
