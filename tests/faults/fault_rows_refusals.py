"""The rows about refusals: waits, server errors, redirects, keys and models; secrets; hooks."""

from __future__ import annotations

from typing import Any

from fault_table import WELL, Node, Record, always, down, fails, first, gives, right
from fault_words import CONNECTION
from no_secrets import PASSWORD, QUERY, USER, credential, echo

from opea_core import errors
from opea_core.testing import ABSURD_WAITS, FAULTS, Answer, Fault, error, faults, html, json_answer


def _absurd(wait: str) -> Record:
    capped = wait in ("3600", "Fri, 31 Dec 9999 23:59:59 GMT")
    told = (
        fails(errors.RateLimited, "Rate limit reached", "The server asks to wait", breaker="closed")
        if capped
        else gives(2)
    )
    return Record("absurd", wait[:40] or "(empty)", (first(faults.rate_limited(wait)),), told)


STATED = [
    Record(
        "storm",
        f"one caller, a wait in {form}",
        (first(faults.rate_limited(0.2, form)),),
        gives(2, waits=0.2, breaker="closed"),
    )
    for form in (
        "seconds",
        "milliseconds",
        "the IETF's header",
        "in the message",
        "Google's retryDelay",
    )
]
STATED += [
    Record(
        "storm", "another endpoint at once", (first(faults.rate_limited(30)), WELL), gives(1, 1)
    ),
    Record(
        "storm",
        "longer than anybody waits",
        (always(faults.rate_limited(3600)),),
        fails(errors.RateLimited, "asks to wait 3600 s", has={"retry_after": 3600}),
    ),
    Record("storm", "without a wait", (first(faults.rate_limited(None)),), gives(2)),
    Record(
        "storm",
        "no quota",
        (always(faults.no_quota),),
        fails(
            errors.QuotaExceeded,
            "You exceeded your current quota",
            "does not help",
            breaker="closed",
        ),
    ),
    Record("storm", "no quota, another endpoint", (always(faults.no_quota), WELL), gives(1, 1)),
    Record(
        "storm",
        "503 with a wait",
        (
            first(
                Fault(
                    "503",
                    "a short wait",
                    lambda _: error(503, "loading", headers={"retry-after-ms": "200"}),
                )
            ),
        ),
        gives(2, waits=0.2),
    ),
    Record(
        "storm",
        "busy, longer than the call may take",
        (always(faults.busy),),
        fails(errors.ServerError, "Rate limit reached"),
        call={"deadline": 0.5},
    ),
]
ABSURD = [_absurd(wait) for wait in ABSURD_WAITS]
BURST = [
    *(
        Record("burst", f"{code}, once", (first(faults.status(code)),), gives(2))
        for code in (408, 500, 502, 503, 504, 520, 529)
    ),
    *(
        Record(
            "burst",
            f"{code}, always",
            (always(faults.status(code)),),
            fails(errors.ServerError, f'{code} from one .*"scripted {code}"', requests=3),
        )
        for code in (502, 503, 529)
    ),
    Record(
        "burst",
        "500 is tried again once",
        (always(faults.status(500)),),
        fails(errors.ServerError, "scripted 500", requests=2),
    ),
    Record("burst", "503, another endpoint", (always(faults.status(503)), WELL), gives(1, 1)),
    Record(
        "burst",
        "503 that is not to be retried",
        (always(faults.status(503, headers={"x-should-retry": "false"})),),
        fails(errors.ServerError, requests=1),
    ),
    *(
        Record(
            "burst",
            f"{code} is no matter of time",
            (always(faults.status(code)),),
            fails(errors.ServerError, requests=1),
        )
        for code in (501, 507)
    ),
]
_TARGET = "https://elsewhere.example/v1"
REDIRECT = [
    Record(
        "redirect",
        f"{code}",
        (always(faults.redirect(_TARGET, code)),),
        fails(
            errors.ConfigurationError,
            f"redirects \\({code}\\) to {_TARGET}",
            "Set base_url",
            breaker="closed",
        ),
    )
    for code in (301, 302, 303, 307, 308)
]
REDIRECT.append(
    Record("redirect", "another endpoint", (always(faults.redirect(_TARGET)), WELL), gives(1, 1))
)
REDIRECT.append(
    Record(
        "redirect",
        "by name",
        (always(FAULTS["redirect-302"]),),
        fails(errors.ConfigurationError, "to http://elsewhere.invalid/v1"),
    )
)
SECOND = [
    Record(
        "second",
        "wrong key",
        (first(right, then=faults.status(401, "no such key")),),
        fails(
            errors.AuthenticationError,
            '401 from one .*"no such key"',
            "check api_key=",
            breaker="closed",
        ),
        before=1,
    ),
    Record(
        "second",
        "forbidden",
        (always(faults.status(403, "not yours")),),
        fails(errors.PermissionDeniedError, "not yours", "may not do that"),
    ),
    Record(
        "second",
        "unknown model",
        (always(faults.no_model),),
        fails(errors.NotFoundError, 'has no model "scripted-model"', "Pass model="),
    ),
    Record(
        "second",
        "an unknown path",
        (always(faults.status(404, "nothing here")),),
        fails(errors.NotFoundError, "nothing here", "Is the base URL right"),
    ),
    Record(
        "second",
        "more than the context",
        (always(faults.too_long), WELL),
        fails(
            errors.ContextOverflowError,
            "9,000 tokens asked, 8,192 possible",
            "Shorten the messages",
            requests=(1, 0),
        ),
    ),
    Record(
        "second",
        "a bad request",
        (always(faults.status(400, "no such thing")), WELL),
        fails(errors.InvalidRequestError, "no such thing", requests=(1, 0)),
    ),
    Record(
        "revoked",
        "alone",
        (first(right, then=faults.status(401, "revoked")),),
        fails(errors.AuthenticationError, "revoked"),
        before=1,
    ),
    Record(
        "revoked",
        "another endpoint",
        (first(right, then=faults.status(401, "revoked")), WELL),
        gives(1, 1),
        before=1,
    ),
    Record(
        "restart",
        "by one call",
        (first(right, faults.close, faults.reset, faults.status(503)),),
        gives(4),
        before=1,
    ),
]

