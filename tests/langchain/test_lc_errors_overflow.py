"""Too many tokens, in the words of each server; what LangChain's middleware makes of errors."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware, SummarizationMiddleware
from langchain_core import exceptions as lc
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from lc_object_support import WAYS, Listener, ask, made

import opea_core as core
from opea_core.testing import Answer, ScriptedServer, chat, error, json_answer

OVERFLOWS: dict[str, tuple[int, Any]] = {
    "vLLM": (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens. However, you requested "
            "5000 tokens (4000 in the messages, "
            "1000 in the completion). Please reduce the length of the messages or completion.",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    "llama.cpp": (
        400,
        {
            "error": {
                "code": 400,
                "message": (
                    "the request exceeds the available context size. try increasing the "
                    "context size or enable context shift"
                ),
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 5000,
                "n_ctx": 4096,
            }
        },
    ),
    "llama.cpp, 500": (
        500,
        {
            "error": {
                "code": 500,
                "message": "Context size has been exceeded.",
                "type": "server_error",
            }
        },
    ),
    "Ollama": (
        400,
        {
            "error": {
                "message": "the input length exceeds the context length",
                "type": "invalid_request_error",
            }
        },
    ),
    "TGI": (
        422,
        {
            "error": (
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. "
                "Given: 4000 `inputs` tokens and 500"
            ),
            "error_type": "validation",
        },
    ),
    "SGLang": (
        400,
        {
            "object": "error",
            "message": (
                "The input (5000 tokens) is longer than the model's context length (4096 tokens)."
            ),
            "code": 400,
        },
    ),
    "LM Studio": (
        400,
        {
            "error": (
                "Trying to keep the first 5000 tokens when context the overflows. The model "
                "is loaded with context length of 4096"
            )
        },
    ),
    "OpenAI": (
        400,
        {
            "error": {
                "message": (
                    "This model's maximum context length is 8192 tokens. However, your "
                    "messages resulted in 9000 tokens."
                ),
                "type": "invalid_request_error",
                "param": "messages",
                "code": "context_length_exceeded",
            }
        },
    ),
    "Groq": (
        413,
        {
            "error": {
                "message": "Please reduce the length of the messages or completion.",
                "type": "invalid_request_error",
                "param": "messages",
            }
        },
    ),
    "Mistral": (
        400,
        {
            "object": "error",
            "message": (
                "Prompt contains 40000 tokens and 0 draft tokens, too large for model with "
                "32768 maximum context length"
            ),
            "type": "invalid_request_prompt",
            "code": "3051",
        },
    ),
    "LiteLLM": (
        400,
        {
            "error": {
                "message": "litellm.ContextWindowExceededError: BadRequestError: too long",
                "type": None,
                "code": "400",
            }
        },
    ),
}
TOO_LONG = error(
    400,
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
    code="context_length_exceeded",
)


def _overflow(server: str) -> Answer:
    status, document = OVERFLOWS[server]
    return json_answer(document, status)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("whose", OVERFLOWS)
def test_an_overflow_in_the_words_of(server: ScriptedServer, whose: str, way: str) -> None:
    server.script(_overflow(whose))
    with pytest.raises(lc.ContextOverflowError) as caught:
        ask(way, made(server, max_retries=2))
    found: Any = caught.value
    assert isinstance(found, core.ContextOverflowError)
    assert found.is_retryable is False
    assert len(server.seen) == 1


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_an_overflow_inside_a_stream(server: ScriptedServer, way: str) -> None:
    said = {
        "error": {
            "message": "out of context: the request exceeds the available context size",
            "code": 400,
        }
    }
    server.script(json_answer(said, headers={"content-type": "text/event-stream"}))
    with pytest.raises(lc.ContextOverflowError):
        ask(way, made(server))


@pytest.mark.parametrize("way", WAYS)
def test_an_overflow_says_how_many_tokens_are_possible(server: ScriptedServer, way: str) -> None:
    listener = Listener()
    server.script(TOO_LONG)
    with pytest.raises(lc.ContextOverflowError, match=r"5,000 tokens asked, 4,096 possible"):
        ask(way, made(server), config=listener.config)
    assert listener.response.generations[0][0].message.response_metadata["status_code"] == 400


# --- ModelRetryMiddleware


AGENT_WAYS = ("invoke", "ainvoke")


def _asked(way: str, agent: Any, messages: Any) -> list[BaseMessage]:
    state = {"messages": messages}
    found = agent.invoke(state) if way == "invoke" else asyncio.run(agent.ainvoke(state))
    return list(found["messages"])


def _retrying(server: ScriptedServer, **options: Any) -> Any:
    at_once = ModelRetryMiddleware(
        max_retries=2, initial_delay=0, backoff_factor=0, jitter=False, on_failure="error"
    )
    return create_agent(made(server, **options), tools=[], middleware=[at_once])


@pytest.mark.parametrize("way", AGENT_WAYS)
@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_the_middleware_asks_again_after(server: ScriptedServer, status: int, way: str) -> None:
    server.script(error(status, "later"), chat("Hello"))
    assert _asked(way, _retrying(server, breaker=False), "x")[-1].text == "Hello"
    assert len(server.seen) == 2


@pytest.mark.parametrize("way", AGENT_WAYS)
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(error(400, "no"), id="400"),
        pytest.param(error(401, "no"), id="401"),
        pytest.param(error(403, "no"), id="403"),
        pytest.param(error(404, "no"), id="404"),
        pytest.param(error(429, "no", code="insufficient_quota"), id="quota"),
        pytest.param(error(501, "no"), id="501"),
        pytest.param(TOO_LONG, id="overflow"),
    ],
)
def test_the_middleware_does_not_ask_again_after(
    server: ScriptedServer, answer: Answer, way: str
) -> None:
    server.script(answer, chat("Hello"))
    with pytest.raises(lc.ModelError):
        _asked(way, _retrying(server), "x")
    assert len(server.seen) == 1


@pytest.mark.parametrize("way", AGENT_WAYS)
def test_the_middleware_gives_up_with_our_error(server: ScriptedServer, way: str) -> None:
    server.always(error(503, "later"))
    with pytest.raises(core.ServerError, match="503"):
        _asked(way, _retrying(server, breaker=False), "x")
    assert len(server.seen) == 3


@pytest.mark.parametrize("way", AGENT_WAYS)
def test_the_cores_own_retries_come_first(server: ScriptedServer, way: str) -> None:
    server.script(error(503, "later"), chat("Hello"))
    assert (
        _asked(way, _retrying(server, max_retries=1, initial_retry_delay=0), "x")[-1].text
        == "Hello"
    )
    assert len(server.seen) == 2


# --- SummarizationMiddleware


HISTORY: list[BaseMessage] = [
    message
    for number in range(6)
    for message in (
        HumanMessage(f"question {number} " + "word " * 50),
        AIMessage(f"answer {number} " + "word " * 50),
    )
]


def _summarizing(server: ScriptedServer) -> Any:
    model = made(server)
    middle = SummarizationMiddleware(
        model, trigger=("messages", 4), keep=("messages", 1), trim_tokens_to_summarize=None
    )
    return create_agent(model, tools=[], middleware=[middle])


def _prompt(server: ScriptedServer, number: int) -> str:
    return " ".join(message["content"] for message in server.seen[number].body["messages"])


@pytest.mark.parametrize("way", AGENT_WAYS)
def test_a_history_is_summarised(server: ScriptedServer, way: str) -> None:
    server.script(chat("They counted."), chat("Hello"))
    assert (
        _asked(way, _summarizing(server), [*HISTORY, HumanMessage("and now?")])[-1].text == "Hello"
    )
    assert "They counted." in _prompt(server, 1)
    assert "question 3" not in _prompt(server, 1)


@pytest.mark.parametrize("way", AGENT_WAYS)
@pytest.mark.parametrize("whose", OVERFLOWS)
def test_a_summary_that_does_not_fit_is_asked_for_again_with_less(
    server: ScriptedServer, whose: str, way: str
) -> None:
    server.script(_overflow(whose), chat("They counted."), chat("Hello"))
    assert (
        _asked(way, _summarizing(server), [*HISTORY, HumanMessage("and now?")])[-1].text == "Hello"
    )
    assert len(server.seen) == 3
    assert len(_prompt(server, 1)) < len(_prompt(server, 0))
    assert "middle of conversation omitted" in _prompt(server, 1)


@pytest.mark.parametrize("way", AGENT_WAYS)
def test_a_summary_that_never_fits_ends_with_the_overflow(server: ScriptedServer, way: str) -> None:
    server.always(TOO_LONG)
    with pytest.raises(lc.ContextOverflowError):
        _asked(way, _summarizing(server), [*HISTORY, HumanMessage("and now?")])
    assert len(server.seen) == 2


@pytest.mark.parametrize("way", AGENT_WAYS)
def test_a_summary_follows_the_window_the_server_told(server: ScriptedServer, way: str) -> None:
    """A fraction needs ``profile["max_input_tokens"]``, which ``discover()`` fills."""
    listing = json_answer(
        {"object": "list", "data": [{"id": "m", "object": "model", "max_model_len": 600}]}
    )
    server.script(listing, chat("They counted."), chat("Hello"))
    model = made(server).discover()
    middle = SummarizationMiddleware(model, trigger=("fraction", 0.5), keep=("messages", 1))
    agent = create_agent(model, tools=[], middleware=[middle])
    assert _asked(way, agent, [*HISTORY, HumanMessage("and now?")])[-1].text == "Hello"
    assert "They counted." in _prompt(server, 2)
