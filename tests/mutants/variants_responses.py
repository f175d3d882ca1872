"""The Responses dialect: requests, items, events and ends (D1 to D12)."""

from __future__ import annotations

from variant import WIRE, Variant

_PLACE = "opea_core/wire/responses/"
_EVENTS, _ENDING, _ITEMS = _PLACE + "events.py", _PLACE + "ending.py", _PLACE + "items.py"
_REQUEST, _INPUT = _PLACE + "request.py", _PLACE + "input_items.py"
_OPEN = _PLACE + "open_item.py"
_READER = "opea_core/wire/response_reader.py"
_FORMS = "opea_core/wire/adaptation_forms.py"
_ERRORS = "opea_core/wire/error_class.py"
_TESTING = "opea_core/testing/"
_HERE = WIRE + "responses/"
_ON_EVENTS = _HERE + "test_responses_events.py"
_ON_ENDS = _HERE + "test_responses_endings.py"
_ON_REQUESTS = _HERE + "test_responses_request.py"
_ON_INPUT = _HERE + "test_responses_input.py"
_PROPERTIES = _HERE + "test_responses_properties.py"
_LINEAR = WIRE + "test_linear.py -k 'ends or final'"
_SOCKETS = "tests/core/test_opea_responses.py"
_SCRIPTED = "tests/core/testing/test_scripted_responses.py"

