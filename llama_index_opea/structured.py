"""Answers of a given class: how they are asked for, read, and asked for once more.

``Question`` decides and knows no I/O; ``ask``, ``aask``, ``stream`` and ``astream`` send what it
wants.
"""

from __future__ import annotations

import json
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from functools import lru_cache
from typing import Any, NamedTuple

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.program.utils import create_flexible_model
from pydantic import BaseModel, ValidationError

from llama_index_opea.errors import StructuredOutputError
from opea_core import BadAnswerError, ContextOverflowError, RefusalError, RequestError, ServerError
from opea_core.adapters import (
    ONLY_JSON,
    Growth,
    asked_form,
    clean_name,
    dislikes_schema,
    json_text,
    may_be_call,
    partial_json,
    read_answer,
    root_written_out,
    strict_schema,
)

Json = dict[str, Any]
TEXT = "text"
"""The method that goes without any help of the server: the schema stands in the prompt."""
_FORMS = re.compile(
    r"\btools?\b|tool_choice|function[ _-]?call|response_format|json[ _]schema"
    r"|structured[ _]outputs?|grammar|jinja",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"support|implemented|unavailable|unrecogni[sz]ed|unknown|require|must be|should be"
    r"|not (allowed|permitted|available|enabled)|extra|cannot|can't"
    r"|invalid (parameter|argument|field)",
    re.IGNORECASE,
)
REFUSALS = (RequestError, ServerError)
_ALL_THOUGHT = "All of it is in the reasoning; there is no answer."
_NOTHING = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=""))


class Ask(NamedTuple):
    """What to send: messages and options of a chat call."""

    messages: list[ChatMessage]
    options: Json


class _UnfitError(Exception):
    """An answer that does not fit; ``text`` is what the model wrote."""

    def __init__(self, why: str, text: str, is_cut: bool) -> None:
        super().__init__(why)
        self.text = text
        self.is_cut = is_cut


@lru_cache(maxsize=64)
def _flexible(output_cls: type[BaseModel]) -> type[BaseModel]:
    return create_flexible_model(output_cls)


@lru_cache(maxsize=64)
def form_of(output_cls: type[BaseModel], strict: bool) -> Json:
    """The class as the form of an answer: a name the protocol takes, its docstring, its schema."""
    schema = root_written_out(output_cls.model_json_schema())
    form: Json = {
        "name": clean_name(output_cls.__name__),
        "schema": strict_schema(schema) if strict else schema,
    }
    if schema.get("description"):
        form["description"] = schema["description"]
    if strict:
        form["strict"] = True
    return form


