"""The rows of docs/resilience.md, and the table that proves them:
how servers and networks misbehave, and what must come of it.
"""

from __future__ import annotations

from fault_rows_answers import ANSWERS
from fault_rows_connections import CONNECTIONS
from fault_rows_refusals import REFUSALS
from fault_table import Record
from fault_ways import PAIRS, Way

ROWS = {
    "connect": "refused, DNS failure, SYN black hole, TLS reset",
    "certificate": "bad or expired certificate, wrong host name; https to a plain port",
    "broken": "end or reset before headers, inside them, in the body",
    "reused": "the same on a reused connection",
    "late": "hang before headers; header bytes dripping",
    "stuck": "hang in a stream; keep-alives for ever without data",
    "slow": "slow but steady tokens for longer than any single timeout",
    "framing": "truncated chunked body, wrong Content-Length either way, end without length",
    "content": (
        "200 with HTML; with an error object; with broken JSON; empty; SSE that starts with "
        "an error; error in mid-stream"
    ),
    "form": "JSON answer to a stream request; SSE answer to a plain one",
    "storm": "429 storm with a wait, 200 callers",
    "absurd": 'Retry-After absurd (3600, -1, "soon", NaN, past date, year 9999)',
    "burst": "5xx burst; brownout; one of three down, slow, or failing fast",
    "outage": "all down for seconds",
    "dead": "all down for good",
    "revoked": "key revoked in the middle",
    "restart": "server restarts under load",
    "left": (
        "cancellation at every suspension point; consumer leaves the loop; generator "
        "dropped; Ctrl-C"
    ),
    "loops": (
        "event loop closed with calls waiting; asyncio.run 100 times; 4 loops + 8 threads "
        "with a limit of 5; fork"
    ),
    "huge": "2 GB body, decompression bomb, 100 MB line without newline",
    "redirect": "redirect",
    "key": "key with newline, space at the ends or non-ASCII",
    "secrets": "secrets in URL user info or query, in a server's echo of our headers",
    "hook": "hook raises",
    "full": "queue full",
    "deadline": "deadline passes in the queue",
    "second": "wrong key or unknown model, second call",
}

TABLE: list[Record] = [*CONNECTIONS, *ANSWERS, *REFUSALS]
IN_ALL_WAYS = {
    "connect: refused",
    "certificate: expired",
    "broken: cut, always",
    "late: hang, and a deadline",
    "content: broken-json, always",
    "form: json-for-stream",
    "storm: no quota",
    "burst: 503, another endpoint",
    "second: forbidden",
    "revoked: another endpoint",
    "restart: by one call",
    "secrets: an echo, by user: 401",
}
"""Records that differ in kind, among them all that are alone in their kind."""


def _in_turn(number: int, record: Record) -> tuple[Way, ...]:
    """The pair whose turn it is, or the next that the record can be asked in."""
    start = number % len(PAIRS)
    return next(pair for pair in PAIRS[start:] + PAIRS[:start] if set(pair) <= set(record.ways))


WAYS_OF: dict[Record, tuple[Way, ...]] = {
    record: record.ways if str(record) in IN_ALL_WAYS else _in_turn(number, record)
    for number, record in enumerate(TABLE)
}
"""How each record is asked in ``make test``; ``make test-all`` asks all in all ways."""
