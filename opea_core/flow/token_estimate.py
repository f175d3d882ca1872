"""About how many tokens a request takes, before anybody counted them.

A token of English is about four letters; other scripts take more. It is meant to be rather too
much than too little: what was reserved too much comes back with the answer's usage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opea_core.policy.rate_limit import Need
from opea_core.wire.request import OUTPUT_LIMIT, TOKEN_LIMITS

_PER_MESSAGE = 4
_PER_MEDIUM = 1000
"""Tokens of an image, a sound or a file."""
_LETTERS = 3.5
"""Letters of a token, in ASCII."""
_LIMITS = (*TOKEN_LIMITS, OUTPUT_LIMIT)
_MEDIA = ("image_url", "input_image", "input_audio", "input_file", "file", "video_url")


def need_of(body: Mapping[str, Any]) -> Need:
    """What a request takes of a limit of tokens a minute."""
    prompt = 0
    for name in ("messages", "prompt", "input", "instructions", "documents", "query", "tools"):
        value = body.get(name)
        if value is not None:
            prompt += _tokens(value)
    limits = [body[name] for name in _LIMITS if _is_count(body.get(name))]
    # Each of n answers may take as many tokens.
    answers = body.get("n")
    if limits:
        answer = min(limits) * (answers if _is_count(answers) else 1)
    else:
        # Vectors and rankings have no answer that takes tokens.
        answer = None if "messages" in body or "prompt" in body or "stream" in body else 0
    return Need(prompt, answer)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _tokens(value: Any) -> int:
    """The tokens of all texts in a value."""
    found, stack = 0, [value]
    while stack:
        inner = stack.pop()
        if isinstance(inner, str):
            found += 1 + int(len(inner) / _LETTERS if inner.isascii() else len(inner))
        elif isinstance(inner, Mapping):
            if inner.get("type") in _MEDIA:
                found += _PER_MEDIUM
                continue
            found += _PER_MESSAGE if "role" in inner else 0
            stack += inner.values()
        elif isinstance(inner, list | tuple):
            if inner and isinstance(inner[0], int):  # tokens already
                found += len(inner)
            else:
                stack += inner
    return found
