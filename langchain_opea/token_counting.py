"""How many tokens a text, or messages, have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately, get_buffer_string

from langchain_opea.connection import Connection
from langchain_opea.errors import (
    OPEAConfigurationError,
    langchain_errors,
)
from langchain_opea.tools import tools_of
from opea_core.adapters import (
    hidden,
)

_CHARACTERS_PER_TOKEN = 4  # about, as LangChain counts


class TokenCounting(Connection, BaseChatModel):
    """By a function of the caller's, by the server where it is to be asked, else about."""

    count_tokens_on_server: bool = hidden(False)
    """Whether ``get_num_tokens`` asks the server's ``/tokenize``, not guesses from the length."""

    def get_token_ids(self, text: str) -> list[int]:
        """The ids ``custom_get_token_ids`` gives.

        Without it OPEAConfigurationError, as no tokenizer is downloaded.
        """
        if self.custom_get_token_ids is None:
            raise OPEAConfigurationError(
                "ChatOPEA has no tokenizer of the server's model.",
                "Pass custom_get_token_ids=, or use get_num_tokens.",
            )
        return super().get_token_ids(text)

    def get_num_tokens(self, text: str) -> int:
        """How many tokens a text has.

        By ``custom_get_token_ids``, by the server if it is to be asked, else about.
        """
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens(text)
        return (
            self._counted(text)
            if self.count_tokens_on_server
            else -(-len(text) // _CHARACTERS_PER_TOKEN)
        )

    def get_num_tokens_from_messages(
        self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """How many tokens messages (and tools) have, in the same ways.

        The server counts their text, not its template.
        """
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(list(messages), tools)
        found: list[Any] | None = [*tools_of(tools, None)] if tools else None
        if self.count_tokens_on_server:
            return self._counted(get_buffer_string(messages) + (json.dumps(found) if found else ""))
        return count_tokens_approximately(messages, tools=found)

    def _counted(self, text: str) -> int:
        with langchain_errors():
            count: int = self.client.count_tokens(
                text, **self._call_model(self._own_model(vars(self))), **self._shared_options()
            )
        return count
