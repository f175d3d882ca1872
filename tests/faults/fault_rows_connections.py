"""The rows about connections: refused, broken, late."""

from __future__ import annotations

from fault_table import WELL, Node, Record, always, down, fails, first, gives, right
from fault_words import CONNECTION, TIMEOUT, USUAL_HINT, breaks, limits

from opea_core import Timeouts, errors
from opea_core.testing import FAULTS, Fault, damage, faults


def _tls(url: str) -> str:
    return url.replace("http:", "https:")


def _nowhere(_: str) -> str:
    return "http://nowhere.invalid"


_GONE = {"requests": 0, "attempts": 3, "breaker": "open"}
CONNECT = [
    Record(
        "connect",
        "refused",
        (down("refuse"),),
        fails(CONNECTION, "connection refused", USUAL_HINT, **_GONE),
    ),
    Record("connect", "refused, another endpoint", (down("refuse"), WELL), gives(0, 1)),
    Record(
        "connect", "DNS failure", (Node(url=_nowhere),), fails(CONNECTION, "host name", **_GONE)
    ),
    Record("connect", "DNS failure, another endpoint", (Node(url=_nowhere), WELL), gives(0, 1)),
    Record(
        "connect",
        "black hole",
        (down("ignore", options={"timeouts": Timeouts(connect=0.1)}),),
        fails(
            TIMEOUT,
            r"took no connection within 0\.1 s \(connect\)",
            "Raise timeout=",
            USUAL_HINT,
            **_GONE,
        ),
    ),
    Record(
        "connect",
        "black hole, another endpoint",
        (down("ignore", options={"timeouts": Timeouts(connect=0.1)}), WELL),
        gives(0, 1),
    ),
    Record(
        "connect",
        "TLS reset",
        (down("reset", url=_tls),),
        fails(CONNECTION, "Nothing answers at https://127", USUAL_HINT, **_GONE),
    ),
    Record("connect", "TLS reset, another endpoint", (down("reset", url=_tls), WELL), gives(0, 1)),
    Record(
        "connect",
        "TLS closed",
        (down("close", url=_tls),),
        fails(CONNECTION, "Nothing answers at https://127", USUAL_HINT, **_GONE),
    ),
    Record(
        "connect",
        "TLS hangs",
        (down("hang", url=_tls, options={"timeouts": Timeouts(connect=0.2)}),),
        fails(TIMEOUT, r"within 0\.2 s \(connect\)", "Does it speak TLS", **_GONE),
    ),
]

_ONCE = {"requests": 0, "attempts": 1, "breaker": "closed"}
_CERTIFICATE = ("the TLS certificate was not accepted", "verify=", "SSL_CERT_FILE")
CERTIFICATE = [
    Record("certificate", "good", (Node(tls="good"),), gives(1)),
    Record(
        "certificate",
        "self-signed",
        (Node(tls="self-signed"),),
        fails(errors.CertificateError, *_CERTIFICATE, **_ONCE),
    ),
    Record(
        "certificate",
        "expired",
        (Node(tls="expired"),),
        fails(errors.CertificateError, "expired", *_CERTIFICATE, **_ONCE),
    ),
    Record(
        "certificate",
        "wrong host name",
        (Node(tls="of another host"),),
        fails(errors.CertificateError, *_CERTIFICATE, **_ONCE),
    ),
    Record(
        "certificate",
        "nor is another endpoint asked",
        (Node(tls="expired"), WELL),
        fails(errors.CertificateError, requests=(0, 0), attempts=1),
    ),
    Record(
        "certificate",
        "https to a plain port",
        (Node(url=_tls),),
        fails(
            errors.ConfigurationError, "does not speak TLS", "Write http:// in base_url", **_ONCE
        ),
    ),
]

_EARLY = {
    "close": "disconnected without an answer",
    "reset": "connection reset",
    "cut-head": "disconnected without an answer",
    "reset-head": "connection reset",
    "not-http": "disconnected without an answer|does not speak HTTP",
    "huge-head": "headers of the answer are too large",
}
_IN_BODY = {
    "cut": "connection closed in the middle of the answer",
    "reset-body": "connection reset",
    "cut-early": "connection closed in the middle of the answer",
    "reset-early": "connection reset",
}
_HANDED = ("cut", "reset-body")
"""Faults that come after content in a stream."""


