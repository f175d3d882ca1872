"""TransportFailure readers: waits, events, bodies and their bounds (R16, P1 to P35, L1 to L8)."""

from __future__ import annotations

from variant import WIRE, Variant

_HEADERS = "opea_core/wire/headers.py"
_SSE = "opea_core/wire/sse.py"
_INTAKE = "opea_core/wire/response_reader.py"
_INFLATE = "opea_core/wire/inflate.py"
_ASSEMBLE = "opea_core/wire/assemble.py"
_CHOICE = "opea_core/wire/choice.py"
_WAIT = WIRE + "test_properties_wait.py"
_EVENTS = WIRE + "test_properties_sse.py"
_ANSWERS = WIRE + "test_properties_answers.py"
_BODIES = WIRE + "test_response_reader.py"

VARIANTS = [
    Variant(
        "R16: a wait on a success counts",
        _HEADERS,
        "    if status < 400:\n        return None\n",
        "",
        _WAIT,
    ),
    Variant(
        "R16: zero and less are waits",
        _HEADERS,
        "return math.isfinite(seconds) and seconds > 0",
        "return math.isfinite(seconds)",
        _WAIT,
    ),
    Variant(
        "R16: infinity is a wait",
        _HEADERS,
        "return math.isfinite(seconds) and seconds > 0",
        "return seconds > 0",
        WIRE + "test_headers.py",
    ),
    Variant(
        "P34: a date is counted from our clock",
        _HEADERS,
        'now = _date(headers.get("date", "")) or wall',
        "now = wall",
        _WAIT,
    ),
    Variant(
        "P34: milliseconds are seconds",
        _HEADERS,
        "        return milliseconds / 1000\n",
        "        return milliseconds\n",
        _WAIT,
    ),
    Variant(
        "P35: the used-up limit does not count",
        _HEADERS,
        "waits.append((remaining == 0, wait))",
        "waits.append((False, wait))",
        _WAIT,
    ),
    Variant(
        "P34: epoch seconds are seconds",
        _HEADERS,
        "        elif value >= _EPOCH_SECONDS:\n            value -= now\n",
        "",
        _WAIT,
    ),
    Variant(
        "P34: a year beyond all clocks raises",
        _HEADERS,
        "    except (ValueError, TypeError, OverflowError, IndexError):",
        "    except (TypeError, IndexError):",
        _WAIT,
    ),
    Variant(
        "P34: the words of any failure are read",
        _HEADERS,
        "    if status not in (429, 498, 503):\n        return None\n",
        "",
        _WAIT,
    ),
    Variant("P34: minutes in words are seconds", _HEADERS, '"m": 60.0', '"m": 1.0', _WAIT),
    Variant(
        "P3: a CRLF in two reads is two line ends",
        _SSE,
        '            data = data.removeprefix(b"\\n")\n',
        "",
        _EVENTS,
    ),
    Variant("P3: only LF ends a line", _SSE, 'rb"\\r\\n|\\n|\\r"', 'rb"\\r\\n|\\n"', _EVENTS),
    Variant(
        "P3: a BOM is part of the first field",
        _SSE,
        "            data = data.removeprefix(BOM)\n",
        "            pass\n",
        _EVENTS,
    ),
    Variant(
        "P3: a line in two reads is two lines",
        _SSE,
        "            data = self._pending.joined()\n",
        "",
        _EVENTS,
    ),
    Variant(
        "P5: the end of the body ends no event",
        _SSE,
        'events = self.feed(b"\\n\\n") if self._pending or self._data or self._name else []',
        "events: list[Event] = []",
        _EVENTS,
    ),
    Variant(
        "P5: a name outlives its event",
        _SSE,
        '                self._name = ""\n            else:',
        "            else:",
        _EVENTS,
    ),
    Variant(
        "P4: a comment in data is data",
        _SSE,
        'if value and not value.startswith(b":"):',
        "if value:",
        _EVENTS,
    ),
    Variant(
        "P7: a field named error is ignored",
        _SSE,
        'elif field == b"error":',
        'elif field == b"no such field":',
        _EVENTS,
    ),
    Variant(
        "L2: an event may be of any size",
        _SSE,
        "        if self._size + self._pending.size > self.max_event_bytes:",
        "        if False:",
        _EVENTS,
    ),
    Variant(
        "L2: lines of an event do not add up",
        _SSE,
        "        self._size += size\n",
        "        self._size = size\n",
        WIRE + "test_sse.py",
    ),
    Variant(
        "L1: a body may be of any size",
        _INTAKE,
        "if self._size > self._most or self._came > self._most:",
        "if False:",
        _BODIES,
    ),
    Variant(
        "L1: an oversized body is tried again",
        _INTAKE,
        (
            '(max_response_bytes)"\n            '
            "return self._fail(Problem(errors.BadAnswerError, what, retryable=False))"
        ),
        (
            '(max_response_bytes)"\n            '
            "return self._fail(Problem(errors.BadAnswerError, what))"
        ),
        _BODIES,
    ),
    Variant(
        "L8: an error body is read to its end",
        _INTAKE,
        "        if self._size > MAX_BODY:\n            self.done = True\n",
        "",
        _BODIES,
    ),
    Variant(
        "L3: a bomb is inflated at once",
        _INFLATE,
        "return self._decoder.decompress(data, _PIECE)",
        "return self._decoder.decompress(data)",
        _BODIES,
    ),
    Variant(
        "S13: a stream without its end is an answer",
        "opea_core/wire/events_reader.py",
        (
            "            not ended and not self.complete and (cut or not "
            "all(assembler.finish_reasons or [None]))\n"
        ),
        "            False\n",
        _ANSWERS,
    ),
    Variant(
        "P7: an error in a stream is skipped",
        "opea_core/wire/events_reader.py",
        'event.name == "error" or has_error(document):',
        'event.name == "error":',
        _BODIES,
    ),
    Variant(
        "P13: an empty stream is an answer",
        "opea_core/wire/events_reader.py",
        "        elif not assembler.has_finish_reason and not assembler.started:",
        "        elif False:",
        _BODIES,
    ),
    Variant(
        "P14: a server that gave up has answered",
        "opea_core/wire/events_reader.py",
        "            if is_broken(piece.finish_reason):",
        "            if False:",
        _BODIES,
    ),
    Variant(
        "P1: HTML is no problem of its own",
        "opea_core/wire/document_reader.py",
        'if data.lstrip()[:1] == b"<":',
        "if False:",
        _BODIES,
    ),
    Variant(
        "T4: each event is progress, content or not",
        "opea_core/wire/events_reader.py",
        "        if not self.started and self._assembler.started:\n            self.started = True",
        "        self.started = True",
        _BODIES,
    ),
    Variant(
        "S4: what is cut off twice is handed out twice",
        _CHOICE,
        "            joined(self.content) + tail,\n",
        "            joined(self.content) + tail + tail,\n",
        WIRE + "test_assemble.py " + WIRE + "test_jsontext.py " + WIRE + "test_think.py",
    ),
    Variant(
        "S5: choices are mixed up",
        _ASSEMBLE,
        "        state = self._states.get(index)\n",
        "        state = self._states.get(0)\n",
        _ANSWERS,
    ),
    Variant(
        "P16: the usage of a stream is lost",
        _ASSEMBLE,
        "            self.usage = merge_usage(self.usage, usage)\n",
        "            pass\n",
        _ANSWERS,
    ),
]
