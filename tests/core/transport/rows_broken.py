"""Connections that break, are refused or are late, and answers that are cut."""

from __future__ import annotations

from typing import Any

from rows_answers import HELLO
from table import AGAIN, DEAD, GOOD, GOT, LOST, Row, limits

from opea_core import BreakerPolicy, RetryPolicy, errors
from opea_core.testing import Answer, Wait, chat, chunk, error, raw, sse, stream

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
LOST_ONCE = f"{GOT} {LOST} {AGAIN} {GOT} {GOOD}"
EVENT = b'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n'
APART = {"retry": RetryPolicy(initial_delay=0.05, jitter="none")}
"""Pauses long enough that it is certain which of two endpoints is next."""
OFF = {"breaker": BreakerPolicy(enabled=False)}
SMUGGLED = chat("first").head + chat("first").body + chat("forged").head + chat("forged").body
EARLY = {
    "closed before the headers": chat("x").replace(before="close"),
    "reset before the headers": chat("x").replace(before="reset"),
    "closed inside the headers": raw(HEAD[:30], end="close"),
    "reset inside the headers": raw(HEAD[:30], end="reset"),
}
IN_BODY = {
    "closed in the body": chat("Hello").replace(length=5000, end="cut"),
    "reset in the body": chat("Hello").after(b"{", Wait(0.01)).replace(length=5000, end="reset"),
    "a chunk cut short": raw(HEAD + b"transfer-encoding: chunked\r\n\r\n40\r\n{", end="close"),
    "no last chunk": chat("Hello").replace(length="chunked", end="cut", steps=(b'{"choices": [',)),
    "a length that is too small": chat("Hello").replace(length=20, end="close"),
    "no length and a body cut short": Answer(
        200, {"content-type": "application/json"}, (b'{"choices": [{',), "none"
    ),
}
BEFORE_CONTENT = {
    "a stream cut before its content": sse(
        b": hi\n\n", chunk({"role": "assistant"}), done=False, end="cut"
    ),
    "a stream reset before its content": sse(b": hi\n\n", Wait(0.01), done=False, end="reset"),
    "a stream that ends before its content": Answer(
        200, {"content-type": "text/event-stream"}, (b": hi\n\n",), "none"
    ),
}
AFTER_CONTENT = {
    "cut": stream(["Hel", "lo"], finish_reason=None, done=False, end="cut"),
    "reset": stream(["Hel", "lo", Wait(0.02)], finish_reason=None, done=False, end="reset"),
    "ended": stream(["Hel", "lo"], finish_reason=None, done=False),
    "ended without a length": stream(["Hel", "lo"], finish_reason=None, done=False).replace(
        length="none"
    ),
    "cut inside an event": sse(
        chunk({"content": "Hello"}), b'data: {"choices": [{"del', done=False, end="cut"
    ),
    "ended inside a chunk": raw(
        HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n50\r\ndata" % (len(EVENT), EVENT),
        end="close",
    ),
    "broken by an event that is no JSON": sse(chunk({"content": "Hello"}), "}{", done=False),
    "broken by an error": sse(
        chunk({"content": "Hello"}),
        {"error": {"message": "GPU fell off", "type": "server_error"}},
        done=False,
    ),
    "given up by the server": sse(chunk({"content": "Hello"}), chunk({}, "error")),
}


def _connections() -> list[Row]:
    found = []
    for name, answer in EARLY.items():
        found.append(
            Row(
                f"{name}, then an answer",
                [answer],
                gives=HELLO,
                requests=(2,),
                events=LOST_ONCE,
                stats={"retries": 1},
            )
        )
        found.append(
            Row(f"{name}, another endpoint", answer, second=(), gives=HELLO, requests=(1, 1))
        )
        found.append(
            Row(
                f"{name} in a stream",
                [answer],
                method="stream_chat",
                gives=HELLO,
                requests=(2,),
                events=LOST_ONCE,
            )
        )
        found.append(
            Row(
                f"{name} for good",
                answer,
                opea=OFF,
                error=errors.EndpointConnectionError,
                requests=(4,),
                failed=["maybe_sent one"] * 4,
            )
        )
    for name, answer in IN_BODY.items():
        found.append(
            Row(
                f"{name}, then an answer",
                [answer],
                gives=HELLO,
                requests=(2,),
                stats={"retries": 1},
            )
        )
        found.append(
            Row(f"{name}, another endpoint", answer, second=(), gives=HELLO, requests=(1, 1))
        )
        found.append(
            Row(
                f"{name}, one attempt",
                answer,
                call={"max_retries": 0},
                error=_body_error(name),
                failed=["body one"],
            )
        )
    for name, answer in BEFORE_CONTENT.items():
        found.append(
            Row(
                f"{name}, then an answer",
                [answer],
                method="stream_chat",
                gives=HELLO,
                requests=(2,),
                stats={"retries": 1},
            )
        )
        found.append(
            Row(
                f"{name}, one attempt",
                answer,
                method="stream_chat",
                call={"max_retries": 0},
                error=_body_error(name),
                failed=["first one"],
            )
        )
    return found


