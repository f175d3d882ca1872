"""The command line, run in this process against servers with real sockets."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from opea_core import __version__
from opea_core.cli.main import main
from opea_core.testing import Answer, ScriptedServer, Seen, error, json_answer


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """No thread is left behind."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A server of the user's."""
    with ScriptedServer(model="mine", api_key="secret-key") as server:
        monkeypatch.setenv("OPEA_API_URL", server.url)
        monkeypatch.setenv("OPEA_API_KEY", "secret-key")
        yield server


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"opea-core {__version__}\n"


@pytest.mark.parametrize("line", [["dance"], ["demo", "--calls", "0"], ["demo", "--calls", "many"]])
def test_a_wrong_command_line(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(line)
    assert "usage: opea" in capsys.readouterr().err


def test_alone_it_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "talk to a server" in capsys.readouterr().out


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "opea_core", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"opea-core {__version__}\n"


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the width where the tests run."""
    monkeypatch.setenv("COLUMNS", "100")


class TestDemo:
    def test_with_scripted_servers(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["demo", "--calls", "40"]) == 0
        out, err = capsys.readouterr()
        assert "A scripted model on this computer answers" in out
        for part in ("1. Chat", "2. Stream", "3. Tools", "4. Embeddings", "5. Many calls"):
            assert f"\n{part}\n{'-' * len(part)}\n" in out
        assert (
            'answer     This is the scripted model. You wrote: "What is a circuit breaker?"' in out
        )
        assert "tokens     5 in, 12 out" in out
        assert "These words arrive one by one" in out
        result = '{"city": "Bern", "degrees": 18, "sky": "clear"}'
        assert f'call       weather({{"city": "Bern"}}) -> {result}' in out
        assert "vectors    3 of 8 numbers" in out
        assert "s  server south stops" in out
        assert "s  server south is back" in out
        assert re.search(
            r"^40 of 40 answered, \d+ requests, \d+ retr(y|ies), in \d+\.\d\d s$", out, re.MULTILINE
        )
        assert "\x1b" not in out
        assert max(map(len, out.splitlines())) <= 100
        assert err == ""

    @pytest.mark.parametrize("calls", [1, 2, 3])
    def test_few_calls(self, calls: int, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["demo", "--calls", str(calls)]) == 0
        assert f"{calls} of {calls} answered" in capsys.readouterr().out

    def test_on_a_terminal_the_table_is_drawn_over(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert main(["demo", "--calls", "40"]) == 0
        out = capsys.readouterr().out
        assert re.search(r"\x1b\[\d+A\x1b\[2K", out)
        assert "40 of 40 answered, " in out

    def test_with_a_server_of_the_user(
        self, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["demo", "--calls", "12"]) == 0
        out = capsys.readouterr().out
        assert (
            f"Using the server at {server.url} (from OPEA_API_URL).\nIt has one model, mine.\n"
            in out
        )
        assert "scripted model on this computer" not in out
        assert "12 calls at once to one endpoint, at most 8 at a time." in out
        assert "stops" not in out
        assert "12 of 12 answered, 12 requests, 0 retries" in out
        assert server.max_in_flight <= 8
        assert "secret" not in out
        assert {seen.body["model"] for seen in server.seen if seen.body} == {"mine"}

    def test_a_given_model_is_not_asked_for(
        self, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPEA_MODEL", "other")
        assert main(["demo", "--calls", "2"]) == 0
        assert {seen.body["model"] for seen in server.seen} == {"other"}

    def test_several_models_are_listed(
        self, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        server.script(json_answer({"data": [{"id": "a"}, {"id": "b"}]}))
        assert main(["demo"]) == 1
        assert (
            capsys.readouterr().err
            == "\nopea: The server lists 2 models: a, b.\nSet OPEA_MODEL to the one to use.\n"
        )

    def test_what_the_server_lacks_is_said(
        self, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def lacking(seen: Seen) -> Answer | None:
            if seen.path.endswith("/embeddings"):
                return error(501, "This server does not support embeddings.")
            return (
                error(400, "This model takes no tools.")
                if seen.body and "tools" in seen.body
                else None
            )

        server.always(lacking)
        assert main(["demo", "--calls", "2"]) == 0
        out = capsys.readouterr().out
        assert (
            out.count("skipped    This server does not do that: ") == 3
        )  # embeddings, tools, and the engine that needs embeddings
        assert "This model takes no tools" in " ".join(out.split())

    def test_an_error_ends_it_with_its_text(
        self,
        server: ScriptedServer,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("OPEA_API_KEY", "wrong-key")
        assert main(["demo"]) == 1
        out, err = capsys.readouterr()
        assert err.startswith("\nopea: 401")
        assert "wrong-key" not in out + err

    def test_a_call_that_fails_ends_it_with_its_text(
        self, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        server.always(
            lambda seen: error(400, "No call 3.") if b"Call number 3." in seen.raw_body else None
        )
        assert main(["demo", "--calls", "4"]) == 1
        out, err = capsys.readouterr()
        assert "3 of 4 answered, 4 requests, 0 retries" in out
        assert "No call 3" in err

    def test_ctrl_c(
        self,
        server: ScriptedServer,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def interrupt(calls: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("opea_core.cli.demo.run", interrupt)
        assert main(["demo"]) == 130
        assert capsys.readouterr().err == "\nInterrupted.\n"

    def test_nobody_reads_any_more(self) -> None:
        command = f"{sys.executable} -m opea_core demo --calls 4 | head -1"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.stdout == f"OPEA demo, opea-core {__version__}\n"
        assert done.stderr == ""
