"""What a deliberately broken variant is: one replaced text, and the tests that must notice."""

from __future__ import annotations

from typing import NamedTuple

POLICY = "tests/core/policy/"
FLOW = "tests/core/flow/"
WIRE = "tests/core/wire/"
TRANSPORT = "tests/core/transport/"
BREAKER = POLICY + "test_properties_breaker.py"
DISPATCHER = POLICY + "test_properties_scheduler.py"
ENDPOINT = POLICY + "test_endpoint.py"
RETRY = POLICY + "test_retry.py " + POLICY + "test_properties_retry.py"
BUDGET = POLICY + "test_properties_budget.py"
WORLD = FLOW + "test_properties_world.py"


class Variant(NamedTuple):
    """``old`` occurs once in ``file``; ``tests`` is what is given to pytest, a -k among it."""

    name: str
    file: str
    old: str
    new: str
    tests: str
