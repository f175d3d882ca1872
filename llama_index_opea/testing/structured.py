"""Structured prediction.

Four methods, three ways to ask, a system prompt in each, and ``as_structured_llm``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel

from llama_index_opea.testing.base import asynchronous, needs
from llama_index_opea.testing.checks import usage_of
from llama_index_opea.testing.samples import GOODS, ORDER, Order
from llama_index_opea.testing.settings import LLMSettings
from llama_index_opea.testing.watching import ENDS, Watch, watching

SYSTEM = "You take orders for the shop of Ada."


def prompt() -> PromptTemplate:
    """A new one each time.

    The base class of LlamaIndex writes a schema into the template it is given.
    """
    return PromptTemplate(ORDER)


QUESTION = ORDER.format(**GOODS)
MODES = {"tools": PydanticProgramMode.FUNCTION, "text": PydanticProgramMode.LLM}
RUNGS = ("default", "json_schema", *MODES)
each_rung = pytest.mark.parametrize("rung", RUNGS)
cores_own_json = pytest.mark.filterwarnings("ignore:The `json` method is deprecated")
"""Of core's ``StructuredLLM``, while it streams."""


class StructuredTests(LLMSettings):
    """An ``Order`` is asked for: nested objects, a list, an optional field.

    ``default`` asks as the class does by itself, ``json_schema`` with ``json_schema_params``,
    ``tools`` and ``text`` with ``pydantic_program_mode=``, which every LLM has.
    """

    def _structurer(self, rung: str) -> LLM:
        if rung == "json_schema":
            if not self.supports_json_schema:
                pytest.skip(f"{type(self).__name__}.supports_json_schema is off or not given")
            return self.llm(system_prompt=SYSTEM, **self.json_schema_params)
        if rung == "tools" and not self.supports_tool_choice:
            pytest.skip(f"{type(self).__name__}.supports_tool_choice is off or not given")
        return self.llm(
            system_prompt=SYSTEM, pydantic_program_mode=MODES.get(rung, PydanticProgramMode.DEFAULT)
        )

    def _check_order(self, found: Any, watch: Watch) -> None:
        """A whole order; the system prompt was sent; whoever counts tokens sees the call."""
        assert type(found) is Order, f"expected an Order, got {found!r}"
        assert found.items
        assert any(SYSTEM in prompt for prompt in watch.prompts()), (
            "the LLM's system_prompt was not sent"
        )
        ends = watch.of(*ENDS)
        assert ends, "no event tells of the call: ask through chat or complete, or fire the events"
        if self.returns_usage:
            assert usage_of(ends[-1].response)[1] > 0, (
                "the usage of a structured call must be in its LLM event"
            )

    def _check_orders(self, found: Sequence[Any], watch: Watch) -> None:
        """Objects that grow; the last one is whole."""
        assert found, "nothing was yielded"
        assert all(isinstance(each, BaseModel) for each in found), (
            "partial objects are pydantic models, too"
        )
        assert not any(isinstance(each, Order) and not each.items for each in found), (
            "an Order without items is not valid"
        )
        self._check_order(found[-1], watch)

    # --- the four methods

    @needs("supports_structured")
    @each_rung
    def test_structured_predict(self, rung: str) -> None:
        """``structured_predict`` gives an instance of the class.

        To fix: see ``PydanticProgramMode`` and ``tool_required``.
        """
        llm = self._structurer(rung)
        with watching(llm) as watch:
            found = llm.structured_predict(Order, prompt(), **GOODS)
        self._check_order(found, watch)

    @needs("supports_structured")
    @each_rung
    @asynchronous
    async def test_astructured_predict(self, rung: str) -> None:
        """``astructured_predict`` does so too.

        Core drops the system prompt here: override it and call ``_extend_messages``.
        """
        llm = self._structurer(rung)
        with watching(llm) as watch:
            found = await llm.astructured_predict(Order, prompt(), **GOODS)
        self._check_order(found, watch)

    @needs("supports_structured")
    @each_rung
    def test_stream_structured_predict(self, rung: str) -> None:
        """``stream_structured_predict`` yields objects that grow, the last one whole.

        To fix: core reads streamed calls from ``additional_kwargs["tool_calls"]`` only and forces
        no call here.
        """
        llm = self._structurer(rung)
        with watching(llm) as watch:
            found = list(llm.stream_structured_predict(Order, prompt(), **GOODS))
        self._check_orders(found, watch)

    @needs("supports_structured")
    @each_rung
    @asynchronous
    async def test_astream_structured_predict(self, rung: str) -> None:
        """``astream_structured_predict`` does so too.

        It is a coroutine that returns an async generator.
        """
        llm = self._structurer(rung)
        with watching(llm) as watch:
            found = [
                each
                async for each in await llm.astream_structured_predict(Order, prompt(), **GOODS)
            ]
        self._check_orders(found, watch)

    @needs("supports_structured")
    def test_structured_events(self) -> None:
        """One start and one end event, with the object, and a span for each prediction.

        To fix: fire them in your override.
        """
        llm = self.llm()
        with watching(llm) as watch:
            found = llm.structured_predict(Order, prompt(), **GOODS)
        assert [event.output_cls for event in watch.of(LLMStructuredPredictStartEvent)] == [Order]
        assert [event.output for event in watch.of(LLMStructuredPredictEndEvent)] == [found]
        assert f"{self.llm_class.__name__}.structured_predict" in watch.spans, (
            "decorate the override with dispatcher.span"
        )

    @needs("supports_structured")
    @asynchronous
    async def test_structured_events_async(self) -> None:
        """The same for ``astructured_predict``."""
        llm = self.llm()
        with watching(llm) as watch:
            found = await llm.astructured_predict(Order, prompt(), **GOODS)
        assert [event.output_cls for event in watch.of(LLMStructuredPredictStartEvent)] == [Order]
        assert [event.output for event in watch.of(LLMStructuredPredictEndEvent)] == [found]
        assert f"{self.llm_class.__name__}.astructured_predict" in watch.spans, (
            "decorate the override with dispatcher.span"
        )

    @needs("supports_structured")
    def test_structured_chat_prompt(self) -> None:
        """A template of several messages is filled in and sent as it is.

        Its own system message, too. To fix: ``prompt.format_messages``.
        """
        prompt = ChatPromptTemplate(
            [
                ChatMessage(role="system", content="Answer for {shop}."),
                ChatMessage(role="user", content=ORDER),
            ],
        )
        llm = self.llm()
        with watching(llm) as watch:
            found = llm.structured_predict(Order, prompt, shop="Ada", **GOODS)
        assert type(found) is Order
        assert "system: Answer for Ada." in watch.prompts()[0]

    @needs("prose_params")
    def test_structured_failure_raises(self) -> None:
        """An answer that fills in nothing raises, in streams as well.

        To fix: core gives an empty object in streams, override it.
        """
        llm = self.llm(**self.prose_params)
        with pytest.raises(Exception):  # noqa: B017, PT011 - each integration has errors of its own
            llm.structured_predict(Order, prompt(), **GOODS)
        with pytest.raises(Exception):  # noqa: B017, PT011
            list(llm.stream_structured_predict(Order, prompt(), **GOODS))

    @needs("prose_params")
    @asynchronous
    async def test_structured_failure_raises_async(self) -> None:
        """The same for the async methods."""
        llm = self.llm(**self.prose_params)
        with pytest.raises(Exception):  # noqa: B017, PT011
            await llm.astructured_predict(Order, prompt(), **GOODS)
        with pytest.raises(Exception):  # noqa: B017, PT011
            [each async for each in await llm.astream_structured_predict(Order, prompt(), **GOODS)]

    # --- as_structured_llm

    @needs("supports_structured")
    def test_as_structured_llm(self) -> None:
        """A structured LLM answers with the object in ``raw`` and its JSON as text."""
        llm = self.llm().as_structured_llm(Order)
        for response in (
            llm.chat([ChatMessage(role="user", content=QUESTION)]),
            llm.complete(QUESTION),
        ):
            assert type(response.raw) is Order
        assert Order.model_validate_json(
            str(llm.chat([ChatMessage(role="user", content=QUESTION)]).message.content)
        ).items

    @needs("supports_structured")
    @asynchronous
    async def test_as_structured_llm_async(self) -> None:
        """The same for its async methods."""
        llm = self.llm().as_structured_llm(Order)
        for response in (
            await llm.achat([ChatMessage(role="user", content=QUESTION)]),
            await llm.acomplete(QUESTION),
        ):
            assert type(response.raw) is Order

    @needs("supports_structured")
    @cores_own_json
    def test_as_structured_llm_stream(self) -> None:
        """The last response of its stream has the whole object.

        To fix: as for ``stream_structured_predict``.
        """
        responses = list(
            self.llm()
            .as_structured_llm(Order)
            .stream_chat([ChatMessage(role="user", content=QUESTION)])
        )
        assert type(responses[-1].raw) is Order

    @needs("supports_structured")
    @cores_own_json
    @asynchronous
    async def test_as_structured_llm_stream_async(self) -> None:
        """The same for its async stream."""
        stream = (
            await self.llm()
            .as_structured_llm(Order)
            .astream_chat([ChatMessage(role="user", content=QUESTION)])
        )
        assert type([response async for response in stream][-1].raw) is Order
