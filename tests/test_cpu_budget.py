"""The table of what the folders of tests cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cpu_budget import BUDGETS, COLLECTING, HERE, OTHERS, Cost, Meter, folder_of, lines


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("test_origins.py", "."),
        ("faults/test_fault_table.py", "faults"),
        ("langchain/standard/test_standard_chat.py", "langchain"),
        ("core/test_urls.py", "core"),
        ("core/wire/responses/test_responses_events.py", "core/wire"),
        ("/elsewhere/test_it.py", "."),
    ],
)
def test_folders(path: str, folder: str) -> None:
    assert folder_of(HERE / path) == folder


def test_a_folder_that_costs_more_than_its_budget_is_told() -> None:
    costs = {"few": Cost(3, OTHERS - 0.5), "many": Cost(4, OTHERS + 0.5)}
    assert [line.split() for line in lines(costs)][1:] == [
        ["many", "4", "2.5", "2", "over"],
        ["few", "3", "1.5", "2"],
        ["all", "7", "4.0", f"{sum(BUDGETS.values()):.0f}"],
    ]


def test_what_the_workers_counted_is_added_up() -> None:
    meter = Meter()
    for cost in ([2, 1.5], [1, 0.25]):
        node: Any = type("Node", (), {"workeroutput": {"cpu": {"faults": cost}}})
        meter.pytest_testnodedown(node)
    meter.pytest_testnodedown(object())
    assert meter.costs == {"faults": (3, 1.75)}


def test_budgets_are_of_folders_that_have_tests() -> None:
    folders = {folder_of(Path(path)) for path in HERE.rglob("test_*.py")}
    assert set(BUDGETS) - folders - {COLLECTING} == set()