class Question:
    """One wish for an object.

    It is asked for by the first of ``methods`` the server takes, and once more if the answer does
    not fit.

    ``on_text`` is told when words were what the server took.
    """

    def __init__(
        self,
        output_cls: type[BaseModel],
        messages: Sequence[ChatMessage],
        methods: Sequence[str | None],
        options: Mapping[str, Any],
        strict: bool,
        on_text: Callable[[], None],
    ) -> None:
        self._cls = output_cls
        self._form = form_of(output_cls, strict)
        self._messages = list(messages)
        self._methods = methods
        self._options = options
        self._on_text = on_text
        self._last: BaseModel | None = None
        self._growth = Growth()
        self._asks = self._decide()
        self.wanted: Ask | None = next(self._asks)
        self.result: BaseModel

    def answered(self, response: ChatResponse) -> None:
        """Take the answer to what was wanted; raises StructuredOutputError or RefusalError."""
        self._go_on(lambda: self._asks.send(response))

    def refused(self, error: RequestError | ServerError) -> None:
        """Take the server's refusal of what was wanted; raises it if no way to ask is left."""
        # Groq's: no refusal, but an answer that the server checked.
        if error.code == "json_validate_failed":
            self.answered(
                ChatResponse(
                    message=ChatMessage(
                        role=MessageRole.ASSISTANT, content=_failed_generation(error.body)
                    )
                )
            )
        else:
            self._go_on(lambda: self._asks.throw(error))

    def _go_on(self, step: Callable[[], Ask]) -> None:
        try:
            self.wanted = step()
        except StopIteration as done:
            self.wanted, self.result = None, done.value

    def grown(self, response: ChatResponse | None) -> Iterator[BaseModel]:
        """The object so far, or the whole one for None, unless it was handed out already."""
        found = self.result if response is None else self._partial(response)
        if found is not None and found != self._last:
            self._last = found
            yield found

    def _decide(self) -> Generator[Ask, ChatResponse, BaseModel]:
        asked, response = yield from self._first_answer()
        try:
            return self._read(response)
        except _UnfitError as unfit:
            if unfit.is_cut:
                raise _failed(self._cls, unfit) from None
            again = Ask(self._again(asked.messages, unfit), asked.options)
        response = yield again
        try:
            return self._read(response)
        except _UnfitError as unfit:
            raise _failed(self._cls, unfit) from None

    def _first_answer(self) -> Generator[Ask, ChatResponse, tuple[Ask, ChatResponse]]:
        """By the first method that is not refused: what was asked, and the answer."""
        *others, last = self._methods
        for method in others:
            asked = self._ask(method)
            try:
                return asked, (yield asked)
            except REFUSALS as error:
                if not _is_about_forms(error):
                    raise
        asked = self._ask(last)
        response = yield asked
        if last == TEXT:
            self._on_text()
        return asked, response

    def _partial(self, response: ChatResponse) -> BaseModel | None:
        """Of the class itself as soon as it fits, before that with every field optional."""
        text = _call_or_text(response.message, self._form["name"])
        if isinstance(text, str) and not self._growth.is_due(len(text)):
            return None
        value = text if isinstance(text, dict) else partial_json(json_text(text))
        if not value or may_be_call(value, self._form["name"]):
            return None
        for cls in (self._cls, _flexible(self._cls)):
            try:
                return cls.model_validate(value)
            except Exception:  # noqa: BLE001, S112
                # The class's validators may raise anything at half a value.
                continue
        return None

    def _ask(self, method: str | None) -> Ask:
        if method == TEXT:
            return Ask(
                _with_request(self._messages, ONLY_JSON + self._schema()), dict(self._options)
            )
        return Ask(self._messages, {**self._options, **asked_form(self._form, method)})

    def _again(self, messages: list[ChatMessage], unfit: _UnfitError) -> list[ChatMessage]:
        said = [ChatMessage(role=MessageRole.ASSISTANT, content=unfit.text)] if unfit.text else []
        return _with_request(
            [*messages, *said], f"That answer does not fit: {unfit}\n{ONLY_JSON}{self._schema()}"
        )

    def _schema(self) -> str:
        return json.dumps(self._form["schema"], ensure_ascii=False)

    def _read(self, response: ChatResponse) -> BaseModel:
        message = response.message
        refusal = message.additional_kwargs.get("refusal")
        if refusal:
            raise RefusalError(
                f"The model refused: {refusal}", "Ask differently, or catch it to show the refusal."
            )
        found = _call_or_text(message, self._form["name"])
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        is_cut = response.additional_kwargs.get("finish_reason") == "length"
        try:
            readings = self._readings(found) if isinstance(found, str) else [found]
        except ValueError:
            thought = any(
                isinstance(block, ThinkingBlock) and block.content for block in message.blocks
            )
            missing = _ALL_THOUGHT if thought else "It is empty."
            raise _UnfitError("It is no JSON." if text.strip() else missing, text, is_cut) from None
        problem = ""
        for value in readings:
            try:
                return self._cls.model_validate_json(json.dumps(value))
            except ValidationError as error:
                problem = problem or _problems(error)
        raise _UnfitError(problem, text, is_cut)

    def _readings(self, text: str) -> list[Any]:
        """What a text may mean: a call's arguments written as text, the value itself, a list."""
        name = self._form["name"]
        return [read_answer(text, name), read_answer(text), read_answer(text, is_list=True)]


