"""Which class of error a server's words mean. Nothing here ever raises."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from opea_core import errors
from opea_core.wire.error_body import MAX_MESSAGE, ErrorBody

StatusT = TypeVar("StatusT", bound=int | None)


QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "free-models-per-day",
        "free_models_per_day",
    }
)


_OVERFLOW_CODES = frozenset(
    {
        "context_length_exceeded",
        "context_window_exceeded",
        "contextwindowexceedederror",
        "exceed_context_size_error",
        "too_many_prompt_tokens",
        "tokens_limit_reached",
        "prompt_too_big",
        "1261",
    }
)


# Patterns of errors are compiled (and kept by re) when the first error comes: most programs see
# none.
_OVERFLOW = (
    r"(?i)maximum context length|context length exceeded|exceeds? (the )?(available |model'?s? "
    r"|maximum |max )*context"
    r"|context (size|window|length)( has been| was)? exceeded"
    r"|(longer|larger) than the (model'?s )?(maximum )?context"
    r"|greater than the context|exceed_context_size|ContextWindowExceeded"
    r"|(exceed\w{0,4}|outside|beyond|fit in)( of)? (the |this |its )?(model'?s )?context window"
    r"|context window (of|exceeded|is)"
    r"|`?inputs?`? tokens? \+ `?max_new_tokens`? must be"
    r"|`?inputs`? must have less than \d+ tokens|input length .{0,40}exceeds"
    r"|prompt is too long|prompt too long|input is too long|too many tokens in the prompt"
    r"|exceeds the maximum (number of )?(input )?tokens?"
    r"|longer than the maximum model length|reached context length"
    r"|keep the first \d+ tokens when context"
    r"|reduce the length of the messages|the (input|prompt) .{0,60}(is )?longer than the (model"
    r"|maximum|context)"
    r"|input .{0,40}is too large to process"  # llama.cpp's embeddings
    r"|maximum (prompt|input|sequence|supported sequence|query) length|max_seq_len|n_ctx\b"
    r"|\bprompt 超长|(输入|上下文|提示).{0,20}(超过|超出|过长)|prompt exceeds? max"
    r"|context window (limit|exceeds)|context overflow|context.{0,40}(exhausted|surpassed"
    r"|dépassée)|outgrow.{0,24}window|\bover the (model'?s )?context|fit (in |into )?(a |the "
    r"|this )?context|token limit: ?\d+"
    r"|tokens? .{0,40}exceed\w* (the )?max\w* (message |total |prompt )?tokens"
    r"|context window .{0,60}exceeded|exceed\w* (this |the |its )?(model'?s? )?(context"
    r"|total tokens? limit)|(too many|number of|count of) (input |prompt "
    r"|total )?tokens\b.{0,80}(exceed|greater|larger|more than|limit|too|in the (prompt|input))"
    r"|too many tokens: |input tokens? (exceeded|count is \d+)|(input"
    r"|prompt).{0,40}tokens?.{0,60}(supports? (only )?up to|only supports|cannot exceed|exceeds?"
    r"|limit(ed)? (of|to)|maximum of)"
    r"|range of input length|max size: \d+ tokens|max tokens of \d+ exceeded|prompt (has|contains"
    r"|is) \d+ tokens|input length is \d+|(prompt|input|message|conversation|request)s? (is|are"
    r"|was|has become|got) too long\b(?! for the (name|user|field))"
    r"|tokens to keep (from|of) the initial prompt is (greater|above)"
    r"|too large for model with \d+ maximum context|requested tokens .{0,30}exceed"
)


# Limits a minute, moderation and the limit of an answer use the same words.
_NO_OVERFLOW = (
    r"(?i)string too long|\bper (minute|day|hour|second)\b|\bTPM\b|rate limit|moderat"
    r"|content_filter|content_policy|\bflagged|classifier"
    r"|max_(completion_)?tokens.{0,60}(too large|completion tokens)"
)


_MODEL_MISSING = (
    r"(?i)model\b.{0,120}?(not found|does not exist|not exist|is not (available|supported|loaded"
    r"|deployed)|unknown)"
    r"|(unknown|invalid|no such|unsupported) model( name)?\b|try pulling it|model_not_found"
    r"|no model (named|called)"
)


# Servers blame themselves for an image or a schema that they will never take (R11).
_NEVER = (
    r"(?i)\b(image|audio|video|vision|multi-?modal)\w*( (input|content|data|support)s?)?"
    r" (is|are) not (supported|enabled|available)"
    r"|(does|do) not support (image|audio|video|vision|multi-?modal)\w*|no multi-?modal|mmproj"
    r"|(schema|grammar)\b.{0,60}(can(not|['\u2019]t)|could not|failed to) be?"
    r" ?(compil|convert|pars)"
    r"|(failed|unable|cannot) to (compile|parse|convert|build) (the )?(json )?(schema|grammar)"
    r"|json schema conversion failed"
    r"|(template|jinja)\w* (error|exception)|raise_exception"
    r"|unsupported (modality|content type|message role)"
)


_UNKNOWN = (
    r"(?i)not (a )?(found|valid model|exist|known|served|hosted|deployed|available)"
    r"|does ?n[o']t exist"
    r"|unknown|no such|no endpoints"
)


# In the words of Node, Python and Go, which gateways are written in (R9).
_UPSTREAM_GONE = (
    r"(?i)\b(ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|ETIMEDOUT|EAI_AGAIN"
    r"|EPIPE)\b|fetch failed|socket hang up"
    r"|\bconnection (error|refused|reset|aborted|closed)|connect(ion)? (to \S+ )?(failed"
    r"|timed out)|cannot connect to|could ?n[o']t connect"
    r"|failed to connect|unable to connect|all connection attempts failed"
    r"|upstream (connect error|(is |was )?(unavailable|unreachable|down))"
    r"|no healthy upstream|no route to host|dial tcp |server disconnected"
    r"|remote end closed connection|max retries exceeded with url"
)


_OVERFLOW_STATUS = (200, 400, 413, 422, 500, None)


_NO_SUCH_PATH = r"(?i)unexpected endpoint or method"  # LM Studio answers 200 to an unknown path


_WRONG_KEY = r"(?i)no connected db"  # LiteLLM without a database, to any key but its own


_BY_STATUS: dict[int, type[errors.OPEAError]] = {
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    408: errors.ServerError,
    421: errors.ServerError,
    409: errors.ServerError,
    425: errors.ServerError,
    429: errors.RateLimited,
    498: errors.RateLimited,
    499: errors.ServerError,
}


_BY_MESSAGE_CODE: Mapping[str, type[errors.OPEAError]] = {
    "1002": errors.RateLimited,
    "1004": errors.AuthenticationError,
    "1008": errors.QuotaExceeded,
    "1039": errors.ContextOverflowError,
    "2013": errors.InvalidRequestError,
    "2049": errors.AuthenticationError,
}
"""MiniMax's numbers."""


