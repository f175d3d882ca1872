"""The doctor, its profiles, the question for a model, and the commands that talk to servers."""

from __future__ import annotations

from variant import Variant

_CORE = "tests/core/"
_DOCTOR = _CORE + "doctor/test_doctor.py"
_QUESTION = _CORE + "test_opea_discover.py"
_TALKING = _CORE + "cli/test_talking.py"
_READERS = "opea_core/doctor/readers.py"
_PLAN = "opea_core/doctor/plan.py"
_ENDPOINT = "opea_core/policy/endpoint.py"

VARIANTS = [
    Variant(
        "doctor: any JSON keeps a schema",
        "opea_core/doctor/samples.py",
        "        isinstance(value, dict)\n        and value.keys()",
        "        True or isinstance(value, dict)\n        and value.keys()",
        _DOCTOR,
    ),
    Variant(
        "doctor: what is accepted is obeyed",
        _READERS,
        "    if read - plain >= samples.INSTRUCTION_TOKENS:\n",
        "    if read:\n",
        _DOCTOR,
    ),
    Variant(
        "doctor: a busy server says no",
        "opea_core/doctor/outcome.py",
        'value: Value = "unknown" if self.is_busy else "no"',
        'value: Value = "no"',
        _DOCTOR,
    ),
    Variant(
        "doctor: a call of another tool is the named one",
        _READERS,
        "    if any(wanted in (None, call.name) for call in calls):\n",
        "    if calls:\n",
        _DOCTOR,
    ),
    Variant(
        "doctor: answers that are always equal keep a seed",
        _READERS,
        "    if any(_differ(first, other) for other in _free_answers(known)):\n",
        "    if True:\n",
        _CORE + "doctor/test_doctor.py",
    ),
    Variant(
        "doctor: it asks on and on",
        _PLAN,
        "    if known.requests >= MOST:\n",
        "    if False:\n",
        _DOCTOR,
    ),
    Variant(
        "A18: what was learned outranks what was set",
        _ENDPOINT,
        "        learned = capabilities.below(self.config.capabilities)\n",
        "        learned = capabilities\n",
        _DOCTOR,
    ),
    Variant(
        "A19: what was learned stays",
        _ENDPOINT,
        "        if now is not None and until and now >= until:\n",
        "        if False:\n",
        _DOCTOR,
    ),
    Variant(
        "E13: each first call asks",
        "opea_core/transport/once.py",
        "            if self._work is not None and not self._work.done.done():\n",
        "            if False and self._work is not None:\n",
        _QUESTION,
    ),
    Variant(
        "E13: the original's objects ask, too",
        "opea_core/settings.py",
        "        asks_for_model=not model and not below,",
        "        asks_for_model=not model,",
        _QUESTION,
    ),
    Variant(
        "chat: what was stopped is forgotten",
        "opea_core/cli/conversation.py",
        "            if stream.response is not None and stream.response.content:\n",
        "            if stream.response is not None and stream.response.finish_reason:\n",
        _TALKING,
    ),
    Variant(
        "chat: a key goes to what was only found",
        "opea_core/cli/servers.py",
        '    options.setdefault("api_key", None)',
        "    pass",
        _TALKING,
    ),
]