VARIANTS = [
    # --- requests
    Variant(
        "D3: strict is not said",
        _REQUEST,
        'flat["strict"] = bool(inner.get("strict", tool.get("strict", False)))',
        "pass",
        _ON_REQUESTS,
    ),
    Variant(
        "D5: answers are stored",
        _REQUEST,
        '        built["store"] = False\n',
        "        pass\n",
        _ON_REQUESTS,
    ),
    Variant(
        "D5: reasoning is not asked for in the form that can go back",
        _REQUEST,
        "        include.append(ENCRYPTED)\n",
        "        pass\n",
        _ON_REQUESTS + " " + _SOCKETS,
    ),
    Variant(
        "D5: what was refused of include is asked for again",
        _REQUEST,
        'not refused & {"include", "store", ENCRYPTED}',
        "True",
        _ON_REQUESTS,
    ),
    # --- items
    Variant(
        "D6: reasoning goes back alone",
        _INPUT,
        "            yield from waiting\n            yield follows\n",
        "            yield follows\n        yield from waiting\n",
        _ON_INPUT,
    ),
    Variant(
        "D6: reasoning that nobody knows goes back",
        _INPUT,
        'return bool(item.get("encrypted_content") or (keeps and item.get("id")))',
        "return True",
        _ON_INPUT,
    ),
    Variant(
        "D6: the second message of an answer goes back with the first",
        _ITEMS,
        "    is_alone = len(messages) <= 1 and not any(map(is_commentary, messages))\n",
        "    is_alone = not any(map(is_commentary, messages))\n",
        _ON_INPUT,
    ),
    Variant(
        "D6: items go to another server",
        "opea_core/types.py",
        '    "reasoning_opaque",\n    RESPONSE_ITEMS,\n',
        '    "reasoning_opaque",\n',
        _ON_INPUT + " " + _SOCKETS,
    ),
    # --- events
    Variant(
        "D8: one place for two calls is one call",
        _EVENTS,
        "or found.answers_another(event)",
        "",
        _ON_EVENTS,
    ),
    Variant(
        "D8: an item is found by its place alone",
        _EVENTS,
        "        if at is None or not at.is_called(ids):\n",
        "        if at is None:\n",
        _ON_EVENTS,
    ),
    Variant(
        "D8: an item that ended goes on",
        _EVENTS,
        'if found is not None and found.whole is not None and stage != "part":',
        "if False:",
        _ON_EVENTS,
    ),
    Variant(
        "D8: a final item is the one at its place, whatever its id",
        _OPEN,
        "found = next(filter(None, called), None) or at",
        "found = at or next(filter(None, called), None)",
        _ON_EVENTS,
    ),
    Variant(
        "D8: a final item is looked for among those that were found",
        _OPEN,
        "        while left and left[0].is_matched:\n            left.popleft()\n"
        "        return left[0] if left else None\n",
        "        return next((item for item in left or () if not item.is_matched), None)\n",
        _LINEAR,
    ),
    Variant(
        "D9: all of a text is joined at each of its ends",
        _OPEN,
        "        pieces, at = self.handed.get(part, []), 0\n",
        "        pieces, at = self.handed.get(part, []), 0\n"
        '        pieces[:] = ["".join(pieces)] if pieces else []\n',
        _LINEAR,
    ),
    Variant(
        "D9: pieces of nothing are kept of a text",
        _EVENTS,
        '        if event["delta"]:\n            pieces.append(event["delta"])\n',
        '        pieces.append(event["delta"])\n',
        _LINEAR,
    ),
    Variant(
        "D9: the first arguments count",
        _EVENTS,
        '        elif part == "arguments" and item.kind == CALLS[0] and jsontext.is_object(value):',
        "        elif False:",
        _ON_EVENTS,
    ),
    Variant(
        "D9: events that come again count twice",
        _EVENTS,
        "        if self._is_repeated(event, kind):\n            return\n",
        "",
        _ON_EVENTS + " " + _PROPERTIES,
    ),
    Variant(
        "D9: a piece goes on with a text that ended",
        _EVENTS,
        '        """The server\'s last word on an item."""\n        self._latest = _NOWHERE\n',
        '        """The server\'s last word on an item."""\n',
        _ON_EVENTS + " " + _PROPERTIES,
    ),
    Variant(
        "D9: an empty final output takes all away",
        _EVENTS,
        'response if response.get("output") else {**response, "output": items}',
        "response",
        _ON_EVENTS,
    ),
    Variant(
        "logprobs of a plain answer are lost",
        _EVENTS,
        "yield from self._rest(item, part, value, logprobs_of(raw))",
        "yield from self._rest(item, part, value)",
        _SOCKETS + " -k logprobs",
    ),
    Variant(
        "commentary is the answer",
        _EVENTS,
        'elif part == "text" and not item.is_comment:',
        'elif part == "text":',
        _ON_EVENTS,
    ),
    # --- ends
    Variant(
        "D10: an answer of all its tokens is whole",
        _ENDING,
        "    if is_cut or not all(map(_can_be_made, calls)):",
        "    if not all(map(_can_be_made, calls)):",
        _ON_ENDS,
    ),
    Variant(
        "D10: cut-off arguments are a call",
        _ENDING,
        "    if is_cut or not all(map(_can_be_made, calls)):",
        "    if is_cut:",
        _ON_ENDS,
    ),
    Variant(
        "D10: an incomplete response without a reason is an answer",
        _ENDING,
        '    raise NoAnswer({"message": "the response is incomplete, and',
        '    return "stop"\n    raise NoAnswer({"message": "the response is incomplete, and',
        _ON_ENDS,
    ),
    Variant(
        "D11: an end mark is enough",
        "opea_core/wire/events_reader.py",
        "            self.done = not (is_broken_off and self._assembler.started)\n",
        "            self.done = True\n",
        _ON_EVENTS,
    ),
    Variant(
        "D12: a stream for a plain response is none",
        "opea_core/wire/events_reader.py",
        "            self.document = raw  # a stream came for a plain call\n",
        "",
        _SOCKETS + " -k plain_response",
    ),
    Variant(
        "an image that is too large is tried again",
        _ERRORS,
        "or re.search(_CALLERS_CODE, joined)",
        "",
        _ON_ENDS,
    ),
    # --- going over
    Variant(
        "D1: where the other dialect is not supported it is wanted",
        _FORMS,
        "        re.search(_THE_OTHER_DIALECT, c.words) and not re.search(_NOT_THERE, c.words)\n",
        "        re.search(_THE_OTHER_DIALECT, c.words) or re.search(_NOT_THERE, c.words)\n",
        _SOCKETS + " " + WIRE + "test_refusals.py",
    ),
    Variant(
        "D2: what was chosen is changed",
        _FORMS,
        '    return refusal.known.dialect == "auto" and any(\n',
        "    return any(\n",
        _SOCKETS,
    ),
    Variant(
        "D7: reasoning is looked for sentence by sentence",
        _FORMS,
        "re.search(_INVALID_SIGNATURE, refusal.text)",
        "refusal.says(_INVALID_SIGNATURE)",
        _SOCKETS,
    ),
    # --- the scripted server
    Variant(
        "the scripted server takes half a pair",
        _TESTING + "responses_request.py",
        "    _check_pairs(items)\n",
        "",
        _SCRIPTED,
    ),
    Variant(
        "the scripted server lets waits slip",
        _TESTING + "responses.py",
        "        if not isinstance(step, bytes):\n            yield step\n            continue\n",
        "        if not isinstance(step, bytes):\n            continue\n",
        _SCRIPTED,
    ),
]
