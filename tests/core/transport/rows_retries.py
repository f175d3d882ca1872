"""Rules R5 to R15 of docs/contract.md, row by row: the same endpoint, then with another one."""

from __future__ import annotations

import gzip
from typing import Any

from rows_answers import HELLO
from table import AGAIN, GOOD, GOT, ONE_BAD, Row

from opea_core import BreakerPolicy, RetryPolicy, errors
from opea_core.testing import Answer, error, html, json_answer, raw, sse

APART = {"retry": RetryPolicy(initial_delay=0.05, jitter="none")}
ONCE_MORE = f"{ONE_BAD} {AGAIN} {GOT} {GOOD}"
ELSEWHERE = f"{ONE_BAD} {AGAIN} {GOT} {GOOD}"
SOON = {"retry-after-ms": "20"}
TRANSIENT = (408, 409, 425, 499, 502, 503, 504, 520, 521, 522, 523, 524, 529, 530)
REFUSED = {
    400: errors.InvalidRequestError,
    413: errors.InvalidRequestError,
    415: errors.InvalidRequestError,
    422: errors.InvalidRequestError,
    501: errors.ServerError,
}
KEYS = {
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    402: errors.QuotaExceeded,
}
QUOTA = error(
    429, "You exceeded your current quota", code="insufficient_quota", type="insufficient_quota"
)
NO_MODEL = error(404, "The model `scripted-model` does not exist", code="model_not_found")
TOO_LONG = error(
    400,
    "This model's maximum context length is 32768 tokens, you asked for 41210",
    code="context_length_exceeded",
)
EMPTY = Answer(200, {"content-type": "application/json"})
UNUSABLE = {
    "HTML": html(),
    "an HTML page with a title": html(text="<!doctype html><title>Sign in</title>"),
    "broken JSON": Answer(200, {"content-type": "application/json"}, (b'{"choices": [{"mess',)),
    "an empty body": EMPTY,
    "an answer without choices": json_answer({"id": "x"}),
    "choices that are empty": json_answer({"choices": []}),
    "an error in a success": json_answer(
        {"error": {"message": "CUDA out of memory", "type": "server_error"}}
    ),
    "a stream that is empty": sse(done=False),
    "a stream that only ends": sse(),
}
STREAM_ONLY = {
    "a stream that starts with an error": sse(
        {"error": {"message": "overloaded", "type": "server_error"}}, done=False
    ),
    "a stream that ends before its content": sse(
        {"choices": [{"delta": {"role": "assistant"}}]}, done=False
    ),
    "an event that is no JSON": sse("what?", done=False),
}


def _transient() -> list[Row]:
    same = [
        Row(
            f"{s}, then an answer",
            [error(s, "busy")],
            gives=HELLO,
            requests=(2,),
            events=ONCE_MORE,
            stats={"retries": 1, "requests": 2},
        )
        for s in TRANSIENT
    ]
    other = [
        Row(
            f"{s}, another endpoint",
            error(s, "busy"),
            second=(),
            gives=HELLO,
            requests=(1, 1),
            events=ELSEWHERE,
            has={"endpoint": "two"},
        )
        for s in (*TRANSIENT, 500)
    ]
    return same + other


def _refused() -> list[Row]:
    """What no endpoint would take is told at once."""
    found = []
    for status, cls in REFUSED.items():
        refusal = error(status, "not like that", param="messages")
        expected: dict[str, Any] = {
            "error": cls,
            "says": "not like that",
            "has": {"status_code": status, "is_transient_error": False},
        }
        found.append(
            Row(
                f"{status} is not tried again",
                refusal,
                events=ONE_BAD,
                stats={"retries": 0},
                **expected,
            )
        )
        found.append(
            Row(
                f"{status} is not tried elsewhere",
                refusal,
                second=(),
                requests=(1, 0),
                failed=["status one"],
                **expected,
            )
        )
    long: dict[str, Any] = {
        "error": errors.ContextOverflowError,
        "says": r"41,210 tokens asked, 32,768 possible",
    }
    found.append(Row("too long", TOO_LONG, **long))
    found.append(
        Row("too long for one is too long for all", TOO_LONG, second=(), requests=(1, 0), **long)
    )
    return found


