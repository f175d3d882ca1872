"""``opea doctor``, against servers with real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from opea_core import OPEA
from opea_core.cli.main import main
from opea_core.testing import ScriptedServer, error


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(model="mine", api_key="secret-key") as server:
        yield server


def doctor(server: ScriptedServer, *others: str) -> int:
    return main(["doctor", server.url, "--key", "secret-key", *others])


def test_a_table_and_what_to_do(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(server) == 0
    out, err = capsys.readouterr()
    assert err == f"Asking {server.url.split('/')[2]}: at most 40 small requests.\n"
    rows = [line.split() for line in out.splitlines()]
    assert ["chat", "yes"] in rows
    assert ["context", "length", "yes", "8,192", "tokens"] in rows
    assert f"OPEA('{server.url}', model='mine')" in out
    assert f"{len(server.seen)} requests in" in out
    assert len(server.seen) <= 40
    assert "secret-key" not in out + err


def test_a_profile_is_saved(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.json"
    assert doctor(server, "--save", str(path)) == 0
    assert f"capabilities='{path}'" in capsys.readouterr().out
    assert OPEA(server.url, capabilities=path).context_window == 8192
    assert "secret-key" not in path.read_text()


def test_json_and_markdown(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(server, "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["model"] == "mine"
    assert {"name": "chat", "value": "yes", "detail": ""} in whole["rows"]
    assert doctor(server, "--markdown") == 0
    assert "| chat | yes |  |" in capsys.readouterr().out


def test_a_server_that_can_be_used_for_nothing(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.always(lambda seen: error(400, "Not today.") if seen.method == "POST" else None)
    assert doctor(server) == 1
    assert "neither for chat nor for embeddings" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["http://10.1.2.3/v1"], "Add --yes to do it."),
        (["https://api.example.com"], "api.example.com is not on this computer"),
        (["http://127.0.0.1:9", "http://127.0.0.1:9", "--save", "x"], "Give one URL with it."),
        (["http://127.0.0.1:9"], "connection refused"),
        (["http://localhost:9", "http://localhost:9"], "connection refused"),
    ],
)
def test_nothing_is_found_out(
    line: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *line]) == 2
    assert words in capsys.readouterr().err
