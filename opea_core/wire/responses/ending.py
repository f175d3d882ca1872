"""How an answer in the Responses dialect ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opea_core.types import Json
from opea_core.wire import jsontext
from opea_core.wire.responses.items import CALLS, arguments_of, text

_UNFINISHED = ("queued", "in_progress")


class NoAnswer(Exception):
    """The server reported an error, or that there is no answer."""

    def __init__(self, error: Json) -> None:
        super().__init__()
        self.error = error


def finish_reason(
    response: Mapping[str, Any], items: Sequence[Json], limit: int | None = None
) -> str:
    """The reason in the chat dialect's words. Raises NoAnswer where there is none.

    The status inside the response counts, whatever the event is called. Some servers call an answer
    complete that was cut: it has just as many tokens as were asked for (``limit``; one with more
    shows that the limit was ignored), or a call in it has arguments that are cut off.
    """
    status, error = response.get("status"), response.get("error")
    if status == "failed" or (isinstance(error, dict) and error):
        raise NoAnswer(error if isinstance(error, dict) else {"message": text(error) or "failed"})
    if status == "incomplete":
        return _why_incomplete(response)
    if status in _UNFINISHED or status == "cancelled":
        raise NoAnswer({"message": f"the response has the status {status}"})
    calls = [item for item in items if item.get("type") in CALLS]
    is_cut = limit is not None and _tokens(response) == limit
    if is_cut or not all(map(_can_be_made, calls)):
        return "length"
    return "tool_calls" if calls else "stop"


def _why_incomplete(response: Mapping[str, Any]) -> str:
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, Mapping) else None
    if reason in ("max_output_tokens", "max_tokens"):
        return "length"
    if isinstance(reason, str) and reason:
        return reason
    raise NoAnswer({"message": "the response is incomplete, and the server does not say why"})


def _tokens(response: Mapping[str, Any]) -> int:
    usage = response.get("usage")
    count = usage.get("output_tokens") if isinstance(usage, Mapping) else None
    return count if isinstance(count, int) else -1


def _can_be_made(call: Mapping[str, Any]) -> bool:
    """Whether the arguments of a call are whole."""
    return call.get("type") == CALLS[1] or jsontext.is_object(arguments_of(call) or "{}")
