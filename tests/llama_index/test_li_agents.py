"""Agents on scripted answers: what they send turn by turn, and what they make of text,
calls and thoughts.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from li_object_support import Counter, Events, Listener, instrumented, llm
from llama_index.core.agent.workflow import (
    AgentOutput,
    AgentStream,
    AgentWorkflow,
    FunctionAgent,
    ReActAgent,
    ToolCallResult,
)
from llama_index.core.async_utils import asyncio_run
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from opea_core import OPEAError, StreamInterrupted
from opea_core.testing import Answer, ScriptedServer, chat, error, stream, tool_call

pytestmark = pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecatedSince20",
    "ignore::pydantic.warnings.PydanticDeprecatedSince211",
    "ignore:is_running called from within a step:DeprecationWarning",
)
USAGE = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
STREAMING = pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])


class Sum(BaseModel):
    """A sum."""

    value: int


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def weather(city: str) -> str:
    """The weather in a city."""
    return f"Rain in {city}."


def fail(why: str) -> str:
    """Fail."""
    raise ValueError(f"no luck: {why}")


def now() -> str:
    """The time."""
    return "noon"


ADD, WEATHER, FAIL, NOW = (
    FunctionTool.from_defaults(function) for function in (add, weather, fail, now)
)


def turn(text: str = "", *calls: Any, thoughts: str = "") -> Any:
    """One turn of the model, streamed or whole as it is asked for."""

    def answer(seen: Any) -> Answer:
        finish = "tool_calls" if calls else "stop"
        if not seen.body.get("stream"):
            return chat(text or None, tool_calls=calls, reasoning=thoughts or None, usage=USAGE)
        thinking = [{"reasoning_content": word} for word in thoughts.split(" ") if word]
        pieces: list[Any] = [*thinking, *[f"{word} " for word in text.split(" ") if word]]
        for index, call in enumerate(calls):
            arguments = call["function"]["arguments"]
            half = len(arguments) // 2
            first = {
                "index": index,
                **call,
                "function": {"name": call["function"]["name"], "arguments": arguments[:half]},
            }
            pieces += [
                {"tool_calls": [first]},
                {"tool_calls": [{"index": index, "function": {"arguments": arguments[half:]}}]},
            ]
        return stream(pieces, finish_reason=finish, usage=USAGE)

    return answer


def agent(server: ScriptedServer, *tools: Any, **options: Any) -> FunctionAgent:
    """A function agent with an LLM at this server."""
    return FunctionAgent(tools=list(tools), llm=options.pop("llm", None) or llm(server), **options)


async def run(made: Any, prompt: str = "Hello", **options: Any) -> tuple[AgentOutput, list[Any]]:
    """The output and all events; core's default memory keeps a database open."""
    handler = made.run(
        user_msg=prompt, memory=ChatMemoryBuffer.from_defaults(token_limit=100_000), **options
    )
    events = [event async for event in handler.stream_events()]
    return await handler, events


def messages(server: ScriptedServer, number: int = -1) -> list[dict[str, Any]]:
    """The messages of a request."""
    found: list[dict[str, Any]] = server.seen[number].body["messages"]
    return found


def results(events: list[Any]) -> list[Any]:
    """What the tools gave."""
    return [event.tool_output.raw_output for event in events if isinstance(event, ToolCallResult)]


# --- FunctionAgent


@STREAMING
async def test_an_agent_without_need_of_tools(server: ScriptedServer, streaming: bool) -> None:
    server.script(turn("Hello you"))
    output, events = await run(agent(server, ADD, streaming=streaming, system_prompt="Be brief."))
    assert str(output.response.content).strip() == "Hello you"
    assert [message["role"] for message in messages(server)] == ["system", "user"]
    assert [tool["function"]["name"] for tool in server.seen[0].body["tools"]] == ["add"]
    assert results(events) == []


@STREAMING
async def test_a_tool_is_called_and_its_result_sent_back(
    server: ScriptedServer, streaming: bool
) -> None:
    server.script(turn("", tool_call("add", {"a": 2, "b": 3}, "c1")), turn("It is 5"))
    output, events = await run(agent(server, ADD, streaming=streaming))
    assert str(output.response.content).strip() == "It is 5"
    assert results(events) == [5]
    assert [(call.tool_name, call.tool_kwargs) for call in output.tool_calls] == [
        ("add", {"a": 2, "b": 3})
    ]
    asked, answered = messages(server)[-2:]
    assert [
        (call["id"], json.loads(call["function"]["arguments"])) for call in asked["tool_calls"]
    ] == [("c1", {"a": 2, "b": 3})]
    assert (answered["role"], answered["tool_call_id"], answered["content"]) == ("tool", "c1", "5")


