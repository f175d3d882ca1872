"""What agents of the package ``langchain`` do about calls that cannot be run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

try:
    from langchain.agents.middleware import (
        AgentMiddleware,
        ModelRequest,
        ModelResponse,
        hook_config,
    )
    from langchain.agents.structured_output import StructuredOutputValidationError
except ImportError as error:
    raise ImportError(
        "InvalidToolCallMiddleware needs the package langchain, 1.0 or newer: pip install langchain"
    ) from error
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from langchain_opea.errors import OPEAConfigurationError


class InvalidToolCallMiddleware(AgentMiddleware[Any, Any, Any]):
    """Tells the model what is wrong with a call that could not be run, and asks again.

    Without it an agent ends where all calls of an answer are invalid, as if the model had nothing
    more to do; where others are valid, the model never hears of those that are not.
    """

    def __init__(self, max_retries: int = 2) -> None:
        """``max_retries``: how often in a row the model is asked again.

        That is after an answer whose calls are all invalid.
        """
        super().__init__()
        if isinstance(max_retries, bool) or not isinstance(max_retries, int) or max_retries < 0:
            raise OPEAConfigurationError("max_retries must be a whole number, 0 or more.")
        self.max_retries = max_retries

    @hook_config(can_jump_to=["model"])
    # LangChain's signature.
    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002
        """Answer the invalid calls of the last message."""
        return self._answered(state["messages"])

    @hook_config(can_jump_to=["model"])
    async def aafter_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002
        """The same for async agents."""
        return self._answered(state["messages"])

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Let an answer without text pass where it has invalid calls.

        A final schema is then not missing, but not yet due.
        """
        try:
            return handler(request)
        except StructuredOutputValidationError as error:
            return _passed(error)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """The same for async agents."""
        try:
            return await handler(request)
        except StructuredOutputValidationError as error:
            return _passed(error)

    def _answered(self, messages: Sequence[BaseMessage]) -> dict[str, Any] | None:
        last, invalid = _unanswered(messages)
        if (
            last is None
            or not invalid
            or (not last.tool_calls and _rounds(messages) > self.max_retries)
        ):
            return None
        told = [
            ToolMessage(
                _why(last, call), tool_call_id=call["id"], name=call["name"], status="error"
            )
            for call in invalid
        ]
        return {"messages": told} | ({} if last.tool_calls else {"jump_to": "model"})


def _unanswered(messages: Sequence[BaseMessage]) -> tuple[AIMessage | None, list[Any]]:
    """The last answer, and those of its invalid calls that no message behind it answers.

    Other turns may have the same ids.
    """
    known = set()
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            known.add(message.tool_call_id)
        elif isinstance(message, AIMessage):
            return message, [
                call
                for call in message.invalid_tool_calls
                if call["id"] and call["id"] not in known
            ]
    return None, []


def _rounds(messages: Sequence[BaseMessage]) -> int:
    """How many of the last answers in a row had nothing but invalid calls."""
    found = 0
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            if message.tool_calls or not message.invalid_tool_calls:
                break
            found += 1
        elif not isinstance(message, ToolMessage):
            break
    return found


def _why(message: AIMessage, call: Any) -> str:
    """What is wrong with a call, for the model."""
    if message.response_metadata.get("finish_reason") == "length":
        return (
            "The call was not run: it was cut off at the token limit."
            " Call again with less, or in several calls."
        )
    extra = (message.additional_kwargs.get("tool_call_extras") or {}).get(call["id"]) or {}
    if "custom" in extra:
        return (
            "The call was not run: calls of this type are not supported."
            " Call a function, with a JSON object as its arguments."
        )
    if not call["name"]:
        return "The call was not run: it has no name. Call one of the functions by its name."
    return (
        "The call was not run: its arguments are no JSON object."
        " Call again with a JSON object that fits the function's schema."
    )


def _passed(error: StructuredOutputValidationError) -> ModelResponse[Any]:
    message = error.ai_message
    if not message.invalid_tool_calls or message.tool_calls or message.text:
        raise error
    return ModelResponse(result=[message])
