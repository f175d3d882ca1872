"""TransportFailure readers of refusals: what is refused, what is only said,
and what is kept of it (A1 to A11).
"""

from __future__ import annotations

from variant import TRANSPORT, WIRE, Variant

_CALL = "opea_core/flow/call.py"
_ADAPTING = "opea_core/flow/adapting.py"
_ENDPOINT = "opea_core/policy/endpoint.py"
_FIELDS = "opea_core/wire/refused_fields.py"
_COMPLAINTS = "opea_core/wire/complaints.py"
_ADAPTATIONS = "opea_core/wire/adaptations.py"
_RULES = "opea_core/wire/adaptation_rules.py"
_MESSAGES = "opea_core/wire/messages.py"
_NAMES = "opea_core/wire/tool_names.py"
_REFUSAL = WIRE + "test_refusal.py"
_LEARNING = TRANSPORT + "test_learning.py"

VARIANTS = [
    Variant(
        "A7: words about a value refuse its field",
        _FIELDS,
        (
            "    return bool(VALUE.search(stated(complaint.words)) or (following and "
            "VALUE.search(following)))"
        ),
        "    return False",
        _REFUSAL,
    ),
    Variant(
        "A7: one value that is taken is a matter of the caller's",
        _FIELDS,
        (
            "        or ONE_VALUE.search(complaint.words)\n"
            "        or (following and ONE_VALUE.search(following))\n"
        ),
        "",
        _REFUSAL,
    ),
    Variant(
        "A7: what would be right is refused",
        _FIELDS,
        "    return words[: listing.start()] if listing else words",
        "    return words",
        _REFUSAL,
    ),
    Variant(
        "A8: a model's name is a field",
        _FIELDS,
        "        and not MODEL.search(words[max(0, start - 40) : start])\n",
        "",
        _REFUSAL,
    ),
    Variant(
        "A11: what the prompt says is the server's word",
        _COMPLAINTS,
        "    if not said:\n        return text\n",
        "    return text\n",
        _REFUSAL,
    ),
    Variant(
        "A11: what comes back of the request is refused",
        _COMPLAINTS,
        "        elif not _echoes(span, body):\n",
        "        else:\n",
        _REFUSAL,
    ),
    Variant(
        "A8: the caller's own names are fields",
        _RULES,
        "refused_fields(self.complaints, sent, own_names(self.body), self.body.keys())",
        "refused_fields(self.complaints, sent, frozenset(), self.body.keys())",
        _REFUSAL,
    ),
    Variant(
        "A3: what was changed in a call is changed again",
        _ADAPTATIONS,
        " and name not in done]",
        "]",
        _REFUSAL,
    ),
    Variant(
        "A7: a limit with another value has another name",
        _RULES,
        (
            "name in refusal.body and (\n"
            "            name in refusal.refused(_LIMITS) or is_to_be_replaced(name, refusal)\n"
            "        )"
        ),
        "name in refusal.body and refusal.says(name)",
        _REFUSAL,
    ),
    Variant(
        "A4: what was refused is not remembered",
        _ADAPTING,
        "            self.endpoint.learn(self.model, self.learned.replace(**passing), at)\n",
        "            assert passing is not None\n",
        _LEARNING,
    ),
    Variant(
        "A4: what one model refused is kept from all",
        _ENDPOINT,
        "        self._learned[model] = (learned, now + _LEARNED_FOR)\n",
        "        self.config = self.config.replace(capabilities=learned)\n",
        _LEARNING,
    ),
    Variant(
        "A4: what was tried in vain is remembered",
        _ADAPTING,
        "        self.learned = log.learned[self.endpoint] = adapted.capabilities\n",
        (
            "        self.learned = log.learned[self.endpoint] = adapted.capabilities\n"
            "        self.endpoint.learn(self.model, self.learned, log.at)\n"
        ),
        _LEARNING,
    ),
    Variant(
        "A10: adapt=False of a call is ignored",
        _CALL,
        "endpoint.config.adapt if spec.adapt is None else spec.adapt",
        "endpoint.config.adapt",
        _LEARNING,
    ),
    Variant(
        "A10: adapt=False changes the messages",
        _ADAPTING,
        "            if may_adapt\n            else endpoint.config.capabilities.as_given()\n",
        "",
        _LEARNING,
    ),
    Variant(
        "A2: who may not ask is not heard right",
        _ADAPTING,
        "frozenset({400, 403,",
        "frozenset({400, 401, 429, 403,",
        _LEARNING,
    ),
    Variant(
        "A2: a field that is refused under 500 is none",
        _ADAPTING,
        "422, 424, 500, 501, 502})",
        "422, 424, 501, 502})",
        _LEARNING,
    ),
    Variant(
        "A16: calls come back under those that were sent",
        _NAMES,
        "return _renamed(body, sent), {new: name for name, new in sent.items() if new != name}",
        "return _renamed(body, sent), {}",
        _LEARNING,
    ),
    Variant(
        "A16: two are sent as one",
        _NAMES,
        "    while found in taken:\n",
        "    while found in taken and number < 0:\n",
        WIRE + "test_tool_names.py",
    ),
    Variant(
        "A16: they differ from process to process",
        _MESSAGES,
        'int.from_bytes(hashlib.sha512(id_.encode("utf-8", "surrogatepass")).digest())',
        "abs(hash(id_))",
        WIRE + "test_messages.py",
    ),
    Variant(
        "A16: a result keeps its own",
        _MESSAGES,
        'built["tool_call_id"] = _id_of_length(built["tool_call_id"], length)',
        "pass",
        WIRE + "test_messages.py",
    ),
    Variant(
        "A2: system messages are always merged",
        _MESSAGES,
        'if capabilities.late_system != "keep":',
        "if True:",
        WIRE + "test_messages.py",
    ),
]