def _body_error(name: str) -> type[errors.OPEAError]:
    """What ended in order, but is no answer, is a bad answer; the rest is a broken connection."""
    whole = (
        "a length that is too small",
        "no length and a body cut short",
        "a stream that ends before its content",
    )
    return errors.BadAnswerError if name in whole else errors.EndpointConnectionError


def _handed_out() -> list[Row]:
    """Once something was handed out nothing is sent again: the error has what came."""
    expected: dict[str, Any] = {
        "method": "stream_chat",
        "error": errors.StreamInterrupted,
        "says": r"Stream from one .*broke off after 5 characters: (.|\n)*error\.partial",
        "failed": ["delivered one"],
    }
    return [
        Row(f"a stream {name} after content", answer, second=(), requests=(1, 0), **expected)
        for name, answer in AFTER_CONTENT.items()
    ]


def _used_again() -> list[Row]:
    """A kept connection that the server closes: sent again at once, on a new one, at no cost."""
    quiet = f"{GOT} {LOST} {GOOD}"
    ok = chat("first")
    gone: dict[str, Any] = {
        "before": 1,
        "gives": HELLO,
        "requests": (2,),
        "events": quiet,
        "stats": {"retries": 0, "requests": 2, "errors": 0},
    }
    twice: dict[str, Any] = {
        "before": 1,
        "gives": HELLO,
        "requests": (3,),
        "events": f"{GOT} {LOST} {LOST} {AGAIN} {GOT} {GOOD}",
        "stats": {"retries": 1},
    }
    return [
        Row("a used connection is closed", [ok, EARLY["closed before the headers"]], **gone),
        Row("a used connection is reset", [ok, EARLY["reset before the headers"]], **gone),
        Row(
            "a used connection is closed, in a stream",
            [ok, EARLY["closed before the headers"]],
            method="stream_chat",
            **gone,
        ),
        Row(
            "a used connection is closed, and the new one too",
            [ok, *[EARLY["closed before the headers"]] * 2],
            **twice,
        ),
        Row(
            "a connection that was closed meanwhile is not used",
            [chat("first").replace(end="close")],
            before=1,
            gives=HELLO,
            requests=(1,),
        ),
        Row(
            "what follows an answer does not become the next one",
            [raw(SMUGGLED, end="keep")],
            before=1,
            gives=HELLO,
        ),
    ]


def _refused() -> list[Row]:
    tries = {
        "error": errors.EndpointConnectionError,
        "requests": (0,),
        "attempts": 4,
        "failed": ["not_sent one"] * 4,
    }
    return [
        Row(
            "refused",
            DEAD,
            says=r"Nothing answers at http://127.0.0.1:\d+ \(connection refused",
            stats={"retries": 3},
            **tries,
        ),
        Row("refused in a stream", DEAD, method="stream_chat", **tries),
        Row(
            "refused, one attempt",
            DEAD,
            call={"max_retries": 0},
            error=errors.EndpointConnectionError,
            requests=(0,),
            attempts=1,
        ),
        Row(
            "refused, another endpoint",
            DEAD,
            second=(),
            gives=HELLO,
            requests=(0, 1),
            attempts=2,
            events=f"{GOT} {LOST} {AGAIN} {GOT} {GOOD}",
        ),
        Row(
            "refused everywhere",
            DEAD,
            second=DEAD,
            opea=APART,
            error=errors.EndpointConnectionError,
            requests=(0, 0),
            attempts=4,
        ),
        Row(
            "an unknown host",
            opea={"base_url": "http://nowhere.invalid", "max_retries": 0},
            error=errors.EndpointConnectionError,
            says="host name",
            requests=(0,),
            attempts=1,
        ),
    ]


