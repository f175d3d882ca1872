"""Histories with tool calls: those of this model, and those that others left behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import ChatMessage, ChatResponse
from pydantic import BaseModel

from llama_index_opea.testing.asking import HELLO, adrained, drained
from llama_index_opea.testing.base import asynchronous, needs
from llama_index_opea.testing.checks import check_response, check_stream
from llama_index_opea.testing.samples import ADD, ADDING, CITY, SUM
from llama_index_opea.testing.settings import LLMSettings

TOOLS = [ADDING, CITY]
TWO_AND_THREE = {"a": 2, "b": 3}


class _Function(BaseModel):
    name: str = "add_numbers"
    arguments: str = '{"a": 2, "b": 3}'


class _Call(BaseModel):
    """A call as an SDK has it."""

    id: str = "call_a"
    type: str = "function"
    function: _Function = _Function()


CALL = _Call()
RESULT = ChatMessage(role="tool", content=str(SUM), additional_kwargs={"tool_call_id": "call_a"})
BLOCK = ToolCallBlock(tool_call_id="call_a", tool_name="add_numbers", tool_kwargs=TWO_AND_THREE)
AS_TEXT = ToolCallBlock(
    tool_call_id="call_a", tool_name="add_numbers", tool_kwargs='{"a": 2, "b": 3}'
)
UNREADABLE = {
    "blank": "",
    "cut": "{",
    "list": "[1]",
    "null": "null",
    "text": '"a"',
    "prose": "two and three",
}
_NONE = ("", "null")
LEGACY = {"name": "add_numbers", "arguments": '{"a": 2, "b": 3}'}


def caller(*blocks: Any, **additional: Any) -> ChatMessage:
    """A message that calls."""
    return ChatMessage(role="assistant", blocks=list(blocks), additional_kwargs=additional)


FOREIGN: dict[str, list[ChatMessage]] = {
    "blocks": [caller(BLOCK), RESULT],
    "blocks with text arguments": [caller(AS_TEXT), RESULT],
    "dicts": [caller(tool_calls=[CALL.model_dump()]), RESULT],
    "both": [caller(BLOCK, tool_calls=[CALL.model_dump()]), RESULT],
    "sdk objects": [caller(tool_calls=[CALL]), RESULT],
    "function_call": [
        caller(function_call=LEGACY),
        ChatMessage(role="function", content=str(SUM), additional_kwargs={"name": "add_numbers"}),
    ],
    "return_direct": [
        caller(BLOCK),
        RESULT,
        ChatMessage(
            role="assistant", content=str(SUM), additional_kwargs={"tool_call_id": "call_a"}
        ),
    ],
}


class ToolHistoryTests(LLMSettings):
    """What goes back to the server, and how calls in it are read. Needs ``supports_tools``."""

    @needs("supports_tools")
    def test_tool_result_roundtrip(self) -> None:
        """Call, result, answer: the message goes back as it came.

        To fix: send ``tool_calls`` once, and results under ``tool_call_id``.
        """
        llm = self.tool_llm()
        history = [ChatMessage(role="user", content=ADD)]
        self._answer_calls(history, llm.chat_with_tools(TOOLS, chat_history=history))
        response = llm.chat_with_tools(TOOLS, chat_history=history)
        check_response(response)
        assert response.message.content

    @needs("supports_tools")
    @asynchronous
    async def test_tool_result_roundtrip_stream_async(self) -> None:
        """The same with async streams: the message is that of the last response."""
        llm = self.tool_llm()
        history = [ChatMessage(role="user", content=ADD)]
        self._answer_calls(
            history,
            check_stream(
                await adrained(await llm.astream_chat_with_tools(TOOLS, chat_history=history))
            ),
        )
        last = check_stream(
            await adrained(await llm.astream_chat_with_tools(TOOLS, chat_history=history))
        )
        assert last.message.content

    @needs("supports_tools")
    def test_tool_result_after_storage(self) -> None:
        """A message that went through a chat store (JSON) goes back just as well.

        To fix: plain data in blocks and ``additional_kwargs``.
        """
        llm = self.tool_llm()
        history = [ChatMessage(role="user", content=ADD)]
        self._answer_calls(history, llm.chat_with_tools(TOOLS, chat_history=history))
        history = [
            ChatMessage.model_validate_json(message.model_dump_json()) for message in history
        ]
        check_response(llm.chat_with_tools(TOOLS, chat_history=history))

    def _answer_calls(self, history: list[ChatMessage], response: ChatResponse) -> None:
        """Add the message and the results of its calls, as agents do."""
        history.append(response.message)
        for call in self.tool_llm().get_tool_calls_from_response(response):
            output = next(tool for tool in TOOLS if tool.metadata.name == call.tool_name)(
                **call.tool_kwargs
            )
            history.append(
                ChatMessage(
                    role="tool",
                    blocks=output.blocks,
                    additional_kwargs={"tool_call_id": call.tool_id},
                )
            )

    @needs("supports_tools")
    @pytest.mark.parametrize("messages", FOREIGN.values(), ids=FOREIGN)
    def test_foreign_history(self, messages: list[ChatMessage]) -> None:
        """Calls may stand in a history as blocks, dicts, objects of an SDK, or in the old form.

        To fix: read all of them, send each once.
        """
        history = [
            ChatMessage(role="user", content=ADD),
            *messages,
            ChatMessage(role="user", content=HELLO),
        ]
        check_response(self.tool_llm().chat_with_tools(TOOLS, chat_history=history))

    @needs("supports_tools")
    def test_history_not_mutated(self) -> None:
        """``chat_history`` and its messages belong to the caller.

        To fix: ``[*chat_history, user_msg]``, never ``append``.
        """
        llm = self.tool_llm()
        history = [ChatMessage(role="user", content=ADD), *FOREIGN["both"]]
        before = [message.model_copy(deep=True) for message in history]
        llm.chat_with_tools(TOOLS, HELLO, chat_history=history)
        drained(llm.stream_chat_with_tools(TOOLS, HELLO, chat_history=history))
        assert history == before, "the caller's history was changed"

    @needs("supports_tools")
    @pytest.mark.parametrize("arguments", UNREADABLE.values(), ids=UNREADABLE)
    def test_bad_arguments(self, arguments: str) -> None:
        """Arguments that are no JSON object are read as ``{}``, not as an error.

        An agent's loop would end at an error.

        The name may say more than the tool's, so that no tool runs. To fix: guard the parser.
        """
        told = [
            {
                "id": "a",
                "type": "function",
                "function": {"name": "add_numbers", "arguments": arguments},
            }
        ]
        block = ToolCallBlock(tool_call_id="a", tool_name="add_numbers", tool_kwargs=arguments)
        for message in (caller(tool_calls=told), caller(block), caller(block, tool_calls=told)):
            (selection,) = self.tool_llm().get_tool_calls_from_response(
                ChatResponse(message=message)
            )
            assert (selection.tool_id, selection.tool_kwargs) == ("a", {})
            runs = selection.tool_name == "add_numbers"
            assert runs or (
                arguments not in _NONE and selection.tool_name.startswith("add_numbers ")
            )

    @needs("supports_tools")
    @pytest.mark.parametrize(
        "call",
        [CALL.model_dump(), CALL, SimpleNamespace(id="call_a", function=CALL.function)],
        ids=["dict", "model", "object"],
    )
    def test_calls_of_others(self, call: Any) -> None:
        """Calls that stand in ``additional_kwargs`` alone are read, as dicts and as objects.

        To fix: look there when there are no blocks.
        """
        message = caller()
        message.additional_kwargs["tool_calls"] = [call]
        (selection,) = self.tool_llm().get_tool_calls_from_response(ChatResponse(message=message))
        assert (selection.tool_id, selection.tool_name, selection.tool_kwargs) == (
            "call_a",
            "add_numbers",
            TWO_AND_THREE,
        )
