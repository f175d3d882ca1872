"""Messages as a server takes them.

Roles, contents, ids of calls, and the reasoning of earlier turns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from opea_core.capabilities import Capabilities
from opea_core.types import CALL_SIGNATURES, ORIGIN, RESPONSE_ITEMS, SIGNED_FIELDS, Json
from opea_core.wire.choice import REASONING_FIELDS
from opea_core.wire.encoding import encode_body

REASONING_KEYS = (*REASONING_FIELDS, *SIGNED_FIELDS)
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def messages_for(
    messages: Sequence[Any], capabilities: Capabilities, server: str = "", model: str = ""
) -> list[Any]:
    """The messages as ``capabilities`` say they are taken; the caller's are not changed.

    What an answer was signed with goes to the ``server`` (the mark of its base URL) and the
    ``model`` that signed it only.
    """
    here = {"server": server, "model": model}
    # Gemma's and o1-mini's templates know no system role.
    if not capabilities.system_role:
        messages = _without_system(messages)
    elif capabilities.late_system != "keep":
        messages = _early_system(messages, merge=capabilities.late_system == "merge")
    if not capabilities.tool_media:
        messages = _media_apart(messages)
    # The turn that is under way began with the last message of the user.
    last_user = max(
        (i for i, m in enumerate(messages) if isinstance(m, Mapping) and m.get("role") == "user"),
        default=-1,
    )
    built = [
        _message(message, capabilities, here, after_last_user=i > last_user)
        if isinstance(message, Mapping)
        else message
        for i, message in enumerate(messages)
    ]
    return _alternating(built) if capabilities.alternate_roles else built


def has_late_system(messages: Sequence[Any]) -> bool:
    """Whether there is a system message that is not the first message."""
    return any(_is_system(message) for message in messages[1:])


def _early_system(messages: Sequence[Any], merge: bool) -> list[Any]:
    """System messages behind others as the user's, or all merged into one at the beginning."""
    first = next((i for i, m in enumerate(messages) if not _is_system(m)), len(messages))
    if not merge:
        return [
            *messages[:first],
            *({**m, "role": "user"} if _is_system(m) else m for m in messages[first:]),
        ]
    system = [message for message in messages if _is_system(message)]
    if not system or (len(system) == 1 and first > 0):
        return list(messages)
    whole = {
        **system[0],
        "content": joined_contents([message.get("content") for message in system]),
    }
    return [whole, *(message for message in messages if not _is_system(message))]


def _without_system(messages: Sequence[Any]) -> list[Any]:
    """What system messages say as the beginning of the first user's message."""
    contents = [message.get("content") for message in messages if _is_system(message)]
    others = [message for message in messages if not _is_system(message)]
    if not contents:
        return others
    user: Mapping[str, Any] = {"role": "user"}
    if others and isinstance(others[0], Mapping) and others[0].get("role") == "user":
        user, *others = others
        contents.append(user.get("content"))
    return [{**user, "content": joined_contents(contents)}, *others]