@STREAMING
async def test_text_and_call_of_one_turn_both_survive(
    server: ScriptedServer, streaming: bool
) -> None:
    server.script(turn("Let me add.", tool_call("add", {"a": 2, "b": 3}, "c1")), turn("5"))
    await run(agent(server, ADD, streaming=streaming))
    asked = messages(server)[-2]
    assert asked["content"].strip() == "Let me add."
    assert len(asked["tool_calls"]) == 1


@STREAMING
async def test_several_calls_of_one_turn(server: ScriptedServer, streaming: bool) -> None:
    calls = [
        tool_call("add", {"a": 1, "b": 1}, "c1"),
        tool_call("weather", {"city": "Rome"}, "c2"),
        tool_call("now", "", "c3"),
    ]
    server.script(turn("", *calls), turn("Done"))
    _, events = await run(agent(server, ADD, WEATHER, NOW, streaming=streaming))
    assert sorted(map(str, results(events))) == ["2", "Rain in Rome.", "noon"]
    assert server.seen[0].body["parallel_tool_calls"] is True
    answered = {
        message["tool_call_id"]: message["content"]
        for message in messages(server)
        if message["role"] == "tool"
    }
    assert answered == {"c1": "2", "c2": "Rain in Rome.", "c3": "noon"}


@STREAMING
async def test_one_call_at_a_time_if_parallel_ones_are_not_allowed(
    server: ScriptedServer, streaming: bool
) -> None:
    calls = [tool_call("add", {"a": 1, "b": 1}, "c1"), tool_call("add", {"a": 2, "b": 2}, "c2")]
    server.script(turn("", *calls), turn("Done"))
    _, events = await run(agent(server, ADD, streaming=streaming, allow_parallel_tool_calls=False))
    assert results(events) == [2]
    assert len(messages(server)[-2]["tool_calls"]) == 1
    assert server.seen[0].body.get("parallel_tool_calls") is not True


@STREAMING
async def test_an_error_of_a_tool_is_told_the_model(
    server: ScriptedServer, streaming: bool
) -> None:
    server.script(turn("", tool_call("fail", {"why": "x"}, "c1")), turn("Sorry"))
    output, _ = await run(agent(server, FAIL, streaming=streaming))
    assert str(output.response.content).strip() == "Sorry"
    assert "no luck: x" in messages(server)[-1]["content"]


@STREAMING
@pytest.mark.parametrize("arguments", ["{broken", "[1]", '"x"', "null"])
async def test_arguments_that_cannot_be_read_do_not_end_the_agent(
    server: ScriptedServer, arguments: str, streaming: bool
) -> None:
    server.script(turn("", tool_call("add", arguments, "c1")), turn("Sorry"))
    output, events = await run(agent(server, ADD, streaming=streaming))
    assert str(output.response.content).strip() == "Sorry"
    assert [
        event.tool_output.is_error for event in events if isinstance(event, ToolCallResult)
    ] == [True]
    sent = messages(server)[-2]["tool_calls"][0]["function"]["arguments"]
    assert isinstance(json.loads(sent), dict)


@STREAMING
async def test_a_tool_nobody_has_is_told_the_model(server: ScriptedServer, streaming: bool) -> None:
    server.script(turn("", tool_call("fly", {}, "c1")), turn("Sorry"))
    await run(agent(server, ADD, streaming=streaming))
    assert "fly" in messages(server)[-1]["content"]


@STREAMING
async def test_a_result_may_be_the_answer(server: ScriptedServer, streaming: bool) -> None:
    direct = FunctionTool.from_defaults(add, return_direct=True)
    server.script(turn("", tool_call("add", {"a": 2, "b": 3}, "c1")), turn("Then 6"))
    made = agent(server, direct, streaming=streaming)
    memory = ChatMemoryBuffer.from_defaults(token_limit=100_000)
    first = await made.run(user_msg="x", memory=memory)
    assert (str(first.response.content), len(server.seen)) == ("5", 1)
    await made.run(user_msg="y", memory=memory)
    sent = messages(server)
    assert [message["role"] for message in sent] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert sent[3] == {"role": "assistant", "content": "5"}


@STREAMING
async def test_the_first_choice_of_a_tool_reaches_the_server_once(
    server: ScriptedServer, streaming: bool
) -> None:
    server.script(turn("", tool_call("add", {"a": 2, "b": 3}, "c1")), turn("5"))
    await run(agent(server, ADD, NOW, streaming=streaming, initial_tool_choice="add"))
    assert [seen.body["tool_choice"] for seen in server.seen] == [
        {"type": "function", "function": {"name": "add"}},
        "auto",
    ]


