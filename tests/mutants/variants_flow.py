"""Broken calls and broken words: attempts, keys, redaction, redirects,
learned parameters (R1 to R24, A1 to A11, E1, K1 to K9).
"""

from __future__ import annotations

from variant import FLOW, TRANSPORT, WORLD, Variant

_CALL = "opea_core/flow/call.py"
_REDACT = "opea_core/wire/redact.py"
_EXPLAIN = "opea_core/flow/explain.py"
_PREPARE = "opea_core/flow/prepare.py"
_BY_HAND = FLOW + "test_call.py"
_PROPERTIES = FLOW + "test_properties_call.py"
_SECRETS = "tests/core/test_opea_secrets.py"
_LEARNING = TRANSPORT + "test_learning.py"
_OUTAGES = TRANSPORT + "test_outages.py"

VARIANTS = [
    Variant(
        "R1: one attempt more",
        _CALL,
        "log.counted <= spec.retry.max_retries",
        "log.counted <= spec.retry.max_retries + 1",
        _PROPERTIES,
    ),
    Variant(
        "R1: attempts are not counted",
        _CALL,
        "    log.counted += 1\n",
        "    log.counted += spec.stream\n",
        _PROPERTIES,
    ),
    Variant(
        "R20: a re-used connection that was closed is an attempt",
        _CALL,
        "if not failure.reused or failure.error.is_timeout",
        "if True or failure.error.is_timeout",
        _BY_HAND,
    ),
    Variant(
        "R20: a stale connection is sent again and again",
        _CALL,
        " or log.resent:\n",
        ":\n",
        _PROPERTIES,
    ),
    Variant(
        "R21: a fresh key is asked for again and again",
        _CALL,
        "is_from_function and not log.rekeyed",
        "is_from_function",
        _PROPERTIES,
    ),
    Variant(
        "R21: no fresh key is asked for",
        _CALL,
        "            if fresh != key:\n",
        "            if False:\n",
        _BY_HAND,
    ),
    Variant(
        "R24: the error forgets the attempts",
        _CALL,
        "attempts=tuple(log.attempts)",
        "attempts=()",
        _PROPERTIES,
    ),
    Variant(
        "R24: an attempt is missing",
        _CALL,
        (
            "        log.failed(explain.attempt_record(where, failure, (outcome.at - "
            "outcome.sent_at) / SECOND))\n"
        ),
        (
            "        if failure.error.status_code: log.failed(explain.attempt_record(where, "
            "failure, 1.0))\n"
        ),
        _PROPERTIES,
    ),
    Variant(
        "W7: the last failure gives nothing back",
        _CALL,
        "            yield settle\n            raise _final(failure.error, log)",
        "            raise _final(failure.error, log)",
        _PROPERTIES,
    ),
    Variant(
        "W7: an answer gives nothing back",
        _CALL,
        "            if outcome.connection is None:\n",
        "            if False:\n",
        _PROPERTIES,
    ),
    Variant(
        "B8: the 500s of a call are not counted",
        _CALL,
        "        log.server_errors += failure.error.status_code == 500 and not failure.away\n",
        "",
        _OUTAGES + " -k 500s",
    ),
    Variant(
        "B13: a failed probe costs an attempt",
        "opea_core/flow/call.py",
        "    if permit.is_probe and (connect_class or failure.away):\n        return True\n",
        "",
        "tests/core/transport/test_outages.py -k costs_its_call_nothing",
    ),
    Variant(
        "R2: max_retries=0 makes a second request",
        _CALL,
        " or spec.retry.max_retries == 0:",
        ":",
        WORLD + " -k wants_one",
    ),
    Variant(
        "B13: a server that never answered is waited for",
        "opea_core/flow/call.py",
        "    if not permit.endpoint.answered or spec.retry.max_retries == 0:",
        "    if spec.retry.max_retries == 0:",
        "tests/core/transport/test_outages.py -k never_answered",
    ),
    Variant(
        "E9: a refused list of models says something of chat calls",
        _CALL,
        'spec.method == "GET"',
        "False",
        _PROPERTIES,
    ),
    Variant(
        "C13: a rejected call says nothing",
        _CALL,
        ("            yield Emit(telemetry.call_rejected(log.at, spec.call_id, permit))\n"),
        "",
        _PROPERTIES,
    ),
    Variant(
        "C13: a retry says nothing",
        _CALL,
        "yield Emit(telemetry.retry_decided(",
        "(telemetry.retry_decided(",
        _PROPERTIES,
    ),
    Variant(
        "R19: it is not said that the budget was empty",
        "opea_core/flow/explain_rejection.py",
        'return last.with_details(retry_suppressed="budget")',
        "return last",
        FLOW,
    ),
    Variant(
        "R22: it is not said that it was the deadline",
        "opea_core/flow/explain_rejection.py",
        "return last.with_details(deadline_exceeded=True)",
        "return last",
        FLOW,
    ),
    Variant(
        "W40: the reasons are not told",
        "opea_core/flow/explain_rejection.py",
        "        error.__cause__ = last or rejection.cause\n",
        "",
        FLOW + " " + _OUTAGES + " -k 'reasons or call'",
    ),
    Variant(
        "R11: a certificate is tried again",
        "opea_core/flow/explain_transport.py",
        'broken.kind not in ("certificate", "not_tls", "invalid", "unexpected")',
        'broken.kind not in ("not_tls", "invalid", "unexpected")',
        _PROPERTIES,
    ),
    Variant(
        "R12: x-should-retry is not read",
        _EXPLAIN,
        '{"true": True, "false": False}',
        '{"true": True}',
        _PROPERTIES,
    ),
    Variant(
        "T8: a passed deadline is tried again",
        "opea_core/flow/explain_transport.py",
        ' and broken.limit != "total"',
        "",
        _PROPERTIES,
    ),
    Variant(
        "B6: a passed deadline counts against the endpoint",
        "opea_core/flow/explain_transport.py",
        'ours = broken.limit == "total" or',
        "ours =",
        FLOW + " " + TRANSPORT + "test_both_drivers.py -k 'deadline or total'",
    ),
    # --- secrets and keys
    Variant(
        "K5: nothing is redacted",
        _REDACT,
        "        if not spans:\n",
        "        if True:\n",
        _SECRETS,
    ),
    Variant(
        "K5: a secret that was cut in two is shown",
        _REDACT,
        '        if text.endswith("…"):',
        "        if False:",
        "tests/core/wire/test_redact.py -k cut",
    ),
    Variant(
        "K5: headers of an error are shown",
        _EXPLAIN,
        "headers=where.shown(reply.headers),\n    )\n    error.in_short",
        "headers=reply.headers,\n    )\n    error.in_short",
        _SECRETS,
    ),
    Variant(
        "K5: headers of a broken answer are shown",
        "opea_core/flow/explain_transport.py",
        "headers=where.shown(broken.headers)",
        "headers=broken.headers",
        _SECRETS,
    ),
    Variant(
        "K5: the words of a type are shown",
        _EXPLAIN,
        "type=where.say(body.type, LONGEST_NAME) if body.type else None",
        "type=body.type",
        _SECRETS,
    ),
    Variant(
        "K5: header values are not known as secrets",
        _PREPARE,
        "    headers = (*config.headers.values(), *spec.headers.values(), *context.lent)\n"
        "    proxy",
        "    headers = context.lent\n    proxy",
        _SECRETS,
    ),
    Variant(
        "K5: keys before the last one are not known",
        _PREPARE,
        "(key, *endpoint.keys), headers, values, proxy)",
        "(key,), headers, values, proxy)",
        _SECRETS + " -k renewed",
    ),
    Variant(
        "K5: the environment's proxy is not known",
        "opea_core/engine.py",
        "            proxy_of=choose_proxy,\n",
        "",
        _SECRETS + " -k proxy",
    ),
    Variant(
        "K5: a name of a model is shown as it came",
        "opea_core/engine.py",
        "return say(name, redact, _LONGEST_NAME)",
        "return name",
        _SECRETS + " -k named_like",
    ),
    Variant(
        "K5: where two parts of a text meet nothing is found",
        _REDACT,
        "yield start, text[start : start + _STEP + self._overlap]",
        "yield start, text[start : start + _STEP]",
        "tests/core/wire/test_redact.py -k long_text",
    ),
    Variant(
        "E10: who wants one request makes two",
        _CALL,
        "spec.names_models and spec.retry.max_retries > 0",
        "spec.names_models",
        "tests/core/flow/test_call.py -k one_request",
    ),
    Variant(
        "L: a document may be events without end",
        "opea_core/wire/response_reader.py",
        'if expected.shape == "document" and not expected.stream and self._events is None:',
        "if False:",
        "tests/core/wire/test_response_reader.py -k events_in_the_place",
    ),
    Variant(
        "K5: escaped spellings are not known",
        _REDACT,
        "            for form, where in _readings(part):\n",
        "            for form, where in _readings(part)[:0]:\n",
        "tests/core/wire/test_redact.py",
    ),
    Variant(
        "K5: a URL shows its password",
        "opea_core/config.py",
        'yield "base_url", redact_url(self.base_url)',
        'yield "base_url", self.base_url',
        _SECRETS + " -k printed",
    ),
    Variant(
        "K1: ours goes to a foreign URL",
        "opea_core/endpoint_methods.py",
        "                api_key=api_key,\n",
        "                api_key=api_key or self._engine.settings.endpoints[0].api_key,\n",
        TRANSPORT + "test_keys.py",
    ),
    Variant(
        "K8: a line break is sent",
        "opea_core/header_checks.py",
        "    elif not value.isprintable():\n",
        "    elif False:\n",
        "tests/core/test_config.py",
    ),
    Variant(
        "K9: a key of the function is not checked",
        "opea_core/transport/keys.py",
        '    check_header_value("the key that the api_key function gave", value)\n',
        "",
        TRANSPORT + "test_keys.py",
    ),
]
