"""Message, type and code out of error bodies of every shape. Nothing here ever raises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opea_core.display_text import cut
from opea_core.types import Json
from opea_core.wire import jsontext

MAX_MESSAGE = 2048
MAX_BODY = 64 * 1024


@dataclass(slots=True)
class ErrorBody:
    """What a server says went wrong."""

    message: str = ""
    code: Any = None
    type: str | None = None
    param: str | None = None
    status: int | None = None
    """A status inside the body, which may contradict the outer one."""
    details: list[Json] = field(default_factory=list)
    """Entries of a FastAPI ``detail`` list: where (``loc``) and what (``msg``)."""
    is_html: bool = False
    text: str = ""

    @property
    def words(self) -> set[str]:
        """Code and type, in lower case."""
        return {str(word).lower() for word in (self.code, self.type) if word}

    @property
    def paths(self) -> list[tuple[str, ...]]:
        """Request fields that ``param`` or ``loc`` name, as paths without positions.

        For example ("messages", "name").
        """
        named = [re.split(r"[.\[\]]+", self.param)] if self.param else []
        named.extend([str(part) for part in _list(entry.get("loc"))] for entry in self.details)
        paths = (
            tuple(part for part in path if part and part != "body" and not part.isdigit())
            for path in named
        )
        return [path for path in paths if path]


def read_error(data: bytes, status: int | None = None) -> ErrorBody:
    """Read an error body, or an event that is an error."""
    # Errors are logged, pickled and kept, so they are bounded (L8).
    text = data[:MAX_BODY].decode("utf-8", "replace").strip()
    if len(data) > MAX_BODY:
        text = text[: MAX_BODY - 1] + "…"
    if not text:
        return ErrorBody(message=f"{status} without body" if status else "an empty body")
    if text.startswith("<"):
        title = _html_text(text, "title") or _html_text(text, "h1")
        return ErrorBody(message=_cap(title or "an HTML page"), is_html=True, text=text)
    try:
        document, _ = jsontext.decode_first(data)
    except ValueError:
        return ErrorBody(message=_cap(text), text=text)
    return _from_document(document, status, text)


def _html_text(page: str, tag: str) -> str:
    """What stands in the first element of this name.

    Searched in steps, as one pattern for all of it would be slow on a page that opens the element
    and never closes it.
    """
    opening = re.search(rf"(?i)<{tag}\b", page)
    start = page.find(">", opening.end()) if opening else -1
    closing = re.compile(rf"(?i)</{tag}\b").search(page, start) if start >= 0 else None
    return " ".join(page[start + 1 : closing.start()].split()) if closing else ""


def has_error(event: Json) -> bool:
    """Whether a 2xx body or an event of a stream is an error, whatever else it holds."""
    if event.get("error"):
        return True
    if event.get("choices") and "base_resp" not in event:
        return False
    base = event.get("base_resp")
    # MiniMax's, beside choices that are null.
    if base and isinstance(base, dict) and base.get("status_code"):
        return True
    if event.get("choices") is not None:
        return False
    return (
        event.get("object") == "error"
        or event.get("type") == "error"
        or bool(event.get("detail") or event.get("errors"))
    )


def _from_document(document: Any, status: int | None, text: str) -> ErrorBody:
    if isinstance(document, list) and document:
        document = document[0]
    if isinstance(document, str):
        return ErrorBody(message=_cap(document), text=text)
    if not isinstance(document, dict):
        return ErrorBody(message=_cap(text), text=text)
    inner = _minimax(document) or document.get("error")
    # A gateway may hand on the error of the server behind it as a text.
    if isinstance(inner, str) and inner.lstrip().startswith("{"):
        inner = _maybe_json(inner)
    inner = inner if isinstance(inner, dict) else {}
    details = [
        d
        for d in _list(document.get("detail")) + _list(_message_detail(document))
        if isinstance(d, dict)
    ]
    code = _first(inner.get("code"), document.get("code"), document.get("error_code"))
    kind = _first(inner.get("type"), document.get("error_type"), document.get("type"))
    param = _first(inner.get("param"), document.get("param"))
    nested = _first(inner.get("status_code"), document.get("status_code"))
    return ErrorBody(
        message=_cap(
            _message(document, inner, details)
            or (f"{status} without a message" if status else text)
        ),
        code=code if isinstance(code, str | int | float) else None,
        type=kind if isinstance(kind, str) else None,
        param=param if isinstance(param, str) else None,
        status=nested if isinstance(nested, int) else None,
        details=[dict(d) for d in details],
        text=text,
    )


_DEEPER = (("fault", "faultstring"), ("Response", "Error", "Message"), ("result", "message"))


def _inside(document: Any, *path: str) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def _minimax(document: Mapping[str, Any]) -> Json | None:
    base = document.get("base_resp")
    if not isinstance(base, Mapping) or not base.get("status_code"):
        return None
    return {"message": base.get("status_msg"), "code": base["status_code"]}


def _message(document: Mapping[str, Any], inner: Mapping[str, Any], details: list[Any]) -> str:
    """The first text there is, in the order servers put it."""
    said = document.get("message")
    listed = _list(document.get("errors"))
    candidates = (
        inner.get("message"),
        inner.get("msg"),
        document.get("error") if not inner else None,
        said,
        document.get("detail"),
        "; ".join(_detail(d) for d in details),
        listed[0].get("message")
        if listed and isinstance(listed[0], dict)
        else listed[0]
        if listed
        else None,
        document.get("html-message"),
        *(document.get(name) for name in ("error_msg", "errorMessage", "errmsg", "msg")),
        *(_inside(document, *path) for path in _DEEPER),
    )
    message = next((c for c in candidates if isinstance(c, str) and c.strip()), "").strip()
    if (
        "error" in document
        and isinstance(document.get("error"), str)
        and isinstance(said, str)
        and said.strip() != message
    ):
        message = f"{message}: {said.strip()}"  # {"status": 429, "error": "WORDS", "message": "m"}
    metadata = inner.get("metadata")
    # A router's own message is general; what the provider said tells what is wrong.
    if isinstance(metadata, dict) and metadata.get("raw"):
        message += f" ({_raw_words(metadata['raw'])})"
    return message


def _raw_words(raw: Any) -> str:
    """What an upstream said, which a router hands on as text or as JSON in a text."""
    if isinstance(raw, str) and raw.lstrip().startswith(("{", "[")):
        document = _maybe_json(raw)
        if document is not None:
            return _from_document(document, None, raw).message
    return raw.strip() if isinstance(raw, str) else str(raw)


def _maybe_json(text: str) -> Any:
    try:
        return jsontext.decode(text.encode("utf-8", "replace"))
    except ValueError:
        return None


def _message_detail(document: Mapping[str, Any]) -> Any:
    said = document.get("message")
    return said.get("detail") if isinstance(said, dict) else None


def _detail(entry: Mapping[str, Any]) -> str:
    loc = ".".join(str(part) for part in _list(entry.get("loc")))
    message = str(entry.get("msg") or entry.get("message") or entry.get("type") or "")
    return f"{loc}: {message}" if loc else message


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _first(*values: Any) -> Any:
    return next((value for value in values if value not in (None, "")), None)


def _cap(text: str) -> str:
    return cut(jsontext.mended(text), MAX_MESSAGE)
