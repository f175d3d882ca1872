"""Tool calls of every shape: forced and free, one and several, streamed and whole."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.llms import ChatResponse

from llama_index_opea.testing.asking import HELLO, adrained, drained
from llama_index_opea.testing.base import asynchronous, needs
from llama_index_opea.testing.checks import call_dicts_of, calls_of, check_response, check_stream
from llama_index_opea.testing.samples import ADD, ADD_TWICE, ADDING, CITY, SAY_AND_ADD, SUM
from llama_index_opea.testing.tool_histories import TOOLS, TWO_AND_THREE, ToolHistoryTests


class ToolTests(ToolHistoryTests):
    """``chat_with_tools`` and what goes with it. All of it needs ``supports_tools``."""

    def _check_call(
        self, response: ChatResponse, name: str = "add_numbers", kwargs: Any = TWO_AND_THREE
    ) -> None:
        """One call, the same for all that read it.

        Agents, those who read dicts, and ``get_tool_calls_from_response``.
        """
        check_response(response)
        selections = self.tool_llm().get_tool_calls_from_response(response)
        (call,), (selection,) = calls_of(response.message), selections
        assert (call.tool_name, call.tool_kwargs) == (name, kwargs)
        assert (selection.tool_name, selection.tool_kwargs, selection.tool_id) == (
            name,
            kwargs,
            call.tool_call_id,
        )

    # --- one call

    @needs("supports_tools")
    def test_tool_call(self) -> None:
        """A call is a ToolCallBlock with its arguments read, and a plain dict besides.

        To fix: see ``checks.check_calls``.
        """
        self._check_call(self.tool_llm().chat_with_tools(TOOLS, ADD))

    @needs("supports_tools")
    @asynchronous
    async def test_tool_call_async(self) -> None:
        """The same for ``achat_with_tools``."""
        self._check_call(await self.tool_llm().achat_with_tools(TOOLS, ADD))

    @needs("supports_tools")
    def test_tool_call_stream(self) -> None:
        """A streamed call is complete in the last response and readable in each.

        Agents read the calls of every response.

        To fix: assemble the fragments; while a call is incomplete its arguments may be partial, but
        reading them must not fail.
        """
        self._check_call_stream(drained(self.tool_llm().stream_chat_with_tools(TOOLS, ADD)))

    @needs("supports_tools")
    @asynchronous
    async def test_tool_call_stream_async(self) -> None:
        """The same for ``astream_chat_with_tools``."""
        self._check_call_stream(
            await adrained(await self.tool_llm().astream_chat_with_tools(TOOLS, ADD))
        )

    def _check_call_stream(self, responses: list[ChatResponse]) -> None:
        llm = self.tool_llm()
        last = check_stream(responses)
        partial = ""
        for response in responses:
            for call in calls_of(response.message):
                if isinstance(call.tool_kwargs, str):
                    assert call.tool_kwargs.startswith(partial), "partial arguments only grow"
                    partial = call.tool_kwargs
            selections = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
            assert all(isinstance(selection.tool_kwargs, dict) for selection in selections)
            assert len(selections) == len(calls_of(response.message))
        self._check_call(last)

    @needs("supports_tools")
    def test_no_argument_tool(self) -> None:
        """A tool without parameters is called with ``{}``, whatever the server writes for it.

        To fix: take blank arguments for ``{}``.
        """
        self._check_call(
            self.tool_llm().chat_with_tools([CITY], "Call name_of_city."), "name_of_city", {}
        )

    @needs("supports_tools")
    def test_no_argument_tool_stream(self) -> None:
        """The same in a stream."""
        responses = drained(self.tool_llm().stream_chat_with_tools([CITY], "Call name_of_city."))
        self._check_call(check_stream(responses), "name_of_city", {})

    @needs("supports_tool_choice")
    def test_no_call(self) -> None:
        """An answer without a call has none, and reading it raises only where that is asked for.

        To fix: honour ``error_on_no_tool_call``.
        """
        llm = self.tool_llm()
        response = llm.chat_with_tools(TOOLS, HELLO, tool_choice="none")
        check_response(response)
        assert not calls_of(response.message)
        assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
        with pytest.raises(ValueError, match=r"(?i)tool"):
            llm.get_tool_calls_from_response(response)

    @needs("supports_tools")
    def test_no_tools(self) -> None:
        """An empty list of tools is a plain chat.

        To fix: send neither ``tools`` nor ``tool_choice`` nor ``parallel_tool_calls`` then.
        """
        check_response(self.tool_llm().chat_with_tools([], HELLO))

    @needs("supports_tools")
    def test_predict_and_call(self) -> None:
        """``predict_and_call`` runs the tool and gives its result."""
        assert self.tool_llm().predict_and_call([ADDING], ADD).sources[0].raw_output == SUM

    @needs("supports_tools")
    @asynchronous
    async def test_predict_and_call_async(self) -> None:
        """``apredict_and_call`` does so too."""
        assert (await self.tool_llm().apredict_and_call([ADDING], ADD)).sources[0].raw_output == SUM

    # --- text beside a call

    @needs("supports_tools", "supports_text_and_tool")
    def test_text_and_tool(self) -> None:
        """Text and call of one turn both survive, the text first.

        To fix: a call does not replace the content.
        """
        response = self.tool_llm().chat_with_tools(TOOLS, SAY_AND_ADD)
        self._check_call(response)
        assert response.message.content

    @needs("supports_tools", "supports_text_and_tool")
    def test_text_and_tool_stream(self) -> None:
        """The same in a stream: the text is not dropped when the call begins."""
        last = check_stream(drained(self.tool_llm().stream_chat_with_tools(TOOLS, SAY_AND_ADD)))
        self._check_call(last)
        assert last.message.content

    @needs("supports_tools", "supports_text_and_tool")
    @asynchronous
    async def test_text_and_tool_stream_async(self) -> None:
        """The same in an async stream."""
        last = check_stream(
            await adrained(await self.tool_llm().astream_chat_with_tools(TOOLS, SAY_AND_ADD))
        )
        self._check_call(last)
        assert last.message.content

    # --- several calls

    @needs("supports_tools", "supports_parallel_tools")
    def test_parallel_tools(self) -> None:
        """Several calls of one answer are all there, each with an id of its own.

        To fix: keep them apart by id and by index.
        """
        response = self.tool_llm().chat_with_tools(
            [ADDING], ADD_TWICE, allow_parallel_tool_calls=True
        )
        self._check_two_calls(response)

    @needs("supports_tools", "supports_parallel_tools")
    def test_parallel_tools_stream(self) -> None:
        """The same in a stream."""
        self._check_two_calls(
            check_stream(
                drained(
                    self.tool_llm().stream_chat_with_tools(
                        [ADDING], ADD_TWICE, allow_parallel_tool_calls=True
                    )
                )
            )
        )

    @needs("supports_tools", "supports_parallel_tools")
    @asynchronous
    async def test_parallel_tools_async(self) -> None:
        """The same for ``achat_with_tools``."""
        self._check_two_calls(
            await self.tool_llm().achat_with_tools(
                [ADDING], ADD_TWICE, allow_parallel_tool_calls=True
            )
        )

    @needs("supports_tools", "supports_parallel_tools")
    @asynchronous
    async def test_parallel_tools_stream_async(self) -> None:
        """The same in an async stream."""
        stream = await self.tool_llm().astream_chat_with_tools(
            [ADDING], ADD_TWICE, allow_parallel_tool_calls=True
        )
        self._check_two_calls(check_stream(await adrained(stream)))

    def _check_two_calls(self, response: ChatResponse) -> None:
        check_response(response)
        calls = calls_of(response.message)
        assert [call.tool_kwargs for call in calls] == [TWO_AND_THREE, {"a": 4, "b": 5}]
        selections = self.tool_llm().get_tool_calls_from_response(response)
        assert [selection.tool_id for selection in selections] == [
            call.tool_call_id for call in calls
        ]

    @needs("supports_tools", "supports_parallel_tools")
    def test_trim_to_one_call(self) -> None:
        """Where parallel calls are not allowed, one is left, in the blocks and in the dicts.

        ``predict_and_call`` raises for two.

        To fix: trim both in ``_validate_chat_with_tools_response``.
        """
        llm = self.tool_llm()
        response = llm.chat_with_tools([ADDING], ADD_TWICE, allow_parallel_tool_calls=False)
        check_response(response)
        assert len(calls_of(response.message)) == len(call_dicts_of(response.message)) == 1
        assert (
            llm.predict_and_call([ADDING], ADD_TWICE, allow_parallel_tool_calls=False)
            .sources[0]
            .raw_output
            == SUM
        )

    @needs("supports_tools", "supports_parallel_tools")
    @asynchronous
    async def test_trim_to_one_call_async(self) -> None:
        """The same for ``achat_with_tools`` and ``apredict_and_call``."""
        llm = self.tool_llm()
        response = await llm.achat_with_tools([ADDING], ADD_TWICE, allow_parallel_tool_calls=False)
        check_response(response)
        assert len(calls_of(response.message)) == len(call_dicts_of(response.message)) == 1
        assert (
            await llm.apredict_and_call([ADDING], ADD_TWICE, allow_parallel_tool_calls=False)
        ).sources[0].raw_output == SUM

    # --- the choice of a tool

    @needs("supports_tool_choice")
    def test_tool_required(self) -> None:
        """``tool_required=True`` gets a call for any prompt.

        To fix: name the parameter in ``_prepare_chat_with_tools``: core looks there.
        """
        response = self.tool_llm().chat_with_tools(TOOLS, HELLO, tool_required=True)
        check_response(response)
        assert calls_of(response.message), "tool_required=True got no call"

    @needs("supports_tool_choice")
    @asynchronous
    async def test_tool_required_stream_async(self) -> None:
        """The same in an async stream."""
        stream = await self.tool_llm().astream_chat_with_tools(TOOLS, HELLO, tool_required=True)
        assert calls_of(check_stream(await adrained(stream)).message)

    @needs("supports_tool_choice")
    def test_tool_choice_name(self) -> None:
        """A tool's name as ``tool_choice`` gets a call of this tool.

        To fix: translate the name to what the server wants.
        """
        response = self.tool_llm().chat_with_tools(TOOLS, HELLO, tool_choice="name_of_city")
        self._check_call(response, "name_of_city", {})

    @needs("supports_tool_choice")
    @asynchronous
    async def test_tool_choice_name_stream_async(self) -> None:
        """The same in an async stream, as ``FunctionAgent(initial_tool_choice=...)`` asks."""
        stream = await self.tool_llm().astream_chat_with_tools(
            TOOLS, HELLO, tool_choice="name_of_city"
        )
        self._check_call(check_stream(await adrained(stream)), "name_of_city", {})
