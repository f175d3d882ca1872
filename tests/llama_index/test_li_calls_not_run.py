"""Calls with arguments that cannot be used:
no tool runs, the model is told why, and the agent goes on.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

import pytest
from li_object_support import llm
from llama_index.core.agent.workflow import AgentOutput, AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool

from llama_index_opea.errors import NoToolCallError
from opea_core.testing import Answer, ScriptedServer, chat, stream, tool_call

pytestmark = pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecatedSince20",
    "ignore::pydantic.warnings.PydanticDeprecatedSince211",
    "ignore:is_running called from within a step:DeprecationWarning",
)
Json = dict[str, Any]


class Disk:
    """What the tool did."""

    def __init__(self) -> None:
        self.wiped: list[Json] = []

    def wipe(self, path: str = "/", force: bool = True, **more: Any) -> str:
        """Wipe a path."""
        self.wiped.append({"path": path, "force": force, **more})
        return "wiped"


class Broken(NamedTuple):
    """A call, how the answer ended, and what the model is told."""

    call: Json
    finish: str
    why: str


_ARGUMENTS = (
    "its arguments are no JSON object. Call it again, with arguments that are one whole JSON "
    "object."
)
_CUT = "its arguments were cut off at the token limit. Call it again, with shorter arguments."
BROKEN: dict[str, Broken] = {
    "cut off": Broken(tool_call("wipe", '{"path": "/tmp/a", "force": fal', "c1"), "length", _CUT),
    "cut off behind a value": Broken(tool_call("wipe", '{"path": "/tmp', "c1"), "length", _CUT),
    "cut off, and the server does not say so": Broken(
        tool_call("wipe", '{"path": "/tmp', "c1"), "tool_calls", _ARGUMENTS
    ),
    "cut off before them": Broken(
        tool_call("wipe", "", "c1"),
        "length",
        "it was cut off before its arguments. Call it again, with shorter arguments.",
    ),
    "a list": Broken(tool_call("wipe", '["/tmp"]', "c1"), "tool_calls", _ARGUMENTS),
    "a text": Broken(tool_call("wipe", '"/tmp"', "c1"), "tool_calls", _ARGUMENTS),
    "words": Broken(tool_call("wipe", "path=/tmp", "c1"), "tool_calls", _ARGUMENTS),
    "a text that was encoded twice and cut off": Broken(
        tool_call("wipe", '"{\\"path\\": \\"/t', "c1"), "length", _CUT
    ),
    "a custom call": Broken(
        {"id": "c1", "type": "custom", "custom": {"name": "wipe", "input": "/tmp"}},
        "tool_calls",
        "calls of type 'custom' are not supported.",
    ),
}
GOOD: dict[str, tuple[str, Json]] = {
    "plain": ('{"path": "/tmp"}', {"path": "/tmp", "force": True}),
    "encoded twice": (
        '"{\\"path\\": \\"/tmp\\", \\"force\\": false}"',
        {"path": "/tmp", "force": False},
    ),
    "none": ("", {"path": "/", "force": True}),
}
WAYS = ("whole", "streaming", "a workflow, streaming")


def _says(calls: list[Json], finish: str) -> Any:
    def answer(seen: Any) -> Answer:
        if not seen.body.get("stream"):
            return chat(None, tool_calls=calls, finish_reason=finish)
        return stream(
            [piece for number, call in enumerate(calls) for piece in _pieces(call, number)],
            finish_reason=finish,
        )

    return answer


def _pieces(call: Json, number: int) -> list[Json]:
    if "function" not in call:
        return [{"tool_calls": [{"index": number, **call}]}]
    text = call["function"]["arguments"]
    first = {
        "index": number,
        **call,
        "function": {"name": call["function"]["name"], "arguments": text[:5]},
    }
    rest = [
        {"index": number, "function": {"arguments": text[at : at + 5]}}
        for at in range(5, len(text), 5)
    ]
    return [{"tool_calls": [piece]} for piece in (first, *rest)]


async def _run(server: ScriptedServer, way: str, disk: Disk) -> AgentOutput:
    agent = FunctionAgent(name="one", tools=[disk.wipe], llm=llm(server), streaming=way != "whole")
    made = AgentWorkflow(agents=[agent], root_agent="one") if "workflow" in way else agent
    return await made.run(user_msg="Hi", memory=ChatMemoryBuffer.from_defaults(token_limit=100_000))


@pytest.mark.parametrize("name", BROKEN)
async def test_an_agent_runs_no_broken_call_and_tells_the_model_why(
    server: ScriptedServer, name: str
) -> None:
    row = BROKEN[name]
    for way in WAYS:
        disk = Disk()
        server.script(
            _says([row.call], row.finish),
            _says([tool_call("wipe", {"path": "/a"}, "c2")], "tool_calls"),
            _says([], "stop"),
        )

        await _run(server, way, disk)

        asked, told = server.seen[-2].body["messages"][-2:]
        assert told == {
            "role": "tool",
            "tool_call_id": "c1",
            "content": f"The call of wipe was not run: {row.why}",
        }, way
        (sent,) = asked["tool_calls"]
        assert sent["id"] == "c1"
        if "function" in sent:
            assert isinstance(json.loads(sent["function"]["arguments"]), dict), (
                "servers fail at broken arguments in every later turn"
            )
            assert sent["function"]["name"] == "wipe"
        assert server.seen[-1].body["messages"][2] == told, "the same in the next turn"
        assert disk.wiped == [{"path": "/a", "force": True}], way


@pytest.mark.parametrize("way", WAYS)
async def test_good_calls_run_beside_a_broken_one(server: ScriptedServer, way: str) -> None:
    disk = Disk()
    calls = [
        tool_call("wipe", text, f"g{number}") for number, (text, _) in enumerate(GOOD.values())
    ]
    server.script(
        _says([*calls, tool_call("wipe", '{"path": "/e', "c1")], "length"), _says([], "stop")
    )

    await _run(server, way, disk)

    assert sorted(disk.wiped, key=str) == sorted(
        (expected for _, expected in GOOD.values()), key=str
    )
    told = {
        message["tool_call_id"]: message["content"]
        for message in server.seen[-1].body["messages"]
        if message["role"] == "tool"
    }
    assert told == {
        "g0": "wiped",
        "g1": "wiped",
        "g2": "wiped",
        "c1": f"The call of wipe was not run: {_CUT}",
    }


@pytest.mark.parametrize("name", BROKEN)
def test_predict_and_call_runs_no_broken_call_and_says_why(
    server: ScriptedServer, name: str
) -> None:
    row, disk = BROKEN[name], Disk()
    server.always(_says([row.call], row.finish))
    model, tools = llm(server), [FunctionTool.from_defaults(disk.wipe)]

    with pytest.raises(NoToolCallError) as caught:
        model.predict_and_call(tools, "Hi")
    with pytest.raises(NoToolCallError):
        asyncio.run(model.apredict_and_call(tools, "Hi"))

    assert str(caught.value).startswith(
        f"The call of wipe was not run: {row.why.partition('.')[0]}."
    )
    assert disk.wiped == []


def test_what_a_tool_says_of_such_a_name_stays(server: ScriptedServer) -> None:
    said = "A tool (it was not run: really) said so."
    called = ChatMessage(
        role="assistant", additional_kwargs={"tool_calls": [tool_call("wipe", {}, "c1")]}
    )
    result = ChatMessage(role="tool", content=said, additional_kwargs={"tool_call_id": "c1"})

    llm(server).chat([ChatMessage("Hi"), called, result])

    assert server.seen[0].body["messages"][-1]["content"] == said


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
async def test_a_react_agent_runs_no_call_that_was_cut_off(
    server: ScriptedServer, streaming: bool
) -> None:
    disk = Disk()
    text = 'Thought: I must.\nAction: wipe\nAction Input: {"path": "/tmp/a", "force": fal'
    for said, finish in ((text, "length"), ("Thought: I can answer.\nAnswer: Sorry", "stop")):
        server.script(
            stream([said], finish_reason=finish) if streaming else chat(said, finish_reason=finish)
        )

    made = ReActAgent(tools=[disk.wipe], llm=llm(server), streaming=streaming)
    output = await made.run(
        user_msg="Hi", memory=ChatMemoryBuffer.from_defaults(token_limit=100_000)
    )

    assert disk.wiped == []
    assert "Error while parsing the output" in server.seen[1].body["messages"][-1]["content"]
    assert str(output.response.content).strip() == "Sorry"