def _is_system(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") in ("system", "developer")


def _alternating(messages: Sequence[Any]) -> list[Any]:
    """Messages of the same role that follow each other as one.

    Those with calls and of tools stay apart.
    """
    found: list[Any] = []
    for message in messages:
        last = found[-1] if found else None
        if isinstance(last, dict) and _may_join(last, message):
            found[-1] = {
                **last,
                "content": joined_contents([last.get("content"), message.get("content")]),
            }
        else:
            found.append(message)
    return found


def _may_join(one: Any, other: Any) -> bool:
    both = (
        isinstance(one, Mapping)
        and isinstance(other, Mapping)
        and one.get("role") == other.get("role")
    )
    return (
        both
        and one.get("role") in ("user", "assistant")
        and not (one.get("tool_calls") or other.get("tool_calls"))
    )


def joined_contents(contents: Sequence[Any]) -> Any:
    """Several contents as one: a text where all are texts, else a list of parts."""
    contents = [content for content in contents if content]
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    return [
        p
        for content in contents
        for p in ([{"type": "text", "text": content}] if isinstance(content, str) else content)
    ]


def _media_apart(messages: Sequence[Any]) -> list[Any]:
    """What is not text in the messages of tools, as a user's message behind them."""
    found: list[Any] = []
    shown: list[Any] = []
    for message in messages:
        is_tool = isinstance(message, Mapping) and message.get("role") == "tool"
        # Behind all results: a user's message between them would part calls from their results.
        if shown and not is_tool:
            found.append({"role": "user", "content": shown})
            shown = []
        content = message.get("content") if is_tool else None
        parts = content if isinstance(content, list) else []
        media = [part for part in parts if not _is_text(part)]
        if media:
            texts = [part for part in parts if _is_text(part)]
            message = {**message, "content": texts or "See the next message."}
            shown += media
        found.append(message)
    return [*found, {"role": "user", "content": shown}] if shown else found


def _is_text(part: Any) -> bool:
    return isinstance(part, str) or (isinstance(part, Mapping) and part.get("type") == "text")


def _message(
    message: Mapping[str, Any], capabilities: Capabilities, here: Json, after_last_user: bool
) -> Json:
    built = {key: value for key, value in message.items() if value is not None or key == "content"}
    origin = built.pop(ORIGIN, None)
    # Nobody else can read what was signed, and some servers refuse it (decision 12).
    if origin is not None and origin != here:
        _take_signatures(built)
    role = built.get("role")
    if role == "developer" and not capabilities.developer_role:
        built["role"] = "system"
    content = built.get("content")
    if capabilities.content_lists != "keep" and isinstance(content, list):
        built["content"] = _flattened(content, plain_only=capabilities.content_lists == "flatten")
    if role == "assistant":
        _assistant(built, capabilities, origin == here, after_last_user)
    if capabilities.tool_id_length:
        _ids_of_length(built, capabilities.tool_id_length)
    return built


def _take_signatures(built: Json) -> None:
    """Take out what another server, or another model, signed; a refusal stays as what was said."""
    for key in (*SIGNED_FIELDS, *CALL_SIGNATURES, "audio"):
        built.pop(key, None)
    refusal = built.pop("refusal", None)
    if refusal and not built.get("content"):
        built["content"] = refusal
    if isinstance(built.get("tool_calls"), list):
        built["tool_calls"] = [_unsigned(call) for call in built["tool_calls"]]


def _unsigned(call: Any) -> Any:
    """A call, or what is in its ``function``, without signatures."""
    if not isinstance(call, Mapping):
        return call
    return {
        key: _unsigned(value) if key == "function" else value
        for key, value in call.items()
        if key not in CALL_SIGNATURES
    }


def _assistant(
    built: Json, capabilities: Capabilities, is_from_here: bool, after_last_user: bool
) -> None:
    for key in capabilities.strip_message_keys:
        built.pop(key, None)
    audio = built.pop("audio", None)
    if isinstance(audio, Mapping) and audio.get("id"):
        built["audio"] = {"id": audio["id"]}  # a sound goes back by its id
    if built.get("tool_calls") is not None:
        if built["tool_calls"]:
            built["tool_calls"] = [_tool_call(call) for call in built["tool_calls"]]
        else:
            del built["tool_calls"]
    if capabilities.tool_content == "keep":
        pass
    elif built.get("tool_calls") and not built.get("content"):
        built["content"] = None if capabilities.tool_content == "null" else ""
        if capabilities.tool_content == "omit":
            del built["content"]
    # Several servers refuse null (A15).
    elif "content" in built and built["content"] is None:
        built["content"] = ""
    _reasoning(built, capabilities, is_from_here, after_last_user)


def _reasoning(
    built: Json, capabilities: Capabilities, is_from_here: bool, after_last_user: bool
) -> None:
    """Send an assistant message's reasoning back, or take it out, as the policy says.

    By itself, what is signed goes back with the calls of the turn: the server that gave it wants it
    there.
    """
    items = built.pop(RESPONSE_ITEMS, None)
    if items and capabilities.dialect == "responses" and capabilities.send_reasoning != "never":
        built[RESPONSE_ITEMS] = items  # its dialect is without memory: all of it goes back
    if capabilities.send_reasoning == "keep":
        return
    found = {
        key: built.pop(key) for key in REASONING_KEYS if key in built and key != RESPONSE_ITEMS
    }
    policy = capabilities.send_reasoning
    in_turn = bool(after_last_user and built.get("tool_calls"))
    if policy == "auto" and is_from_here and in_turn:
        built |= {key: found[key] for key in SIGNED_FIELDS if key in found}
    # Some servers require reasoning of earlier turns, and others refuse it (A13).
    wanted = policy == "always" or (policy == "tool_turns" and in_turn)
    if wanted and not found and built.get("tool_calls"):
        # A server that wants reasoning back wants the field in every such message.
        found = {REASONING_FIELDS[0]: ""}
    if not wanted or not found:
        return
    built |= {key: found[key] for key in SIGNED_FIELDS if key in found}
    name, text = next(
        ((k, found[k]) for k in REASONING_FIELDS if isinstance(found.get(k), str)), ("", "")
    )
    if name:
        built[capabilities.reasoning_field or name] = text


def _tool_call(call: Any) -> Any:
    """A call whose arguments are a JSON string, as outgoing ones always are.

    One that came as a string goes back letter by letter.
    """
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or isinstance(function.get("arguments"), str):
        return call
    arguments = function.get("arguments")
    return {
        **call,
        "function": {
            **function,
            "arguments": "{}" if arguments is None else encode_body(arguments).decode(),
        },
    }


def _ids_of_length(built: Json, length: int) -> None:
    if isinstance(built.get("tool_calls"), list):
        built["tool_calls"] = [
            {**call, "id": _id_of_length(call["id"], length)}
            if isinstance(call, Mapping) and isinstance(call.get("id"), str)
            else call
            for call in built["tool_calls"]
        ]
    if isinstance(built.get("tool_call_id"), str):
        built["tool_call_id"] = _id_of_length(built["tool_call_id"], length)


def _id_of_length(id_: str, length: int) -> str:
    """An id as so many letters and digits.

    Itself if it is that, else always the same one for the same id.
    """
    if len(id_) == length and id_.isascii() and id_.isalnum():
        return id_
    # From the id itself, so that a call and its result still match, in every turn (A16).
    number = int.from_bytes(hashlib.sha512(id_.encode("utf-8", "surrogatepass")).digest())
    found = ""
    while len(found) < length:
        number, letter = divmod(number or 1, len(_LETTERS))
        found += _LETTERS[letter]
    return found


def _flattened(parts: Sequence[Any], plain_only: bool) -> Any:
    """Text-only parts as one string.

    Anything with media stays a list, and with other keys if ``plain_only``.
    """
    texts = []
    for part in parts:
        if not (
            isinstance(part, Mapping)
            and part.get("type") == "text"
            and (not plain_only or part.keys() == {"type", "text"})
        ):
            return parts
        texts.append(part["text"])
    return "".join(texts) if texts and all(isinstance(text, str) for text in texts) else parts
