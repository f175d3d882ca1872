"""The conformance suite for LLMs over the Responses dialect, asked over real sockets.

Every request is checked as a strict server of that dialect checks it. There are no cassettes: the
answers are those of the other suite's upstream, said in this dialect.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from li_flags import EveryFlag
from li_upstream import upstream

from llama_index_opea.testing import LLMConformance
from opea_core.testing import Answer, ScriptedServer, Seen
from opea_core.testing.responses import is_for
from opea_core.testing.responses_request import chat_request, refusal_of

pytestmark = pytest.mark.enable_socket


def in_responses(seen: Seen) -> Answer:
    """What the upstream says, asked in this dialect; the server puts it into it."""
    if not is_for(seen.path):
        return upstream(seen)
    asked = chat_request(seen.body)
    if "max_completion_tokens" in asked:
        asked["max_tokens"] = asked.pop("max_completion_tokens")
    asked |= {"stream_options": {"include_usage": True}} if asked.get("stream") else {}
    return refusal_of(seen.body) or upstream(replace(seen, body=asked, path="/v1/chat/completions"))


class TestLLMResponses(EveryFlag, LLMConformance):
    """Every flag is on, so every test runs."""

    server: ScriptedServer

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _spoken(cls) -> Iterator[None]:
        with ScriptedServer() as cls.server:
            cls.server.always(in_responses)
            yield

    @property
    def llm_params(self) -> dict[str, Any]:
        return super().llm_params | {"api_base": self.server.url, "dialect": "responses"}