HANG = chat("x").replace(before="hang")
DRIP = raw(
    b"HTTP/1.1 200 OK\r\n",
    *[step for i in range(40) for step in (Wait(0.02), b"x-a: %d\r\n" % i)],
    end="hang",
)
PINGS = sse(
    *[step for _ in range(60) for step in (b": ping\n\n", Wait(0.02))], done=False, end="hang"
)
EMPTY_CHUNKS = sse(
    *[step for _ in range(60) for step in (chunk({"role": "assistant"}), Wait(0.02))],
    done=False,
    end="hang",
)
PADDING = chat("x").after(*[step for _ in range(60) for step in (b" ", Wait(0.02))])
PINGS_LATER = sse(
    chunk({"content": "Hello"}),
    *[step for _ in range(60) for step in (b": ping\n\n", Wait(0.02))],
    done=False,
)
STUCK = stream(["Hello", Wait(60)])
STUCK_BODY = chat("x").replace(steps=(b'{"choices": [', Wait(60)), length=500)


def _late() -> list[Row]:
    first: dict[str, Any] = {
        "error": errors.EndpointTimeout,
        "says": r"sent no answer within 0\.08 s \(first_event\)",
        "opea": limits(first_event=0.08),
        "seconds": 0.08,
    }
    idle: dict[str, Any] = {"opea": limits(idle=0.08), "seconds": 0.08}
    handed: dict[str, Any] = {
        "method": "stream_chat",
        "error": errors.StreamInterrupted,
        "says": r"sent nothing more within 0\.08 s \(idle\)",
    }
    total: dict[str, Any] = {
        "error": errors.DeadlineExceeded,
        "call": {"deadline": 0.08},
        "has": {"deadline_exceeded": True, "is_timeout": True},
        "seconds": 0.08,
    }
    return [
        *(
            Row(
                f"no answer ({method})",
                HANG,
                method=method,
                args=() if method == "models" else ("Hello",),
                failed=["maybe_sent one"],
                events=f"{GOT} {LOST}",
                **first,
            )
            for method in ("chat", "stream_chat", "complete", "stream_complete", "embed", "models")
        ),
        Row("headers that drip", DRIP, failed=["maybe_sent one"], events=f"{GOT} {LOST}", **first),
        Row("headers that drip into a stream", DRIP, method="stream_chat", **first),
        Row("nothing but keep-alives", PINGS, method="stream_chat", failed=["first one"], **first),
        Row(
            "nothing but empty events",
            EMPTY_CHUNKS,
            method="stream_chat",
            failed=["first one"],
            **first,
        ),
        Row("nothing but blanks", PADDING, failed=["body one"], **first),
        Row("a stream that stops", STUCK, failed=["delivered one"], **handed, **idle),
        Row(
            "a stream with keep-alives only",
            PINGS_LATER,
            failed=["delivered one"],
            **handed,
            **idle,
        ),
        Row(
            "a body that stops",
            STUCK_BODY,
            error=errors.EndpointTimeout,
            says=r"\(idle\)",
            failed=["body one"],
            **idle,
        ),
        Row("no answer before the deadline", HANG, says=r"deadline of 0\.08 s", **total),
        Row("no answer before the deadline of a stream", HANG, method="stream_chat", **total),
        Row(
            "a stream beyond the deadline",
            stream(["0", Wait(0.04), "1", Wait(0.1), "2"]),
            method="stream_chat",
            **total,
        ),
        Row(
            "pauses up to the deadline",
            error(503, "busy"),
            opea={"retry": RetryPolicy(max_retries=1000, initial_delay=0.15, jitter="none")},
            error=errors.ServerError,
            call={"deadline": 0.2},
            has={"deadline_exceeded": True},
            requests=(2,),
            seconds=0.1,
        ),
        Row(
            "the deadline of the object",
            HANG,
            opea={"deadline": 0.08},
            error=errors.DeadlineExceeded,
            seconds=0.08,
        ),
        Row(
            "the timeout of a call",
            HANG,
            call={"timeout": 0.08, "max_retries": 0},
            error=errors.EndpointTimeout,
            seconds=0.08,
        ),
        Row(
            "no answer in time, tried elsewhere at once",
            HANG,
            second=(),
            opea={"timeout": 0.08},
            gives=HELLO,
            requests=(1, 1),
            seconds=0.08,
        ),
        Row(
            "no answer in time, not tried again here",
            HANG,
            opea={"timeout": 0.08},
            error=errors.EndpointTimeout,
            seconds=0.08,
        ),
        Row(
            "no content in time is tried again",
            [PINGS],
            opea={"timeout": 0.08},
            method="stream_chat",
            gives=HELLO,
            requests=(2,),
            seconds=0.08,
        ),
    ]


ROWS = [*_connections(), *_handed_out(), *_used_again(), *_refused(), *_late()]
