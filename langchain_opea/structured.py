"""Answers of a given form: what is asked for, and how the answer is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Literal, TypeAlias, TypeGuard

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.output_parsers import BaseTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import AddableDict, Runnable, RunnableGenerator
from langchain_core.utils.json import parse_partial_json
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, ValidationError

from langchain_opea.answers import unspoiled
from langchain_opea.errors import OPEAConfigurationError, OPEARefusalError, refused
from langchain_opea.schemas import function_of
from opea_core.adapters import (
    Growth,
    clean_name,
    cut,
    json_text,
    may_be_call,
    read_answer,
    unwrapped,
)

Method: TypeAlias = Literal["function_calling", "json_schema", "json_mode"]
METHODS = ("function_calling", "json_schema", "json_mode")


def output_schema(schema: Any, strict: bool | None = None) -> dict[str, Any]:
    """A schema of any kind as ``{"name", "description", "schema", "strict"}``."""
    try:
        function = function_of(schema, strict)
    except ValueError as error:
        raise OPEAConfigurationError(
            "The schema must be a pydantic class, a TypedDict, or a JSON schema with a title.",
            f"LangChain says: {error}",
        ) from error
    name = clean_name(function["name"])
    form: dict[str, Any] = {
        "name": name,
        "schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    if function.get("description"):
        form["description"] = function["description"]
    if function.get("strict") is not None or strict is not None:
        form["strict"] = function.get("strict", strict)
    return form


def traced(form: Mapping[str, Any] | None) -> dict[str, Any]:
    """What traces show of it; LangChain reads it again, and cannot read every class."""
    if form is None:
        return {"type": "object", "title": "Answer"}
    about = {"title": form["name"], "description": form.get("description", "")}
    return {**about, **{key: value for key, value in form["schema"].items() if key not in about}}


def checked_method(method: Method | None, schema: Any) -> Method | None:
    """How to ask; raises OPEAConfigurationError for what cannot be.

    Classes of pydantic 1 are asked for by a call.
    """
    if method is not None and method not in METHODS:
        raise OPEAConfigurationError(
            f"There is no method {method!r}.", f"There are: {', '.join(METHODS)}."
        )
    if schema is None and method != "json_mode":
        raise OPEAConfigurationError(
            "with_structured_output needs a schema.", 'Only method="json_mode" goes without.'
        )
    v1 = is_class(schema) and not issubclass(schema, BaseModel)
    return "function_calling" if v1 and method in (None, "json_schema") else method


def response_format(value: Any, strict: bool | None = None) -> Any:
    """What a caller gave as ``response_format``.

    A schema becomes ``json_schema``, a dict of the protocol stays.
    """
    if (
        isinstance(value, Mapping)
        and "type" in value
        and ("json_schema" in value or value["type"] in ("json_object", "text"))
    ):
        return value
    if isinstance(value, Mapping) and value.get("type") not in (None, "object"):
        return value
    return {"type": "json_schema", "json_schema": output_schema(value, strict)}


_FORM = frozenset({"name", "description", "schema", "strict"})


def let_it_adapt(options: dict[str, Any]) -> str | None:
    """Let the core ask for an answer of a given form in another way, if tools stand beside it.

    Gives the answer's name.

    Many servers take tools or ``response_format`` and not both. Agents send both, and read the
    answer as text.
    """
    value, tools = options.get("response_format"), options.get("tools")
    if (
        not tools
        or options.get("output_schema")
        or not isinstance(value, Mapping)
        or value.keys() != {"type", "json_schema"}
    ):
        return None
    form = unwrapped(value)
    taken = {
        tool["function"].get("name") for tool in tools if isinstance(tool.get("function"), Mapping)
    }
    if form is None or not form.keys() <= _FORM or form["name"] in taken:
        return None
    del options["response_format"]
    options["output_schema"] = form
    return str(form["name"])


def is_class(schema: Any) -> TypeGuard[type]:
    """Whether the schema is a pydantic class (of version 1 or 2): answers are its objects."""
    return isinstance(schema, type) and is_basemodel_subclass(schema)


class AnswerParser(BaseTransformOutputParser[Any]):
    """Reads an answer of a given form.

    It reads the arguments of a call or the text, whichever came.

    Streaming gives partial dicts for schemas that are dicts, and the object at the end for classes.
    Never gives None: raises OutputParserException with the raw text, or OPEARefusalError.
    """

    schema_: Any = None
    """A pydantic class, or None for a dict."""
    tool_name: str | None = None
    """The name of the function the answer may come as a call of."""
    other_tools: tuple[str, ...] = ()
    """Functions that may be called instead."""

    @property
    def _type(self) -> str:
        return "opea-answer"

    def parse(self, text: str) -> Any:
        """Read an answer that is all text."""
        return self.parse_result([ChatGeneration(message=AIMessage(content=text))])

    def parse_result(
        self,
        result: list[Generation],
        *,
        partial: bool = False,  # noqa: ARG002 - LangChain's signature
    ) -> Any:
        """Read a whole answer."""
        message = (
            result[0].message
            if isinstance(result[0], ChatGeneration)
            else AIMessage(content=result[0].text)
        )
        refusal = message.additional_kwargs.get("refusal")
        if refusal:
            raise refused(refusal, message)
        values = self._candidates(message)
        if isinstance(values, Exception):
            raise values
        return self._as_schema(values, message)

    def _candidates(self, message: BaseMessage) -> Any:
        """The answer as plain data, or the error that says why there is none."""
        calls = message.tool_calls if isinstance(message, AIMessage) else []
        own = next((call for call in calls if call["name"] == self.tool_name), None)
        if own is not None:
            return own["args"]
        if calls and calls[0]["name"] in self.other_tools:
            return _problem(
                f"The model called {calls[0]['name']!r} instead of answering;"
                " pass include_raw=True to get the call.",
                message,
            )
        try:
            value = read_answer(_text(message), self.tool_name)
            if self.schema_ is None and not isinstance(value, dict):
                raise ValueError("not an object")
            return value
        except ValueError:
            if calls:
                return calls[0]["args"]  # an answer under a name the model made up
            why = (
                " It was cut off at the token limit: raise max_tokens." if _is_cut(message) else ""
            )
            return _problem(f"The answer is no JSON.{why}", message)

    def _as_schema(self, values: Any, message: BaseMessage) -> Any:
        schema = self.schema_
        if schema is None:
            return values
        try:
            return (
                schema.model_validate(values)
                if issubclass(schema, BaseModel)
                else schema.parse_obj(values)
            )
        except (ValidationError, ValueError, TypeError) as error:
            raise _problem(
                f"The answer does not fit {schema.__name__}: {error}", message
            ) from error

    # LangChain's signature.
    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[Any]:  # noqa: A002
        reading = _Reading(self)
        for chunk in input:
            yield from reading.add(chunk)
        yield from reading.end()

    async def _atransform(
        self,
        input: AsyncIterator[str | BaseMessage],  # noqa: A002
    ) -> AsyncIterator[Any]:
        reading = _Reading(self)
        async for chunk in input:
            for value in reading.add(chunk):
                yield value
        for value in reading.end():
            yield value


_SHOWN = 2000
"""Characters of a model's words in an error; ``llm_output`` has them all."""


