"""Making, saving, copying: constructors, secrets, dicts, pickles."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM, ChatMessage

from llama_index_opea.testing.asking import HELLO, aask, ask, each_way
from llama_index_opea.testing.base import asynchronous, needs
from llama_index_opea.testing.checks import check_response
from llama_index_opea.testing.settings import LLMSettings
from llama_index_opea.testing.watching import watching


class KeepingTests(LLMSettings):
    """What becomes of an object besides calls."""

    def test_class_in_mro(self) -> None:
        """The class is an LLM of LlamaIndex.

        To fix: inherit from ``LLM``, or ``FunctionCallingLLM``; ``CustomLLM`` blocks event loops.
        """
        assert BaseLLM in self.llm_class.__mro__
        assert LLM in self.llm_class.__mro__

    def test_class_name(self) -> None:
        """``class_name()`` is the class's own: serialised objects and traces are known by it.

        To fix: override it.
        """
        name = self.llm_class.class_name()
        assert name
        assert name not in {
            base.class_name()
            for base in self.llm_class.__mro__[1:]
            if issubclass(base, BaseLLM) and base is not BaseLLM
        }

    def test_init(self) -> None:
        """The constructor takes and keeps ``llm_params`` and what core gives to every LLM.

        None is as not given.

        To fix: hand it on to ``super().__init__``.
        """
        manager = CallbackManager([])
        llm = self.llm(callback_manager=manager, system_prompt="Be brief.")
        assert llm.callback_manager is manager
        assert llm.system_prompt == "Be brief."
        assert isinstance(self.llm(callback_manager=None).callback_manager, CallbackManager)

    def test_unknown_init_argument_raises(self) -> None:
        """A misspelt argument raises and is named; pydantic would swallow it.

        To fix: compare with ``model_fields`` first.
        """
        with pytest.raises(Exception, match="no_such_argument"):
            self.llm(no_such_argument=1)

    def test_payload(self) -> None:
        """``to_payload()`` is what tracers store: plain JSON data with the class's name.

        To fix: no objects in it.
        """
        payload = json.loads(json.dumps(self.llm().to_payload()))
        assert payload["class_name"] == self.llm_class.class_name()

    # --- secrets

    @needs("secrets")
    def test_no_secret_leak(self) -> None:
        """The key is in no repr, dict, JSON, payload, callback or event.

        Private headers are in no payload, callback or event.

        To fix: ``SecretStr`` with ``exclude=True`` and ``repr=False``, and a ``to_payload`` of
        harmless fields only.
        """
        llm = self.llm()
        with watching(llm) as watch:
            ask(llm, "chat")
            ask(llm, "complete")
        seen = {"payload": repr(llm.to_payload()), "events": watch.shown()}
        shown = {
            "repr": repr(llm),
            "str": str(llm),
            "to_dict": repr(llm.to_dict()),
            "to_json": llm.to_json(),
            "model_dump": repr(llm.model_dump()),
            **seen,
        }
        leaks = [
            where for where, text in shown.items() for secret in self.secrets if secret in text
        ]
        assert not leaks, f"a secret is shown in: {', '.join(leaks)}"
        leaks = [
            where for where, text in seen.items() for value in self.private_headers if value in text
        ]
        assert not leaks, f"a private header is shown in: {', '.join(leaks)}"

    @needs("secret_kwargs")
    @each_way
    def test_no_secret_leak_of_calls(self, way: str) -> None:
        """Private arguments of a call are in no callback and event.

        To fix: core puts all of them there; hide them before its decorator.
        """
        llm = self.llm()
        with watching(llm) as watch:
            ask(llm, way, HELLO, **self.secret_kwargs)
        values = [
            value
            for given in self.secret_kwargs.values()
            for value in (given.values() if isinstance(given, dict) else [given])
        ]
        assert values
        assert not [value for value in values if str(value) in watch.shown()], (
            "a private argument is shown in an event or a callback"
        )

    # --- dicts and pickles

    def _check_same(self, one: LLM, other: LLM) -> None:
        assert type(one) is type(other)
        assert one.to_dict() == other.to_dict()
        assert one.metadata == other.metadata
        assert one.system_prompt == other.system_prompt

    def test_roundtrip_dict(self) -> None:
        """``from_dict(to_dict())`` gives an equal object that works, with its key given again.

        To fix: take every field by name.
        """
        llm = self.llm(system_prompt="Be brief.")
        given = {
            name: self.llm_params[name]
            for name in ("api_key", "default_headers")
            if name in self.llm_params
        }
        data = json.loads(json.dumps(llm.to_dict()))
        assert data["class_name"] == self.llm_class.class_name()
        again = self.llm_class.from_dict(data, **given)
        self._check_same(llm, again)
        self._check_same(llm, self.llm_class.from_json(llm.to_json(), **given))
        check_response(again.chat([ChatMessage(role="user", content=HELLO)]))

    def test_pickle_after_use(self) -> None:
        """A used object can be pickled, the copy is equal and works.

        To fix: keep clients and locks private and make them when needed.
        """
        llm = self.llm(system_prompt="Be brief.")
        ask(llm, "chat")
        again = pickle.loads(pickle.dumps(llm))  # noqa: S301 - our own
        self._check_same(llm, again)
        check_response(again.chat([ChatMessage(role="user", content=HELLO)]))

    @asynchronous
    async def test_pickle_after_use_async(self) -> None:
        """The same after async use, and while the loop still runs."""
        llm = self.llm()
        await aask(llm, "achat")
        again: Any = pickle.loads(pickle.dumps(llm))  # noqa: S301
        self._check_same(llm, again)
        check_response((await aask(again, "achat"))[-1])

    def test_copy_after_use(self) -> None:
        """A used object can be copied, deep and shallow; original and copy both work on.

        To fix: as ``test_pickle_after_use``.
        """
        llm = self.llm()
        ask(llm, "chat")
        for again in (copy.deepcopy(llm), copy.copy(llm), llm.model_copy()):
            self._check_same(llm, again)
            check_response(again.chat([ChatMessage(role="user", content=HELLO)]))
        check_response(llm.chat([ChatMessage(role="user", content=HELLO)]))

    @needs("has_async")
    def test_async_is_own(self) -> None:
        """The async methods are not the sync ones in disguise. To fix: write them.

        Those of ``CustomLLM`` block the event loop.
        """
        inherited = [
            name
            for name in ("achat", "acomplete", "astream_chat", "astream_complete")
            if _from_core(self.llm_class, name)
        ]
        assert not inherited, f"{', '.join(inherited)} come from core, which calls the sync methods"


def _from_core(cls: type, name: str) -> bool:
    return str(getattr(cls, name).__module__).startswith("llama_index.core")