def _broken() -> list[Record]:
    found = []
    for name, says in (_EARLY | _IN_BODY).items():
        fault = FAULTS[name]
        stream = breaks(says) if name in _HANDED else None
        found += [
            Record("broken", f"{name}, once", (first(fault),), gives(2), stream),
            Record(
                "broken",
                f"{name}, always",
                (always(fault),),
                fails(CONNECTION, says, requests=3, breaker="open" if name in _EARLY else None),
                stream,
            ),
            Record(
                "broken",
                f"{name}, another endpoint",
                (always(fault), WELL),
                gives(1, 1),
                stream and breaks(says, requests=(1, 0)),
            ),
        ]
    return found


def _reused() -> list[Record]:
    """The connection was used for a call that went well."""
    again = [
        Record("reused", name, (first(right, FAULTS[name]),), gives(2), before=1)
        for name in ("close", "reset")
    ]
    for name in ("cut-head", "reset-head", *_IN_BODY):
        stream = breaks(_IN_BODY[name]) if name in _HANDED else None
        again.append(
            Record("reused", name, (first(right, FAULTS[name]),), gives(2), stream, before=1)
        )
    again.append(
        Record(
            "reused", "closed after the answer before", (first(faults.closing),), gives(1), before=1
        )
    )
    again.append(
        Record(
            "reused",
            "a stray answer after the one before",
            (first(faults.stray),),
            gives(1),
            before=1,
        )
    )
    return again


_FIRST = {"options": limits(first_event=0.25)}
_IDLE = {"options": limits(idle=0.25)}
_SHORT = {"options": {"timeouts": Timeouts(first_event=0.25, idle=0.25)}}
_NO_ANSWER = (r"sent no answer within 0\.25 s \(first_event\)", r"Timeouts\(first_event=")
_NOTHING_MORE = (r"sent nothing more within 0\.25 s \(idle\)",)
LATE = [
    record
    for fault in (faults.hang, faults.drip_head)
    for record in (
        Record(
            "late", fault.name, (always(fault),), fails(TIMEOUT, *_NO_ANSWER, left=True), **_FIRST
        ),
        Record(
            "late", f"{fault.name}, another endpoint", (always(fault, **_SHORT), WELL), gives(1, 1)
        ),
        Record(
            "late",
            f"{fault.name}, and a deadline",
            (always(fault),),
            fails(errors.DeadlineExceeded, r"deadline of 0\.25 s", "Raise deadline=", left=True),
            call={"deadline": 0.25},
        ),
    )
]
STUCK = [
    Record(
        "stuck",
        "in the body",
        (always(faults.stall),),
        fails(TIMEOUT, *_NOTHING_MORE, "idle=", requests=2, left=True),
        breaks(*_NOTHING_MORE, left=True),
        **_IDLE,
    ),
    Record(
        "stuck",
        "after the headers",
        (always(faults.stall_early),),
        fails(TIMEOUT, *_NO_ANSWER, requests=2, left=True),
        **_FIRST,
    ),
    Record(
        "stuck",
        "keep-alives",
        (always(faults.keepalives),),
        fails(TIMEOUT, *_NO_ANSWER, requests=2, left=True),
        **_FIRST,
    ),
    Record(
        "stuck",
        "keep-alives after a while",
        (always(faults.keepalives_late),),
        fails(TIMEOUT, *_NOTHING_MORE, requests=2, left=True),
        breaks(*_NOTHING_MORE, left=True),
        **_IDLE,
    ),
    Record(
        "stuck",
        "keep-alives, another endpoint",
        (always(faults.keepalives, **_SHORT), WELL),
        gives(1, 1),
    ),
    Record(
        "stuck",
        "in the body, another endpoint",
        (always(faults.stall, **_SHORT), WELL),
        gives(1, 1),
        breaks(requests=(1, 0), left=True),
    ),
]
_STEADY = Fault(
    "slow",
    "tokens 0.15 s apart",
    lambda answer: damage.slow(answer, 0.15) if answer.is_stream else answer,
)
SLOW = [
    Record("slow", "longer than any limit", (always(_STEADY),), gives(1), options={"timeout": 1}),
    Record("slow", "slow", (always(faults.slow),), gives(1)),
]


CONNECTIONS = [*CONNECT, *CERTIFICATE, *_broken(), *_reused(), *LATE, *STUCK, *SLOW]
