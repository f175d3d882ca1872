"""Names of parametrized tests that are the same in every process:
without addresses, and without the order of sets.
"""

from __future__ import annotations

import re


def steady(value: object) -> str:
    """The value's text, fit for a test's name."""
    return re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"frozenset\(.*?\)", "frozenset()", str(value)))
