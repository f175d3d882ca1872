"""One gate for a server's words: secrets in any spelling, one line, a bound."""

from __future__ import annotations

import base64
import html
import json
import tracemalloc
from urllib.parse import quote

import pytest

from opea_core.wire.redact import _STEP, Redactor, say

SECRET = "sk-Secret+abc/def0123="
WORDS = "my secret words"
REDACT = Redactor([SECRET, WORDS, "abcd"])
FORMS = {
    "as it is": SECRET,
    "in other letters": SECRET.upper(),
    "in a URL": quote(SECRET, safe=""),
    "in a URL, in small letters": quote(SECRET, safe="")
    .replace("%2B", "%2b")
    .replace("%2F", "%2f"),
    "each letter for a URL": "".join(f"%{ord(char):02x}" for char in SECRET),
    "in a URL in a URL": quote(quote(SECRET, safe=""), safe=""),
    "in HTML": html.escape("&")
    .join(SECRET.split("&"))
    .replace("+", "&#43;")
    .replace("/", "&#x2F;"),
    "in JSON, all escaped": "".join(f"\\u{ord(char):04x}" for char in SECRET),
    "in a URL, three times": quote(quote(quote(SECRET, safe=""), safe=""), safe=""),
    "in a URL of JavaScript": "".join(f"%u{ord(char):04X}" for char in SECRET),
    "in JavaScript": "".join(f"\\u{{{ord(char):x}}}" for char in SECRET),
    "in octal digits": "".join(f"\\{ord(char):03o}" for char in SECRET),
    "in long numbers of HTML": "".join(f"&#{ord(char):07d};" for char in SECRET),
    "in pairs of digits": SECRET.encode().hex(":"),
    "in UTF-16, read as ASCII": "\x00".join(SECRET),
    "with letters that nobody sees": "\u200b".join(SECRET[:9]) + "\xad\u202e\x08" + SECRET[9:],
    "in JSON of .NET": SECRET.replace("+", "\\u002B"),
    "in JSON of PHP": SECRET.replace("/", "\\/"),
    "in JSON in JSON": json.dumps(json.dumps(SECRET)[1:-1])[1:-1],
    "in base64": base64.b64encode(SECRET.encode()).decode(),
    "in base64 behind a scheme": base64.b64encode(f"Bearer {SECRET}".encode()).decode(),
    "in base64 behind a user": base64.urlsafe_b64encode(f"ab:{SECRET}".encode()).decode(),
    "in hexadecimal digits": SECRET.encode().hex(),
    "broken over lines": f"{SECRET[:9]}\n  {SECRET[9:]}",
    "words in a query": WORDS.replace(" ", "+"),
    "words in a URL": WORDS.replace(" ", "%20"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_found_in_any_spelling(form: str) -> None:
    shown = REDACT(f"before: {FORMS[form]} :after")
    assert REDACT.holds(FORMS[form])
    assert "***" in shown
    assert shown.startswith("before: ")
    assert shown.endswith(" :after")
    longest = max((part for part in FORMS[form].split("\n")), key=len)
    assert longest not in shown
    assert longest[8:] not in shown


@pytest.mark.parametrize("form", ["as it is", "in JSON, all escaped", "broken over lines"])
def test_in_a_long_text_it_is_found_wherever_it_stands(form: str) -> None:
    """Long texts are read in parts: also where two of them meet."""
    spelled = FORMS[form]
    for before in (_STEP - len(spelled) // 2, _STEP + REDACT._overlap - 3, 3 * _STEP - 1):
        text = "word " * (before // 5) + "." * (before % 5) + spelled + " word" * _STEP
        assert REDACT.holds(text)
        assert REDACT(text) == text.replace(spelled, "***")


def test_a_long_text_takes_little_memory() -> None:
    """A stream of megabytes may break off, and what came of it is looked through."""
    text = "word and \\u0041 " * 70_000
    tracemalloc.start()
    REDACT.holds(text)
    assert tracemalloc.get_traced_memory()[1] < len(text)
    tracemalloc.reset_peak()
    REDACT(text + SECRET)
    assert tracemalloc.get_traced_memory()[1] < 16 * len(text)
    tracemalloc.stop()


@pytest.mark.parametrize("size", range(4, len(SECRET)))
def test_of_a_text_that_was_cut_in_the_middle_of_a_secret_nothing_of_it_is_left(size: int) -> None:
    assert REDACT(f"you sent {SECRET[:size]}…") == "you sent ***…"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a word",
        "ABCD is no secret of few letters",
        "100 % of it",
        "\\ and &amp; and %zz",
        "sk-Secre",
    ],
)
def test_anything_else_stays_as_it_is(text: str) -> None:
    assert REDACT(text) == text


def test_what_is_said_is_on_one_line_and_has_a_bound() -> None:
    assert say(f"a\nb\x1b[31m \u202e{SECRET}" + "x" * 100, REDACT, 20) == "a b [31m ***xxxxxxx…"
