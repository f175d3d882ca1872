"""The words of errors: what happened and where, then what to do."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from opea_core import errors
from opea_core.display_text import cut, one_line, redact_url
from opea_core.flow.effects import Reply
from opea_core.flow.error_context import LONGEST_NAME, LONGEST_QUOTE, ErrorContext
from opea_core.policy.retry import AWAY, Failure, Phase
from opea_core.wire.error_body import MAX_BODY, MAX_MESSAGE, ErrorBody
from opea_core.wire.error_class import inner_status, model_missing, never_works, upstream_gone
from opea_core.wire.headers import retry_after
from opea_core.wire.response_spec import Problem

_LONG_WAIT = 60.0
_LISTED = 10
_NUMBERS = re.compile(r"\d[\d,]*")
_BASE_URL = "Is the base URL right? Most servers want it to end in /v1."
_CLASS_HINTS: dict[type[errors.OPEAError], str] = {
    errors.PermissionDeniedError: "This key may not do that.",
    errors.QuotaExceeded: "The account has no quota or credit left; trying again does not help.",
    errors.ContextOverflowError: (
        "Shorten the messages, lower max_tokens, or use a model with a larger window. Not retried."
    ),
}


# Paths that many servers do not have, so that the base URL may well be right.
_NOT_THERE = {
    "responses": (
        'Many servers have only /chat/completions: set dialect="chat", or leave dialect out.'
        " Is the base URL right?"
    ),
    "completion": (
        "Many servers have only chat completions: ask by chat"
        " (LlamaIndex: leave is_chat_model=False out)."
    ),
    "rerank": (
        "Many servers rank no documents: ask one that serves a reranking model"
        " (vLLM, llama.cpp, Infinity, TEI)."
    ),
    "embeddings": "Does this server have embeddings? Is the base URL right?",
    "document": (
        "Many servers have no such path: vLLM, SGLang and llama.cpp count tokens at /tokenize."
    ),
}
_TOO_LONG_INPUT = "Split the text, or use a model with a larger window. Not retried."
# The flags of vLLM and llama.cpp.
_TOOLS_ARE_OFF = re.compile(r"enable-auto-tool-choice|--jinja")
_WITHOUT_TOOLS = (
    "Start the server with that flag, or ask without tools"
    " (LlamaIndex: is_function_calling_model=False)."
)


def from_reply(where: ErrorContext, reply: Reply, problem: Problem) -> Failure:
    """The failure that an answer with a problem is."""
    status, cls, body = reply.status, problem.cls, problem.body
    text = body.text[:MAX_BODY]
    # An error inside a success has no status of its own to go by, so its class decides.
    wait = retry_after(
        status if status >= 400 else 429 if cls is errors.RateLimited else status,
        reply.headers,
        text,
        reply.wall,
    )
    if status < 400:
        status = inner_status(body, status)
    if 300 <= status < 400:
        cls = errors.ConfigurationError
    words = where.say(body.message, MAX_MESSAGE)
    explained = _explained(where, reply, problem, cls, words, wait)
    error = _error(cls, explained, where, reply, body, status)
    error.retry_after = wait
    phase = (
        Phase.STATUS if reply.status >= 300 else Phase.FIRST if where.spec.stream else Phase.BODY
    )
    should = {"true": True, "false": False}.get(reply.headers.get("x-should-retry", "").lower())
    brief = where.say(problem.what) + (f': "{words}"' if words else "")
    unknown = cls in (errors.NotFoundError, errors.InvalidRequestError) and model_missing(
        body, where.model
    )
    # Gateways such as LiteLLM answer 500 when the server behind them is gone (R9).
    away = status in AWAY or (status == 500 and upstream_gone(body))
    # Servers blame themselves for an image or a schema that they will never take (R11).
    retryable = problem.retryable and not (status >= 500 and never_works(body))
    return Failure(
        phase,
        error,
        wait,
        should_retry=should,
        retryable=retryable,
        brief=brief,
        away=away,
        model_missing=unknown,
    )


def _error(
    cls: type[errors.OPEAError],
    explained: tuple[str, str],
    where: ErrorContext,
    reply: Reply,
    body: ErrorBody,
    status: int,
) -> errors.OPEAError:
    """The error of this class, with what the server said in its fields."""
    message, hint = explained
    error = cls(
        message,
        hint,
        status_code=status,
        type=where.say(body.type, LONGEST_NAME) if body.type else None,
        code=where.say(body.code, LONGEST_NAME) if isinstance(body.code, str) else body.code,
        param=where.say(body.param, LONGEST_NAME) if body.param else None,
        request_id=where.request_id(reply),
        endpoint=where.endpoint.label,
        url=redact_url(where.request.url),
        body=where.redact(body.text[:MAX_BODY]),
        headers=where.shown(reply.headers),
    )
    error.in_short = f"{reply.status} from {where}."
    return error


def from_document(where: ErrorContext, reply: Reply, error: errors.OPEAError) -> errors.OPEAError:
    """The error of a document that is not what was asked for."""
    return errors.BadAnswerError(
        f"{where}: {where.say(error.message)}",
        where.say(error.hint),
        status_code=reply.status,
        request_id=where.request_id(reply),
        endpoint=where.endpoint.label,
        url=redact_url(where.request.url),
        headers=where.shown(reply.headers),
    )


def interrupted(where: ErrorContext, failure: Failure, characters: int) -> errors.OPEAError:
    """The error of a stream that broke off after something was handed out."""
    error = errors.StreamInterrupted(
        f"Stream from {where.endpoint.label} broke off after {characters:,} characters:"
        f" {failure.brief}.",
        "The text so far is in error.partial."
        " It is not repeated by itself, since part was already handed out.",
    )
    details = {
        name: value
        for name, value in vars(failure.error).items()
        if name not in ("message", "hint", "attempts", "seconds")
    }
    vars(error).update(details)
    error.__cause__ = failure.error
    return error


def _explained(
    where: ErrorContext,
    reply: Reply,
    problem: Problem,
    cls: type[errors.OPEAError],
    words: str,
    wait: float | None,
) -> tuple[str, str]:
    words = cut(words, LONGEST_QUOTE)
    words = words if words.endswith("..") else words.removesuffix(".")
    status = reply.status
    quoted = (
        f'"{words}"'
        if words and not words.startswith(f"{status} without ")
        else "it gives no reason"
    )
    if cls is errors.AuthenticationError:
        return _unauthorized(where, status, quoted)
    if cls is errors.NotFoundError or (
        cls is errors.InvalidRequestError and model_missing(problem.body, where.model)
    ):
        return _not_found(where, problem, quoted)
    if cls is errors.ContextOverflowError:
        asked = _overflow_numbers(
            problem.body.message, {status, inner_status(problem.body, status)}
        )
        hint = _CLASS_HINTS[cls] if where.spec.kind in ("chat", "completion") else _TOO_LONG_INPUT
        return (
            f"Too long for {where.model} at {where.endpoint.label}{asked} (server: {quoted}).",
            hint,
        )
    if 300 <= status < 400:
        # To follow it would carry the key to a host that nobody chose (K4).
        target = where.say(redact_url(one_line(reply.headers.get("location", "?"))))
        return (
            f"{where} redirects ({status}) to {target}.",
            (
                "Redirects are not followed, so that no key travels to another host."
                " Set base_url to the address that answers."
            ),
        )
    hint = _CLASS_HINTS.get(cls, "")
    if _TOOLS_ARE_OFF.search(words):
        hint = _WITHOUT_TOOLS
    if cls is errors.RateLimited and wait is not None:
        until = _until(reply.wall + wait) if wait > _LONG_WAIT else ""
        hint = f"The server asks to wait {wait:g} s{until}."
    if status >= 400:
        return f"{status} from {where}: {quoted}.", hint
    if problem.body.is_html:
        hint = f"{_BASE_URL} Or a login page or a proxy stands in front of it."
    return f"{where} answered {status}, but {where.say(problem.what)}" + (
        f": {quoted}." if words else "."
    ), hint


def _until(wall: float) -> str:
    """``, until 14:02:10 UTC``, with the day if it is not today's in the next hours."""
    try:
        moment = datetime.fromtimestamp(wall, UTC)
    except (OverflowError, ValueError, OSError):
        return ""
    return f", until {moment:%Y-%m-%d %H:%M:%S} UTC"


