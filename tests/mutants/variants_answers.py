"""Readers of answers that are quadratic, take memory without bound, number choices wrongly,
or change when they are asked meanwhile.
"""

from __future__ import annotations

from variant import WIRE, Variant

_ASSEMBLE = "opea_core/wire/assemble.py"
_BRACES = "opea_core/wire/braces.py"
_CHOICE = "opea_core/wire/choice.py"
_HEADERS = "opea_core/wire/headers.py"
_INFLATE = "opea_core/wire/inflate.py"
_INTAKE = "opea_core/wire/response_reader.py"
_JSON = "opea_core/wire/jsontext.py"
_MERGE = "opea_core/wire/merge.py"
_PIECES = "opea_core/wire/byte_pieces.py"
_REFUSAL = "opea_core/wire/refusal.py"
_SSE = "opea_core/wire/sse.py"
_THINK = "opea_core/wire/think.py"
_TOOLS = "opea_core/wire/tools.py"
_USAGE = "opea_core/wire/usage.py"
_WRITTEN = "opea_core/adapters/json_answers.py"
_LINEAR = WIRE + "test_linear.py"
_PATTERNS = _LINEAR + " -k no_pattern"
_BOUNDS = WIRE + "test_bounds.py"
_MANY = _BOUNDS + " -k more_than_any"
_REAL = _BOUNDS + " -k 'real or vectors'"
_MEMORY = _BOUNDS + " -k few_times"
_BRACE = _BOUNDS + " -k braces"
_WEIGHED = _BOUNDS + " -k weighed"
_SO_FAR = WIRE + "test_properties_answers.py -k so_far"
_PARTS = WIRE + "test_assemble.py"
_NUMBERS = _PARTS + " -k 'choices or entries'"