_WORDS_OF: Sequence[tuple[type[errors.OPEAError], str]] = (
    (errors.RateLimited, r"(?i)rate limit|too many requests"),
    (
        errors.QuotaExceeded,
        r"(?i)insufficient (balance|quota|credits?)|quota exceeded|out of credits?",
    ),
    (
        errors.AuthenticationError,
        r"(?i)invalid api.?key|incorrect api.?key|unauthori[sz]ed|authentication failed|login fail",
    ),
    (errors.InvalidRequestError, r"(?i)invalid (params?|request|argument|parameter)|bad request"),
)


def error_class(status: int | None, body: ErrorBody) -> type[errors.OPEAError]:
    """The class of error for an answer's status and body.

    Status None means an error inside a stream.
    """
    # The outer status of an error inside a success proves nothing (P32).
    if status is None or status < 400:
        status = inner_status(body, status)
        if re.search(_NO_SUCH_PATH, body.message):
            return errors.NotFoundError
    # Before the status: llama.cpp says it with 500, others with 400, 413 or 422 (P32).
    if status in _OVERFLOW_STATUS and _is_overflow(body):
        return errors.ContextOverflowError
    if _is_quota(status, body):
        return errors.QuotaExceeded
    if status == 400 and re.search(_WRONG_KEY, body.message):
        return errors.AuthenticationError
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status is None or status < 400:
        return (
            _BY_MESSAGE_CODE.get(str(body.code), None)
            or _by_words(body.words)
            or _by_message(body.message)
            or errors.ServerError
        )
    return errors.InvalidRequestError if status < 500 else errors.ServerError