def _elsewhere_only() -> list[Row]:
    """What only another endpoint can mend."""
    found = []
    for status, cls in KEYS.items():
        no = error(status, "no")
        found.append(
            Row(f"{status} alone", no, error=cls, has={"status_code": status}, stats={"retries": 0})
        )
        found.append(
            Row(f"{status}, another endpoint", no, second=(), gives=HELLO, requests=(1, 1))
        )
    found.append(
        Row(
            "no quota alone",
            QUOTA,
            error=errors.QuotaExceeded,
            has={"status_code": 429, "is_rate_limit_error": True},
        )
    )
    found.append(Row("no quota, another endpoint", QUOTA, second=(), gives=HELLO, requests=(1, 1)))
    found.append(
        Row(
            "no such model",
            [NO_MODEL],
            error=errors.NotFoundError,
            call={"model": "another"},
            says=r"It serves: scripted-model",
            requests=(2,),
            attempts=1,
            sent={"method": "GET", "path": "/v1/models"},
            stats={"requests": 1},
        )
    )
    found.append(
        Row(
            "no such model, and no list",
            NO_MODEL,
            error=errors.NotFoundError,
            says="Pass model=",
            requests=(2,),
            attempts=1,
        )
    )
    found.append(
        Row(
            "no such model, another endpoint has it",
            NO_MODEL,
            second=(),
            gives=HELLO,
            requests=(1, 1),
        )
    )
    found.append(
        Row("no such path", error(404, "Not Found"), error=errors.NotFoundError, says="base URL")
    )
    return found


def _limited() -> list[Row]:
    wait = error(429, "slow down", headers=SOON)
    paused = f"{ONE_BAD} CooldownStarted {AGAIN} {GOT} {GOOD}"
    return [
        Row(
            "429 with a wait",
            [wait],
            gives=HELLO,
            requests=(2,),
            events=paused,
            stats={"retries": 1},
            seconds=0.02,
        ),
        Row(
            "429 with a wait, another endpoint at once",
            [error(429, "x", headers={"retry-after": "50"})],
            second=(),
            gives=HELLO,
            requests=(1, 1),
        ),
        Row(
            "429 without a wait",
            [error(429, "slow down")],
            gives=HELLO,
            requests=(2,),
            events=paused,
            stats={"retries": 1},
            seconds=1.0,
        ),
        Row(
            "429 without a wait, another endpoint at once",
            [error(429, "slow down")],
            second=(),
            gives=HELLO,
            requests=(1, 1),
        ),
        Row(
            "429 as often as it is tried",
            wait,
            error=errors.RateLimited,
            requests=(4,),
            has={"retry_after": 0.02, "status_code": 429},
            seconds=0.06,
        ),
        Row(
            "429 with a wait that is too long",
            error(429, "x", headers={"retry-after": "3600"}),
            error=errors.RateLimited,
            has={"retry_after": 3600.0},
        ),
        Row(
            "498 with a wait", [error(498, "no capacity", headers=SOON)], gives=HELLO, requests=(2,)
        ),
        Row(
            "503 with a wait",
            [error(503, "loading", headers=SOON)],
            gives=HELLO,
            requests=(2,),
            seconds=0.02,
        ),
        Row(
            "a wait in words",
            [error(429, "Rate limit reached. Please try again in 20ms.")],
            gives=HELLO,
            requests=(2,),
            seconds=0.02,
        ),
        Row(
            "a wait of seconds as a fraction",
            [error(429, "x", headers={"retry-after": "0.03"})],
            gives=HELLO,
            requests=(2,),
            seconds=0.03,
        ),
        *(
            Row(
                f"a wait of {w!r} on a 503",
                [error(503, "x", headers={"retry-after": w})],
                gives=HELLO,
                requests=(2,),
            )
            for w in ("-1", "soon", "nan", "inf", "0", "Wed, 21 Oct 2015 07:28:00 GMT")
        ),
        Row(
            "a wait until the year 9999",
            [error(503, "x", headers={"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"})],
            error=errors.ServerError,
        ),
        Row(
            "a wait beyond the deadline",
            [error(503, "loading", headers={"retry-after": "50"})],
            call={"deadline": 30},
            error=errors.ServerError,
            says="loading",
            has={"deadline_exceeded": True, "retry_after": 50.0},
        ),
        Row(
            "a wait on a success means nothing",
            [
                json_answer(
                    {"choices": [{"message": {"content": "x"}}]}, headers={"retry-after": "9"}
                )
            ],
            gives="x",
        ),
    ]


