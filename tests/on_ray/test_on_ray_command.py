"""``opea batch --ray`` without Ray: what is refused before anything begins, and what is told."""

from __future__ import annotations

import pickle
import sys
import time
from pathlib import Path

import pytest

from opea_core import ConfigurationError
from opea_core.batch.ray_run import Tally, connected, lines, summary_of
from opea_core.cli.main import main
from opea_core.on_ray.sealed import Sealed, SealedChatStage

LINE = ["batch", "in.jsonl", "-o", "out.parquet", "--ray", "auto"]
SERVER = ["--url", "http://127.0.0.1:9"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([*SERVER, "--limit", "3"], "--limit cannot be used with --ray"),
        ([*SERVER, "--retry-failed"], "--retry-failed cannot be used with --ray"),
        ([], "the servers must be named"),
        ([*SERVER, "-o", "-"], "files only"),
        ([*SERVER, "-o", "out.csv"], "output out.csv is not known"),
        ([*SERVER, "-o", "out"], "ends in .parquet or .jsonl"),
        ([*SERVER, "--schema", "none.json"], "none.json cannot be read"),
        (SERVER, "pip install 'opea-core[ray]'"),
    ],
)
def test_what_cannot_work_is_told_before_anything_begins(
    more: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    assert main([*LINE, *more]) == 2
    assert words in capsys.readouterr().err


def test_a_folder_of_several_kinds_is_no_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("a.csv", "b.jsonl"):
        (tmp_path / name).touch()
    line = ["batch", str(tmp_path), "-o", "out.parquet", "--ray", "auto", *SERVER]
    assert main(line) == 2
    assert "is not known by its name" in capsys.readouterr().err
    (tmp_path / "a.csv").unlink()
    assert main(line) == 2
    assert "Ray is not installed" in capsys.readouterr().err


def test_ray_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match="Ray is not installed"):
        connected("auto")


def test_no_key_stands_in_the_arguments_of_a_job() -> None:
    """Ray may export them as texts, down to the values of dicts."""
    sealed = Sealed({"base_url": "http://127.0.0.1:9", "headers": {"x-key": "sk-mine"}})
    assert "sk-mine" not in f"{sealed} {sealed!r}"
    SealedChatStage(pickle.loads(pickle.dumps(sealed))).close()


def test_a_summary_counts_what_came_in_this_run() -> None:
    before, after = Tally(), Tally()
    good = {"prompt_tokens": 5, "completion_tokens": 2, "suspect": None, "error_type": None}
    bad = {"error": "no room", "error_type": "ServerError", "retryable": True}
    before.add(good, "a")
    for row, row_id in ((good, "a"), (good | {"suspect": "length,schema"}, "b"), (bad, "c")):
        after.add(row, row_id)
    after.add(bad, "d")
    summary = summary_of(before, after, 5, "out.parquet", time.monotonic())
    assert (summary.answered, summary.there_before, summary.failures) == (2, 1, 2)
    assert (summary.prompt_tokens, summary.completion_tokens) == (5, 2)
    assert summary.suspect == {"length": 1, "schema": 1}
    assert summary.exit_code == 1
    told = "\n".join(lines(summary))
    assert "2 of 5 rows answered (1 of them before), 5 tokens in, 2 out" in told
    assert "2 rows: ServerError, for example c:" in told
    assert "the output has 4 rows and the input 5" in told
