"""``opea bench``: levels of load until more no longer pays."""

from __future__ import annotations

from pathlib import Path

import pytest

from opea_core.cli.load import Answered, Level, pays, percentile
from opea_core.cli.main import main
from opea_core.testing import ScriptedServer, error


def level(at_once: int, tokens: int, seconds: float = 1.0, errors: int = 0) -> Level:
    """One answer of so many tokens, and so many errors."""
    answers = [Answered(0.1, 0.1 + tokens / 100, tokens)]
    return Level(at_once, seconds, answers, ["RateLimited"] * errors)


def test_percentiles_are_values_that_were_there() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    found = [percentile(values, share) for share in (0.0, 0.25, 0.5, 0.95, 1.0)]
    assert found == [1.0, 1.0, 2.0, 4.0, 4.0]
    assert percentile([], 0.5) is None


def test_figures_of_a_level() -> None:
    found = Level(2, 2.0, [Answered(0.5, 1.5, 11), Answered(0.7, 0.7, 1)], ["RateLimited"])
    assert (found.tokens_per_second, found.asked) == (6.0, 3)
    assert (found.first(0.5), found.first(0.95)) == (0.5, 0.7)
    assert found.per_token(0.5) == pytest.approx(0.1)


def test_when_more_no_longer_pays() -> None:
    assert pays([level(1, 100)]) is None
    assert pays([level(1, 100), level(2, 120)]) is None
    assert "bring less than a tenth more" in (pays([level(1, 100), level(2, 109)]) or "")
    # What counts is the best level so far, not the last one.
    assert pays([level(1, 100), level(2, 200), level(4, 150)]) is not None
    assert "2 of 3 requests failed" in (pays([level(1, 100, errors=2)]) or "")


def test_a_server_that_takes_two_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(latency=0.02, capacity=2, overload=error(429, "full")) as server:
        assert main(["bench", server.url, "--max-tokens", "5"]) == 0
        assert server.max_in_flight <= 8
        bodies = [seen.body for seen in server.seen if seen.body]
    assert len({body["messages"][0]["content"] for body in bodies}) == len(bodies)
    assert {body["max_tokens"] for body in bodies} == {5}
    out = capsys.readouterr().out
    assert out.startswith("at once  answers  errors  first p50")
    assert "requests failed." in out


def test_the_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="--plot needs the extra [bench]")
    plot = tmp_path / "load.svg"
    with ScriptedServer() as server:
        assert main(["bench", server.url, "--most", "2", "--plot", str(plot)]) == 0
    assert "<svg" in plot.read_text("utf-8")


def test_a_server_that_answers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer() as server:
        server.always(error(500, "out of order"))
        assert main(["bench", server.url, "--model", "m"]) == 1
    assert "8 of 8 requests failed" in capsys.readouterr().out
