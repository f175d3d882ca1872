"""What LlamaIndex's users do with an LLM, whatever the server is.

Nothing here depends on the words of the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from live_cases import THINKING, TOO_LONG
from live_llama_index_asking import (
    Ask,
    check_answer,
    check_error,
    check_growing,
    check_logprobs,
    check_thoughts,
    requests,
    text_of,
    user,
)
from live_servers import KEY, Server
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.tools import FunctionTool
from llama_index.core.utils import set_global_tokenizer

from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from opea_core import errors

HELLO = "Say hello."
WEATHER = "Weather in Paris?"
FORECAST = "Paris: sunny for 2 days"


def get_weather(city: str, days: int) -> str:
    """The weather of the next days."""
    return f"{city}: sunny for {days} days"


TOOL = FunctionTool.from_defaults(get_weather)


def check_call(message: ChatMessage, arguments: Any) -> str:
    """One call of the tool, as a block and as a dict; gives its id."""
    (call,) = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    assert (call.tool_name, call.tool_kwargs) == ("get_weather", arguments)
    (known,) = message.additional_kwargs["tool_calls"]
    assert known["function"]["name"] == "get_weather"
    assert known["id"] == call.tool_call_id
    assert call.tool_call_id
    return call.tool_call_id


class LlamaIndexBase:
    """How the cases get their objects; the test's module gives the ``server``."""

    @pytest.fixture(autouse=True)
    def words_for_tokens(self) -> None:
        """LlamaIndex would download its tokenizer."""
        set_global_tokenizer(str.split)

    @pytest.fixture
    def ask(self, cassette: Any, way: str) -> Iterator[Ask]:
        """Calls the methods of the way that is tried."""
        runner = asyncio.Runner() if way == "async" else None
        yield Ask(runner)
        if runner is not None:
            runner.close()

    @pytest.fixture
    def connect_li(self, server: Server, ask: Ask) -> Iterator[Callable[..., Any]]:
        """Makes an object of LlamaIndex's at the server;
        short, steady answers, and nothing is tried twice.
        """
        made: list[Any] = []
        places: dict[Any, dict[str, Any]] = {
            OPEALLM: {
                "api_base": server.url,
                "model": server.model,
                "temperature": 0,
                "max_tokens": 40,
                "context_window": 2048,
            },
            OPEAEmbedding: {"api_base": server.embed_url, "model_name": server.embed_model},
            OPEARerank: {"api_base": server.rerank_url, "model": server.rerank_model},
        }

        def connect(cls: type[Any] = OPEALLM, **options: Any) -> Any:
            made.append(
                cls(**{"api_key": KEY, "max_retries": 0, "timeout": 60.0} | places[cls] | options)
            )
            return made[-1]

        yield connect
        for thing in made:
            ask(thing.client, "close")

    @pytest.fixture
    def llm(self, connect_li: Callable[..., Any]) -> OPEALLM:
        """The LLM."""
        llm: OPEALLM = connect_li()
        return llm


