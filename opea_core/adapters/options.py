"""Options of calls in the words of frameworks, and how several layers of them become one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COMMON_ALIASES: Mapping[str, str] = {
    "headers": "default_headers",
    "query": "default_query",
    "initial_delay": "initial_retry_delay",
    "max_concurrent_requests": "max_concurrent",
    "opea_api_key": "api_key",
    "queue_size": "max_queued",
    "request_timeout": "timeout",
    "timeouts": "timeout",
}
"""Other names of a ``Connection``'s fields, from the core and from OpenAI's SDK."""

SECRET_IN_CALLS = frozenset(
    {
        "api_key",
        "default_headers",
        "default_query",
        "extra_headers",
        "extra_query",
        "headers",
        "openai_api_key",
        "query",
    }
)
"""Options of a call that traces do not show, even where they are refused."""

NOT_FOR_ANSWERS = SECRET_IN_CALLS | {
    "deadline",
    "endpoint",
    "max_retries",
    "priority",
    "recovery_wait",
    "request_id",
    "request_timeout",
    "timeout",
}
"""Options of a call that change no answer."""

_IN_CALLS = {
    "request_timeout": "timeout",
    "stop_sequences": "stop",
    "model_name": "model",
    "default_headers": "extra_headers",
    "default_query": "extra_query",
    "openai_api_key": "api_key",
    "api_base": "base_url",
    "openai_api_base": "base_url",
}
_SPELLINGS = {"max_completion_tokens": "max_tokens", "max_tokens": "max_completion_tokens"}


def layered(
    *layers: tuple[bool, Mapping[str, Any] | None],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options and further body fields, under either spelling of a name.

    Later layers lie over earlier ones.

    A layer is (whether it holds body fields, the values).
    """
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for is_body, layer in layers:
        for name, value in (layer or {}).items():
            for same in (name, _SPELLINGS.get(name, name)):
                options.pop(same, None)
                extra.pop(same, None)
            (extra if is_body else options)[name] = value
    return options, extra


def in_call(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a call, under the core's names."""
    return {_IN_CALLS.get(name, name): value for name, value in kwargs.items()}
