"""Rules about what passes through OPEA for other SDKs (U1 to U10), each broken in one way."""

from __future__ import annotations

from variant import WIRE, Variant

_RAW = "opea_core/wire/raw_reader.py"
_INCOMING = "opea_core/transports/incoming.py"
_CREDENTIALS = "opea_core/transports/credentials.py"
_OUTGOING = "opea_core/transports/outgoing.py"
_PASSING = "opea_core/transports/passing.py"
_SERVING = "opea_core/transports/serving.py"
_READER = WIRE + "test_raw_reader.py"
_ASKED = "tests/core/transports_sdk/test_incoming.py"
_THROUGH = "tests/core/transports_sdk/test_passed_through.py"
_TOLD = "tests/core/transports_sdk/test_failures_told.py"

VARIANTS = [
    Variant(
        "U2: the client's key goes out where the endpoint has none",
        _INCOMING,
        "elif not (name in NOT_YOURS or name in _REPLACED or is_credential(name, value)):",
        "elif not (name in NOT_YOURS or name in _REPLACED):",
        _THROUGH + " -k the_key_and_the_url",
    ),
    Variant(
        "U2: a key in the query goes out",
        _INCOMING,
        "if name not in own.query and not names_credential(name):",
        "if name not in own.query:",
        _THROUGH + " -k the_key_and_the_url",
    ),
    Variant(
        "U2: a key under a gateway's name for it goes out",
        _CREDENTIALS,
        r"(?:auth|bearer|jwt|key|sig|signature|token)$|^code$",
        r"^(?:key|sig|token|code)$",
        _ASKED + " -k name",
    ),
    Variant(
        "U2: what only ends like a key stays",
        _CREDENTIALS,
        " and _NO_CREDENTIAL.search(word) is None",
        "",
        _ASKED + " -k name",
    ),
    Variant(
        "U2: a key under any other name goes out",
        _CREDENTIALS,
        " or _BEARER.match(value) is not None",
        "",
        _ASKED + " -k name",
    ),
    Variant(
        "U2: the client's headers win over the endpoint's",
        _INCOMING,
        "        if name in own.headers:\n            continue\n",
        "",
        _ASKED,
    ),
    Variant(
        "U10: the default of SDKs is a wish",
        _INCOMING,
        'if "read" not in given or (given.get("connect"), given["read"]) == _SDK_DEFAULT:',
        'if "read" not in given:',
        _ASKED,
    ),
    Variant(
        "U1: any path is a call of the protocol's",
        _INCOMING,
        'known: Mapping[str, Kind] = {"POST": _POSTED, "GET": _GOT}.get(method, {})',
        "known: Mapping[str, Kind] = {**_POSTED, **_GOT}",
        _ASKED,
    ),
    Variant(
        "U6: the end mark of a stream that is not whole comes",
        _RAW,
        "        if marked and self.problem is not known and self._expected.stream:\n",
        "        if False:\n",
        _READER,
    ),
    Variant(
        "U6: a stream needs no finish reason",
        _RAW,
        "if self.problem is None and not self._assembler.has_finish_reason:",
        "if False:",
        _TOLD + " -k finish_reason",
    ),
    Variant(
        "U6: a response that was not completed is whole",
        _RAW,
        "        if not self.done:\n            what",
        "        if False:\n            what",
        _READER,
    ),
    Variant(
        "U5: what announces a response is its first content",
        _RAW,
        "        elif kind not in _BEGINNING:\n            self.started = True",
        "        else:\n            self.started = True",
        _READER,
    ),
    Variant(
        "U7: the SDK may try again what was tried often enough",
        _OUTGOING,
        "return Outgoing(reader.status, [*kept, length, _FINAL], content)",
        "return Outgoing(reader.status, [*kept, length], content)",
        _TOLD + " -k own_answer",
    ),
    Variant(
        "U7: the server's own x-should-retry stays beside ours",
        _OUTGOING,
        '_REWRITTEN = frozenset({b"x-should-retry", b"content-length"})',
        '_REWRITTEN = frozenset({b"content-length"})',
        _TOLD + " -k own_answer",
    ),
    Variant(
        "U8: plain clients get an answer that no server gave",
        _OUTGOING,
        "return made_up(error) if from_sdk else None",
        "return made_up(error)",
        _TOLD + " -k exception_for_others",
    ),
    Variant(
        "U9: a redirect comes as it is",
        _OUTGOING,
        "if reader.status != error.status_code or reader.status < 400:",
        "if reader.status != error.status_code or reader.status < 300:",
        _THROUGH + " -k redirect",
    ),
    Variant(
        "U9: a redirect of what is passed on comes as it is",
        _PASSING,
        "    if not response.has_redirect_location:\n",
        "    if True:\n",
        _THROUGH + " -k redirect",
    ),
    Variant(
        "U1: a closed object passes on",
        _PASSING,
        "    if engine.drivers.closed:\n",
        "    if False:\n",
        _TOLD + " -k closing",
    ),
    Variant(
        "what httpx2 raises is not known",
        "opea_core/transport/http/failures.py",
        '_LIBRARIES = ("httpx", "httpx2")',
        '_LIBRARIES = ("httpx",)',
        "tests/core/transports_sdk/test_borrowed_httpx2.py -k breaks",
    ),
    Variant(
        "U6: a broken stream ends without an error",
        _SERVING,
        (
            "            yield from self._stream\n"
            "        except _failures() as error:\n"
            "            self._fail(error)"
        ),
        ("            yield from self._stream\n        except _failures():\n            return"),
        _TOLD + " -k cut",
    ),
    Variant(
        "U5: a stream that is left keeps its place",
        _SERVING,
        "        await self._stream.aclose()",
        "        return None",
        _TOLD + " -k left",
    ),
]
