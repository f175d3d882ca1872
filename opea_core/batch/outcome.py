"""What came of a row, as a line of OpenAI's batch files: of the output, or of the errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from opea_core import errors
from opea_core.batch.dialects import chat_completion
from opea_core.batch.journal import BEGIN
from opea_core.batch.rows import Row
from opea_core.batch.schema_check import keeps_to, read_json
from opea_core.batch.window import waits_for_itself
from opea_core.types import ChatResponse, EmbeddingResponse, Json

Response: TypeAlias = ChatResponse | EmbeddingResponse
# To ask again what is refused for good only costs the server work (M11).
_FINAL = (errors.InvalidRequestError, errors.ConfigurationError, errors.RefusalError)
_MENDED = (errors.AuthenticationError, errors.PermissionDeniedError, errors.NotFoundError)
"""Refusals of every request alike: the same request works once the key or the model is right."""
_LONGEST_WORDS = 4000


def may_help(error: errors.OPEAError) -> bool:
    """Whether sending the same request again can help."""
    # It is the fault of where the batch was begun, and of no row.
    if waits_for_itself(error):
        return True
    if isinstance(error, _FINAL):
        return False
    if isinstance(error, errors.RequestError):
        return isinstance(error, _MENDED)
    if isinstance(error, errors.ServerError):
        return error.is_transient_error or error.status_code in (None, 529)
    return True


def doubts(response: Response, schema: Mapping[str, Any] | None) -> list[str]:
    """What is suspect about an answer: cut off, filtered, empty, or not of the schema."""
    if isinstance(response, EmbeddingResponse):
        return []
    reason = response.finish_reason
    found = [reason] if reason in ("length", "content_filter") else []
    has_calls = bool(response.tool_calls or response.invalid_tool_calls)
    if not response.content.strip() and not has_calls:
        found.append("empty")
    elif schema is not None and not _is_of_schema(response, schema):
        found.append("schema")
    return found


def _is_of_schema(response: ChatResponse, schema: Mapping[str, Any]) -> bool:
    try:
        return keeps_to(read_json(answer_text(response)), schema)
    except ValueError:
        return False


def answer_text(response: ChatResponse) -> str:
    """The answer; where a schema was asked for by a tool, the arguments of its call."""
    if not response.content.strip() and response.tool_calls:
        return response.tool_calls[0].arguments
    return response.content


def answer_line(
    row: Row,
    response: Response,
    schema: Mapping[str, Any] | None,
    columns: Mapping[str, Any] | None,
) -> tuple[bytes, list[str]]:
    """The line of an answer, and what is suspect about it; ``columns`` are kept beside it."""
    suspect = doubts(response, schema)
    ours: Json = {
        "hash": row.hash,
        "endpoint": response.endpoint,
        "attempts": response.meta.attempts,
        "seconds": round(response.meta.elapsed, 3),
        "warnings": list(getattr(response, "warnings", ())),
    }
    if response.meta.dropped:
        ours["dropped"] = list(response.meta.dropped)
    if suspect:
        ours["suspect"] = suspect
    if columns is not None:
        ours["columns"] = dict(columns)
        ours["answer"] = (
            response.embeddings
            if isinstance(response, EmbeddingResponse)
            else answer_text(response)
        )
    answered = {"status_code": 200, "request_id": response.request_id, "body": _body(row, response)}
    return _line(row, answered, None, ours), suspect


def _body(row: Row, response: Response) -> Json:
    """The server's own JSON; vectors as lists of numbers, in the order of the input."""
    if isinstance(response, ChatResponse):
        return chat_completion(response) if row.kind == "chat" else response.raw
    usage = response.usage
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(response.embeddings)
        ],
        "model": response.model,
        "usage": usage.raw if usage is not None else None,
    }


def error_line(row: Row, error: errors.OPEAError) -> bytes:
    """The line of a failure: its class, status and words, and whether trying again can help."""
    ours: Json = {
        "hash": row.hash,
        "line": row.line,
        "class": type(error).__name__,
        "status": error.status_code,
        "retryable": may_help(error),
        "endpoint": error.endpoint,
        "hint": error.hint,
        "attempts": [
            {
                "endpoint": attempt.endpoint,
                "error": attempt.error,
                "status": attempt.status_code,
                "seconds": round(attempt.seconds, 3),
            }
            for attempt in error.attempts
        ],
    }
    answered = (
        {
            "status_code": error.status_code,
            "request_id": error.request_id,
            "body": (error.body or "")[:_LONGEST_WORDS],
        }
        if error.status_code is not None
        else None
    )
    words = {"code": type(error).__name__, "message": error.message}
    return _line(row, answered, words, ours)


def _line(row: Row, answered: Json | None, words: Json | None, ours: Json) -> bytes:
    document = {
        "id": f"batch_req_{row.hash}",
        "custom_id": row.id,
        "response": answered,
        "error": words,
        "opea": ours,
    }
    line = encode(document)
    # By its beginning a line of ours is known when the file is read again.
    assert line.startswith(BEGIN)
    return line + b"\n"


def encode(document: Any) -> bytes:
    """JSON on one line, always decodable: what no encoding has is written as an escape."""
    try:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str).encode()
    except UnicodeEncodeError:
        return json.dumps(document, separators=(",", ":"), default=str).encode()
