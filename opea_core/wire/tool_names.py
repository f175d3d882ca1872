"""Names of tools as servers take them, and back to the caller's own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

from opea_core.types import Json

Form: TypeAlias = Literal["keep", "clean", "plain"]
_FITS = {
    "clean": re.compile(r"[a-zA-Z0-9_-]{1,64}"),
    "plain": re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,62}"),
}
_STRANGE = {"clean": re.compile(r"[^a-zA-Z0-9_-]"), "plain": re.compile(r"\W", re.ASCII)}
_LONGEST = {"clean": 64, "plain": 63}


def fits(name: str, form: Form) -> bool:
    """Whether a name can be sent as it is."""
    return form == "keep" or _FITS[form].fullmatch(name) is not None


def with_sent_names(body: Json, form: Form) -> tuple[Json, dict[str, str]]:
    """The body with names that are taken, and the caller's own names by those.

    The caller's dicts stay as they are.
    """
    if form == "keep":
        return body, {}
    named = list(_names(body))
    if all(fits(name, form) for name in named):
        return body, {}
    sent = _sent(dict.fromkeys(named), form)
    return _renamed(body, sent), {new: name for name, new in sent.items() if new != name}


def _sent(names: Mapping[str, None], form: Form) -> dict[str, str]:
    """What each name is sent as: itself if it fits; two never as the same."""
    sent = {name: name for name in names if fits(name, form)}
    taken = set(sent)
    for name in names:
        if name not in sent:
            new = sent[name] = _unlike(_clean(name, form), name, taken, form)
            taken.add(new)
    return sent


def _clean(name: str, form: Form) -> str:
    new = _STRANGE[form].sub("_", name)[: _LONGEST[form]] or "_"
    return f"_{new}"[: _LONGEST[form]] if form == "plain" and new[0].isdigit() else new


def _unlike(new: str, name: str, taken: set[str], form: Form) -> str:
    # From the caller's name: cut to their length, two names may be the same, and each has to be
    # sent as the same in every turn (A16).
    marks = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    found, number = new, 0
    while found in taken:
        mark = f"{marks[:8]}{number or ''}"
        found, number = f"{new[: _LONGEST[form] - 1 - len(mark)]}_{mark}", number + 1
    return found


def _names(body: Mapping[str, Any]) -> Iterator[str]:
    """All names of tools in a request."""
    for holder in _holders(body):
        if isinstance(holder.get("name"), str):
            yield holder["name"]


def _holders(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The dicts with names: of tools, of the chosen one, of calls, of tools' messages."""
    for tool in (*dicts(body.get("tools")), *dicts([body.get("tool_choice")])):
        yield from _function(tool)
    for message in dicts(body.get("messages")):
        for call in dicts(message.get("tool_calls")):
            yield from _function(call)
        if message.get("role") == "tool":
            yield message


def _function(holder: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The function of a tool or a call.

    A server's own (``builtin_function``) has a name that only it knows.
    """
    return dicts([holder.get("function")]) if holder.get("type", "function") == "function" else []


def _renamed(body: Json, sent: Mapping[str, str]) -> Json:
    def named(holder: Any) -> Any:
        known = isinstance(holder, Mapping) and isinstance(holder.get("name"), str)
        return {**holder, "name": sent.get(holder["name"], holder["name"])} if known else holder

    def inside(holder: Any) -> Any:
        return (
            {**holder, "function": named(holder["function"])}
            if isinstance(holder, Mapping) and _function(holder)
            else holder
        )

    def message(given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        calls = given.get("tool_calls")
        changed = (
            {**given, "tool_calls": [inside(call) for call in calls]}
            if isinstance(calls, list)
            else given
        )
        return named(changed) if given.get("role") == "tool" else changed

    renamed = dict(body)
    if isinstance(body.get("tools"), list):
        renamed["tools"] = [inside(tool) for tool in body["tools"]]
    if "tool_choice" in body:
        renamed["tool_choice"] = inside(body["tool_choice"])
    if isinstance(body.get("messages"), list):
        renamed["messages"] = [message(given) for given in body["messages"]]
    return renamed


def dicts(value: Any) -> list[Mapping[str, Any]]:
    """The dicts in a list; none in anything else."""
    return (
        [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
    )
