"""The scripted upstream of the standard tests, asked in the Responses dialect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from standard_upstream import Upstream

from opea_core.testing import Answer, Seen
from opea_core.testing.responses import is_for
from opea_core.testing.responses_request import chat_request, refusal_of

_DETAILS = ["reasoning_output", "cache_read_input", "cache_creation_input"]
RESPONSES_DETAILS = {"invoke": _DETAILS, "stream": _DETAILS}


class ResponsesUpstream:
    """Checks a request as a strict server of this dialect does, and answers it as one of chat.

    The scripted server puts the answer into this dialect.
    """

    def __init__(self) -> None:
        self._chat = Upstream()

    def __call__(self, seen: Seen) -> Answer:
        if not is_for(seen.path):
            return self._chat(seen)
        return refusal_of(seen.body) or self._chat(replace(seen, body=_asked(seen.body)))


def _asked(body: dict[str, Any]) -> dict[str, Any]:
    asked = chat_request(body)
    return asked | ({"stream_options": {"include_usage": True}} if asked.get("stream") else {})