class _Reading:
    """An answer while it streams."""

    def __init__(self, parser: AnswerParser) -> None:
        self._parser = parser
        self._whole: Any = None
        self._last: Any = None
        self._size = 0
        self._growth = Growth()

    def take(self, chunk: str | BaseMessage) -> None:
        """Take a chunk."""
        message = AIMessageChunk(content=chunk) if isinstance(chunk, str) else chunk
        self._whole = message if self._whole is None else self._whole + message
        self._size += len(str(message.content)) + sum(
            len(call["args"] or "") for call in getattr(message, "tool_call_chunks", ())
        )

    def add(self, chunk: str | BaseMessage) -> Iterator[Any]:
        """Take a chunk; gives the dict so far if it grew."""
        self.take(chunk)
        if self._parser.schema_ is None and self._growth.is_due(self._size):
            value = self._so_far(self._whole)
            if isinstance(value, dict) and value and value != self._last:
                self._last = value
                yield value

    def _so_far(self, message: Any) -> Any:
        calls = getattr(message, "tool_calls", ())
        if calls:
            return next(
                (call["args"] for call in calls if call["name"] == self._parser.tool_name), None
            )
        try:
            value = parse_partial_json(json_text(_text(message)))
        except (ValueError, RecursionError):
            return None
        return None if may_be_call(value, self._parser.tool_name) else value

    def end(self) -> Iterator[Any]:
        """The stream is over: the whole answer, unless it was given already."""
        if self._whole is not None:
            value = self.answer()
            if value != self._last or self._last is None:
                yield value

    def answer(self) -> Any:
        """The whole answer; raises what is wrong with it."""
        if self._whole is None:
            raise OutputParserException("The model answered nothing.", llm_output="")
        return self._parser.parse_result([ChatGeneration(message=self._whole)])

    def outcome(self) -> AddableDict:
        """The whole answer, or the error instead of raising it."""
        try:
            return AddableDict(parsed=self.answer(), parsing_error=None)
        except (OutputParserException, OPEARefusalError) as error:
            return AddableDict(parsed=None, parsing_error=error)


def _text(message: BaseMessage) -> str:
    return str(message.text)


def _is_cut(message: BaseMessage) -> bool:
    return message.response_metadata.get("finish_reason") == "length"


def _problem(what: str, message: BaseMessage) -> OutputParserException:
    text = _text(message)
    if not text and isinstance(message, AIMessage) and message.invalid_tool_calls:
        text = unspoiled(str(message.invalid_tool_calls[0]["args"]))
    thought = str(message.additional_kwargs.get("reasoning_content") or "")
    if thought and not text:
        said = f"The model wrote only reasoning, and no answer: {cut(thought, _SHOWN)!r}"
    else:
        said = f"The model answered: {cut(text, _SHOWN)!r}"
    return OutputParserException(f"{cut(what, _SHOWN)} {said}", llm_output=text)


def with_raw(model: Runnable[Any, Any], parser: AnswerParser) -> Runnable[Any, Any]:
    """``{"raw", "parsed", "parsing_error"}`` instead of the parsed answer or its error."""

    # LangChain passes it by name.
    def both(input: Iterator[Any]) -> Iterator[AddableDict]:  # noqa: A002
        reading = _Reading(parser)
        for chunk in input:
            yield AddableDict(raw=chunk)
            reading.take(chunk)
        yield reading.outcome()

    async def aboth(input: AsyncIterator[Any]) -> AsyncIterator[AddableDict]:  # noqa: A002
        reading = _Reading(parser)
        async for chunk in input:
            yield AddableDict(raw=chunk)
            reading.take(chunk)
        yield reading.outcome()

    return model | RunnableGenerator(both, aboth)
