"""Models with tools, and models whose answers have a given form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from langchain_opea import structured
from langchain_opea.errors import (
    langchain_errors,
)
from langchain_opea.tools import tools_of
from opea_core.adapters import (
    asked_form,
    tool_choice_of,
)


class ToolBinding(BaseChatModel):
    """What LangChain binds to a chat model for these."""

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: dict[str, Any] | str | bool | None = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools.

        They are BaseTools, functions, pydantic classes, or dicts of OpenAI's or Anthropic's form.

        ``tool_choice``: ``"auto"``, ``"none"``, ``"any"`` (or ``"required"``, True), a tool's name,
        or a dict of the protocol. Further keywords are options of every call.
        """
        found = tools_of(tools, strict)
        with langchain_errors():
            choice = tool_choice_of(tool_choice, found)
        optional = {"tool_choice": choice, "parallel_tool_calls": parallel_tool_calls}
        return self.bind(
            tools=found,
            **{name: value for name, value in optional.items() if value is not None},
            **kwargs,
        )

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: structured.Method | None = None,
        include_raw: bool = False,
        strict: bool | None = None,
        tools: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """The model with answers of a given form.

        Args:
            schema: a pydantic class (answers are its objects), a TypedDict or a JSON schema
                (dicts); for ``json_mode`` it may be left out.
            method: ``json_schema``, ``function_calling`` or ``json_mode``; None takes what the
                endpoint's ``Capabilities.structured_output`` says, else ``json_schema``, and a
                function call at servers that refuse it (remembered, and reported in
                ``response_metadata["dropped_parameters"]``).
            include_raw: give ``{"raw", "parsed", "parsing_error"}`` and raise nothing.
            strict: ask the server to keep to the schema exactly.
            tools: further tools the model may call instead of answering.

        An answer that does not fit raises OutputParserException with the raw text, a refusal
        OPEARefusalError; None is never given for an answer.
        """
        method = structured.checked_method(method, schema)
        form = None if schema is None else structured.output_schema(schema, strict)
        name = form["name"] if form else None
        asked = asked_form(form, method)
        if tools:
            asked |= {"tools": [*asked.get("tools", ()), *tools_of(tools, strict)]}
            asked |= {"tool_choice": "required"} if "tool_choice" in asked else {}
        trace = {
            "kwargs": {"method": method or "json_schema", "strict": strict},
            "schema": structured.traced(form),
        }
        model = self.bind(**{**asked, "ls_structured_output_format": trace, **kwargs})
        others = tuple(
            t["function"]["name"] for t in tools_of(tools or (), None) if "function" in t
        )
        parser = structured.AnswerParser(
            schema_=schema if structured.is_class(schema) else None,
            tool_name=name,
            other_tools=others,
        )
        return structured.with_raw(model, parser) if include_raw else model | parser
