"""Agents, query engines and chat engines.

What people build on an LLM, without a network of its own.
"""

from __future__ import annotations

from typing import Any

import llama_index.core
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import (
    AgentOutput,
    AgentStream,
    AgentWorkflow,
    FunctionAgent,
    ReActAgent,
    ToolCallResult,
)
from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool

from llama_index_opea.testing.asking import HELLO
from llama_index_opea.testing.base import asynchronous, needs
from llama_index_opea.testing.checks import check_storable
from llama_index_opea.testing.samples import ADD, ADD_TWICE, ADDING, CITY, SUM, Address, add_numbers
from llama_index_opea.testing.settings import LLMSettings

HAND_OFF = (
    "Call handoff with to_agent 'adder' and reason 'sums'; the adder shall call add_numbers"
    " with 2 and 3."
)
QUESTION = "What did Ada write?"


def _memory() -> ChatMemoryBuffer:
    """Core's default keeps a connection to a database open."""
    return ChatMemoryBuffer.from_defaults(token_limit=100_000)


class AgentTests(LLMSettings):
    """Agents need ``supports_agents``; engines run with any LLM."""

    pytestmark = pytest.mark.filterwarnings(
        "ignore::pydantic.warnings.PydanticDeprecatedSince20",
        "ignore::pydantic.warnings.PydanticDeprecatedSince211",
        "ignore:is_running called from within a step:DeprecationWarning",
    )
    """Core's workflows look at all attributes of an agent, and its agents ask whether they run."""

    @pytest.fixture(autouse=True)
    def _words_are_tokens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Memories and prompt helpers count words, so that no tokenizer is loaded."""
        monkeypatch.setattr(llama_index.core, "global_tokenizer", str.split)

    async def _run(self, agent: Any, prompt: str, **kwargs: Any) -> tuple[AgentOutput, list[Any]]:
        """Its answer and all events on the way."""
        handler = agent.run(user_msg=prompt, **kwargs)
        events = [event async for event in handler.stream_events()]
        output = await handler
        assert isinstance(output, AgentOutput)
        return output, events

    def _check_run(self, output: AgentOutput, events: list[Any], sums: int = 1) -> None:
        """The tool ran, with numbers, and then the model said something."""
        results = [
            event
            for event in events
            if isinstance(event, ToolCallResult) and event.tool_name == "add_numbers"
        ]
        assert [result.tool_output.raw_output for result in results][:1] == [SUM]
        assert len(results) >= sums, f"the tool ran {len(results)} times"
        assert output.response.content, (
            "the agent's last message is empty:"
            " the last response of a stream must carry the whole message"
        )
        check_storable(output.response)
        for event in events:
            if isinstance(event, AgentStream):
                assert event.raw is None or isinstance(event.raw, dict)

    # --- function agents

    @needs("supports_agents", "supports_tools")
    @pytest.mark.parametrize("streaming", [True, False], ids=["stream", "whole"])
    @asynchronous
    async def test_function_agent(self, streaming: bool) -> None:
        """``FunctionAgent`` calls a tool and answers.

        To fix: see the tests of tool calls, then those of streams.
        """
        agent = FunctionAgent(
            tools=[ADDING], llm=self.llm(), system_prompt="Use the tools.", streaming=streaming
        )
        output, events = await self._run(agent, ADD)
        self._check_run(output, events)
        said = "".join(event.delta for event in events if isinstance(event, AgentStream))
        assert not streaming or str(output.response.content) in said

    @needs("supports_agents", "supports_tools")
    @asynchronous
    async def test_function_agent_memory(self) -> None:
        """A second run sees the first one, calls and results included.

        To fix: as ``test_tool_result_roundtrip``.
        """
        agent = FunctionAgent(tools=[ADDING], llm=self.llm())
        memory = _memory()
        self._check_run(*await self._run(agent, ADD, memory=memory))
        self._check_run(*await self._run(agent, ADD, memory=memory))
        roles = [message.role.value for message in memory.get_all()]
        assert (roles[0], roles[-1], roles.count("user")) == ("user", "assistant", 2)
        assert roles.count("tool") >= 2

    @needs("supports_agents", "supports_parallel_tools")
    @asynchronous
    async def test_function_agent_parallel(self) -> None:
        """Two calls of one turn both run. To fix: see ``test_parallel_tools_stream_async``."""
        output, events = await self._run(FunctionAgent(tools=[ADDING], llm=self.llm()), ADD_TWICE)
        self._check_run(output, events, sums=2)

    @needs("supports_agents", "supports_tool_choice")
    @asynchronous
    async def test_function_agent_initial_tool(self) -> None:
        """``initial_tool_choice`` forces the first call, and only that.

        To fix: see ``test_tool_choice_name_stream_async``.
        """
        agent = FunctionAgent(
            tools=[ADDING, CITY], llm=self.llm(), initial_tool_choice="name_of_city"
        )
        output, events = await self._run(agent, HELLO)
        assert [event.tool_name for event in events if isinstance(event, ToolCallResult)] == [
            "name_of_city"
        ]
        assert output.response.content

    @needs("supports_agents", "supports_tools")
    @asynchronous
    async def test_function_agent_return_direct(self) -> None:
        """A tool with ``return_direct`` ends the run, and what is in memory then can be asked on.

        To fix: do not send ``tool_call_id`` twice.
        """
        tool = FunctionTool.from_defaults(add_numbers, return_direct=True)
        agent = FunctionAgent(tools=[tool], llm=self.llm())
        memory = _memory()
        output, _ = await self._run(agent, ADD, memory=memory)
        assert output.response.content == str(SUM)
        output, _ = await self._run(FunctionAgent(tools=[], llm=self.llm()), HELLO, memory=memory)
        assert output.response.content

    @needs("supports_agents", "supports_tools")
    @asynchronous
    async def test_function_agent_early_stop(self) -> None:
        """Out of iterations, ``early_stopping_method="generate"`` asks for a last answer.

        It does so with a system message at the end.
        """
        agent = FunctionAgent(tools=[ADDING], llm=self.llm())
        output, _ = await self._run(agent, ADD, max_iterations=1, early_stopping_method="generate")
        assert output.response.content

    @needs("supports_agents", "supports_structured")
    @asynchronous
    async def test_function_agent_structured(self) -> None:
        """An agent with ``output_cls`` ends with an instance of it.

        To fix: see ``test_as_structured_llm_async``.
        """
        agent = FunctionAgent(tools=[ADDING], llm=self.llm(), output_cls=Address)
        output, _ = await self._run(agent, ADD)
        assert isinstance(output.get_pydantic_model(Address), Address)

    @needs("supports_agents", "supports_reasoning")
    @asynchronous
    async def test_function_agent_thinks(self) -> None:
        """Thoughts arrive in ``AgentStream.thinking_delta``.

        To fix: see ``test_thinking_delta_async``.
        """
        output, events = await self._run(
            FunctionAgent(tools=[ADDING], llm=self.llm(**self.reasoning_params)), ADD
        )
        self._check_run(output, events)
        assert any(event.thinking_delta for event in events if isinstance(event, AgentStream))

    # --- other agents

    @needs("supports_agents")
    @pytest.mark.parametrize("streaming", [True, False], ids=["stream", "whole"])
    @asynchronous
    async def test_react_agent(self, streaming: bool) -> None:
        """``ReActAgent`` works with plain text.

        To fix: deltas and text must be complete; it stops streams in the middle.
        """
        output, events = await self._run(
            ReActAgent(tools=[ADDING], llm=self.llm(), streaming=streaming), ADD
        )
        self._check_run(output, events)

    @needs("supports_agents", "supports_tools")
    @asynchronous
    async def test_agent_workflow(self) -> None:
        """``AgentWorkflow`` takes a ``FunctionAgent`` for an LLM that calls functions.

        To fix: see ``metadata.is_function_calling_model``.
        """
        workflow = AgentWorkflow.from_tools_or_functions([add_numbers], llm=self.llm())
        assert [type(agent) for agent in workflow.agents.values()] == [FunctionAgent]
        self._check_run(*await self._run(workflow, ADD))

    @needs("supports_agents", "supports_tools")
    @asynchronous
    async def test_agent_workflow_handoff(self) -> None:
        """One agent hands the conversation to another, with the calls in it.

        To fix: as ``test_function_agent_memory``.
        """
        root = FunctionAgent(
            name="root",
            description="Hands over.",
            tools=[],
            llm=self.llm(),
            can_handoff_to=["adder"],
        )
        adder = FunctionAgent(
            name="adder", description="Adds.", tools=[ADDING], llm=self.llm(), can_handoff_to=[]
        )
        output, events = await self._run(AgentWorkflow([root, adder], root_agent="root"), HAND_OFF)
        self._check_run(output, events)
        assert output.current_agent_name == "adder"

    # --- engines

    def _index(self) -> VectorStoreIndex:
        nodes = [
            TextNode(text="Ada wrote the first program.", id_="a"),
            TextNode(text="Lima is a city.", id_="b"),
        ]
        return VectorStoreIndex(nodes, embed_model=MockEmbedding(embed_dim=4), transformations=[])

    def test_query_engine(self) -> None:
        """A query engine over an index in memory answers from its nodes.

        To fix: see ``predict`` and ``metadata.context_window``.
        """
        response = self._index().as_query_engine(llm=self.llm()).query(QUESTION)
        assert isinstance(response, Response)
        assert response.response
        assert len(response.source_nodes) == 2

    def test_query_engine_stream(self) -> None:
        """It streams, too. To fix: see ``test_stream_predict``."""
        response = self._index().as_query_engine(llm=self.llm(), streaming=True).query(QUESTION)
        assert isinstance(response, StreamingResponse)
        assert "".join(response.response_gen)

    @asynchronous
    async def test_query_engine_async(self) -> None:
        """The same with ``aquery``."""
        response = await self._index().as_query_engine(llm=self.llm()).aquery(QUESTION)
        assert isinstance(response, Response)
        assert response.response

    @asynchronous
    async def test_query_engine_stream_async(self) -> None:
        """The same with ``aquery``, streamed."""
        response = (
            await self._index()
            .as_query_engine(llm=self.llm(), streaming=True, use_async=True)
            .aquery(QUESTION)
        )
        assert isinstance(response, AsyncStreamingResponse)
        assert "".join([token async for token in response.async_response_gen()])

    def test_chat_engine(self) -> None:
        """A chat engine keeps what was said.

        To fix: answers must be messages that can be sent again.
        """
        engine = SimpleChatEngine.from_defaults(llm=self.llm(), memory=_memory())
        assert engine.chat(HELLO).response
        assert engine.chat("And goodbye.").response
        assert [message.role.value for message in engine.chat_history] == ["user", "assistant"] * 2

    def test_chat_engine_stream(self) -> None:
        """A chat engine streams in a thread, and keeps the answer.

        To fix: deltas must be the answer, streams usable in other threads.
        """
        engine = SimpleChatEngine.from_defaults(llm=self.llm(), memory=_memory())
        said = "".join(engine.stream_chat(HELLO).response_gen)
        assert said
        assert engine.chat_history[-1].content == said.strip()

    @asynchronous
    async def test_chat_engine_stream_async(self) -> None:
        """The same with ``astream_chat``."""
        engine = SimpleChatEngine.from_defaults(llm=self.llm(), memory=_memory())
        response = await engine.astream_chat(HELLO)
        said = "".join([token async for token in response.async_response_gen()])
        assert said
        assert engine.chat_history[-1].content == said.strip()

    def test_context_chat_engine(self) -> None:
        """A chat engine over an index sends what it found as a system message.

        To fix: see ``test_conversation``.
        """
        engine = self._index().as_chat_engine(
            chat_mode=ChatMode.CONTEXT, llm=self.llm(), memory=_memory()
        )
        response = engine.chat(QUESTION)
        assert response.response
        assert len(response.source_nodes) == 2
