"""Answers of a given form: what is asked for, and the JSON in what a model wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from opea_core.types import Json
from opea_core.wire.request import as_tool

_JSON = json.JSONDecoder(strict=False)
_END_OF_THOUGHT = "</think>"
_FENCE = re.compile(r"```[a-zA-Z]*+[^\S\n]*+\n\s*+(?=[{\[])")
_LIST = re.compile(r"\[\s*+[{\[\"]")
_COMMA = re.compile(r'("(?:[^"\\]|\\.)*+(?:"|\\?\Z))|,\s*+([}\]])', re.DOTALL)
"""A text (which is kept), or a comma before a closing bracket."""
_MOST_TRIES = 20
_SHORT, _STEP = 16 * 1024, 1 / 50
_CALL_KEYS = frozenset({"name", "arguments", "parameters", "type", "id", "function"})
_ARGUMENTS = frozenset({"arguments", "parameters"})


def asked_form(form: Any, method: str | None) -> Json:
    """The options of a call that ask for an answer of this form.

    The form is ``{"name", "schema", "description", "strict"}``.

    ``method``: ``json_schema``, ``function_calling``, ``json_mode``, or None for what the endpoint
    takes.
    """
    if method == "json_mode":
        return {"response_format": {"type": "json_object"}}
    if method == "json_schema":
        return {"response_format": {"type": "json_schema", "json_schema": form}}
    if method == "function_calling":
        choice = {"type": "function", "function": {"name": form["name"]}}
        return {"tools": [as_tool(form)], "tool_choice": choice, "parallel_tool_calls": False}
    return {"output_schema": form}


class Growth:
    """When the beginning of a growing text is worth reading again.

    A long one is not read again with each letter that comes.
    """

    __slots__ = ("_read",)

    def __init__(self) -> None:
        self._read = 0

    def is_due(self, size: int) -> bool:
        """Whether a text of this size is to be read now."""
        if self._read <= size < self._read * (1 + _STEP) and size > _SHORT:
            return False
        self._read = size
        return True


def json_text(text: str) -> str:
    """The part of a text that should be JSON: without thoughts, code fences and words around."""
    text = text.strip()
    if text.startswith("<think>") and "</think>" not in text:
        return ""
    text = _behind_thoughts(text)
    if text.startswith(("{", "[")):
        return text
    fenced = _FENCE.search(text)
    if fenced:
        return text[fenced.end() :].removesuffix("```").strip()
    start, end = text.find("{"), text.rfind("}")
    if start >= 0:
        return text[start : end + 1] if end > start else text[start:]
    return text.removeprefix("```json").removeprefix("```").strip()


def _behind_thoughts(text: str) -> str:
    """What stands behind the last end of a thought, unless that stands inside of the JSON."""
    end = text.rfind(_END_OF_THOUGHT)
    if end < 0:
        return text
    if text.startswith(("{", "[")):
        try:
            if _JSON.raw_decode(text)[1] > end:
                return text
        except (ValueError, RecursionError):
            pass
    behind = text[end + len(_END_OF_THOUGHT) :].strip()
    return text if not behind and text.startswith(("{", "[")) else behind


def read_answer(text: str, function: str | None = None, is_list: bool = False) -> Any:
    """The JSON value in a text a model wrote; raises ValueError if there is none.

    ``function``: its arguments, where the model wrote the call it should have made as text.
    ``is_list``: a list is the answer, else one around a single value is taken off.
    """
    try:
        value = (
            json.loads(text)
            if text.lstrip().startswith('"')
            else _first_value(_list_in(text) if is_list else json_text(text))
        )
        if isinstance(value, str):  # encoded twice
            return read_answer(value, function, is_list)
        if isinstance(value, list) and len(value) == 1 and not is_list:
            value = value[0]
        return _arguments(value, function) if function else value
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _list_in(text: str) -> str:
    """The part of a text that should be a list, if there is one before any other JSON."""
    found = _LIST.search(_behind_thoughts(text.strip()))
    part = json_text(text)
    return (
        found.string[found.start() :]
        if found is not None and found.string.find("{") >= found.start()
        else part
    )


def _first_value(text: str) -> Any:
    """The first JSON value in a text.

    Braces before it that begin none are passed over, and commas before a closing bracket are
    left out.
    """
    at, problem = 0, ValueError("there is no JSON")
    for _ in range(_MOST_TRIES):
        for candidate in (text[at:], _COMMA.sub(_without_comma, text[at:])):
            try:
                return _JSON.raw_decode(candidate)[0]
            except ValueError as error:
                problem = error
        if _is_begun(text[at:]):  # it was cut off: what stands inside of it is no answer
            break
        at = text.find("{", at + 1)
        if at < 0:
            break
    raise problem


def _is_begun(text: str) -> bool:
    """Whether a text is the beginning of a JSON object, and not prose with a brace in it."""
    try:
        return text.startswith("{") and isinstance(
            from_json(text.encode("utf-8", "replace"), allow_partial="trailing-strings"), dict
        )
    except ValueError:
        return False


def _without_comma(found: re.Match[str]) -> str:
    return found.group(1) or found.group(2)


def _arguments(value: Any, function: str) -> Any:
    """The arguments, if a value is a call of the function; else the value."""
    call = (
        value.get("function")
        if isinstance(value, dict) and isinstance(value.get("function"), dict)
        else value
    )
    if not (
        isinstance(call, dict)
        and call.get("name") == function
        and call.keys() & _ARGUMENTS
        and may_be_call(call, function)
    ):
        return value
    inner = call.get("arguments", call.get("parameters"))
    return json.loads(inner) if isinstance(inner, str) else inner


def may_be_call(value: Any, function: str | None) -> bool:
    """Whether a dict (or its beginning) is a call of a function, written as text."""
    if (
        not isinstance(value, Mapping)
        or not value
        or not value.keys() <= _CALL_KEYS
        or not function
    ):
        return False
    name = value.get("name", function)
    return bool(name) and function.startswith(str(name))


def partial_json(text: str) -> Json:
    """The object a text begins, as far as it goes; ``{}`` where it begins none."""
    try:
        value = from_json(text.encode("utf-8", "replace"), allow_partial="trailing-strings")
    except ValueError:
        try:
            value = _JSON.raw_decode(text)[0]  # whole, with something behind it
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}
