"""What LlamaIndex's users do with agents and with answers of a class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

import pytest
from live_cases import THINKING
from live_llama_index import FORECAST, HELLO, WEATHER, LlamaIndexBase, get_weather
from live_llama_index_asking import Ask, check_told, requests, user
from llama_index.core import PromptTemplate
from llama_index.core.agent.react.formatter import ReActChatFormatter
from llama_index.core.agent.workflow import (
    AgentInput,
    AgentOutput,
    AgentStream,
    AgentWorkflow,
    FunctionAgent,
    ReActAgent,
    ToolCall,
    ToolCallResult,
)
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index.core.types import PydanticProgramMode
from llama_index.core.workflow import StopEvent
from pydantic import BaseModel, Field

from llama_index_opea.errors import StructuredOutputError

ACTION = 'Thought: I need a tool.\nAction: get_weather\nAction Input: {"city": "Paris", "days": 2}'
ANSWER = "Thought: I can answer.\nAnswer: "
WHO = PromptTemplate("Who is {name}?")
AGENTS = pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecatedSince20",
    "ignore::pydantic.warnings.PydanticDeprecatedSince211",
    "ignore:is_running called from within a step:DeprecationWarning",
)
"""What LlamaIndex itself warns of when an agent runs."""


class Person(BaseModel):
    """Somebody."""

    name: str = Field(max_length=10)
    age: int


class Team(BaseModel):
    """Several people."""

    title: str = Field(max_length=5)
    members: list[Person] = Field(max_length=2)
    mood: Literal["good", "bad"] | None = None


def only(text: str, then: str = "") -> dict[str, Any]:
    """A grammar of llama.cpp: the model can write nothing else."""
    return {"grammar": f"root ::= {json.dumps(text)} {then}".strip()}


def check_loop(events: Sequence[Any], result: Any, streaming: bool) -> None:
    """A question, a call, its result, the answer."""
    steps = [type(event) for event in events if not isinstance(event, AgentStream | StopEvent)]
    assert steps == [AgentInput, AgentOutput, ToolCall, ToolCallResult, AgentInput, AgentOutput]
    (made,) = result.tool_calls
    assert (made.tool_name, made.tool_kwargs) == ("get_weather", {"city": "Paris", "days": 2})
    assert made.tool_output.content == FORECAST
    assert made.tool_id
    assert result.response.content.strip()
    pieces = [event for event in events if isinstance(event, AgentStream)]
    assert (len(pieces) > 4) is streaming
    if streaming:
        assert "".join(piece.delta for piece in pieces) == result.response.content
        assert pieces[-1].raw["usage"]["total_tokens"]
        assert any(
            call.tool_kwargs == {"city": "Paris", "days": 2}
            for piece in pieces
            for call in piece.tool_calls
        )


@AGENTS
class AgentCases(LlamaIndexBase):
    """One test per kind of agent, and per way to an object."""

    def test_llama_index_agent(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=90)
        events, result = ask.agent(
            FunctionAgent(tools=[get_weather], llm=llm, streaming=False), WEATHER
        )
        check_loop(events, result, streaming=False)
        assert requests(llm) == 2

    def test_llama_index_agent_stream(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=90)
        events, result = ask.agent(
            FunctionAgent(tools=[get_weather], llm=llm, system_prompt="Be brief."), WEATHER
        )
        check_loop(events, result, streaming=True)
        assert requests(llm) == 2

    def test_llama_index_agent_memory(self, ask: Ask, connect_li: Any) -> None:
        """The second question goes out with the calls and results of the first."""
        llm = connect_li(max_tokens=90)
        agent = FunctionAgent(tools=[get_weather], llm=llm, initial_tool_choice="get_weather")
        memory = ChatMemoryBuffer.from_defaults(token_limit=1000)
        for _ in range(2):
            events, result = ask.agent(agent, WEATHER, memory=memory)
            check_loop(events, result, streaming=True)
        assert [message.role.value for message in events[0].input] == [
            "user",
            "assistant",
            "tool",
            "assistant",
            "user",
        ]
        assert requests(llm) == 4

    def test_llama_index_agent_returns_directly(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=90)
        tool = FunctionTool.from_defaults(get_weather, return_direct=True)
        _, result = ask.agent(FunctionAgent(tools=[tool], llm=llm), WEATHER)
        assert result.response.content == FORECAST
        assert requests(llm) == 1

    def test_llama_index_agent_stopped_early(self, ask: Ask, connect_li: Any) -> None:
        """The request for a last answer goes out as a system message behind the others."""
        llm = connect_li(max_tokens=90)
        options = {"max_iterations": 1, "early_stopping_method": "generate"}
        _, result = ask.agent(FunctionAgent(tools=[get_weather], llm=llm), WEATHER, **options)
        assert result.response.content.strip()
        assert requests(llm) == 2

    def test_llama_index_agent_workflow(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=90)
        workflow = AgentWorkflow.from_tools_or_functions([get_weather], llm=llm)
        events, result = ask.agent(workflow, WEATHER)
        assert [
            event.tool_output.content for event in events if isinstance(event, ToolCallResult)
        ] == [FORECAST]
        assert result.response.content.strip()
        assert requests(llm) == 2

    def test_llama_index_agent_thinks(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=100, extra_body=THINKING)
        events, result = ask.agent(FunctionAgent(tools=[], llm=llm), HELLO)
        pieces = [event for event in events if isinstance(event, AgentStream)]
        thoughts, text = result.response.blocks
        assert thoughts.content.strip()
        assert "".join(piece.thinking_delta or "" for piece in pieces) == thoughts.content
        assert "".join(piece.delta for piece in pieces) == text.text

    def test_llama_index_agent_answers_with_an_object(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=150)
        _, result = ask.agent(
            FunctionAgent(tools=[get_weather], llm=llm, output_cls=Person), WEATHER
        )
        assert isinstance(result.get_pydantic_model(Person), Person)
        assert requests(llm) == 3

    def test_llama_index_react_agent(self, ask: Ask, connect_li: Any) -> None:
        """A grammar stands for a model that knows how agents of this kind think."""
        llm = connect_li(max_tokens=150, extra_body=only(ACTION))

        def get_weather_once(city: str, days: int) -> str:
            """The weather of the next days."""
            llm.extra_body = only(ANSWER, "[a-z ]{4,20}")
            return get_weather(city, days)

        tool = FunctionTool.from_defaults(get_weather_once, name="get_weather")
        formatter = ReActChatFormatter(
            system_header=(
                "Think, then use a tool or answer. The tools:\n{tool_desc}\nTheir names: "
                "{tool_names}"
            )
        )
        events, result = ask.agent(
            ReActAgent(tools=[tool], llm=llm, formatter=formatter, streaming=False), WEATHER
        )
        assert [
            event.tool_output.content for event in events if isinstance(event, ToolCallResult)
        ] == [FORECAST]
        assert "Thought" not in result.response.content
        assert len(result.response.content) <= 20
        assert requests(llm) == 2

    # --- answers of a class

    def test_llama_index_structured(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=150, system_prompt="Be brief.")
        assert isinstance(ask(llm, "structured_predict", Person, WHO, name="Ada"), Person)
        assert requests(llm) == 1

    def test_llama_index_structured_stream(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=150, system_prompt="Be brief.")
        *parts, last = ask(llm, "stream_structured_predict", Person, WHO, name="Ada")
        assert parts
        assert isinstance(last, Person)
        assert all(last.name.startswith(part.name or "") for part in parts)
        assert requests(llm) == 1
        assert last == ask(llm, "structured_predict", Person, WHO, name="Ada")

    def test_llama_index_structured_by_tool(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=150, pydantic_program_mode=PydanticProgramMode.FUNCTION)
        found = ask(llm, "structured_predict", Person, WHO, name="Ada")
        assert isinstance(found, Person)
        assert ask(llm, "stream_structured_predict", Person, WHO, name="Ada")[-1] == found
        assert requests(llm) == 2

    def test_llama_index_structured_strictly(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=150, should_use_structured_outputs=True, strict=True)
        assert isinstance(ask(llm, "structured_predict", Person, WHO, name="Ada"), Person)

    def test_llama_index_structured_nested(self, ask: Ask, connect_li: Any) -> None:
        for options in (
            {},
            {"strict": True},
            {"pydantic_program_mode": PydanticProgramMode.FUNCTION},
        ):
            found = ask(
                connect_li(max_tokens=200, **options), "structured_predict", Team, WHO, name="Ada"
            )
            assert isinstance(found, Team)
            assert all(isinstance(member, Person) for member in found.members)

    def test_llama_index_structured_llm(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(max_tokens=150)
        model = llm.as_structured_llm(Person)
        response = ask(model, "chat", user(HELLO))
        assert isinstance(response.raw, Person)
        assert response.message.content == response.raw.model_dump_json()
        assert ask(model, "complete", HELLO).raw == response.raw
        *parts, last = ask(model, "stream_chat", user(HELLO))
        assert parts
        assert last.raw == response.raw
        assert requests(llm) == 3

    def test_llama_index_structured_misfit(self, ask: Ask, connect_li: Any) -> None:
        """A server that knows nothing of the class,
        and a model that answers with something else, twice.
        """
        llm = connect_li(
            max_tokens=150,
            pydantic_program_mode=PydanticProgramMode.LLM,
            extra_body=only('{"name": "Ada"}'),
        )
        with pytest.raises(
            StructuredOutputError, match="gave no Person, twice: age: Field required"
        ) as caught:
            ask(llm, "structured_predict", Person, WHO, name="Ada")
        assert caught.value.raw_text == '{"name": "Ada"}'
        assert requests(llm) == 2

    def test_llama_index_structured_by_words(self, ask: Ask, connect_li: Any) -> None:
        """The schema stands in the prompt; a grammar stands for a model that follows it."""
        text = 'Here you are:\n```json\n{"name": "Ada", "age": 36}\n```'
        llm = connect_li(
            max_tokens=150, pydantic_program_mode=PydanticProgramMode.LLM, extra_body=only(text)
        )
        assert ask(llm, "structured_predict", Person, WHO, name="Ada") == Person(name="Ada", age=36)
        assert ask(llm, "stream_structured_predict", Person, WHO, name="Ada")[-1] == Person(
            name="Ada", age=36
        )
        assert requests(llm) == 2

    def test_llama_index_response_format(self, ask: Ask, connect_li: Any) -> None:
        """A class as an option of a call."""
        response = ask(connect_li(max_tokens=150), "chat", user(HELLO), response_format=Person)
        assert Person.model_validate_json(response.message.content)
        check_told(response, "stop")
