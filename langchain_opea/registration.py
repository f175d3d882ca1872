"""``init_chat_model("opea:...")``, for those who ask for it."""

from __future__ import annotations

import importlib

from langchain_opea.errors import OPEAConfigurationError


def register() -> None:
    """Make ``init_chat_model(..., model_provider="opea")`` know ``ChatOPEA``.

    A second time does nothing.

    LangChain's table of providers is private and has no entry points, so nothing is done at import.
    Raises OPEAConfigurationError if ``langchain`` is not installed or its table is not where it
    was.
    """
    try:
        module = importlib.import_module("langchain.chat_models.base")
    except ImportError as error:
        raise OPEAConfigurationError(
            "init_chat_model is part of langchain, which is not installed.", "pip install langchain"
        ) from error
    providers = getattr(module, "_BUILTIN_PROVIDERS", None)
    call = getattr(module, "_call", None)
    if not isinstance(providers, dict) or not callable(call):
        raise OPEAConfigurationError(
            "This version of langchain keeps its providers elsewhere.",
            "Use langchain_opea.ChatOPEA itself.",
        )
    providers.setdefault("opea", ("langchain_opea", "ChatOPEA", call))
