"""The broken variants fit the code as it is; `make mutants` shows that each is caught."""

from __future__ import annotations

import ast
import shlex
from collections import Counter
from collections.abc import Iterator

from mutants import ROOT, VARIANTS, broken
from variant import Variant


def complaints(variant: Variant) -> Iterator[str]:
    """What is wrong with a variant."""
    try:
        ast.parse(broken(variant))
    except (ValueError, SyntaxError) as error:
        yield f"{variant.name}: {error}"
    if variant.old == variant.new:
        yield f"{variant.name}: it breaks nothing"
    for part in shlex.split(variant.tests):
        if part.startswith("tests/") and not (ROOT / part).exists():
            yield f"{variant.name}: there is no {part}"


def test_each_variant_breaks_one_place_and_is_python() -> None:
    assert [complaint for variant in VARIANTS for complaint in complaints(variant)] == []


def test_everything_wrong_with_a_variant_is_told() -> None:
    whole = VARIANTS[0]
    assert list(complaints(whole)) == []
    broken_twice = whole._replace(old=whole.new, tests="tests/test_of_nothing.py")
    assert [text.removeprefix(f"{whole.name}: ") for text in complaints(broken_twice)] == [
        f"its text occurs 0 times in {whole.file}",
        "it breaks nothing",
        "there is no tests/test_of_nothing.py",
    ]
    (complaint,) = complaints(whole._replace(new="def of("))
    assert "line" in complaint


def test_variants_are_told_apart_by_their_names() -> None:
    assert [
        name for name, count in Counter(variant.name for variant in VARIANTS).items() if count > 1
    ] == []
    assert len({(variant.file, variant.old, variant.new) for variant in VARIANTS}) == len(VARIANTS)
