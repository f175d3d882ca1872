"""Broken readers: waits, events, bodies and their bounds (R3, sections 2-6 of the wire rules, bounded bodies)."""

from __future__ import annotations

from variant import WIRE, Variant

_HEADERS = "opea_core/wire/headers.py"
_SSE = "opea_core/wire/sse.py"
_INTAKE = "opea_core/wire/intake.py"
_INFLATE = "opea_core/wire/inflate.py"
_ASSEMBLE = "opea_core/wire/assemble.py"
_CHOICE = "opea_core/wire/choice.py"
_WAIT = WIRE + "test_properties_wait.py"
_EVENTS = WIRE + "test_properties_sse.py"
_ANSWERS = WIRE + "test_properties_answers.py"
_BODIES = WIRE + "test_intake.py"

VARIANTS = [
    Variant("R3: a wait on a success counts", _HEADERS, "    if status < 400:\n        return None\n", "", _WAIT),
    Variant(
        "R3: zero and less are waits", _HEADERS, "return math.isfinite(seconds) and seconds > 0", "return math.isfinite(seconds)", _WAIT
    ),
    Variant(
        "R3: infinity is a wait", _HEADERS, "return math.isfinite(seconds) and seconds > 0", "return seconds > 0", WIRE + "test_headers.py"
    ),
    Variant("R3: a date is counted from our clock", _HEADERS, 'now = _date(headers.get("date", "")) or wall', "now = wall", _WAIT),
    Variant("R3: milliseconds are seconds", _HEADERS, "        return milliseconds / 1000\n", "        return milliseconds\n", _WAIT),
    Variant("R3: the used-up limit does not count", _HEADERS, "waits.append((remaining == 0, wait))", "waits.append((False, wait))", _WAIT),
    Variant("R3: epoch seconds are seconds", _HEADERS, "        elif value >= _EPOCH_SECONDS:\n            value -= now\n", "", _WAIT),
    Variant(
        "R3: a year beyond all clocks raises",
        _HEADERS,
        "    except (ValueError, TypeError, OverflowError, IndexError):",
        "    except (TypeError, IndexError):",
        _WAIT,
    ),
    Variant("R3: the words of any failure are read", _HEADERS, "    if status not in (429, 498, 503):\n        return None\n", "", _WAIT),
    Variant("R3: minutes in words are seconds", _HEADERS, '"m": 60.0', '"m": 1.0', _WAIT),
    Variant("SSE: a CRLF in two reads is two line ends", _SSE, '            data = data.removeprefix(b"\\n")\n', "", _EVENTS),
    Variant("SSE: only LF ends a line", _SSE, 'rb"\\r\\n|\\n|\\r"', 'rb"\\r\\n|\\n"', _EVENTS),
    Variant("SSE: a BOM is part of the first field", _SSE, "            data = data.removeprefix(BOM)\n", "            pass\n", _EVENTS),
    Variant("SSE: a line in two reads is two lines", _SSE, "            data = self._pending.joined()\n", "", _EVENTS),
    Variant(
        "SSE: the end of the body ends no event",
        _SSE,
        'events = self.feed(b"\\n\\n") if self._pending or self._data or self._name else []',
        "events: list[Event] = []",
        _EVENTS,
    ),
    Variant("SSE: a name outlives its event", _SSE, '                self._name = ""\n            else:', "            else:", _EVENTS),
    Variant("SSE: a comment in data is data", _SSE, 'if value and not value.startswith(b":"):', "if value:", _EVENTS),
    Variant("SSE: a field named error is ignored", _SSE, 'elif field == b"error":', 'elif field == b"no such field":', _EVENTS),
    Variant(
        "bounds: an event may be of any size",
        _SSE,
        "        if self._size + self._pending.size > self.max_event_bytes:",
        "        if False:",
        _EVENTS,
    ),
    Variant(
        "bounds: lines of an event do not add up",
        _SSE,
        "        self._size += size\n",
        "        self._size = size\n",
        WIRE + "test_sse.py",
    ),
    Variant(
        "bounds: a body may be of any size",
        _INTAKE,
        "if max(self._size, self._came) > self._expected.max_response_bytes:",
        "if False:",
        _BODIES,
    ),
    Variant(
        "bounds: an oversized body is tried again",
        _INTAKE,
        "return self._fail(Problem(errors.BadAnswerError, what, retryable=False))",
        "return self._fail(Problem(errors.BadAnswerError, what))",
        _BODIES,
    ),
    Variant(
        "bounds: an error body is read to its end",
        _INTAKE,
        "        if self._size > MAX_BODY:\n            self.done = True\n",
        "",
        _BODIES,
    ),
    Variant(
        "bounds: a bomb is inflated at once",
        _INFLATE,
        "return self._decoder.decompress(data, _PIECE)",
        "return self._decoder.decompress(data)",
        _BODIES,
    ),
    Variant(
        "fault: a stream without its end is an answer",
        _INTAKE,
        "        elif not ended and not self.complete:",
        "        elif False:",
        _ANSWERS,
    ),
    Variant(
        "fault: an error in a stream is skipped",
        _INTAKE,
        'event.name == "error" or has_error(document):',
        'event.name == "error":',
        _BODIES,
    ),
    Variant(
        "fault: an empty stream is an answer",
        _INTAKE,
        "        elif not assembler.has_finish_reason and not assembler.started:",
        "        elif False:",
        _BODIES,
    ),
    Variant(
        "fault: a server that gave up has answered",
        _INTAKE,
        "            if piece.finish_reason in BROKEN_FINISH:",
        "            if False:",
        _BODIES,
    ),
    Variant("fault: HTML is no problem of its own", _INTAKE, 'if data.lstrip()[:1] == b"<":', "if False:", _BODIES),
    Variant(
        "time: each event is progress, content or not",
        _INTAKE,
        "        if not self.started and self._assembler.started:\n            self.started = True",
        "        self.started = True",
        _BODIES,
    ),
    Variant(
        "HANDED: what is cut off twice is handed out twice",
        _CHOICE,
        "content=joined(self.content) + tail,",
        "content=joined(self.content) + tail + tail,",
        WIRE + "test_assemble.py " + WIRE + "test_jsontext.py " + WIRE + "test_think.py",
    ),
    Variant(
        "HANDED: choices are mixed up",
        _ASSEMBLE,
        "        state = self._states.get(index)\n",
        "        state = self._states.get(0)\n",
        _ANSWERS,
    ),
    Variant(
        "HANDED: the usage of a stream is lost",
        _ASSEMBLE,
        "        if usage:\n            self.usage = merge_usage(self.usage, usage)\n",
        "",
        _ANSWERS,
    ),
]
