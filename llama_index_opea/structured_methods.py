"""The part of ``OPEALLM`` that answers with objects."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import PydanticProgramMode
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel, PrivateAttr

from llama_index_opea import structured
from llama_index_opea.instrumentation import instrumented
from llama_index_opea.tool_methods import ToolMethods

if TYPE_CHECKING:
    from llama_index.core.program.utils import FlexibleModel

_logger = logging.getLogger("opea_core")
dispatcher = get_dispatcher(__name__)
Model = TypeVar("Model", bound=BaseModel)


class ObjectMethods(ToolMethods):
    """``structured_predict`` and its twins, without the defects of LlamaIndex's programs."""

    is_function_calling_model: bool = True
    should_use_structured_outputs: bool = False
    """Whether objects are asked for by ``json_schema`` only.

    Else it is tried first, then a forced tool, then text.
    """

    if TYPE_CHECKING:  # what the class that holds the connection brings
        client: Any

        def _named_model(self, kwargs: Mapping[str, Any] | None = None) -> Any: ...

    _text_only: set[str] = PrivateAttr(default_factory=set)
    """The models that were refused every form but words."""

    @instrumented()
    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """An object of a pydantic class, validated.

        Asked for by ``json_schema``, by a forced tool where that is refused, by words where both
        are; an answer that does not fit is asked for once more. ``pydantic_program_mode`` FUNCTION
        or LLM chooses. Raises StructuredOutputError with the raw text.
        """
        if self.pydantic_program_mode == PydanticProgramMode.LM_FORMAT_ENFORCER:
            return cast(
                Model, super().structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            )
        dispatcher.event(
            LLMStructuredPredictStartEvent(
                output_cls=output_cls, template=prompt, template_args=prompt_args
            )
        )
        question = self._question(output_cls, prompt, llm_kwargs, prompt_args)
        found = structured.ask(question, lambda ask: self.chat(ask.messages, **ask.options))
        dispatcher.event(LLMStructuredPredictEndEvent(output=found))
        return cast(Model, found)

    @instrumented()
    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """``structured_predict`` for async code."""
        if self.pydantic_program_mode == PydanticProgramMode.LM_FORMAT_ENFORCER:
            return cast(
                Model,
                await super().astructured_predict(output_cls, prompt, llm_kwargs, **prompt_args),
            )
        dispatcher.event(
            LLMStructuredPredictStartEvent(
                output_cls=output_cls, template=prompt, template_args=prompt_args
            )
        )
        question = self._question(output_cls, prompt, llm_kwargs, prompt_args)
        found = await structured.aask(question, lambda ask: self.achat(ask.messages, **ask.options))
        dispatcher.event(LLMStructuredPredictEndEvent(output=found))
        return cast(Model, found)

    @instrumented()
    def stream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Model | FlexibleModel, None, None]:
        """``structured_predict`` in growing objects.

        They are of a looser class until the fields fit; the validated one comes at the end.
        """
        plain = inspect.unwrap(FunctionCallingLLM.stream_structured_predict)
        return cast(
            "Generator[Model | FlexibleModel, None, None]",
            plain(self, output_cls, prompt, llm_kwargs, **prompt_args),
        )

    @instrumented()
    async def astream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Model | FlexibleModel, None]:
        """``stream_structured_predict`` for async code.

        ``async for o in await llm.astream_structured_predict(...)``.
        """
        plain = inspect.unwrap(FunctionCallingLLM.astream_structured_predict)
        return cast(
            "AsyncGenerator[Model | FlexibleModel, None]",
            await plain(self, output_cls, prompt, llm_kwargs, **prompt_args),
        )

    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        if self.pydantic_program_mode == PydanticProgramMode.LM_FORMAT_ENFORCER:
            return super()._structured_stream_call(output_cls, prompt, llm_kwargs, **prompt_args)
        question = self._question(output_cls, prompt, llm_kwargs, prompt_args)
        return structured.stream(
            question, lambda ask: self.stream_chat(ask.messages, **ask.options)
        )

    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        if self.pydantic_program_mode == PydanticProgramMode.LM_FORMAT_ENFORCER:
            return await super()._structured_astream_call(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
        question = self._question(output_cls, prompt, llm_kwargs, prompt_args)
        return structured.astream(
            question, lambda ask: self.astream_chat(ask.messages, **ask.options)
        )

    def _question(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: Mapping[str, Any] | None,
        prompt_args: Mapping[str, Any],
    ) -> structured.Question:
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        given = {
            k: v
            for k, v in (llm_kwargs or {}).items()
            if k not in ("tool_required", "tool_choice", "allow_parallel_tool_calls")
        }
        model = str(self._named_model(given) or self.client.model)
        return structured.Question(
            output_cls,
            messages,
            self._ways(model),
            given,
            self.strict,
            lambda: self._take_text(model),
        )

    def _take_text(self, model: str) -> None:
        """Remember that this model takes words only.

        There is nothing to remember where nothing else was tried.
        """
        if model not in self._text_only and self._ways(model) != [structured.TEXT]:
            self._text_only.add(model)
            _logger.warning(
                "%s takes neither a schema nor tools: objects are asked for in words from now on.",
                model,
            )

    def _ways(self, model: str) -> list[str | None]:
        """How objects are asked for, in order; None is what the endpoint is known to take."""
        mode = self.pydantic_program_mode
        if mode == PydanticProgramMode.LLM or model in self._text_only or not self.is_chat_model:
            return [structured.TEXT]
        if mode in (PydanticProgramMode.FUNCTION, PydanticProgramMode.OPENAI):
            return ["function_calling", structured.TEXT]
        schema_only = self.should_use_structured_outputs or not self.is_function_calling_model
        return ["json_schema" if schema_only else None, structured.TEXT]