def _counted() -> list[Row]:
    return [
        Row(
            "500 is tried again once",
            [error(500, "oops")],
            gives=HELLO,
            requests=(2,),
            events=ONCE_MORE,
        ),
        Row(
            "500 twice is the end",
            error(500, "oops"),
            error=errors.ServerError,
            requests=(2,),
            has={"status_code": 500},
        ),
        Row(
            "500 everywhere",
            error(500, "oops"),
            second=error(500, "oops"),
            opea=APART,
            error=errors.ServerError,
            requests=(2, 1),
            failed=["status one", "status two", "status one"],
        ),
        Row(
            "four attempts at most",
            error(503, "busy"),
            error=errors.ServerError,
            requests=(4,),
            has={"status_code": 503},
            stats={"retries": 3, "errors_by_class": {"ServerError": 4}},
            failed=["status one"] * 4,
        ),
        Row(
            "four attempts over both endpoints",
            error(503, "busy"),
            second=error(503, "busy"),
            opea=APART,
            error=errors.ServerError,
            requests=(2, 2),
        ),
        Row(
            "one attempt",
            error(503, "busy"),
            call={"max_retries": 0},
            error=errors.ServerError,
            events=ONE_BAD,
        ),
        Row(
            "one attempt on every call of the object",
            error(503, "busy"),
            opea={"max_retries": 0},
            error=errors.ServerError,
        ),
        Row(
            "two attempts of one call",
            error(503, "busy"),
            call={"max_retries": 1},
            error=errors.ServerError,
            requests=(2,),
        ),
        Row(
            "one attempt does not go elsewhere",
            error(503, "busy"),
            second=(),
            call={"max_retries": 0},
            error=errors.ServerError,
            requests=(1, 0),
        ),
        Row(
            "the server says not to try again",
            error(503, "busy", headers={"x-should-retry": "false"}),
            error=errors.ServerError,
        ),
        Row(
            "the error tells of every attempt",
            [error(503, "busy"), error(502, "bad"), error(504, "late"), error(503, "at last")],
            error=errors.ServerError,
            says=r'"at last"(.|\n)*4 attempts in \d',
            requests=(4,),
            failed=["status one"] * 4,
        ),
        Row(
            "a stream is tried again too",
            [error(503, "busy")],
            method="stream_chat",
            gives=HELLO,
            requests=(2,),
            events=ONCE_MORE,
        ),
        Row(
            "embeddings too",
            [error(503, "busy")],
            method="embed",
            args=(["a"],),
            gives=lambda r: r.dimensions == 8,
            requests=(2,),
        ),
        Row(
            "models too",
            [error(503, "busy")],
            method="models",
            args=(),
            gives=lambda r: len(r) == 1,
            requests=(2,),
        ),
        Row("completions too", [error(503, "busy")], method="complete", gives=HELLO, requests=(2,)),
        Row(
            "an unknown 4xx",
            error(418, "teapot"),
            error=errors.InvalidRequestError,
            has={"status_code": 418},
        ),
        Row(
            "an error without words",
            Answer(503),
            error=errors.ServerError,
            requests=(4,),
            says="it gives no reason",
        ),
        Row(
            "an HTML error",
            html(502, "<h1>Bad Gateway</h1>"),
            error=errors.ServerError,
            requests=(4,),
            says="Bad Gateway",
        ),
        Row(
            "an error of FastAPI",
            json_answer({"detail": [{"loc": ["body", "n"], "msg": "must be 1"}]}, 422),
            error=errors.InvalidRequestError,
            says="body.n: must be 1",
        ),
        Row(
            "a redirect",
            Answer(302, {"location": "https://elsewhere.example/v1"}),
            error=errors.ConfigurationError,
            says=r"https://elsewhere\.example/v1(.|\n)*base_url",
            has={"status_code": 302},
        ),
        Row(
            "a redirect to this very host",
            Answer(307, {"location": "/v2/chat/completions"}),
            error=errors.ConfigurationError,
            says="/v2/chat/completions",
        ),
    ]