def _unauthorized(where: ErrorContext, status: int, quoted: str) -> tuple[str, str]:
    message = f"{status} from {where}: {quoted}."
    if where.key_sent:
        return (
            message,
            (
                "The key was refused: check api_key= or OPEA_API_KEY."
                " A proxy may be handing on its upstream's 401."
            ),
        )
    hint = "Pass api_key= or set OPEA_API_KEY."
    # A variable that many programs set must not decide who gets a key (K3).
    if where.foreign_key:
        hint += " OPENAI_API_KEY is set but is not sent to this host."
    return message + " No key was sent.", hint


def _not_found(where: ErrorContext, problem: Problem, quoted: str) -> tuple[str, str]:
    if model_missing(problem.body, where.model):
        default = "" if where.model_given else " (the default, none was given)"
        return (
            f'{where} has no model "{where.model}"{default}: {quoted}.',
            "Pass model=, or load the missing one on the server.",
        )
    usual = "Is the base URL right?" if where.endpoint.url.path.endswith("/v1") else _BASE_URL
    in_responses = where.request.expected.dialect == "responses"
    hint = _NOT_THERE.get("responses" if in_responses else where.spec.kind, usual)
    if not where.model_given and where.spec.kind in ("chat", "completion", "responses"):
        hint += " No model was given: pass model=, or set OPEA_MODEL."
    return (
        (
            f"404 from {where}: {quoted}"
            f" (tried {where.request.method} {redact_url(where.request.url)})."
        ),
        hint,
    )


def with_models(error: errors.OPEAError, models: list[str], where: ErrorContext) -> None:
    """Name the models a server has in the hint of its refusal."""
    # A server that lists the model refuses it for another reason.
    is_there = where.model in models
    models = [where.say(model, LONGEST_NAME) for model in models[: _LISTED + 1]]
    if models and not is_there:
        listed = ", ".join(models[:_LISTED]) + (", ..." if len(models) > _LISTED else "")
        error.hint = (
            f'It serves: {listed}. Pass model="{models[0]}", or load the missing one on the server.'
        )


def _overflow_numbers(message: str, statuses: set[int]) -> str:
    """``: 41,210 tokens asked, 32,768 possible``.

    From the first two plausible numbers the server named.
    """
    numbers = [
        int(n.replace(",", ""))
        for n in _NUMBERS.findall(message)[:20]
        if len(n) < 12 and n.strip(",")
    ]
    first = sorted([n for n in dict.fromkeys(numbers) if n >= 16 and n not in statuses][:2])
    if len(first) < 2 or "<=" in message or " + " in message:  # the parts of a sum
        return ""
    return f": {first[1]:,} tokens asked, {first[0]:,} possible"


def attempt_record(where: ErrorContext, failure: Failure, seconds: float) -> errors.Attempt:
    """The failure as an entry of ``error.attempts``."""
    error = failure.error
    return errors.Attempt(
        endpoint=where.endpoint.label,
        phase=failure.phase.value,
        error=type(error).__name__,
        message=error.message,
        status_code=error.status_code,
        request_id=error.request_id,
        seconds=seconds,
    )
