"""What LangChain's users do with a server, whatever the server is.

Nothing here depends on the words of the answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core import exceptions as lc
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, message_chunk_to_message
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.checkpoint.memory import InMemorySaver
from live_cases import THINKING, TOO_LONG
from live_langchain_asking import Ask, check_error, check_logprobs, check_message, whole
from live_servers import KEY, Server
from pydantic import BaseModel, Field

import opea_core
from langchain_opea import ChatOPEA, OPEAEmbeddings

HELLO = "Say hello."
PROMPT = ChatPromptTemplate.from_messages(
    [("system", "Answer in {count} words."), ("human", "{question}")]
)
ASKED: list[dict[str, Any]] = [
    {"count": "two", "question": HELLO},
    {"count": "three", "question": "How are you today, and what is new?"},
]
WEATHER = "Weather in Paris?"
V3 = pytest.mark.filterwarnings("ignore:.*in beta")


class Person(BaseModel):
    """Somebody."""

    name: str = Field(max_length=10)
    age: int


class PersonDict(TypedDict):
    """Somebody."""

    name: str
    age: int


PERSON = {
    "title": "person",
    **{key: value for key, value in Person.model_json_schema().items() if key != "title"},
}
"""The same as a JSON schema."""


@tool
def get_weather(city: str, days: int) -> str:
    """The weather of the next days."""
    return f"{city}: sunny for {days} days"


def check_loop(messages: list[Any]) -> None:
    """A question, a call, its result, the answer."""
    asked, call, result, answer = messages
    assert [type(m) for m in messages] == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert asked.content == WEATHER
    (made,) = call.tool_calls
    assert (made["name"], made["args"]) == ("get_weather", {"city": "Paris", "days": 2})
    assert (result.tool_call_id, result.content) == (made["id"], "Paris: sunny for 2 days")
    assert call.response_metadata["finish_reason"] == "tool_calls"
    assert answer.tool_calls == []
    check_message(answer)


class LangChainCases:
    """One test per thing people do with LangChain; the subclass gives the ``server``."""

    @pytest.fixture
    def ask(self, cassette: Any, way: str) -> Iterator[Ask]:
        """Calls the methods of the way that is tried."""
        runner = asyncio.Runner() if way == "async" else None
        yield Ask(runner)
        if runner is not None:
            runner.close()

    @pytest.fixture
    def connect_lc(self, server: Server, ask: Ask) -> Iterator[Callable[..., Any]]:
        """Makes an object of LangChain's at the server;
        short, steady answers, and nothing is tried twice.
        """
        made: list[Any] = []

        def connect(cls: type[Any] = ChatOPEA, **options: Any) -> Any:
            known = {
                "base_url": server.url,
                "model": server.model,
                "temperature": 0,
                "max_tokens": 40,
            }
            if cls is OPEAEmbeddings:
                known = {"base_url": server.embed_url, "model": server.embed_model}
            made.append(
                cls(**{"api_key": KEY, "max_retries": 0, "timeout": 60.0} | known | options)
            )
            return made[-1]

        yield connect
        for thing in made:
            ask(thing.client, "close")

    @pytest.fixture
    def model(self, connect_lc: Callable[..., Any]) -> ChatOPEA:
        """The chat model."""
        model: ChatOPEA = connect_lc()
        return model

    # --- chains

    def test_langchain_chain(self, ask: Ask, model: ChatOPEA) -> None:
        answer = ask(PROMPT | model | StrOutputParser(), "invoke", ASKED[0])
        assert isinstance(answer, str)
        assert answer.strip()

    def test_langchain_chain_stream(self, ask: Ask, model: ChatOPEA) -> None:
        chain = PROMPT | model | StrOutputParser()
        pieces = ask(chain, "stream", ASKED[0])
        assert len(pieces) > 1
        assert "".join(pieces) == ask(chain, "invoke", ASKED[0])

    def test_langchain_chain_batch(self, ask: Ask, model: ChatOPEA) -> None:
        short, long = ask(PROMPT | model, "batch", ASKED)
        check_message(short)
        check_message(long)
        assert short.usage_metadata["input_tokens"] < long.usage_metadata["input_tokens"]

    # --- messages

    def test_langchain_message(self, ask: Ask, model: ChatOPEA) -> None:
        message = ask(model, "invoke", HELLO)
        check_message(message)
        assert type(message) is AIMessage
        assert message.content_blocks == [{"type": "text", "text": message.content}]
        assert (
            message.response_metadata["token_usage"]["total_tokens"]
            == message.usage_metadata["total_tokens"]
        )
        assert "reasoning_content" not in message.additional_kwargs

    def test_langchain_stream(self, ask: Ask, model: ChatOPEA) -> None:
        chunks = ask(model, "stream", HELLO)
        message = whole(chunks)
        check_message(message)
        assert [chunk.usage_metadata is not None for chunk in chunks].count(True) == 1
        assert [chunk.chunk_position for chunk in chunks] == [None] * (len(chunks) - 1) + ["last"]
        assert {chunk.id for chunk in chunks} == {message.id}
        assert message.content == ask(model, "invoke", HELLO).content

    @V3
    def test_langchain_events(self, ask: Ask, model: ChatOPEA) -> None:
        events, message = ask.events(model, HELLO)
        deltas = [
            event["delta"]["text"] for event in events if event["event"] == "content-block-delta"
        ]
        assert len(deltas) > 1
        assert "".join(deltas) == message.text
        assert [event["event"] for event in events].count("message-finish") == 1
        check_message(message)

    def test_langchain_history(self, ask: Ask, model: ChatOPEA) -> None:
        first = ask(model, "invoke", [("system", "Be brief. 你好, café, 🙂"), ("human", HELLO)])
        second = ask(
            model,
            "invoke",
            [("human", HELLO), first, HumanMessage([{"type": "text", "text": "And once more."}])],
        )
        check_message(second)

    def test_langchain_several_answers(self, ask: Ask, connect_lc: Any) -> None:
        model = connect_lc(n=2, temperature=None, seed=7)
        ((first, second),) = ask(model, "generate", [[HumanMessage(HELLO)]]).generations
        check_message(first.message)
        assert second.text.strip()
        assert second.message.usage_metadata is None  # it is counted once

    def test_langchain_usage_of_all_calls(self, ask: Ask, model: ChatOPEA) -> None:
        with get_usage_metadata_callback() as counted:
            answers = [ask(model, "invoke", HELLO), whole(ask(model, "stream", HELLO))]
        totals = [answer.usage_metadata["total_tokens"] for answer in answers]
        assert counted.usage_metadata["tiny-chat"]["total_tokens"] == sum(totals)

    def test_langchain_cut_off(self, ask: Ask, connect_lc: Any) -> None:
        message = ask(connect_lc(max_tokens=3), "invoke", HELLO)
        check_message(message, "length")
        assert message.usage_metadata["output_tokens"] == 3

    def test_langchain_stop(self, ask: Ask, model: ChatOPEA) -> None:
        free = ask(model, "invoke", HELLO)
        word = free.text.split()[1]
        stopped = ask(model, "invoke", HELLO, stop=[word])
        assert free.text.startswith(stopped.text)
        assert word not in stopped.text

    def test_langchain_logprobs(self, ask: Ask, connect_lc: Any) -> None:
        check_logprobs(ask(connect_lc(logprobs=True, top_logprobs=2), "invoke", HELLO))

    def test_langchain_stream_logprobs(self, ask: Ask, connect_lc: Any) -> None:
        check_logprobs(whole(ask(connect_lc(logprobs=True, top_logprobs=2), "stream", HELLO)))

    # --- tools

    def test_langchain_tools(self, ask: Ask, model: ChatOPEA) -> None:
        message = ask(model.bind_tools([get_weather], tool_choice="any"), "invoke", WEATHER)
        (call,) = message.tool_calls
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris", "days": 2})
        assert message.response_metadata["finish_reason"] == "tool_calls"

    def test_langchain_stream_tools(self, ask: Ask, model: ChatOPEA) -> None:
        chunks = ask(model.bind_tools([get_weather], tool_choice="get_weather"), "stream", WEATHER)
        message = whole(chunks)
        (call,) = message.tool_calls
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris", "days": 2})
        pieces = [piece for chunk in chunks for piece in chunk.tool_call_chunks]
        assert [piece["name"] for piece in pieces if piece["name"]] == ["get_weather"]
        assert [piece["id"] for piece in pieces if piece["id"]] == [call["id"]]
        assert json.loads("".join(piece["args"] for piece in pieces)) == call["args"]
        assert [block["type"] for block in message.content_blocks] == ["tool_call"]

    # --- agents

    def test_langchain_agent(self, ask: Ask, connect_lc: Any) -> None:
        agent = create_agent(connect_lc(max_tokens=90), [get_weather])
        check_loop(ask(agent, "invoke", {"messages": [("user", WEATHER)]})["messages"])

    def test_langchain_agent_of_blocks(self, ask: Ask, connect_lc: Any) -> None:
        agent = create_agent(connect_lc(max_tokens=90, output_version="v1"), [get_weather])
        messages = ask(agent, "invoke", {"messages": [("user", WEATHER)]})["messages"]
        check_loop(messages)
        assert [
            [block["type"] for block in m.content] for m in messages if isinstance(m, AIMessage)
        ] == [["tool_call"], ["text"]]

    def test_langchain_agent_stream(self, ask: Ask, connect_lc: Any) -> None:
        agent = create_agent(connect_lc(max_tokens=90), [get_weather])
        pieces = [
            piece
            for piece, _ in ask(
                agent, "stream", {"messages": [("user", WEATHER)]}, stream_mode="messages"
            )
        ]
        at = next(i for i, piece in enumerate(pieces) if isinstance(piece, ToolMessage))
        call, answer = (
            message_chunk_to_message(whole(chunks)) for chunks in (pieces[:at], pieces[at + 1 :])
        )
        check_loop([HumanMessage(WEATHER), call, pieces[at], answer])
        assert len(pieces) > 4

    def test_langchain_agent_memory(self, ask: Ask, connect_lc: Any) -> None:
        """The second question goes out with the calls and results of the first."""
        agent = create_agent(connect_lc(max_tokens=90), [get_weather], checkpointer=InMemorySaver())
        thread = {"configurable": {"thread_id": "1"}}
        for _ in range(2):
            messages = ask(agent, "invoke", {"messages": [("user", WEATHER)]}, thread)["messages"]
        check_loop(messages[:4])
        check_loop(messages[4:])

    def test_langchain_agent_answers_by_format(self, ask: Ask, connect_lc: Any) -> None:
        agent = create_agent(connect_lc(max_tokens=150), response_format=ProviderStrategy(Person))
        assert isinstance(
            ask(agent, "invoke", {"messages": [("user", "Who?")]})["structured_response"], Person
        )

    def test_langchain_agent_answers_by_tool(self, ask: Ask, connect_lc: Any) -> None:
        agent = create_agent(connect_lc(max_tokens=150), response_format=ToolStrategy(Person))
        assert isinstance(
            ask(agent, "invoke", {"messages": [("user", "Who?")]})["structured_response"], Person
        )

    # --- structured output

    def test_langchain_structured(self, ask: Ask, connect_lc: Any) -> None:
        found = ask(
            PROMPT | connect_lc(max_tokens=150).with_structured_output(Person), "invoke", ASKED[0]
        )
        assert isinstance(found, Person)

    def test_langchain_structured_json_schema(self, ask: Ask, connect_lc: Any) -> None:
        model = connect_lc(max_tokens=150).with_structured_output(
            Person, method="json_schema", strict=True
        )
        assert isinstance(ask(model, "invoke", HELLO), Person)

    def test_langchain_structured_function_calling(self, ask: Ask, connect_lc: Any) -> None:
        model = connect_lc(max_tokens=150).with_structured_output(Person, method="function_calling")
        assert isinstance(ask(model, "invoke", HELLO), Person)

    def test_langchain_structured_json_mode(self, ask: Ask, connect_lc: Any) -> None:
        found = ask(
            connect_lc(max_tokens=150).with_structured_output(method="json_mode"),
            "invoke",
            "Answer in JSON.",
        )
        assert isinstance(found, dict)
        assert found

    def test_langchain_structured_dict(self, ask: Ask, connect_lc: Any) -> None:
        model = connect_lc(max_tokens=150)
        for schema in (PERSON, PersonDict):
            found = ask(model.with_structured_output(schema), "invoke", HELLO)
            assert found.keys() == {"name", "age"}
            assert isinstance(found["age"], int)

    def test_langchain_structured_stream(self, ask: Ask, connect_lc: Any) -> None:
        model = connect_lc(max_tokens=150).with_structured_output(PERSON)
        *parts, last = ask(model, "stream", HELLO)
        assert parts
        assert all(
            last["name"].startswith(part["name"]) and part.keys() <= last.keys() for part in parts
        )
        assert last == ask(model, "invoke", HELLO)

    def test_langchain_structured_raw(self, ask: Ask, connect_lc: Any) -> None:
        found = ask(
            connect_lc(max_tokens=150).with_structured_output(Person, include_raw=True),
            "invoke",
            HELLO,
        )
        check_message(found["raw"])
        assert found["parsed"] == Person.model_validate_json(found["raw"].text)
        assert found["parsing_error"] is None

    def test_langchain_structured_misfit(self, ask: Ask, connect_lc: Any) -> None:
        """A server in JSON mode knows nothing of the schema."""
        model = connect_lc(max_tokens=150).with_structured_output(
            Person, method="json_mode", include_raw=True
        )
        found = ask(model, "invoke", "Answer in JSON.")
        assert found["parsed"] is None
        assert isinstance(found["parsing_error"], OutputParserException)
        assert found["parsing_error"].llm_output == found["raw"].text

    # --- reasoning

    def test_langchain_reasoning(self, ask: Ask, connect_lc: Any) -> None:
        message = ask(connect_lc(extra_body=THINKING, max_tokens=100), "invoke", HELLO)
        check_message(message)
        thought, text = message.content_blocks
        assert thought == {
            "type": "reasoning",
            "reasoning": message.additional_kwargs["reasoning_content"],
        }
        assert text == {"type": "text", "text": message.content}
        assert "<think>" not in str(message.content_blocks)

    def test_langchain_stream_reasoning(self, ask: Ask, connect_lc: Any) -> None:
        chunks = ask(connect_lc(extra_body=THINKING, max_tokens=100), "stream", HELLO)
        message = whole(chunks)
        check_message(message)
        assert [block["type"] for block in message.content_blocks] == ["reasoning", "text"]
        first_word = next(i for i, chunk in enumerate(chunks) if chunk.text)
        assert first_word > 0
        assert not any(
            "reasoning_content" in chunk.additional_kwargs for chunk in chunks[first_word:]
        )

    def test_langchain_blocks(self, ask: Ask, connect_lc: Any) -> None:
        message = ask(
            connect_lc(extra_body=THINKING, max_tokens=100, output_version="v1"), "invoke", HELLO
        )
        check_message(message)
        assert [block["type"] for block in message.content] == ["reasoning", "text"]
        assert message.content == message.content_blocks

    def test_langchain_stream_blocks(self, ask: Ask, connect_lc: Any) -> None:
        model = connect_lc(extra_body=THINKING, max_tokens=100, output_version="v1")
        message = whole(ask(model, "stream", HELLO))
        check_message(message)
        assert [block["type"] for block in message.content] == ["reasoning", "text"]
        again = ask(model, "invoke", [HumanMessage(HELLO), message, HumanMessage(HELLO)])
        check_message(again)

    @V3
    def test_langchain_reasoning_events(self, ask: Ask, connect_lc: Any) -> None:
        events, message = ask.events(connect_lc(extra_body=THINKING, max_tokens=100), HELLO)
        assert [block["type"] for block in message.content_blocks] == ["reasoning", "text"]
        assert [
            event["content"]["type"] for event in events if event["event"] == "content-block-finish"
        ] == ["reasoning", "text"]

    # --- embeddings

    def test_langchain_embeddings(self, ask: Ask, connect_lc: Any) -> None:
        embeddings = connect_lc(OPEAEmbeddings)
        first, second, third = ask(
            embeddings, "embed_documents", ["hello world", "a queue", "the answer"], chunk_size=2
        )
        assert len({len(vector) for vector in (first, second, third)}) == 1
        assert all(type(number) is float for number in second)
        assert ask(embeddings, "embed_query", "a queue") == pytest.approx(second, abs=1e-4)
        assert first != second != third

    def test_langchain_vector_store(self, ask: Ask, connect_lc: Any) -> None:
        texts = [
            "A queue keeps the order of the calls.",
            "The weather in Paris is fine today.",
            "A café on the street.",
        ]
        store = InMemoryVectorStore(connect_lc(OPEAEmbeddings))
        ask(store, "add_texts", texts)
        (found,) = ask(store, "similarity_search", "weather in Paris", k=1)
        assert found.page_content == texts[1]

    # --- errors

    def test_langchain_context_overflow(self, ask: Ask, model: ChatOPEA) -> None:
        with pytest.raises(lc.ContextOverflowError, match="Too long for tiny-chat") as caught:
            ask(model, "invoke", TOO_LONG)
        check_error(caught.value, 400)
        assert isinstance(caught.value, opea_core.ContextOverflowError)

    def test_langchain_stream_context_overflow(self, ask: Ask, model: ChatOPEA) -> None:
        with pytest.raises(
            lc.ContextOverflowError, match="2,119 tokens asked, 2,048 possible"
        ) as caught:
            ask(model, "stream", TOO_LONG)
        check_error(caught.value, 400)

    def test_langchain_bad_value(self, ask: Ask, model: ChatOPEA) -> None:
        with pytest.raises(lc.ModelInvalidRequestError, match="temperature") as caught:
            ask(model, "invoke", HELLO, temperature="hot")
        check_error(caught.value, 400)

    def test_langchain_no_key(self, ask: Ask, connect_lc: Any) -> None:
        with pytest.raises(lc.ModelAuthenticationError, match="No key was sent") as caught:
            ask(connect_lc(api_key=""), "invoke", HELLO)
        check_error(caught.value, 401)

    def test_langchain_fallback(self, ask: Ask, connect_lc: Any) -> None:
        """A model that cannot take the question, and one that can."""
        narrow = connect_lc(max_tokens=1).bind(temperature="hot")
        check_message(
            ask(
                narrow.with_fallbacks([connect_lc()], exceptions_to_handle=(lc.ModelError,)),
                "invoke",
                HELLO,
            )
        )
