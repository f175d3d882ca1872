"""The part of ``OPEALLM`` that lets the model call tools."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from typing import TYPE_CHECKING, Any, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    MessageRole,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection

from llama_index_opea.errors import NoToolCallError
from llama_index_opea.instrumentation import instrumented
from llama_index_opea.tools import first_call_only, selections, tools_of, why_not_run
from opea_core import ConfigurationError
from opea_core.adapters import tool_choice_of

if TYPE_CHECKING:
    from llama_index.core.chat_engine.types import AgentChatResponse
    from llama_index.core.tools.types import BaseTool


@contextmanager
def _known_tools() -> Iterator[None]:
    """LlamaIndex looks the tool up by the name that the model wrote, and lets the KeyError out."""
    try:
        yield
    except KeyError as error:
        name = str(error.args[0])
        why = why_not_run(name)
        if why:
            raise NoToolCallError(
                why, "Ask again; raise max_tokens if the answer was cut off."
            ) from None
        raise NoToolCallError(
            f"The model called {name[:100]!r}, which is none of the tools.",
            "Ask again, or give it this tool, too.",
        ) from None


class ToolMethods(FunctionCallingLLM, defer_build=True):
    """What agents use of an LLM."""

    is_chat_model: bool = True
    """False uses ``/completions`` and the prompt functions."""
    strict: bool = False
    """Whether the server is asked to keep to schemas of tools and objects exactly."""

    @instrumented(span=False)
    def chat_with_tools(self, *args: Any, **kwargs: Any) -> ChatResponse:
        """``chat`` with tools; one call at most unless ``allow_parallel_tool_calls``."""
        return super().chat_with_tools(*args, **kwargs)

    @instrumented(span=False)
    async def achat_with_tools(self, *args: Any, **kwargs: Any) -> ChatResponse:
        """``chat_with_tools`` for async code."""
        return await super().achat_with_tools(*args, **kwargs)

    # LlamaIndex's own methods are unwrapped below, as a span of theirs inside of ours would tell
    # everything twice.

    @instrumented()
    def predict_and_call(self, *args: Any, **kwargs: Any) -> AgentChatResponse:
        """Let the model call a tool, and call it."""
        with _known_tools():
            return cast(
                "AgentChatResponse",
                inspect.unwrap(FunctionCallingLLM.predict_and_call)(self, *args, **kwargs),
            )

    @instrumented()
    async def apredict_and_call(self, *args: Any, **kwargs: Any) -> AgentChatResponse:
        """``predict_and_call`` for async code."""
        with _known_tools():
            return cast(
                "AgentChatResponse",
                await inspect.unwrap(FunctionCallingLLM.apredict_and_call)(self, *args, **kwargs),
            )

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: ARG002 - LlamaIndex's signature
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: Any = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The arguments of ``chat`` for a call with tools; the history is copied.

        ``tool_choice``: ``"auto"``, ``"none"``, ``"required"``, a tool's name, or a dict of the
        protocol.
        """
        if tools and not self.is_chat_model:
            raise ConfigurationError(
                "A completion takes no tools.",
                "Leave is_chat_model=False out, or use a ReActAgent.",
            )
        messages = list(chat_history or ())
        if user_msg is not None:
            messages.append(
                ChatMessage(role=MessageRole.USER, content=user_msg)
                if isinstance(user_msg, str)
                else user_msg
            )
        found = tools_of(tools or (), self.strict if strict is None else strict)
        if not found:
            return {"messages": messages, "tools": None, "tool_choice": None, **kwargs}
        parallel = {"parallel_tool_calls": True} if allow_parallel_tool_calls else {}
        usual = "required" if tool_required else "auto"
        choice = usual if tool_choice is None else tool_choice_of(tool_choice, found)
        return {"messages": messages, "tools": found, "tool_choice": choice, **parallel, **kwargs}

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],  # noqa: ARG002 - LlamaIndex's signature
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResponse:
        return response if allow_parallel_tool_calls else first_call_only(response)

    @instrumented(span=False)
    def stream_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> ChatResponseGen:
        """``stream_chat`` with tools; one call at most unless parallel ones are allowed."""
        given = (tools, user_msg, chat_history, verbose, allow_parallel_tool_calls, tool_required)
        stream = super().stream_chat_with_tools(*given, **kwargs)
        return stream if allow_parallel_tool_calls else _settled(stream)

    @instrumented(span=False)
    async def astream_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> ChatResponseAsyncGen:
        """``stream_chat_with_tools`` for async code."""
        given = (tools, user_msg, chat_history, verbose, allow_parallel_tool_calls, tool_required)
        stream = await super().astream_chat_with_tools(*given, **kwargs)
        return stream if allow_parallel_tool_calls else _asettled(stream)

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,
        **kwargs: Any,  # noqa: ARG002 - LlamaIndex's signature
    ) -> list[ToolSelection]:
        """The calls of a response, whole or growing.

        A call whose arguments are no JSON object gets a name that no tool has, which says why: it
        does not run.

        Raises NoToolCallError if there is none and ``error_on_no_tool_call``.
        """
        growing = response.delta is not None and "finish_reason" not in response.additional_kwargs
        found = selections(response.message, partial=growing)
        if not found and error_on_no_tool_call:
            raise NoToolCallError(
                "The model called no tool.",
                f"It answered: {(response.message.content or '')[:200]!r}. Try tool_required=True.",
            )
        return found


def _settled(responses: ChatResponseGen) -> ChatResponseGen:
    with closing(responses):
        for response in responses:
            yield first_call_only(response)


async def _asettled(responses: ChatResponseAsyncGen) -> ChatResponseAsyncGen:
    async with aclosing(responses):
        async for response in responses:
            yield first_call_only(response)