def _unusable() -> list[Row]:
    """2xx, but no answer: tried again here and elsewhere."""
    found = []
    for method, answers in (("chat", UNUSABLE), ("stream_chat", UNUSABLE | STREAM_ONLY)):
        for name, answer in answers.items():
            what = f"{name} ({method})"
            found.append(
                Row(
                    f"{what}, then an answer",
                    [answer],
                    method=method,
                    gives=HELLO,
                    requests=(2,),
                    stats={"retries": 1},
                )
            )
            found.append(
                Row(
                    f"{what}, another endpoint",
                    answer,
                    second=(),
                    method=method,
                    gives=HELLO,
                    requests=(1, 1),
                )
            )
    return found


def _unusable_for_good() -> list[Row]:
    off = {"breaker": BreakerPolicy(enabled=False)}
    told = {
        "HTML": "HTML",
        "broken JSON": "no JSON",
        "an empty body": "empty",
        "a stream that only ends": "empty",
    }
    rows = [
        Row(
            f"{name} for good",
            UNUSABLE[name],
            opea=off,
            error=errors.BadAnswerError,
            says=says,
            requests=(4,),
            failed=["body one"] * 4,
        )
        for name, says in told.items()
    ]
    oom = UNUSABLE["an error in a success"]
    overflow = json_answer(
        {
            "error": {
                "message": "maximum context length is 32768 tokens",
                "code": "context_length_exceeded",
            }
        }
    )
    started = STREAM_ONLY["a stream that starts with an error"]
    inner = sse({"error": {"message": "bad request", "code": 400}}, done=False)
    unauthorized = sse({"error": {"message": "no such key", "code": 401}}, done=False)
    return [
        *rows,
        Row(
            "an error in a success for good",
            oom,
            error=errors.ServerError,
            says="CUDA out of memory",
            requests=(4,),
        ),
        Row("an overflow in a success", overflow, error=errors.ContextOverflowError),
        Row(
            "a stream of an error for good",
            started,
            method="stream_chat",
            error=errors.ServerError,
            says="overloaded",
            requests=(4,),
        ),
        Row(
            "a stream of a refusal",
            inner,
            method="stream_chat",
            error=errors.InvalidRequestError,
            has={"status_code": 400},
        ),
        Row(
            "a stream of a wrong key",
            unauthorized,
            method="stream_chat",
            error=errors.AuthenticationError,
            has={"status_code": 401},
        ),
        Row(
            "an oversized answer",
            html(text="<" + "x" * 5000),
            opea={"max_response_bytes": 1000},
            error=errors.BadAnswerError,
            says="larger than 1000 bytes",
        ),
        Row(
            "a bomb of zeros",
            Answer(
                200,
                {"content-type": "application/json", "content-encoding": "gzip"},
                (gzip.compress(b" " * 5_000_000),),
            ),
            opea={"max_response_bytes": 1_000_000},
            error=errors.BadAnswerError,
            says="larger than 1000000 bytes",
        ),
        Row(
            "an oversized event",
            sse("x" * 5000),
            method="stream_chat",
            opea={"max_event_bytes": 1000},
            error=errors.BadAnswerError,
            says="1000",
        ),
        Row(
            "no HTTP at all",
            raw(b"what do you want?\r\n\r\n"),
            error=errors.EndpointConnectionError,
            opea=off,
            requests=(4,),
        ),
    ]


ROWS = [
    *_transient(),
    *_refused(),
    *_elsewhere_only(),
    *_limited(),
    *_counted(),
    *_unusable(),
    *_unusable_for_good(),
]
