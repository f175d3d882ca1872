"""Shared limits and limits a minute: foreign words that are believed, failures that last."""

from __future__ import annotations

from variant import Variant

_SHARED = "opea_core/shared/"
_TESTS = "tests/core/shared/"
_MINUTE = "tests/core/policy/test_rate_limit.py -k 'odd or learned'"
_RENEWAL = _TESTS + "test_renewal.py"
_REPORTS = _RENEWAL + " -k report"
_FORKED = "tests/core/transport/test_forked_locks.py"
_STORES = _TESTS + "test_stores.py -k sqlite"

VARIANTS = [
    Variant(
        "W47: only an OSError is a store that is away",
        _SHARED + "renewal.py",
        "            except Exception as error:  # noqa: BLE001\n",
        "            except ZeroDivisionError as error:\n",
        _RENEWAL + " -k whatever_a_store_raises",
    ),
    Variant(
        "W47: the words of any error are told",
        _SHARED + "renewal.py",
        "OSError(type(error).__name__)",
        "OSError(str(error))",
        _RENEWAL + " -k whatever_a_store_raises",
    ),
    Variant(
        "W46: a wait without end is adopted",
        _SHARED + "reports.py",
        "0 < seconds <= LONGEST_COOLDOWN",
        "0 < seconds",
        _REPORTS,
    ),
    Variant(
        "W46: a report is read however deep it is",
        _SHARED + "reports.py",
        "except (ValueError, RecursionError):",
        "except ValueError:",
        _REPORTS,
    ),
    Variant(
        "W46: a report is read however long it is",
        _SHARED + "reports.py",
        "if not isinstance(text, str) or len(text) > LONGEST:",
        "if not isinstance(text, str):",
        _REPORTS,
    ),
    Variant(
        "W46: counts may be anything",
        _SHARED + "reports.py",
        " and 0 <= value <= MOST",
        "",
        _REPORTS,
    ),
    Variant(
        "W46: a row that no member writes holds its share",
        _SHARED + "stores.py",
        "typeof(amount) = 'integer' AND amount BETWEEN 0 AND ?)",
        "? > 0)",
        _STORES,
    ),
    Variant(
        "W44: a URL is looked at when it is used",
        _SHARED + "stores.py",
        "    found.check()\n",
        "",
        _TESTS + "test_stores.py -k never_work",
    ),
    Variant(
        "W42: one odd count fills all minutes to come",
        "opea_core/policy/rate_limit.py",
        "ratio = min(prompt / held.need.prompt, most)",
        "ratio = prompt / held.need.prompt",
        _MINUTE,
    ),
    Variant(
        "W42: odd counts leap without an end",
        "opea_core/policy/rate_limit.py",
        "most = min(_LEAP * max(self._prompt_ratio, 1.0), _MOST_RATIO)",
        "most = _LEAP * max(self._prompt_ratio, 1.0)",
        _MINUTE,
    ),
    Variant(
        "W42: any length of one answer is usual",
        "opea_core/policy/rate_limit.py",
        "min(answer, _LEAP * max(self._usual_answer, _FIRST_ANSWER))",
        "answer",
        _MINUTE,
    ),
    Variant(
        "W42: long answers are never learned",
        "opea_core/policy/rate_limit.py",
        "_LEAP * max(self._usual_answer, _FIRST_ANSWER)",
        "_FIRST_ANSWER",
        _MINUTE,
    ),
    Variant(
        "W14: who begins to share limits is waited for in a child",
        "opea_core/transport/limiter.py",
        "self.renewal, self.renewal_lock = None, threading.Lock()",
        "self.renewal = None",
        _FORKED,
    ),
    Variant(
        "W14: a child ends the threads of its parent",
        "opea_core/transport/drivers/pair.py",
        "self.at_close.clear()",
        "pass",
        _FORKED,
    ),
]
