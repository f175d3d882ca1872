"""What the command line writes, and where lines break."""

from __future__ import annotations

import pytest

from opea_core.cli.console import Console, table


def figures(requests: int, breaker: str, p50: float | None) -> dict[str, object]:
    counts = {"requests": requests, "in_flight": 1, "retries": 2, "errors": 3}
    return {**counts, "breaker": breaker, "latency": {"p50": p50}}


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.setenv("COLUMNS", "31")
    return Console()


def test_a_table_has_a_row_per_endpoint_and_their_sum() -> None:
    stats = {
        **figures(12, "", 0.05),
        "endpoints": {"a": figures(5, "closed", 0.0514), "b": figures(7, "half_open", None)},
    }
    assert table(stats) == [
        "endpoint  requests  in flight  breaker     retries    errors       p50",
        "a                5          1  closed            2         3     51 ms",
        "b                7          1  half_open         2         3",
        "together        12          1                    2         3     50 ms",
    ]


def test_one_endpoint_needs_no_sum() -> None:
    assert len(table({**figures(5, "", None), "endpoints": {"a": figures(5, "open", None)}})) == 2


def test_a_long_value_goes_on_below_itself(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    console.fact("label", "one two three four five six\nseven " + "x" * 25)
    assert capsys.readouterr().out.splitlines() == [
        "label      one two three four",
        "           five six",
        "           seven",
        "           xxxxxxxxxxxxxxxxxxxx",
        "           xxxxx",
    ]


def test_pieces_break_between_words(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    console.begin("label")
    for piece in ("one ", "two th", "ree four", " five\nsix"):
        console.write(piece)
    console.end()
    assert capsys.readouterr().out.splitlines() == [
        "label      one two three four",
        "            five",
        "           six",
    ]
