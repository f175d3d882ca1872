"""What servers say when they refuse a request:
what is changed for it, and what is left to the caller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from refused import FOLDER, advising, echoed, listing, quoting, reading, refusals

from opea_core.types import Json
from opea_core.wire.adaptations import _BEFORE_FIELDS, _TABLE, DROPPABLE
from opea_core.wire.responses.request import ENCRYPTED

FILES = sorted(path.stem for path in FOLDER.glob("*.json"))
LEFT = [name for name in FILES if name.startswith("leave")]
ADAPTED = [name for name in FILES if name not in LEFT]


@cache
def readings(name: str) -> list[Any]:
    """How those of a file are read."""
    return [reading(refusal) for refusal in refusals(name)]


def misread(name: str) -> str:
    """Those of a file that are read as something else, and as what."""
    found = {
        refusal["id"]: (read, refusal["wanted"])
        for refusal, read in zip(refusals(name), readings(name), strict=True)
    }
    return "\n".join(
        f"{id_}: {read}, not {wanted}" for id_, (read, wanted) in found.items() if read != wanted
    )


@pytest.mark.parametrize("name", ADAPTED)
def test_what_a_server_refuses_is_changed(name: str) -> None:
    assert misread(name) == ""


@pytest.mark.parametrize("name", LEFT)
def test_what_only_the_caller_can_mend_is_left_to_him(name: str) -> None:
    assert misread(name) == ""


@pytest.mark.parametrize("noise", [echoed, quoting, listing, advising])
@pytest.mark.parametrize("name", FILES)
def test_what_is_said_beside_it_changes_nothing(name: str, noise: Callable[[Json], Json]) -> None:
    found = {
        refusal["id"]: (alone, reading(noise(refusal)))
        for refusal, alone in zip(refusals(name), readings(name), strict=True)
    }
    assert (
        "\n".join(
            f"{id_}: {alone}, then {read}" for id_, (alone, read) in found.items() if read != alone
        )
        == ""
    )


def test_there_are_refusals_for_all_that_can_be_changed() -> None:
    counted = Counter(
        change for name in ADAPTED for refusal in refusals(name) for change in refusal["wanted"]
    )
    rows = [row.report for row in (*_BEFORE_FIELDS, *_TABLE)]
    changes = [*DROPPABLE, ENCRYPTED, *rows, "overflow", "split"]
    assert [change for change in changes if counted[change] < 2] == []
    assert counted.keys() <= set(changes)


def test_each_refusal_stands_on_the_right_side_once() -> None:
    ids = Counter(refusal["id"] for name in FILES for refusal in refusals(name))
    assert [id_ for id_, count in ids.items() if count > 1] == []
    assert [refusal["id"] for name in LEFT for refusal in refusals(name) if refusal["wanted"]] == []
    assert [
        refusal["id"] for name in ADAPTED for refusal in refusals(name) if not refusal["wanted"]
    ] == []