def _call_or_text(message: ChatMessage, name: str) -> Json | str:
    """What should be the answer.

    The arguments of the call that was asked for, else the text, else any call's arguments.
    """
    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    own = next((call for call in calls if call.tool_name == name), None)
    if own is None and calls and not message.content:
        own = calls[0]  # an answer under a name the model made up
    return own.tool_kwargs if own is not None else message.content or ""


def _with_request(messages: Sequence[ChatMessage], request: str) -> list[ChatMessage]:
    """The messages with a request at their end, in the user's message if one is there."""
    last = messages[-1] if messages else None
    if last is not None and last.role == MessageRole.USER:
        return [
            *messages[:-1],
            last.model_copy(update={"blocks": [*last.blocks, TextBlock(text=f"\n{request}")]}),
        ]
    return [*messages, ChatMessage(role=MessageRole.USER, content=request)]


def _problems(error: ValidationError) -> str:
    return " ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'answer'}: {problem['msg']}."
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    )


def _failed(cls: type[BaseModel], unfit: _UnfitError) -> StructuredOutputError:
    why = (
        "The answer was cut off at the token limit"
        if unfit.is_cut
        else f"The model gave no {cls.__name__}, twice"
    )
    hint = "What it wrote is in error.raw_text. Ask for a simpler form, or use a larger model."
    if str(unfit) == _ALL_THOUGHT:
        hint = "Raise max_tokens, or ask for less reasoning (reasoning_effort=)."
    elif unfit.is_cut or not unfit.text:
        hint = (
            "Raise max_tokens."
            if unfit.is_cut
            else "Ask for a simpler form, or use a larger model."
        )
    wrote = f" It wrote: {unfit.text[:500]!r}" if unfit.text else ""
    error = StructuredOutputError(f"{why}: {unfit}{wrote}", hint)
    error.raw_text = unfit.text
    return error


def _is_about_forms(error: RequestError | ServerError) -> bool:
    """Whether the server refused the way of asking, not the question, and not this schema.

    llama.cpp says it with 500.
    """
    if isinstance(error, ContextOverflowError | BadAnswerError) or error.status_code not in (
        400,
        404,
        422,
        500,
        501,
    ):
        return False
    said = f"{error.message} {error.body or ''}"
    return bool(_FORMS.search(said) and _REFUSED.search(said)) and not dislikes_schema(said)


def _failed_generation(body: str | None) -> str:
    try:
        return str(json.loads(body or "")["error"]["failed_generation"])
    except (ValueError, KeyError, TypeError):
        return ""


# --- sending what a question wants


def ask(question: Question, send: Callable[[Ask], ChatResponse]) -> BaseModel:
    """The object, by whole answers."""
    while question.wanted is not None:
        try:
            response = send(question.wanted)
        except REFUSALS as error:
            question.refused(error)
        else:
            question.answered(response)
    return question.result


async def aask(question: Question, send: Callable[[Ask], Awaitable[ChatResponse]]) -> BaseModel:
    """``ask`` for async code."""
    while question.wanted is not None:
        try:
            response = await send(question.wanted)
        except REFUSALS as error:
            question.refused(error)
        else:
            question.answered(response)
    return question.result


def stream(
    question: Question, send: Callable[[Ask], Iterator[ChatResponse]]
) -> Generator[BaseModel, None, None]:
    """The object as it grows, and whole at the end."""
    while question.wanted is not None:
        response = _NOTHING
        try:
            for response in send(question.wanted):
                yield from question.grown(response)
        except REFUSALS as error:
            question.refused(error)
        else:
            question.answered(response)
    yield from question.grown(None)


async def astream(
    question: Question, send: Callable[[Ask], Awaitable[AsyncIterator[ChatResponse]]]
) -> AsyncGenerator[BaseModel, None]:
    """``stream`` for async code."""
    while question.wanted is not None:
        response = _NOTHING
        try:
            async for response in await send(question.wanted):
                for found in question.grown(response):
                    yield found
        except REFUSALS as error:
            question.refused(error)
        else:
            question.answered(response)
    for found in question.grown(None):
        yield found