@STREAMING
async def test_a_last_answer_when_there_were_too_many_turns(
    server: ScriptedServer, streaming: bool
) -> None:
    server.always(turn("", tool_call("now", {}, "c1")))
    server.script(*[turn("", tool_call("now", {}, "c1"))] * 2, turn("Enough"))
    output, _ = await run(
        agent(server, NOW, streaming=streaming), max_iterations=2, early_stopping_method="generate"
    )
    assert str(output.response.content).strip() == "Enough"
    assert messages(server)[-1]["role"] == "system"


async def test_thoughts_are_handed_on_as_they_come(server: ScriptedServer) -> None:
    server.script(
        turn("", tool_call("now", {}, "c1"), thoughts="I must look"),
        turn("It is noon", thoughts="Now I know"),
    )
    _, events = await run(agent(server, NOW))
    thoughts = [
        event.thinking_delta
        for event in events
        if isinstance(event, AgentStream) and event.thinking_delta
    ]
    assert thoughts == ["I", "must", "look", "Now", "I", "know"]


async def test_what_agents_stream_grows_and_is_plain(server: ScriptedServer) -> None:
    server.script(turn("one two", tool_call("add", {"a": 12, "b": 3}, "c1")), turn("It is 15"))
    output, events = await run(agent(server, ADD))
    streamed = [event for event in events if isinstance(event, AgentStream)]
    assert all(event.raw is None or type(event.raw) is dict for event in streamed)
    assert "".join(event.delta for event in streamed) == "one two It is 15 "
    assert streamed[-1].response == output.response.content == "It is 15 "
    for event in events:
        json.dumps(event.model_dump(mode="json"))
    assert type(output.raw) is dict
    assert output.raw["usage"]["total_tokens"] == 12


async def test_arguments_grow_in_the_stream_and_are_whole_at_the_end(
    server: ScriptedServer,
) -> None:
    server.script(turn("", tool_call("weather", {"city": "Constantinople"}, "c1")), turn("Rain"))
    _, events = await run(agent(server, WEATHER))
    grown = [
        event.tool_calls[0].tool_kwargs
        for event in events
        if isinstance(event, AgentStream) and event.tool_calls
    ]
    assert grown[-1] == {"city": "Constantinople"}
    assert all("Constantinople".startswith(kwargs.get("city", "")) for kwargs in grown)


@STREAMING
async def test_an_answer_of_a_given_form(server: ScriptedServer, streaming: bool) -> None:
    server.script(
        turn("", tool_call("add", {"a": 2, "b": 3}, "c1")), turn("It is 5"), turn('{"value": 5}')
    )
    output, _ = await run(agent(server, ADD, streaming=streaming, output_cls=Sum))
    assert output.structured_response == {"value": 5}


@STREAMING
async def test_errors_of_the_server_end_the_agent(server: ScriptedServer, streaming: bool) -> None:
    server.always(error(401, "wrong key"))
    with pytest.raises(OPEAError, match="401"):
        await run(agent(server, ADD, streaming=streaming))


async def test_a_broken_stream_ends_the_agent(server: ScriptedServer) -> None:
    server.always(stream(["It"], finish_reason=None, done=False, end="cut"))
    with pytest.raises(StreamInterrupted):
        await run(agent(server, ADD))


async def test_a_model_without_tools_cannot_be_a_function_agent(server: ScriptedServer) -> None:
    with pytest.raises(ValueError, match="FunctionCallingLLM"):
        await run(agent(server, ADD, llm=llm(server, is_function_calling_model=False)))
    assert server.seen == []


@STREAMING
async def test_events_counts_and_limits_of_an_agent(
    server: ScriptedServer, streaming: bool
) -> None:
    server.script(turn("", tool_call("now", {}, "c1")), turn("noon"))
    listener, limiter, counter = Listener(), Counter(), TokenCountingHandler(tokenizer=str.split)
    model = llm(server, callback_manager=CallbackManager([listener, counter]), rate_limiter=limiter)
    with instrumented() as (events, spans):
        await run(agent(server, NOW, llm=model, streaming=streaming))
    assert listener.counts["llm"] == (2, 2)
    assert (limiter.total, counter.total_llm_token_count) == (2, 24)
    _balanced(events)
    assert spans.open_spans == {}


def _balanced(events: Events) -> None:
    assert len(events.of("LLMChatStartEvent")) == len(events.of("LLMChatEndEvent")) == 2