class LLMCases(LlamaIndexBase):
    """One test per thing people ask an LLM for."""

    # --- chat and completions

    def test_llama_index_chat(self, ask: Ask, llm: OPEALLM) -> None:
        response = ask(llm, "chat", user(HELLO))
        check_answer(response)
        assert [type(block) for block in response.message.blocks] == [TextBlock]
        assert response.raw["choices"][0]["message"]["content"] == response.message.content
        assert response.delta is None
        assert requests(llm) == 1

    def test_llama_index_stream_chat(self, ask: Ask, llm: OPEALLM) -> None:
        last = check_growing(ask(llm, "stream_chat", user(HELLO)))
        whole = ask(llm, "chat", user(HELLO))
        assert last.message == whole.message
        assert last.additional_kwargs["total_tokens"] == whole.additional_kwargs["total_tokens"]
        assert requests(llm) == 2

    def test_llama_index_complete(self, ask: Ask, llm: OPEALLM) -> None:
        response = ask(llm, "complete", HELLO)
        check_answer(response)
        assert text_of(response) == ask(llm, "chat", user(HELLO)).message.content
        assert requests(llm) == 2

    def test_llama_index_stream_complete(self, ask: Ask, llm: OPEALLM) -> None:
        last = check_growing(ask(llm, "stream_complete", HELLO))
        assert last.text == ask(llm, "complete", HELLO).text
        assert requests(llm) == 2

    def test_llama_index_history(self, ask: Ask, llm: OPEALLM) -> None:
        first = ask(
            llm,
            "chat",
            [ChatMessage(role="system", content="Be brief. 你好, café, 🙂"), *user(HELLO)],
        )
        blocks = [TextBlock(text="And once more."), TextBlock(text="In one sentence.")]
        history = [*user(HELLO), first.message, ChatMessage(role="user", blocks=blocks)]
        check_answer(ask(llm, "chat", history))
        assert len(history) == 3

    def test_llama_index_predict(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(system_prompt="Be brief.")
        prompt = PromptTemplate("Say hello to {name}.")
        text = ask(llm, "predict", prompt, name="Ada")
        assert text.strip()
        assert "".join(ask(llm, "stream", prompt, name="Ada")) == text

    def test_llama_index_stream_given_up(self, ask: Ask, connect_li: Any) -> None:
        """Its place is free for the next call."""
        llm = connect_li(max_concurrent=1, queue_timeout=5.0)
        for method in ("stream_chat", "stream_complete"):
            piece = ask.first(llm, method, user(HELLO) if method == "stream_chat" else HELLO)
            assert "finish_reason" not in piece.additional_kwargs
        check_answer(ask(llm, "chat", user(HELLO)))
        assert llm.client.get_stats()["in_flight"] == 0

    def test_llama_index_cut_off(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=3)
        response = ask(llm, "chat", user(HELLO))
        check_answer(response, "length")
        assert response.additional_kwargs["completion_tokens"] == 3
        check_growing(ask(llm, "stream_chat", user(HELLO)), "length")

    def test_llama_index_stop(self, ask: Ask, llm: OPEALLM) -> None:
        free = ask(llm, "chat", user(HELLO)).message.content
        word = free.split()[1]
        stopped = ask(llm, "chat", user(HELLO), stop=[word]).message.content
        assert free.startswith(stopped)
        assert word not in stopped

    def test_llama_index_options_of_a_call(self, ask: Ask, llm: OPEALLM) -> None:
        """They win over the fields, and unknown ones go to the server."""
        response = ask(llm, "chat", user(HELLO), max_tokens=2, n_probs=1)
        check_answer(response, "length")
        assert response.additional_kwargs["completion_tokens"] == 2

    def test_llama_index_logprobs(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(logprobs=True, top_logprobs=2)
        check_logprobs(ask(llm, "chat", user(HELLO)))
        check_logprobs(ask(llm, "complete", HELLO))

    def test_llama_index_stream_logprobs(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(logprobs=True, top_logprobs=2)
        check_logprobs(ask(llm, "stream_chat", user(HELLO))[-1])
        check_logprobs(ask(llm, "stream_complete", HELLO)[-1])

    def test_llama_index_token_counter(self, ask: Ask, connect_li: Any) -> None:
        """It counts what the server counted, once for each of the four calls."""
        counter = TokenCountingHandler(tokenizer=str.split)
        llm = connect_li(callback_manager=CallbackManager([counter]))
        answers = [
            ask(llm, "chat", user(HELLO)),
            ask(llm, "stream_chat", user(HELLO))[-1],
            ask(llm, "complete", HELLO),
            ask(llm, "stream_complete", HELLO)[-1],
        ]
        told = [answer.additional_kwargs for answer in answers]
        assert [event.prompt_token_count for event in counter.llm_token_counts] == [
            counts["prompt_tokens"] for counts in told
        ]
        assert [event.completion_token_count for event in counter.llm_token_counts] == [
            counts["completion_tokens"] for counts in told
        ]

    # --- completions mode

    def test_llama_index_prompts(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(is_chat_model=False, max_tokens=12)
        response = ask(llm, "complete", "The answer")
        check_answer(response, response.additional_kwargs["finish_reason"])
        assert response.raw["object"] == "text_completion"
        last = check_growing(
            ask(llm, "stream_complete", "The answer"), response.additional_kwargs["finish_reason"]
        )
        assert last.text == response.text

    def test_llama_index_prompts_of_messages(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(is_chat_model=False, max_tokens=12)
        response = ask(llm, "chat", user(HELLO))
        assert response.raw["object"] == "text_completion"
        assert response.message.content.strip()
        last = ask(llm, "stream_chat", user(HELLO))[-1]
        assert last.message.content == response.message.content

    def test_llama_index_prompts_logprobs(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(is_chat_model=False, max_tokens=12, logprobs=True, top_logprobs=2)
        check_logprobs(ask(llm, "complete", "The answer"))

    # --- reasoning

    def test_llama_index_thinking(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(extra_body=THINKING, max_tokens=100)
        response = ask(llm, "chat", user(HELLO))
        check_answer(response)
        thoughts = check_thoughts(response.message)
        assert ask(llm, "complete", HELLO).additional_kwargs["reasoning_content"] == thoughts

    def test_llama_index_stream_thinking(self, ask: Ask, connect_li: Any) -> None:
        responses = ask(connect_li(extra_body=THINKING, max_tokens=100), "stream_chat", user(HELLO))
        last = check_growing(responses)
        deltas = [response.additional_kwargs.get("thinking_delta", "") for response in responses]
        assert "".join(deltas) == check_thoughts(last.message)
        first_word = next(i for i, response in enumerate(responses) if response.delta.strip())
        assert all(deltas[: first_word - 1])
        assert not any(deltas[first_word:])

    def test_llama_index_thoughts_in_the_history(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(extra_body=THINKING, max_tokens=100)
        last = ask(llm, "stream_chat", user(HELLO))[-1]
        check_answer(ask(llm, "chat", [*user(HELLO), last.message, *user(HELLO)]))

    # --- tools

    def test_llama_index_tools(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=90)
        response = ask(llm, "chat_with_tools", [TOOL], WEATHER, tool_required=True)
        check_call(response.message, {"city": "Paris", "days": 2})
        assert response.additional_kwargs["finish_reason"] == "tool_calls"
        (found,) = llm.get_tool_calls_from_response(response)
        assert (found.tool_name, found.tool_kwargs) == ("get_weather", {"city": "Paris", "days": 2})
        assert requests(llm) == 1

    def test_llama_index_stream_tools(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=90)
        responses = ask(llm, "stream_chat_with_tools", [TOOL], WEATHER, tool_choice="get_weather")
        last = responses[-1]
        check_call(last.message, {"city": "Paris", "days": 2})
        assert last.additional_kwargs["finish_reason"] == "tool_calls"
        assert last.raw["usage"]["total_tokens"]
        growing = [
            selected.tool_kwargs
            for r in responses
            for selected in llm.get_tool_calls_from_response(r, error_on_no_tool_call=False)
        ]
        assert growing[-1] == {
            "city": "Paris",
            "days": 2,
        }  # what comes in one read, as from a cassette, is handed on at once
        assert all(arguments.keys() <= {"city", "days"} for arguments in growing)

    def test_llama_index_tool_result(self, ask: Ask, connect_li: Any) -> None:
        """The history of a tool loop, as people write it by hand."""
        llm = connect_li(max_tokens=90)
        called = ask(llm, "chat_with_tools", [TOOL], WEATHER).message
        call_id = check_call(called, {"city": "Paris", "days": 2})
        result = ChatMessage(
            role="tool", content=FORECAST, additional_kwargs={"tool_call_id": call_id}
        )
        check_answer(
            ask(llm, "chat_with_tools", [TOOL], chat_history=[*user(WEATHER), called, result])
        )

    def test_llama_index_predict_and_call(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=90)
        answer = ask(llm, "predict_and_call", [TOOL], WEATHER)
        assert answer.response == FORECAST
        (source,) = answer.sources
        assert source.raw_input == {"args": (), "kwargs": {"city": "Paris", "days": 2}}
        assert requests(llm) == 1

    # --- errors

    def test_llama_index_context_overflow(self, ask: Ask, llm: OPEALLM) -> None:
        with pytest.raises(errors.ContextOverflowError, match="Too long for tiny-chat") as caught:
            ask(llm, "chat", user(TOO_LONG))
        check_error(caught.value, 400)
        assert requests(llm) == 1

    def test_llama_index_stream_context_overflow(self, ask: Ask, llm: OPEALLM) -> None:
        with pytest.raises(
            errors.ContextOverflowError, match="2,119 tokens asked, 2,048 possible"
        ) as caught:
            ask(llm, "stream_chat", user(TOO_LONG))
        check_error(caught.value, 400)

    def test_llama_index_bad_value(self, ask: Ask, llm: OPEALLM) -> None:
        with pytest.raises(errors.InvalidRequestError, match="temperature") as caught:
            ask(llm, "complete", HELLO, temperature="hot")
        check_error(caught.value, 400)

    def test_llama_index_no_key(self, ask: Ask, connect_li: Any) -> None:
        with pytest.raises(errors.AuthenticationError, match="No key was sent") as caught:
            ask(connect_li(api_key=None), "chat", user(HELLO))
        check_error(caught.value, 401)