def _is_quota(status: int | None, body: ErrorBody) -> bool:
    """Whether it is 402, or a structured quota code.

    Mere words do not count, as they may mean a limit per minute.
    """
    # The words for a used-up quota also stand in errors of limits a minute (P33).
    if status == 429:
        return bool(body.words & QUOTA_CODES) or "free-models-per-day" in body.message
    return status == 402 or ((status is None or status < 400) and bool(body.words & QUOTA_CODES))


def upstream_gone(body: ErrorBody) -> bool:
    """Whether a gateway says that it could not reach the server behind it."""
    return bool(re.search(_UPSTREAM_GONE, body.message[:MAX_MESSAGE]))


def never_works(body: ErrorBody) -> bool:
    """Whether the words say that the same request cannot succeed.

    Although the status blames the server.
    """
    return bool(re.search(_NEVER, body.message))


def model_missing(body: ErrorBody, model: str = "") -> bool:
    """Whether the server says that it does not know the model."""
    if "model_not_found" in body.words or re.search(_MODEL_MISSING, body.message):
        return True
    found = (
        re.search(rf"(?<![\w.-]){re.escape(model)}(?![\w-])", body.message)
        if len(model) > 1
        else None
    )
    if found is None:
        return False
    around = body.message[max(0, found.start() - 60) : found.end() + 60]
    return bool(re.search(_UNKNOWN, around)) and bool(
        re.search(r"(?i)\bmodels?\b|deployment|endpoints? found", around)
    )


def inner_status(body: ErrorBody, outer: StatusT) -> StatusT | int:
    """An error inside a 2xx says its own status, in ``status_code`` or ``code``."""
    inner = body.status if body.status is not None else body.code
    if isinstance(inner, str) and re.fullmatch(r"[45][0-9]{2}", inner):
        inner = int(inner)
    return inner if isinstance(inner, int) and 400 <= inner < 600 else outer


def _by_words(words: set[str]) -> type[errors.OPEAError] | None:
    """Errors inside a stream that name no status: by ``code`` first, then by ``type``."""
    joined = " ".join(sorted(words))
    if "rate_limit" in joined or "too_many_requests" in joined:
        return errors.RateLimited
    if "timeout" in joined or "server_error" in joined or "overloaded" in joined:
        return errors.ServerError
    if "authentication" in joined or "invalid_api_key" in joined:
        return errors.AuthenticationError
    if (
        "invalid_request" in joined
        or "tool_use_failed" in joined
        or "bad_request" in joined
        or "content_filter" in joined
        or re.search(_CALLERS_CODE, joined)
    ):
        return errors.InvalidRequestError
    return errors.NotFoundError if "model_not_found" in joined else None


_CALLERS_CODE = (
    r"\binvalid_(prompt|image|base64|value|function)|\bimage_(too|file|parse|content)"
    r"|\b(unsupported|empty)_image|\bunsupported_(value|parameter)"
)
"""Codes of responses that failed by what was asked."""


def _by_message(message: str) -> type[errors.OPEAError] | None:
    return next((cls for cls, words in _WORDS_OF if re.search(words, message)), None)


def _is_overflow(body: ErrorBody) -> bool:
    if body.words & _OVERFLOW_CODES:
        return True
    return bool(re.search(_OVERFLOW, body.message)) and not re.search(
        _NO_OVERFLOW, " ".join((body.message, *body.words))
    )
