"""The broken variants fit the code as it is; `make mutants` shows that each is caught."""

from __future__ import annotations

import shlex
from collections import Counter

import pytest
from mutants import ROOT, VARIANTS, broken
from variant import Variant


@pytest.mark.parametrize(
    "variant", [pytest.param(variant, id=variant.name) for variant in VARIANTS]
)
def test_a_variant_breaks_one_place_and_still_compiles(variant: Variant) -> None:
    compile(broken(variant), variant.file, "exec")
    assert variant.old != variant.new
    assert all(
        (ROOT / part).exists() for part in shlex.split(variant.tests) if part.startswith("tests/")
    )


def test_variants_are_told_apart_by_their_names() -> None:
    assert [
        name for name, count in Counter(variant.name for variant in VARIANTS).items() if count > 1
    ] == []
    assert len({(variant.file, variant.old, variant.new) for variant in VARIANTS}) == len(VARIANTS)