@STREAMING
async def test_a_conversation_can_be_stored_and_goes_on(
    server: ScriptedServer, streaming: bool
) -> None:
    server.script(
        turn("so", tool_call("now", {}, "c1"), thoughts="hm"), turn("noon"), turn("again")
    )
    made = agent(server, NOW, streaming=streaming)
    memory = ChatMemoryBuffer.from_defaults(token_limit=100_000)
    await made.run(user_msg="x", memory=memory)
    stored = [message.model_dump_json() for message in memory.get_all()]
    history = [ChatMessage.model_validate_json(text) for text in stored]
    await run(made, "y", chat_history=history)
    sent = messages(server)
    assert [message["role"] for message in sent] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert (
        sent[1]["content"].strip(),
        sent[1]["tool_calls"][0]["id"],
        sent[2]["tool_call_id"],
    ) == ("so", "c1", "c1")


# --- others


REACT = 'Thought: I need the sum.\nAction: add\nAction Input: {"a": 2, "b": 3}'


@STREAMING
async def test_a_react_agent(server: ScriptedServer, streaming: bool) -> None:
    server.script(turn(REACT), turn("Thought: I can answer.\nAnswer: It is 5"))
    output, events = await run(
        ReActAgent(
            tools=[ADD], llm=llm(server, is_function_calling_model=False), streaming=streaming
        )
    )
    assert str(output.response.content).strip() == "It is 5"
    assert results(events) == [5]
    assert all("tools" not in seen.body for seen in server.seen)


@STREAMING
async def test_a_react_agent_of_a_model_that_thinks(
    server: ScriptedServer, streaming: bool
) -> None:
    server.script(turn("Thought: (Implicit) I can answer.\nAnswer: Hi", thoughts="let me see"))
    output, events = await run(ReActAgent(tools=[ADD], llm=llm(server), streaming=streaming))
    assert str(output.response.content).strip() == "Hi"
    if streaming:
        thoughts = [
            event.thinking_delta
            for event in events
            if isinstance(event, AgentStream) and event.thinking_delta
        ]
        assert thoughts == ["let", "me", "see"]


@STREAMING
async def test_two_agents_and_a_handoff(server: ScriptedServer, streaming: bool) -> None:
    model = llm(server)
    talker = agent(
        server,
        NOW,
        llm=model,
        name="talker",
        description="Talks.",
        can_handoff_to=["adder"],
        streaming=streaming,
    )
    adder = agent(server, ADD, llm=model, name="adder", description="Adds.", streaming=streaming)
    server.script(
        turn("", tool_call("handoff", {"to_agent": "adder", "reason": "sums"}, "h1")),
        turn("", tool_call("add", {"a": 2, "b": 3}, "c1")),
        turn("It is 5"),
    )
    output, events = await run(AgentWorkflow(agents=[talker, adder], root_agent="talker"), "2 + 3?")
    assert str(output.response.content).strip() == "It is 5"
    assert output.current_agent_name == "adder"
    assert results(events)[-1] == 5
    assert [
        sorted(tool["function"]["name"] for tool in seen.body["tools"]) for seen in server.seen
    ] == [
        ["handoff", "now"],
        ["add", "handoff"],
        ["add", "handoff"],
    ]


@pytest.mark.parametrize(("calls_functions", "kind"), [(True, FunctionAgent), (False, ReActAgent)])
def test_a_workflow_chooses_the_agent_that_fits_the_model(
    server: ScriptedServer, calls_functions: bool, kind: Any
) -> None:
    made = AgentWorkflow.from_tools_or_functions(
        [ADD], llm=llm(server, is_function_calling_model=calls_functions)
    )
    assert [type(one) for one in made.agents.values()] == [kind]


def test_two_event_loops_one_after_the_other(server: ScriptedServer) -> None:
    server.always(turn("Hi"))
    made = agent(server, ADD)
    for _ in range(3):
        output, _ = asyncio.run(run(made))
        assert str(output.response.content).strip() == "Hi"


def test_from_sync_code(server: ScriptedServer) -> None:
    server.always(turn("Hi"))
    output, _ = asyncio_run(run(agent(server, ADD)))
    assert str(output.response.content).strip() == "Hi"


async def test_a_history_of_another_integration(server: ScriptedServer) -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "now", "arguments": {}}}]
    history = [
        ChatMessage(role="user", content="What time is it?"),
        ChatMessage(role="assistant", content=None, additional_kwargs={"tool_calls": calls}),
        ChatMessage(
            role="tool", content="noon", additional_kwargs={"tool_call_id": "c1", "name": "now"}
        ),
    ]
    before = [message.model_dump() for message in history]
    server.script(turn("It is noon"))
    await run(agent(server, NOW), chat_history=history)
    assert messages(server)[1]["tool_calls"][0]["function"] == {"name": "now", "arguments": "{}"}
    assert [message.model_dump() for message in history] == before
