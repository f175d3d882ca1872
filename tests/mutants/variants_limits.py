"""TransportFailure limits: how many requests at once, what a level has shown,
the time between requests, waits and trials.
"""

from __future__ import annotations

from variant import POLICY, Variant

_CONCURRENCY = "opea_core/policy/concurrency.py"
_CONTENTION = "opea_core/policy/contention.py"
_COHORT = "opea_core/policy/cohort.py"
_TRIALS = "opea_core/policy/trials.py"
_PACE = "opea_core/policy/pace.py"
_LIMITS = "opea_core/policy/model_limits.py"
_ENDPOINT = "opea_core/policy/endpoint.py"
LEVEL = POLICY + "test_concurrency.py"
MODEL = POLICY + "test_model_limits.py"
CONTENTION = POLICY + "test_contention.py"
TRIALS = POLICY + "test_trials.py"
PACE = POLICY + "test_pace.py"

VARIANTS = [
    # --- how many at once
    Variant(
        "W17: it rises unseen for ever",
        _CONCURRENCY,
        "min(round(UNSEEN * self._weight), self.ceiling)",
        "min(MOST, self.ceiling)",
        LEVEL,
    ),
    Variant(
        "W17: it rises by the clock as fast as before",
        _CONCURRENCY,
        "self._pace *= 4",
        "self._pace *= 1",
        LEVEL,
    ),
    Variant(
        "W17: the weight is not looked at",
        _CONCURRENCY,
        "max(1, round(FIRST * weight))",
        "FIRST",
        LEVEL,
    ),
    Variant(
        "W18: a refusal lowers nothing",
        _CONCURRENCY,
        "self._steady(left)",
        "self._steady(self.level)",
        LEVEL,
    ),
    Variant(
        "W18: an old refusal raises the level",
        _CONCURRENCY,
        "if left >= self.level:",
        "if left < 0:",
        LEVEL,
    ),
    Variant(
        "W18: after a refusal nobody asks for more",
        _CONCURRENCY,
        "self._refused = True",
        "self._refused = False",
        LEVEL,
    ),
    Variant(
        "W21: nothing is left to others",
        _CONCURRENCY,
        "if self._contention.may_yield(now):",
        "if now < 0:",
        LEVEL,
    ),
    Variant(
        "W22: what is late lowers nothing",
        _CONCURRENCY,
        "self._steady(self.level // 2)",
        "self._steady(self.level)",
        LEVEL,
    ),
    Variant(
        "W16: what is late lowers a number that was set",
        _CONCURRENCY,
        "        if not self._fixed:\n            self._steady(self.level // 2)",
        "        self._steady(self.level // 2)",
        LEVEL,
    ),
    Variant(
        "W21: some are left to others for a moment only",
        _CONCURRENCY,
        "Cohort(_YIELDED * self.level,",
        "Cohort(self.level,",
        LEVEL,
    ),
    Variant(
        "W17: a level is known as soon as it is raised",
        _CONCURRENCY,
        (
            "        if not self._contention.asked:  # a level that was raised a moment "
            "ago is not known yet\n"
            "            self._base"
        ),
        "        if True:\n            self._base",
        LEVEL,
    ),
    Variant(
        "W23: after a restart a new level is not looked for",
        _CONCURRENCY,
        "            is_new = self._stays_new\n",
        "            is_new = False\n",
        LEVEL,
    ),
    Variant(
        "W23: all come back at once after a restart",
        _CONCURRENCY,
        "self._steady(1)",
        "self._steady(self._base)",
        LEVEL,
    ),
    Variant(
        "W23: a restart forgets what was good",
        _CONCURRENCY,
        "self._is_new, self._threshold or (FIRST if self._is_new else self._base)",
        "self._is_new, None",
        LEVEL,
    ),
    Variant(
        "W16: slowness lowers a number that was set",
        _CONCURRENCY,
        "not (self._fixed or self._refused)",
        "not self._refused",
        LEVEL,
    ),
    Variant(
        "W16: the ceiling is passed",
        _CONCURRENCY,
        "min(self.level + self._contention.ask(self.level, now), self.ceiling)",
        "self.level + self._contention.ask(self.level, now)",
        LEVEL,
    ),
    Variant(
        "W19: more is kept although it brings nothing",
        _CONCURRENCY,
        "seen.in_flight > before.in_flight and gain >= seen.worth(before)",
        "seen.in_flight > before.in_flight",
        LEVEL,
    ),
    Variant(
        "W19: less is never tried",
        _CONCURRENCY,
        "        ):\n            self._try_lower(seen)\n",
        "        ):\n            pass\n",
        LEVEL,
    ),
    Variant(
        "W17: the clock does not wait for more answers",
        _CONCURRENCY,
        "_PATIENCE = 4\n",
        "_PATIENCE = 0\n",
        LEVEL,
    ),
    Variant(
        "W17: the clock ends a trial of another level",
        _CONCURRENCY,
        "not in (Phase.RISING, Phase.STEADY)",
        "not in Phase",
        LEVEL,
    ),
    Variant(
        "W19: what is doubled is measured to its end",
        _CONCURRENCY,
        "if cohort.is_sent:",
        "if cohort.is_done:",
        LEVEL,
    ),
    # --- which trial is due
    Variant(
        "W19: answers that are not there yet tell nothing",
        _COHORT,
        "(waiting * now - self._since) / SECOND",
        "0.0 * now",
        TRIALS,
    ),
    Variant(
        "W19: a cohort whose answers came is not needed to compare with",
        _TRIALS,
        "if not before.is_done or not cohort.sent:",
        "if not before.answered or not cohort.sent:",
        TRIALS,
    ),
    Variant(
        "W20: a trial by which answers fell is soon repeated",
        _TRIALS,
        "if gain < _FELL:",
        "if gain < 0:",
        TRIALS,
    ),
    Variant(
        "W20: a trial of less goes as far again after it failed",
        _TRIALS,
        "way / self._lower_wait",
        "way",
        TRIALS,
    ),
    Variant(
        "W20: less is tried as often where nothing waits",
        _TRIALS,
        "1 if self.is_crowded(seen) else _AT_LEISURE",
        "1",
        TRIALS,
    ),
    # --- asking for more and leaving some to others
    Variant(
        "W18: a lost level is not tried again soon",
        _CONTENTION,
        "elif not above:",
        "elif left < 0:",
        LEVEL,
    ),
    Variant(
        "W18: a lost level is never given up",
        _CONTENTION,
        "if self._vain < 2",
        "if left >= 0",
        LEVEL,
    ),
    Variant(
        "W18: one place is asked for more as often",
        _CONTENTION,
        "max(_ASK, 6 // max(1, left))",
        "_ASK",
        LEVEL,
    ),
    Variant(
        "W20: a vain asking does not double the wait",
        _CONTENTION,
        "min(self._ask_wait * 2,",
        "min(self._ask_wait,",
        CONTENTION,
    ),
    Variant(
        "W18: what is taken leaves the wait long",
        _CONTENTION,
        "        if self.asked:\n            self._ask_wait = _ASK\n",
        "",
        CONTENTION,
    ),
    Variant(
        "W18: more is asked for although answers come",
        _CONTENTION,
        "self._answered_at = now",
        "self._answered_at = 0",
        LEVEL,
    ),
    Variant("W21: a half is left to others", _CONTENTION, "_SHARE = 6", "_SHARE = 2", CONTENTION),
    Variant(
        "W21: what nobody takes is left as often",
        _CONTENTION,
        "min(self._yield_wait + _MORE, _LONGEST_YIELD)",
        "self._yield_wait",
        CONTENTION,
    ),
    Variant(
        "W21: in the end nothing is left to others",
        _CONTENTION,
        "5, 3, 40",
        "5, 3, 4000",
        CONTENTION,
    ),
    Variant(
        "W21: what others take is left no sooner",
        _CONTENTION,
        "self._offered, self._yield_wait, self._ask_wait = False, _YIELD, _ASK",
        "self._offered, self._ask_wait = False, _ASK",
        CONTENTION,
    ),
    Variant(
        "W21: what others take is left at the time that was set before",
        _CONTENTION,
        "            self._yields_at = min(self._yields_at, self._next_yield(level, now))\n",
        "",
        CONTENTION,
    ),
    Variant(
        "W21: a vain asking shows that others took a place",
        _CONTENTION,
        "if not above and self._offered:",
        "if self._offered:",
        CONTENTION,
    ),
    Variant(
        "W21: one of few places is left as often",
        _CONTENTION,
        "max(1.0, min(3.0, _SMALL / level))",
        "1.0",
        CONTENTION,
    ),
    Variant(
        "W21: some are left to others while more is asked for",
        _CONTENTION,
        "now >= self._yields_at and not self.asked",
        "now >= self._yields_at",
        CONTENTION,
    ),
    Variant(
        "W21: some are left to others right after a restart",
        _CONTENTION,
        "self._yields_at = self.asked = 0",
        "self.asked = 0",
        CONTENTION,
    ),
    # --- what a level has shown
    Variant(
        "W19: lost requests are waited for",
        _COHORT,
        "        self.sent -= 1\n",
        "        pass\n",
        LEVEL,
    ),
    Variant(
        "W19: any gain is worth more requests", _COHORT, "_WORTH = 0.15", "_WORTH = -1.0", LEVEL
    ),
    # --- the time between requests
    Variant(
        "W30: a pace is kept where several are taken at once",
        _PACE,
        "if not alone:",
        "if alone is None:",
        PACE,
    ),
    Variant(
        "W30: a pace has no bound", _PACE, "0.9, 8, 60 * SECOND", "0.9, 8, 86_400 * SECOND", PACE
    ),
    Variant(
        "W30: a pace is never tried to be shorter",
        _PACE,
        "int(self._interval * _FASTER)",
        "self._interval",
        PACE,
    ),
    Variant(
        "W30: a pace does not count the answers",
        _PACE,
        "(now - self._since) // self._answers",
        "now - self._since",
        PACE,
    ),
    Variant("W30: one answer measures a pace", _PACE, "_ENOUGH = 4", "_ENOUGH = 1", PACE),
    Variant("W30: a pace is kept where few are taken", _PACE, "self._interval //= 2", "pass", PACE),
    Variant(
        "W30: a limited rate is not spread", _LIMITS, "self._sends.refused(now)", "pass", MODEL
    ),
    # --- waits and trials
    Variant(
        "W25: a wait counts while the level is sought",
        _LIMITS,
        "effect.wait is not None and not permit.above",
        "effect.wait is not None",
        MODEL,
    ),
    Variant(
        "W27: a new wait does not end an older trial",
        _LIMITS,
        "            self.trying, self._trial_at = 0, None\n        if self.cooldown_until <= now",
        "        if self.cooldown_until <= now",
        MODEL,
    ),
    Variant(
        "W27: an older trial ends a newer one",
        _ENDPOINT,
        "if permit.trial and permit.limits.trying == permit.trial:",
        "if permit.trial:",
        MODEL,
    ),
    Variant(
        "W19: what nobody took is waited for",
        _ENDPOINT,
        (
            "            if permit.cohort is not None:\n"
            "                permit.cohort.lose(permit.at)\n"
            "            if permit.admission"
        ),
        "            if permit.admission",
        MODEL,
    ),
    Variant(
        "W24: a wait becomes shorter",
        _LIMITS,
        "if until > self.cooldown_until:",
        "if until:",
        MODEL,
    ),
    Variant(
        "W26: each refusal of a burst has its own jitter",
        _LIMITS,
        "if self._share is None:",
        "if wait:",
        MODEL,
    ),
    Variant(
        "W27: a refused trial is tried again",
        _LIMITS,
        "self._spent = True",
        "self._spent = False",
        MODEL,
    ),
    Variant(
        "W27: nothing is tried before the time",
        _LIMITS,
        "            self._trial_at = now\n",
        "            pass\n",
        MODEL,
    ),
    Variant(
        "W27: many are tried before the time",
        _LIMITS,
        "self._passes_at = now + 2 * self._refusal_took + _NOTICE",
        "pass",
        MODEL,
    ),
    Variant(
        "W29: a day's wait is kept",
        _LIMITS,
        "if self.cooldown_until - now > _PATIENT_TRIAL:",
        "if not self.cooldown_until:",
        MODEL,
    ),
    Variant(
        "W28: waits that are ours have no bound",
        _LIMITS,
        "0.1, 1.0, 4.0",
        "0.1, 1.0, 4_000.0",
        MODEL,
    ),
    Variant("W31: nothing is left by an allowance", _LIMITS, "max(1, left),\n", "left,\n", MODEL),
    Variant(
        "B9: an answer of just now is forgotten",
        _LIMITS,
        ("min(\n            at, now - max(_JUST, int(self.patience * SECOND))\n        )"),
        "at",
        MODEL,
    ),
    Variant(
        "B9: a refused one after a late answer counts for the breaker",
        _LIMITS,
        "max(_JUST, int(self.patience * SECOND))",
        "_JUST",
        MODEL,
    ),
    Variant(
        "R14: patience has no end",
        _LIMITS,
        "min(_TURNS * self.concurrency.usual_seconds, _LONGEST_PATIENCE)",
        "_TURNS * self.concurrency.usual_seconds",
        MODEL,
    ),
]
