"""TransportFailure breakers, budgets, endpoints and retry rules (W7, W16, W23 to W29,
B1 to B18, R1 to R18, E4).
"""

from __future__ import annotations

from variant import BREAKER, BUDGET, ENDPOINT, POLICY, RETRY, WORLD, Variant

_BREAKER = "opea_core/policy/breaker.py"
_BUDGET = "opea_core/policy/budget.py"
_ENDPOINT = "opea_core/policy/endpoint.py"
_LIMITS = "opea_core/policy/model_limits.py"
_CONCURRENCY = "opea_core/policy/concurrency.py"
_RETRY = "opea_core/policy/retry.py"

VARIANTS = [
    Variant(
        "B1: a result of an earlier generation counts",
        _BREAKER,
        "if admission.generation != self.generation or not self._policy.enabled:",
        "if not self._policy.enabled:",
        BREAKER,
    ),
    Variant(
        "B1: the window outlives an opening",
        _BREAKER,
        "        self._window.clear()\n",
        "",
        BREAKER,
    ),
    Variant(
        "B10: a probing stream gives no verdict at its first content",
        _ENDPOINT,
        (
            "            self._record(permit.admission, Verdict.OK, now)\n"
            "            permit.admission = None\n"
        ),
        "            pass\n",
        ENDPOINT,
    ),
    Variant(
        "B10: a probing stream gives two verdicts",
        _ENDPOINT,
        "            permit.admission = None\n",
        "            permit.admission = self.breaker.admit(now)\n",
        ENDPOINT,
    ),
    Variant(
        "B3: open admits before its time",
        _BREAKER,
        "return self.open_until if now < self.open_until else None",
        "return None",
        BREAKER,
    ),
    Variant(
        "B4: half open admits everybody",
        _BREAKER,
        "        return free if now < free else None\n",
        "        return None\n",
        BREAKER,
    ),
    Variant(
        "B4: a failed probe closes it",
        _BREAKER,
        "self._close() if verdict is Verdict.OK else self._open(now)",
        "self._close()",
        BREAKER,
    ),
    Variant(
        "B2: connections that fail in a row do not open it",
        _BREAKER,
        (
            "        if self._connect_failures >= self._policy.connect_failure_threshold:\n"
            "            return True\n"
        ),
        "",
        BREAKER,
    ),
    Variant(
        "B2: a success does not end a run of failed connections",
        _BREAKER,
        "            self._connect_failures = 0\n        elif connect_class:",
        "            pass\n        elif connect_class:",
        BREAKER,
    ),
    Variant(
        "B2: too few results open it",
        _BREAKER,
        "count >= self._policy.min_calls\n            and ",
        "",
        BREAKER,
    ),
    Variant(
        "B2: the failure rate must be exceeded",
        _BREAKER,
        "sum(self._window) / count >= self._policy.failure_rate",
        "sum(self._window) / count > self._policy.failure_rate",
        BREAKER,
    ),
    Variant(
        "B7: neutral is a success",
        _BREAKER,
        "        if verdict is Verdict.NEUTRAL:\n            return\n",
        "        if verdict is Verdict.NEUTRAL:\n            verdict = Verdict.OK\n",
        BREAKER,
    ),
    Variant(
        "B7: neutral keeps the probe's place",
        _BREAKER,
        (
            "        self._probes.pop(admission.probe, None)\n"
            "        if verdict is Verdict.NEUTRAL:\n"
            "            return\n"
        ),
        (
            "        if verdict is Verdict.NEUTRAL:\n"
            "            return\n"
            "        self._probes.pop(admission.probe, None)\n"
        ),
        BREAKER,
    ),
    Variant(
        "B4: a probe that hangs blocks for ever",
        _BREAKER,
        "        return free if now < free else None\n",
        "        return max(free, now + 1)\n",
        BREAKER,
    ),
    Variant(
        "B3: the open time has no bound",
        _BREAKER,
        "min(policy.break_duration * 2**doublings, policy.max_break_duration / 1.1)",
        "policy.break_duration * 2**doublings",
        BREAKER,
    ),
    Variant(
        "B3: open times never start again",
        _BREAKER,
        "        self._openings = 0\n        self._move(State.CLOSED)",
        "        self._move(State.CLOSED)",
        BREAKER,
    ),
    Variant(
        "B3: the open time has no jitter",
        _BREAKER,
        "1 + 0.1 * self._chance()",
        "1",
        POLICY + "test_breaker.py",
    ),
    Variant(
        "B18: a breaker that is off opens", _BREAKER, " or not self._policy.enabled:", ":", BREAKER
    ),
    Variant(
        "B8: each 500 of a call counts",
        _RETRY,
        "if status == 500 and history.server_errors:",
        "if False:",
        RETRY,
    ),
    Variant(
        "B6: a caller's short deadline counts against the endpoint",
        _RETRY,
        "failure.own_limit\n        or not failure.retryable\n",
        "not failure.retryable\n",
        RETRY,
    ),
    Variant(
        "B6: a 429 counts against the endpoint",
        _RETRY,
        "errors.RequestError | errors.RateLimited | errors.CertificateError",
        "errors.RequestError | errors.CertificateError",
        RETRY,
    ),
    Variant(
        "B5: a 503 says nothing",
        "opea_core/policy/retry.py",
        "AWAY = frozenset({502, 503, 520,",
        "AWAY = frozenset({502, 520,",
        "tests/core/policy/test_properties_retry.py",
    ),
    Variant(
        "B5: an answer that cannot be used says nothing",
        _RETRY,
        "    return Verdict.FAIL\n\n\ndef judge",
        "    return Verdict.NEUTRAL\n\n\ndef judge",
        RETRY,
    ),
    Variant(
        "B2: a late answer is a failed connection",
        _RETRY,
        "failure.phase is Phase.MAYBE_SENT and not error.is_timeout",
        "failure.phase is Phase.MAYBE_SENT",
        RETRY,
    ),
    # --- limiters and preferences
    Variant(
        "W24: a cooldown shrinks",
        _LIMITS,
        "if until > self.cooldown_until:",
        "if True:",
        ENDPOINT + " " + RETRY,
    ),
    Variant(
        "W29: an endpoint may rest for weeks",
        _LIMITS,
        "return min(wait - jitter + self._share * most, LONGEST_COOLDOWN)",
        "return wait - jitter + self._share * most",
        ENDPOINT,
    ),
    Variant(
        "W23: all come back at once after a lone refusal",
        _LIMITS,
        "                self.concurrency.restart()\n",
        "                pass\n",
        ENDPOINT,
    ),
    Variant(
        "W23: all come back at once after an outage",
        _ENDPOINT,
        "                known.concurrency.restart()\n",
        "                pass\n",
        ENDPOINT,
    ),
    Variant(
        "W23: what was good is never reached again",
        _CONCURRENCY,
        "self._rise(self.level + 1)",
        "pass",
        ENDPOINT,
    ),
    Variant(
        "W28: each 429 of a burst counts",
        _LIMITS,
        "fresh = permit.cooldown_seq == self.cooldown_seq and not permit.trial",
        "fresh = True",
        ENDPOINT,
    ),
    Variant(
        "W28: a success does not start the rests again",
        _LIMITS,
        "        self.refusals = 0\n        self._backoff_step = 0\n        if trial",
        "        self.refusals = 0\n        if trial",
        ENDPOINT,
    ),
    Variant(
        "W25: a stated wait is not kept",
        _LIMITS,
        (
            "            if effect.wait is None\n"
            "            else self._stated(effect.wait, effect.jitter)\n"
        ),
        "",
        RETRY,
    ),
    Variant(
        "B9: a refusal beside others counts against the endpoint",
        _ENDPOINT,
        "if effect.refused and (limits.in_flight or limits.answered_since(permit.at, now)):",
        "if False:",
        ENDPOINT,
    ),
    Variant(
        "W25: a refusal beside others begins a rest",
        _LIMITS,
        "if alone or (effect.wait is not None and not permit.above):",
        "if True:",
        ENDPOINT + " " + RETRY,
    ),
    Variant(
        "W24: one model's refusal holds back the others",
        _ENDPOINT,
        "        found = self._models.get(model)\n",
        '        found = self._models.get(model := "")\n',
        ENDPOINT,
    ),
    Variant(
        "E4: nothing is marked",
        _ENDPOINT,
        "        if effect.mark is not None:\n",
        "        if False:\n",
        ENDPOINT,
    ),
    Variant(
        "E4: a mark survives a success",
        _ENDPOINT,
        '            self._marks.pop((Mark.KEY, ""), None)\n',
        "",
        ENDPOINT,
    ),
    Variant(
        "E4: a mark lasts for ever",
        _ENDPOINT,
        "now + _DEPRIORITIZED_FOR",
        "now + 10**9 * SECOND",
        ENDPOINT,
    ),
    Variant(
        "E4: a model that is missing bars the other models",
        _ENDPOINT,
        'model if effect.mark is Mark.MODEL else ""',
        '""',
        ENDPOINT,
    ),
    # --- places
    Variant(
        "W7: given back twice is given back twice",
        _ENDPOINT,
        "        if permit.settled:\n            return\n        self._release(permit)\n",
        "        self._release(permit)\n",
        ENDPOINT,
    ),
    Variant(
        "W7: taken back after it was given back",
        _ENDPOINT,
        "        if not permit.settled:\n            self._release(permit)\n",
        "        if True:\n            self._release(permit)\n",
        ENDPOINT,
    ),
    Variant(
        "W16: one place too many",
        _ENDPOINT,
        "self.in_flight < most)",
        "self.in_flight <= most)",
        ENDPOINT,
    ),
    Variant(
        "W16: one place too many for a model",
        _CONCURRENCY,
        "        return in_flight < self.level\n",
        "        return in_flight <= self.level\n",
        ENDPOINT,
    ),
    Variant(
        "B7: an offer that comes back keeps the probe",
        _ENDPOINT,
        (
            "            if permit.admission is not None:\n"
            "                self.breaker.record(permit.admission, Verdict.NEUTRAL, permit.at)\n"
        ),
        "",
        ENDPOINT,
    ),
    Variant(
        "R18: an offer that comes back stays paid",
        _ENDPOINT,
        "                self.budget.refund()\n",
        "                pass\n",
        ENDPOINT,
    ),
    # --- the budget
    Variant(
        "R18: retries are not paid",
        _ENDPOINT,
        "            self.budget.charge(now)\n",
        "            pass\n",
        ENDPOINT,
    ),
    Variant(
        "R18: it does not grow with the level that was found",
        _BUDGET,
        "        if more > 0:\n",
        "        if False:\n",
        POLICY + "test_budget.py",
    ),
    Variant(
        "R18: the budget never refuses",
        _BUDGET,
        "return self.tokens(now) >= 1",
        "return True",
        BUDGET,
    ),
    Variant(
        "R18: the budget fills twice as fast",
        _BUDGET,
        "_REFILL = 10 * SECOND",
        "_REFILL = 5 * SECOND",
        BUDGET,
    ),
    Variant(
        "R18: successes fill it beyond its capacity",
        _BUDGET,
        "self._tokens = min(self.capacity, self.tokens(now) + _PER_SUCCESS)",
        "self._tokens = self.tokens(now) + _PER_SUCCESS",
        BUDGET,
    ),
    Variant(
        "R18: a refund fills it beyond its capacity",
        _BUDGET,
        "self._tokens = min(self.capacity, self._tokens + 1)",
        "self._tokens = self._tokens + 1",
        BUDGET,
    ),
    Variant(
        "R18: a success pays a whole retry",
        _BUDGET,
        "_PER_SUCCESS = 0.1",
        "_PER_SUCCESS = 1.0",
        BUDGET,
    ),
    Variant(
        "R18: time gives the same token again and again",
        _BUDGET,
        "            self._at = now\n        return",
        "        return",
        BUDGET,
    ),
    # --- retries
    Variant(
        "R16: earlier than the server asked",
        _RETRY,
        "wait = failure.wait + jitter",
        "wait = failure.wait * history.chance()",
        RETRY,
    ),
    Variant(
        "W26: all at the very moment that the server named",
        _RETRY,
        "jitter = most_jitter(failure.wait) * history.chance()",
        "jitter = 0.0",
        RETRY,
    ),
    Variant(
        "W26: the jitter has no cap",
        _RETRY,
        "return min(0.2 * wait, 5.0)",
        "return 0.2 * wait",
        RETRY,
    ),
    Variant(
        "R17: an absurd wait is waited",
        _RETRY,
        "None if failure.wait > policy.max_retry_after else max(delay or 0.0, failure.wait)",
        "max(delay or 0.0, failure.wait)",
        RETRY,
    ),
    Variant(
        "R16: a retry does not wait as long as asked",
        _RETRY,
        "max(delay or 0.0, failure.wait)",
        "delay",
        RETRY,
    ),
    Variant(
        "R3: the backoff has no cap",
        _RETRY,
        "min(policy.max_delay, policy.initial_delay * policy.backoff_factor**retry)",
        "policy.initial_delay * policy.backoff_factor**retry",
        RETRY,
    ),
    Variant(
        "R3: a large power overflows",
        _RETRY,
        "    except OverflowError:",
        "    except ZeroDivisionError:",
        RETRY,
    ),
    Variant(
        "R3: the backoff has no jitter",
        _RETRY,
        'return ceiling * (chance() if policy.jitter == "full" else 0.5 + 0.5 * chance())',
        "return ceiling",
        RETRY,
    ),
    Variant(
        "R7: what was handed out is asked for again",
        _RETRY,
        "failure.phase is Phase.DELIVERED or not failure.retryable",
        "not failure.retryable",
        RETRY,
    ),
    Variant(
        "R12: x-should-retry: false is ignored",
        _RETRY,
        " or failure.should_retry is False:",
        ":",
        RETRY,
    ),
    Variant(
        "R11: what cannot differ is tried again",
        _RETRY,
        "failure.phase is Phase.DELIVERED or not failure.retryable or",
        "failure.phase is Phase.DELIVERED or",
        RETRY,
    ),
    Variant(
        "R6: what may still be computing is sent there again",
        _RETRY,
        'Retry(None if failure.error.is_timeout else delay, reason="no answer")',
        'Retry(delay, reason="no answer")',
        RETRY,
    ),
    Variant(
        "R9: a 500 is tried for ever at one endpoint",
        _RETRY,
        "None if history.server_errors else delay",
        "delay",
        POLICY + "test_retry.py",
    ),
    Variant(
        "R10: a refused key is tried again there",
        _RETRY,
        (
            '        return Retry(None, uses_retry_budget=False, reason=f"{status or '
            'type(error).__name__}")'
        ),
        '        return Retry(delay, reason="again")',
        RETRY,
    ),
    Variant(
        "R10: an exhausted quota is tried again there",
        _RETRY,
        'return Retry(None, uses_retry_budget=False, reason="quota exceeded")',
        'return Retry(delay, reason="quota exceeded")',
        RETRY,
    ),
    Variant(
        "R15: a wait that the server asked for costs budget",
        _RETRY,
        'failure.wait, uses_retry_budget=False, reason="rate limited"',
        'failure.wait, uses_retry_budget=True, reason="rate limited"',
        WORLD + " -k paid",
    ),
    Variant(
        "R10: to go elsewhere after a refusal costs budget",
        _RETRY,
        'uses_retry_budget=False, reason=f"{status',
        'uses_retry_budget=True, reason=f"{status',
        RETRY,
    ),
    Variant(
        "R11: a bad request is tried again",
        _RETRY,
        (
            "    if isinstance(error, errors.RequestError | errors.ConfigurationError):\n"
            "        return None\n"
        ),
        "",
        RETRY,
    ),
]