# --- what must not be seen

_ECHOES: dict[str, tuple[Any, type[errors.OPEAError]]] = {
    "400": (lambda seen: error(400, echo(seen)), errors.InvalidRequestError),
    "401": (lambda seen: error(401, echo(seen)), errors.AuthenticationError),
    "404 of a model": (
        lambda seen: error(404, f"model not found: {echo(seen)}", code="model_not_found"),
        errors.NotFoundError,
    ),
    "429": (
        lambda seen: error(429, echo(seen), headers={"retry-after": "3600"}),
        errors.RateLimited,
    ),
    "501": (lambda seen: error(501, echo(seen)), errors.ServerError),
    "codes": (
        lambda seen: error(400, "no", code=echo(seen), type=echo(seen), param=echo(seen)),
        errors.InvalidRequestError,
    ),
    "a request id": (
        lambda seen: error(400, "no", headers={"x-request-id": credential(seen)}),
        errors.InvalidRequestError,
    ),
    "too long": (
        lambda seen: error(400, f"maximum context length exceeded: {echo(seen)}"),
        errors.ContextOverflowError,
    ),
    "HTML": (lambda seen: html(502, f"<h1>{echo(seen)}</h1>"), errors.ServerError),
    "an error in 200": (
        lambda seen: json_answer({"error": {"message": echo(seen), "code": "400"}}),
        errors.InvalidRequestError,
    ),
    "a redirect": (
        lambda seen: Answer(
            302,
            {
                "location": f"http://{USER}:{PASSWORD}@elsewhere.example/?q={QUERY}&k={credential(seen)}"
            },
        ),
        errors.ConfigurationError,
    ),
}


def _with_user(url: str) -> str:
    return url.replace("http://", f"http://{USER}:{PASSWORD}@") + f"?sig={QUERY}"


_BY_USER = {"url": _with_user, "options": {"api_key": None}}
_TIMES = (range(1, 4),)
SECRET = [
    record
    for name, (answer, cls) in _ECHOES.items()
    for record in (
        Record("secrets", f"an echo: {name}", (always(answer),), fails(cls, requests=_TIMES)),
        Record(
            "secrets",
            f"an echo, by user: {name}",
            (always(answer, **_BY_USER),),
            fails(cls, requests=_TIMES),
        ),
    )
]
SECRET.append(
    Record(
        "secrets",
        "refused, by user",
        (down("refuse", **_BY_USER),),
        fails(CONNECTION, requests=0, attempts=3),
    )
)
SECRET.append(Record("secrets", "a right answer, by user", (Node(**_BY_USER),), gives(1)))


def _raises(event: object) -> None:
    raise LookupError(f"a hook that never works: {event!r}"[:30])


HOOK = [
    Record("hook", "a right answer", (WELL,), gives(1), options={"hooks": [_raises]}),
    Record(
        "hook",
        "after a fault",
        (first(faults.status(503)),),
        gives(2),
        options={"hooks": [_raises]},
    ),
    Record(
        "hook",
        "an error",
        (always(faults.status(400, "no")),),
        fails(errors.InvalidRequestError, '"no"'),
        options={"hooks": [_raises]},
    ),
]


REFUSALS = [*STATED, *ABSURD, *BURST, *REDIRECT, *SECOND, *SECRET, *HOOK]
