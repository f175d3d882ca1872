"""What a subclass says about its LLM, and how the tests make one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.llms.function_calling import FunctionCallingLLM

from llama_index_opea.testing.base import Conformance
from llama_index_opea.testing.checks import check_response, usage_of


class LLMSettings(Conformance):
    """The class under test, how to make one, and what it can do.

    Override as properties or as class attributes.
    """

    @property
    def llm_class(self) -> type[LLM]:
        """The class under test. Required."""
        raise NotImplementedError(f"{type(self).__name__} must say which llm_class it tests")

    @property
    def llm_params(self) -> dict[str, Any]:
        """The keyword arguments of its constructor.

        They should make answers repeatable, and leave room for them: about 300 tokens, in a window
        of at least 4096.
        """
        return {}

    # --- what model and server can do

    @property
    def supports_tools(self) -> bool:
        """The model calls tools. Default: the class is a ``FunctionCallingLLM``."""
        return issubclass(self.llm_class, FunctionCallingLLM)

    @property
    def supports_parallel_tools(self) -> bool:
        """The model makes several calls in one answer when it is asked to. Default: off."""
        return False

    @property
    def supports_tool_choice(self) -> bool:
        """A call can be forced, any or a named one. Default: as ``supports_tools``."""
        return bool(self.supports_tools)

    @property
    def supports_text_and_tool(self) -> bool:
        """The model says something before it calls a tool when it is asked to. Default: off."""
        return False

    @property
    def supports_reasoning(self) -> bool:
        """The model thinks, with ``reasoning_params``, and its thoughts are returned.

        Default: off.
        """
        return False

    @property
    def supports_images(self) -> bool:
        """The model sees ``ImageBlock``s. Default: off."""
        return False

    @property
    def supports_audio(self) -> bool:
        """The model hears ``AudioBlock``s. Default: off."""
        return False

    @property
    def supports_documents(self) -> bool:
        """The model reads ``DocumentBlock``s (PDF). Default: off."""
        return False

    @property
    def supports_structured(self) -> bool:
        """The model fills in schemas, in whatever way the class asks for it. Default: on."""
        return True

    @property
    def supports_json_schema(self) -> bool:
        """The server constrains answers to a schema, with ``json_schema_params``. Default: off."""
        return False

    @property
    def supports_logprobs(self) -> bool:
        """The server tells the probabilities of tokens, with ``logprobs_params``. Default: off."""
        return False

    @property
    def supports_agents(self) -> bool:
        """The model follows the long prompts of agents well enough to be tested in them.

        Default: as ``supports_tools``.
        """
        return bool(self.supports_tools)

    @property
    def returns_usage(self) -> bool:
        """The server counts tokens, in streams as well. Default: on."""
        return True

    @property
    def returns_finish_reason(self) -> bool:
        """``additional_kwargs["finish_reason"]`` tells why an answer ended.

        Core has no place of its own for it. Default: off.
        """
        return False

    @property
    def repeats_itself(self) -> bool:
        """The same question gets the same answer each time, in streams as well.

        As from a scripted server. Default: off.
        """
        return False

    # --- constructor arguments for some of the tests, added to llm_params

    @property
    def reasoning_params(self) -> dict[str, Any]:
        """Make the model think."""
        return {}

    @property
    def json_schema_params(self) -> dict[str, Any]:
        """Make the class ask for structured output by a schema."""
        return {}

    @property
    def logprobs_params(self) -> dict[str, Any]:
        """Make the server tell probabilities, two alternatives for each token."""
        return {"logprobs": True, "top_logprobs": 2}

    @property
    def long_params(self) -> dict[str, Any]:
        """Allow an answer of many tokens; see ``short_kwargs``."""
        return {"max_tokens": 200}

    @property
    def short_kwargs(self) -> dict[str, Any]:
        """Arguments of a call that allow one token, against ``long_params``."""
        return {"max_tokens": 1}

    @property
    def one_request_params(self) -> dict[str, Any]:
        """Allow one request at a time, where the class has such a limit.

        An abandoned stream that stays open is noticed then.
        """
        return {}

    @property
    def failing_params(self) -> dict[str, Any]:
        """Make every call fail, by a model that does not exist for example.

        Default: not given, its tests are skipped.
        """
        return {}

    @property
    def cut_stream_params(self) -> dict[str, Any]:
        """Make the server end streams in the middle; needs a scripted one.

        Default: not given, its tests are skipped.
        """
        return {}

    @property
    def broken_stream_params(self) -> dict[str, Any]:
        """Make the server send an error in the middle of streams; needs a scripted one.

        Default: not given.
        """
        return {}

    @property
    def prose_params(self) -> dict[str, Any]:
        """Make the model fill in no schema, whatever it is asked.

        A scripted one, or a very small one. Default: not given.
        """
        return {}

    @property
    def secret_kwargs(self) -> dict[str, Any]:
        """Arguments of a call that must not get into events.

        ``{"extra_headers": {...}}`` for example. Default: not given.
        """
        return {}

    @property
    def secrets(self) -> Sequence[str]:
        """What must never be shown. Default: the ``api_key`` of ``llm_params``."""
        key = self.llm_params.get("api_key")
        return [key] if isinstance(key, str) else []

    @property
    def private_headers(self) -> Sequence[str]:
        """Header values that must not get into events.

        Default: those of ``default_headers`` in ``llm_params``.
        """
        return [
            value
            for value in (self.llm_params.get("default_headers") or {}).values()
            if isinstance(value, str)
        ]

    # --- making one, and asking it

    def llm(self, **changes: Any) -> LLM:
        """A new object of the class under test."""
        return self.llm_class(**{**self.llm_params, **changes})

    def prompt_tokens(self, llm: LLM, *messages: ChatMessage) -> int:
        """The tokens of these messages as the server counted them, after the answer was checked.

        0 where it counts none.
        """
        response = llm.chat(list(messages))
        check_response(response)
        return usage_of(response)[0] if self.returns_usage else 0

    def tool_llm(self, **changes: Any) -> FunctionCallingLLM:
        """A new one that calls tools."""
        llm = self.llm(**changes)
        if not isinstance(llm, FunctionCallingLLM):
            pytest.fail(
                f"{self.llm_class.__name__} is no FunctionCallingLLM: inherit from it,"
                " or set supports_tools = False"
            )
        return llm