VARIANTS = [
    # --- linear: patterns
    Variant(
        "L7: blanks after wait",
        _HEADERS,
        r"available)\s++(?:again\s++)?(?:in",
        r"available)\s+(?:again\s+)?(?:in",
        _PATTERNS,
    ),
    Variant(
        "L7: line ends after a fence", _WRITTEN, r"[^\S\n]*+\n\s*+(?=", r"\s*\n\s*(?=", _PATTERNS
    ),
    # --- linear: streams
    Variant(
        "L7: the lines of an event are joined with each",
        _SSE,
        'self._data[0] += b"\\n" + value',
        'self._data[0] = bytearray(self._data[0] + b"\\n" + value)',
        _LINEAR + " -k lines",
    ),
    Variant(
        "L7: what follows a glued document is copied",
        _JSON,
        "        at = _after_blanks(text, at)\n",
        "        text, at = text[at:].lstrip(), 0\n",
        _LINEAR + " -k glued",
    ),
    Variant(
        "L7: an answer so far joins all pieces again",
        _MERGE,
        (
            "    if len(pieces) > 1:\n"
            '        pieces[:] = ["".join(pieces)]\n'
            '    return pieces[0] if pieces else ""\n'
        ),
        '    return "".join(pieces)\n',
        _LINEAR + " -k response",
    ),
    Variant(
        "L7: braces are counted from the beginning",
        "opea_core/wire/tool_call_pieces.py",
        "        for text in self.unread:\n",
        "        self.braces = Braces()\n        for text in self.pieces:\n",
        _LINEAR + " -k 'end_an_object or braces or arguments'",
    ),
    Variant(
        "L7: whole arguments are parsed each time",
        "opea_core/wire/tool_call_pieces.py",
        "        if self.valid is None:\n",
        "        if True:\n",
        _LINEAR + " -k 'whole or one'",
    ),
    Variant(
        "L7: blank arguments are joined with each piece",
        "opea_core/wire/tool_call_pieces.py",
        "(not self.handed and self.held <= _SHORT and self._may",
        "(not self.handed and self._may",
        _LINEAR + " -k blanks",
    ),
    Variant(
        "L7: any message is compared with the text so far",
        _CHOICE,
        "isinstance(content, str) and len(content) >= self.size:",
        "isinstance(content, str):",
        _LINEAR + " -k continue",
    ),
    Variant(
        "L7: annotations are compared with all before",
        _MERGE,
        "            if text not in self._seen:\n",
        "            if entry not in self._annotations:\n",
        _LINEAR + " -k annotations",
    ),
    Variant(
        "L7: logprobs are copied with each token",
        _MERGE,
        "            merged[key].extend(value)\n",
        "            merged[key] = [*merged[key], *value]\n",
        _LINEAR + " -k logprobs",
    ),
    Variant(
        "L7: blanks before the thinking are kept together",
        _THINK,
        "            self._blanks.append(text[: len(text) - len(bare)])\n"
        "            if _OPEN.startswith(bare):\n"
        "                self._held = bare\n",
        "            if _OPEN.startswith(bare):\n                self._held = text\n",
        _LINEAR + " -k think_tags",
    ),
    Variant(
        "L7: entries of one choice are joined one by one",
        _ASSEMBLE,
        '        first.content = "".join(piece.content for piece in pieces)\n',
        "        for piece in pieces[1:]:\n            first.content += piece.content\n",
        _LINEAR + " -k entries",
    ),
    Variant(
        "L7: a growing answer is parsed with each letter",
        _WRITTEN,
        " and size > _SHORT:",
        " and False:",
        _LINEAR + " -k letter",
    ),
    # --- bounds: numbers
    Variant(
        "L4: choices",
        _ASSEMBLE,
        "            if len(self._states) >= self._most:\n",
        "            if False:\n",
        _MANY,
    ),
    Variant(
        "L4: calls",
        _TOOLS,
        "        if len(self._calls) >= _MOST_CALLS:\n",
        "        if False:\n",
        _MANY,
    ),
    Variant(
        "L4: annotations",
        _MERGE,
        '        check_size("annotations", self._annotations)\n',
        "",
        _MANY,
    ),
    Variant(
        "L4: details",
        _MERGE,
        '        check_size(_WHAT.get(name, "entries of a field"), value)\n',
        "        pass\n",
        _MANY,
    ),
    Variant(
        "L4: fields of a message",
        _MERGE,
        '            check_size("unknown fields", self._known)\n',
        "",
        _MANY,
    ),
    Variant(
        "L4: fields of a choice",
        _CHOICE,
        '            check_size("unknown fields", self.choice_extra)\n',
        "            pass\n",
        _MANY,
    ),
    Variant("L4: fields", _ASSEMBLE, '        check_size("unknown fields", root)\n', "", _MANY),
    Variant(
        "L4: counts",
        _ASSEMBLE,
        '            check_size("counts", self.usage)\n',
        "            pass\n",
        _MANY,
    ),
    Variant(
        "L4: one entry too few may come",
        _MERGE,
        "if len(entries) > _MOST_ENTRIES:",
        "if len(entries) >= _MOST_ENTRIES:",
        _REAL,
    ),
    Variant(
        "L4: more choices than usual cannot be asked for",
        _ASSEMBLE,
        "max(_MOST_CHOICES, choices)",
        "_MOST_CHOICES",
        _REAL,
    ),
    Variant(
        "L4: several prompts are one",
        "opea_core/flow/prepare.py",
        "isinstance(prompt, list) and len(prompt) > 1 and not isinstance(prompt[0], int)",
        "False",
        _REAL,
    ),
    Variant(
        "L4: it is tried again",
        _INTAKE,
        (
            "            self._fail(Problem(errors.BadAnswerError, what, retryable=False))\n"
            "\n"
            "    def end("
        ),
        "            self._fail(Problem(errors.BadAnswerError, what))\n\n    def end(",
        _BOUNDS + " -k 'more_than_any or once'",
    ),
    Variant(
        "L3: empty blocks may go on",
        _INFLATE,
        "if self._dry > _DRY or self._members > _MOST_MEMBERS:",
        "if self._members > _MOST_MEMBERS:",
        _BOUNDS + " -k holds_nothing",
    ),
    Variant(
        "L3: empty members may go on",
        _INFLATE,
        "if self._dry > _DRY or self._members > _MOST_MEMBERS:",
        "if self._dry > _DRY:",
        _BOUNDS + " -k holds_nothing",
    ),
    Variant(
        "L1: bytes count only unpacked",
        _INTAKE,
        "if self._size > self._most or self._came > self._most:",
        "if self._size > self._most:",
        _BOUNDS + " -k bytes_count",
    ),
    Variant(
        "L6: nesting is no problem of an event",
        _INTAKE,
        "        except (UndecodableBody, EventTooLarge, TooMany) as error:\n"
        "            self._undecodable(str(error))\n"
        "        except RecursionError:\n",
        "        except (UndecodableBody, EventTooLarge, TooMany) as error:\n"
        "            self._undecodable(str(error))\n"
        "        except ZeroDivisionError:\n",
        _BOUNDS + " -k deeply",
    ),
    Variant(
        "L6: nesting is no problem of a document",
        _INTAKE,
        (
            "        except (EventTooLarge, TooMany) as error:\n"
            "            self._undecodable(str(error))\n"
            "        except RecursionError:\n"
        ),
        (
            "        except (EventTooLarge, TooMany) as error:\n"
            "            self._undecodable(str(error))\n"
            "        except ZeroDivisionError:\n"
        ),
        _BOUNDS + " -k deeply",
    ),
    # --- bounds: memory
    Variant(
        "L5: documents are not weighed",
        "opea_core/wire/document_reader.py",
        "        check_weight(data, self._heaviest)\n        if data",
        "        if data",
        _MEMORY,
    ),
    Variant(
        "L5: events are not weighed",
        "opea_core/wire/events_reader.py",
        "        if len(event.data) > LARGE:\n",
        "        if False:\n",
        _MEMORY,
    ),
    Variant(
        "L5: events that are handed on are not weighed",
        "opea_core/wire/events_reader.py",
        "in self._weighed(self._sse.feed(data)):",
        'in (iter if self._expected.shape == "document" else self._weighed)(self._sse.feed(data)):',
        _BOUNDS + " -k handed",
    ),
    Variant(
        "L5: an event without its last line end is not weighed",
        "opea_core/wire/events_reader.py",
        "in self._weighed([] if self.done else self._sse.end()):",
        "in [] if self.done else self._sse.end():",
        _BOUNDS + " -k 'line and end'",
    ),
    Variant(
        "L5: arguments are not weighed",
        "opea_core/wire/tool_arguments.py",
        "    if len(args) > LARGE:\n",
        "    if False:\n",
        _MEMORY,
    ),
    Variant(
        "L5: what stands in strings weighs",
        _JSON,
        "parts[inside::2]",
        "parts",
        _BOUNDS + " -k 'brackets or weighed'",
    ),
    Variant(
        "L5: a string ends with its chunk",
        _JSON,
        "        inside ^= len(parts) % 2 == 0\n",
        "",
        _WEIGHED,
    ),
    Variant(
        "L5: chunks are cut in an escape",
        _JSON,
        '        if data[end - 1 : end] == b"\\\\":\n',
        "        if False:\n",
        _WEIGHED,
    ),
    Variant(
        "L5: an escaped quote ends a string", _JSON, """.replace(b'\\\\"', b"")""", "", _WEIGHED
    ),
    Variant(
        "L5: an escaped backslash escapes", _JSON, """.replace(b"\\\\\\\\", b"")""", "", _WEIGHED
    ),
    Variant(
        "L5: a document is weighed in one piece",
        _JSON,
        "    for chunk in _chunks(data):\n",
        "    for chunk in (data,):\n",
        _MEMORY,
    ),
    Variant(
        "L5: small pieces stay small",
        _PIECES,
        (
            "            self._parts\n"
            "            and isinstance(self._parts[-1], bytearray)\n"
            "            and len("
        ),
        "            False\n            and len(",
        _MEMORY,
    ),
    Variant(
        "L5: the lines of an event stay lines",
        _SSE,
        "                    events.append(Event(bytes(data[0]), self._name))\n",
        (
            '                    events.append(Event(b"\\n".join(bytes(data[0]).split(b"\\'
            'n")), self._name))\n'
        ),
        _MEMORY,
    ),
    Variant(
        "L5: any number of pieces says nothing",
        "opea_core/wire/events_reader.py",
        "len(self.chunks) < _MOST_BEFORE",
        "True",
        _MEMORY,
    ),
    Variant(
        "L5: the pieces of a plain call's stream are kept",
        "opea_core/wire/events_reader.py",
        "self._expected.stream or not self._are_events",
        "True or not self._are_events",
        _MEMORY,
    ),
    # --- where an object ends
    Variant(
        "P26: the last one ends nothing",
        _BRACES,
        "self.ended = self._depth <= 0",
        "self.ended = self._depth < 0",
        _BRACE,
    ),
    Variant(
        "P26: nothing goes on",
        _BRACES,
        "            self.goes_on = True\n",
        "            pass\n",
        _BRACE,
    ),
    Variant(
        "P26: nothing is escaped",
        _BRACES,
        "            self._escaped = True\n",
        "            pass\n",
        _BRACE,
    ),
    Variant(
        "P26: a string ends with its piece",
        _BRACES,
        "        at = 0\n",
        "        at, self._inside = 0, False\n",
        _BRACE,
    ),
    # --- an answer so far
    Variant(
        "P30: ids of a copy are new",
        _CHOICE,
        "deepcopy(self, {id(self.tools.given): self.tools.given}).finish",
        "deepcopy(self).finish",
        _SO_FAR,
    ),
    Variant(
        "S4: a message so far is taken in",
        _CHOICE,
        "            if so_far:\n                # An id that was shown stays.\n",
        "            if False:\n                # An id that was shown stays.\n",
        _SO_FAR,
    ),
    Variant("P16: usage changes", _ASSEMBLE, "else copied(self.usage)", "else self.usage", _SO_FAR),
    Variant("S4: parts change", _CHOICE, "parts=known.parts.copy()", "parts=known.parts", _SO_FAR),
    Variant(
        "S4: logprobs change",
        _CHOICE,
        "{k: list(v) if isinstance(v, list) else v for k, v in known.logprobs.items()}",
        "known.logprobs",
        _SO_FAR,
    ),
    Variant(
        "P30: our ids are new each time",
        _TOOLS,
        (
            "            self.given[call.position] = new_id()\n"
            "        return call.id or self.given[call.position]\n"
        ),
        "            return new_id()\n        return call.id\n",
        _SO_FAR,
    ),
    # --- the numbers of choices
    Variant(
        "P15: the server's are ours",
        _ASSEMBLE,
        "        fits = 0 <= index < self._asked or (index > 0 and 0 in self._states)\n",
        "        fits = True\n",
        _NUMBERS,
    ),
    Variant(
        "P15: nobody waits for the first choice",
        _ASSEMBLE,
        "elif self._asked == MANY or len(self._held) >= _MOST_HELD:",
        "else:",
        _NUMBERS,
    ),
    Variant(
        "P15: all that came is waited with",
        _ASSEMBLE,
        "elif self._asked == MANY or len(self._held) >= _MOST_HELD:",
        "elif self._asked == MANY:",
        _NUMBERS,
    ),
    Variant(
        "P15: what waited for the first choice is lost",
        "opea_core/wire/events_reader.py",
        '        """Whether what came is a whole answer."""\n        self._release()\n',
        '        """Whether what came is a whole answer."""\n',
        WIRE + "test_response_reader.py -k choices",
    ),
    Variant(
        "P15: more than were asked for begin anew",
        _ASSEMBLE,
        " < self._asked or (index > 0 and 0 in self._states)",
        " < self._asked",
        _NUMBERS,
    ),
    Variant(
        "P15: two choices have one",
        _ASSEMBLE,
        "        if not fits or index in self._states:\n",
        "        if not fits:\n",
        _NUMBERS,
    ),
    Variant(
        "P15: they are forgotten",
        _ASSEMBLE,
        "        self._numbers[index] = number\n",
        "",
        _NUMBERS,
    ),
    Variant(
        "P15: whole choices keep theirs",
        _ASSEMBLE,
        "choices, self._first = _numbered(choices), 0",
        "self._first = 0",
        _NUMBERS,
    ),
    Variant(
        "P15: the entries of a choice are handed out apart",
        _ASSEMBLE,
        "    joined = {index: _joined(of_one) for index, of_one in by_choice.items()}\n",
        "    joined = {index: of_one[-1] for index, of_one in by_choice.items()}\n",
        _NUMBERS,
    ),
    Variant(
        "P15: the calls of an entry are lost",
        _ASSEMBLE,
        "        first.tool_calls = [delta for piece in pieces for delta in piece.tool_calls]\n",
        "",
        _NUMBERS,
    ),
]
