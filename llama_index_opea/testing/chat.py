"""Whole answers.

Chat and completions, what may stand in a history, arguments of calls, errors, event loops.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    CitableBlock,
    CitationBlock,
    ThinkingBlock,
)
from llama_index.core.callbacks import CBEventType
from llama_index.core.llms import ChatMessage, MessageRole, TextBlock
from llama_index.core.prompts import PromptTemplate

from llama_index_opea.testing.asking import HELLO, aask, ask, each_async_way, each_way, text_of
from llama_index_opea.testing.base import asynchronous, needs
from llama_index_opea.testing.checks import check_completion, check_response
from llama_index_opea.testing.settings import LLMSettings
from llama_index_opea.testing.watching import Watch, watching

CACHE = CachePoint(cache_control=CacheControl(type="ephemeral"))
BLOCKS: dict[str, list[Any]] = {
    "cache point": [TextBlock(text="These words are kept."), CACHE, TextBlock(text=HELLO)],
    "citable": [
        CitableBlock(title="A letter", source="letters", content=[TextBlock(text="It rains.")]),
        TextBlock(text=HELLO),
    ],
    "several texts": [TextBlock(text="It rains, and the wind blows."), TextBlock(text=HELLO)],
}
ANSWERS: dict[str, list[Any]] = {
    "citation": [
        CitationBlock(
            cited_content=TextBlock(text="It rains."),
            source="letters",
            title="A letter",
            additional_location_info={},
        )
    ],
    "thinking": [ThinkingBlock(content="They greet me."), TextBlock(text="Hello.")],
    "empty": [],
}
ROLES = (
    MessageRole.DEVELOPER,
    MessageRole.SYSTEM,
    MessageRole.USER,
    MessageRole.ASSISTANT,
    MessageRole.CHATBOT,
    MessageRole.MODEL,
)


def user(content: Any = HELLO) -> ChatMessage:
    """What a user says."""
    return ChatMessage(role=MessageRole.USER, content=content)


class ChatTests(LLMSettings):
    """``chat``, ``achat``, ``complete``, ``acomplete`` and what core builds on them."""

    # --- the four

    def test_chat(self) -> None:
        """``chat`` gives an assistant's message in well-formed blocks.

        To fix: build one TextBlock, see ``checks.check_message``.
        """
        check_response(self.llm().chat([user()]))

    @asynchronous
    async def test_achat(self) -> None:
        """``achat`` gives the same as ``chat``."""
        check_response(await self.llm().achat([user()]))

    def test_complete(self) -> None:
        """``complete`` gives a text.

        To fix for chat models: ask ``chat`` with one user message (a private one, see
        ``test_events_balanced``).
        """
        check_completion(self.llm().complete(HELLO))

    @asynchronous
    async def test_acomplete(self) -> None:
        """``acomplete`` gives the same as ``complete``."""
        check_completion(await self.llm().acomplete(HELLO))

    def test_predict(self) -> None:
        """``predict`` fills in a template and asks with it.

        To fix: see ``metadata.is_chat_model`` and the method that it chooses.
        """
        llm = self.llm()
        with watching(llm) as watch:
            assert llm.predict(PromptTemplate("Say hello to {name}."), name="Ada")
        self._check_asked(watch)

    @asynchronous
    async def test_apredict(self) -> None:
        """``apredict`` does so too."""
        llm = self.llm()
        with watching(llm) as watch:
            assert await llm.apredict(PromptTemplate("Say hello to {name}."), name="Ada")
        self._check_asked(watch)

    def test_system_prompt(self) -> None:
        """``system_prompt`` stands before what ``predict`` asks, not before what ``chat`` is given.

        Core adds it in the first only.
        """
        llm, plain = self.llm(system_prompt="You are a parrot of few words."), self.llm()
        with watching(llm) as watch:
            llm.predict(PromptTemplate(HELLO))
        assert "You are a parrot of few words." in watch.prompts()[0]
        assert self.prompt_tokens(llm, user()) == self.prompt_tokens(plain, user())

    def _check_asked(self, watch: Watch) -> None:
        prompts = watch.prompts()
        assert len(prompts) == 1, (
            f"{len(prompts)} events were fired for one call: a public method calls another one"
        )
        assert "Say hello to Ada." in prompts[0]

    # --- histories

    def test_conversation(self) -> None:
        """A history with a system message and earlier turns is taken.

        It may be a tuple as well as a list. To fix: ``messages`` is a Sequence.
        """
        history = (
            ChatMessage(role="system", content="Be brief."),
            user("Hello."),
            ChatMessage(role="assistant", content="Hi."),
            user(),
        )
        check_response(self.llm().chat(history))

    @pytest.mark.parametrize("role", ROLES, ids=lambda role: role.value)
    def test_roles(self, role: MessageRole) -> None:
        """Every role of LlamaIndex is taken.

        To fix: translate chatbot and model to assistant, developer to what the server knows.
        """
        self._check_sent(ChatMessage(role=role, content="Good day to you."), user())

    def test_late_system_message(self) -> None:
        """Agents that must stop append a system message at the end.

        To fix: send it, or what your server takes in its place.
        """
        self._check_sent(
            user(), ChatMessage(role="system", content="Answer now, with what you know.")
        )

    @pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
    def test_blocks(self, blocks: list[Any]) -> None:
        """Every kind of textual block is taken in a question.

        To fix: send its text, drop cache points where the server has none.
        """
        self._check_sent(user(blocks))

    @pytest.mark.parametrize("blocks", ANSWERS.values(), ids=ANSWERS)
    def test_blocks_of_answers(self, blocks: list[Any]) -> None:
        """An answer of another model may stand in a history: a citation, a thought or nothing.

        To fix: send the text of the blocks.
        """
        answer = ChatMessage(role="assistant", blocks=blocks)
        if blocks:
            self._check_sent(user(), answer, user())
        else:
            check_response(self.llm().chat([user(), answer, user()]))

    def _check_sent(self, *messages: ChatMessage) -> None:
        """They count more tokens than the question alone: nothing of them is dropped in silence."""
        llm = self.llm()
        alone = [user()] * (2 if len(messages) > 2 else 1)
        many, few = self.prompt_tokens(llm, *messages), self.prompt_tokens(llm, *alone)
        assert many > few or not self.returns_usage, (
            f"{many} tokens were counted, {few} without what is tested here"
        )

    def test_messages_not_changed(self) -> None:
        """What the caller gave is left alone: memories hand out their own messages.

        To fix: copy before you add or convert.
        """
        blocks = [TextBlock(text="One."), CACHE, TextBlock(text=HELLO)]
        history = [ChatMessage(role="system", content="Be brief."), user(blocks)]
        before = [message.model_copy(deep=True) for message in history]
        self.llm().chat(history)
        assert history == before, "the caller's messages were changed"

    # --- arguments of a call

    @each_way
    def test_call_kwargs_win(self, way: str) -> None:
        """An argument of the call wins over the constructor's.

        To fix: ``{**self.kwargs, **kwargs}``, in this order, in all methods.
        """
        answer = ask(self.llm(**self.long_params), way, HELLO, **self.short_kwargs)
        assert len(text_of(answer[-1]).split()) <= 2, "the constructor's argument won"

    @each_async_way
    @asynchronous
    async def test_call_kwargs_win_async(self, way: str) -> None:
        """The same for the async methods."""
        answer = await aask(self.llm(**self.long_params), way, HELLO, **self.short_kwargs)
        assert len(text_of(answer[-1]).split()) <= 2, "the constructor's argument won"

    # --- errors

    @needs("failing_params")
    @each_way
    def test_error_raises(self, way: str) -> None:
        """A refused call raises, once it is awaited or iterated.

        Its callback is ended, and the message shows no key.
        """
        llm = self.llm(**self.failing_params)
        # Each integration has errors of its own.
        with watching(llm) as watch, pytest.raises(Exception) as caught:  # noqa: PT011
            ask(llm, way)
        self._check_failure(caught.value, watch.callbacks(CBEventType.LLM))

    @needs("failing_params")
    @each_async_way
    @asynchronous
    async def test_error_raises_async(self, way: str) -> None:
        """The same for the async methods."""
        llm = self.llm(**self.failing_params)
        with watching(llm) as watch, pytest.raises(Exception) as caught:  # noqa: PT011
            await aask(llm, way)
        self._check_failure(caught.value, watch.callbacks(CBEventType.LLM))

    def _check_failure(self, error: BaseException, callbacks: tuple[list[str], list[str]]) -> None:
        started, ended = callbacks
        assert len(started) == 1
        assert ended == started, (
            "the callback of a failed call must be ended:"
            " decorate with llm_chat_callback, and raise inside"
        )
        assert not [secret for secret in self.secrets if secret in f"{error} {error!r}"], (
            "the error shows a secret"
        )

    # --- loops

    @needs("has_async")
    def test_two_event_loops(self) -> None:
        """One object works in one event loop after the other.

        Core's sync wrappers start a loop for each call.

        To fix "Event loop is closed": keep async clients, locks and semaphores per loop, or make
        them for each call.
        """
        llm = self.llm()
        check_response(asyncio.run(llm.achat([user()])))
        check_completion(asyncio.run(llm.acomplete(HELLO)))
        check_response(asyncio.run(llm.achat([user()])))
        check_response(llm.chat([user()]))

    @asynchronous
    async def test_at_once(self) -> None:
        """Calls of one object at the same time do not disturb each other.

        To fix: keep no state of a call on the object.
        """
        llm = self.llm()
        answers = await asyncio.gather(
            llm.achat([user()]), llm.acomplete(HELLO), aask(llm, "astream_chat")
        )
        check_response(answers[0])
        check_completion(answers[1])
        check_response(answers[2][-1])

    @asynchronous
    async def test_sync_in_event_loop(self) -> None:
        """The sync methods work where a loop is running, as in a notebook.

        To fix: do not build them on ``asyncio.run``.
        """
        llm = self.llm()
        check_response(llm.chat([user()]))
        check_response(ask(llm, "stream_chat")[-1])
        check_completion(llm.complete(HELLO))
