"""A server's words are shown on one line, and steer neither a terminal nor a log."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from asking import Way, made

from opea_core import OPEAError
from opea_core.display_text import one_line
from opea_core.testing import Answer, ScriptedServer, Seen, chunk, error, html, json_answer, sse

EVIL = (
    "busy\nFAKE CRITICAL all is lost\r\n\x1b[2J\x1b]0;title\x07 \x00 \u202eevil\u2066 \x85 "
    "\u2028 end"
)
STEERING = {
    chr(n)
    for n in (
        *range(32),
        *range(127, 160),
        0x2028,
        0x2029,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
}


def _models(seen: Seen) -> Answer:
    if seen.method == "GET":
        return json_answer({"data": [{"id": EVIL}, {"id": "fine"}]})
    return error(404, EVIL, code="model_not_found")


def _id(seen: Seen) -> Answer:
    return error(400, "no").replace(
        headers={"content-type": "application/json", "x-request-id": "id\x1b[31m\x7f"}
    )


SAYS: dict[str, Any] = {
    "a message": error(400, EVIL),
    "every field": error(401, EVIL, code=EVIL, type=EVIL, param=EVIL),
    "a busy server": error(503, EVIL),
    "a rate limit": error(429, EVIL, headers={"retry-after": "3600"}),
    "a page": html(502, f"<title>{EVIL}</title>"),
    "an error in a success": json_answer({"error": {"message": EVIL}}),
    "an error in a stream": sse(chunk({"content": "a"}), {"error": {"message": EVIL}}, done=False),
    "plain text": Answer(200, {"content-type": "text/plain"}, (EVIL.encode(),)),
    "the names of models": _models,
    "a request id": _id,
    "a target": Answer(302, {"location": "http://x.invalid/\x1b[2J\x7f"}),
}


@pytest.mark.parametrize("method", ["chat", "stream_chat"])
@pytest.mark.parametrize("what", SAYS)
def test_what_is_shown_cannot_steer(
    way: Way, server: ScriptedServer, caplog: pytest.LogCaptureFixture, what: str, method: str
) -> None:
    caplog.set_level(logging.DEBUG, "opea_core")
    server.always(SAYS[what])
    with made(server, max_retries=1) as opea:
        told = way.ask(opea, method, "Hello")
    assert isinstance(told.error, OPEAError)
    lines = str(told.error).split("\n")
    assert len(lines) <= 3
    assert [line for line in lines if STEERING & set(line) or line.startswith("FAKE")] == []
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("opea_core")]
    assert [line for line in ours if STEERING & set(line)] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\r\nlines", "two lines"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("Grüße 🙂 你好", "Grüße 🙂 你好"),
        ("  a \t b ", "a b"),
        ("", ""),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown
