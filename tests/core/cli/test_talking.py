"""``opea chat``, ``models`` and ``embed``, against servers with real sockets."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from opea_core.cli import servers
from opea_core.cli.main import main
from opea_core.testing import Hold, ScriptedServer, chunk, error, json_answer, sse


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(model="mine", api_key="secret-key") as server:
        yield server


@pytest.fixture
def run(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(server, capsys)


class Run:
    """A command with the URL and the key of the server."""

    def __init__(self, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
        self._server = server
        self._capsys = capsys

    def __call__(self, command: str, *others: str, key: str = "secret-key") -> tuple[int, str, str]:
        status = main([command, *others, "--url", self._server.url, "--key", key])
        out, err = self._capsys.readouterr()
        assert key not in out + err
        return status, out, err


# --- one question


def test_a_question_of_the_command_line(run: Run, server: ScriptedServer) -> None:
    status, out, err = run("chat", "Hello there", "--system", "Be brief.")
    assert (status, out) == (0, 'This is the scripted model. You wrote: "Hello there"\n')
    assert err == "Its model is mine.\n"
    assert [m["role"] for m in server.seen[-1].body["messages"]] == ["system", "user"]


@pytest.mark.parametrize("line", [(), ("-",)])
def test_a_question_of_standard_input(
    run: Run, line: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("from a file\n"))
    assert '"from a file"' in run("chat", *line)[1]


def test_an_answer_as_json(run: Run) -> None:
    whole = json.loads(run("chat", "Hello", "--json")[1])
    assert whole["content"] == 'This is the scripted model. You wrote: "Hello"'
    assert (whole["finish_reason"], whole["model"]) == ("stop", "mine")
    assert whole["completion_tokens"] > 0


def test_reasoning_is_no_part_of_an_answer_that_is_kept(run: Run, server: ScriptedServer) -> None:
    server.always(
        lambda seen: (
            sse(chunk({"reasoning_content": "hm"}), chunk({"content": "yes"}), chunk({}, "stop"))
            if seen.method == "POST"
            else None
        )
    )
    assert run("chat", "Hello")[1] == "yes\n"


def test_a_model_that_is_named_is_not_asked_for(run: Run, server: ScriptedServer) -> None:
    assert run("chat", "Hello", "--model", "other")[2] == ""
    assert [seen.path for seen in server.seen] == ["/v1/chat/completions"]


def test_of_several_models_one_must_be_chosen(run: Run, server: ScriptedServer) -> None:
    server.script(json_answer({"data": [{"id": "a"}, {"id": "b"}]}))
    status, _, err = run("chat", "Hello")
    assert status == 1
    assert err == "\nopea: The server has 2 models. Choose one:\n  --model a\n  --model b\n"


def test_an_error_is_said_in_the_words_of_the_command_line(run: Run) -> None:
    status, out, err = run("chat", "Hello", key="wrong-key")
    assert (status, out) == (1, "")
    assert "The key was refused: check --key or OPEA_API_KEY." in err
    assert "Traceback" not in err


def test_debug_shows_where_an_error_comes_from(run: Run) -> None:
    err = run("models", "--debug", key="wrong-key")[2]
    assert "Traceback" in err
    assert "AuthenticationError" in err


# --- models and vectors


def test_models_are_a_table(run: Run) -> None:
    assert run("models")[1].splitlines() == ["id    context  owned by", "mine    8,192  opea"]


def test_models_of_several_servers(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.model.api_key = None
    with ScriptedServer(model="theirs") as second:
        assert main(["models", "--url", server.url, "--url", second.url, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["context_length"]) for row in rows] == [
        ("mine", 8192),
        ("theirs", 8192),
    ]
    assert rows[0]["endpoint"] != rows[1]["endpoint"]


def test_a_name_that_steers_a_terminal_is_shown_without_that(
    run: Run, server: ScriptedServer
) -> None:
    server.script(json_answer({"data": [{"id": "a\x1b[2Jb"}]}))
    assert "\x1b" not in run("models")[1]


def test_vectors(run: Run) -> None:
    lines = run("embed", "a", "b c")[1].splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["a", "8"], ["b", "c"]]
    whole = json.loads(run("embed", "--json", "a", "b c")[1])
    assert (len(whole["embeddings"]), whole["dimensions"]) == (2, 8)


# --- without a URL


def port_of(server: ScriptedServer) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


def at(*found: ScriptedServer) -> tuple[servers.Usual, ...]:
    """Ports where servers are looked for: those of some, and one where nothing listens."""
    with ScriptedServer() as gone:
        ports = [port_of(server) for server in (*found, gone)]
    return tuple(servers.Usual(port, f"Kind {n}", f"start {n}") for n, port in enumerate(ports))


def test_a_server_of_this_computer_is_found_and_named(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.model.api_key = None
    monkeypatch.setenv("OPEA_API_KEY", "secret-key")
    monkeypatch.setattr(servers, "USUAL", at(server))
    assert main(["chat", "Hello"]) == 0
    out, err = capsys.readouterr()
    assert '"Hello"' in out
    assert f"Found a server at http://localhost:{port_of(server)}: the usual port of Kind 0" in err
    assert not any("authorization" in seen.headers for seen in server.seen)


def test_a_server_that_wants_a_key_is_named_and_not_asked(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPEA_API_KEY", "secret-key")
    monkeypatch.setattr(servers, "USUAL", at(server))
    assert main(["chat", "Hello"]) == 1
    assert (
        f"The server at http://localhost:{port_of(server)} wants a key." in capsys.readouterr().err
    )
    assert [seen.path for seen in server.seen] == ["/v1/models"]


def test_several_servers_are_listed(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedServer(model="theirs") as second:
        monkeypatch.setattr(servers, "USUAL", at(server, second))
        assert main(["models"]) == 1
        err = capsys.readouterr().err
        assert f"--url http://localhost:{port_of(second)}  the usual port of Kind 1" in err
    assert (
        f"--url http://localhost:{port_of(server)}  the usual port of Kind 0; it wants a key" in err
    )


def test_what_is_no_such_server_is_not_found(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.always(error(404, "nothing here"))
    monkeypatch.setattr(servers, "USUAL", at(server))
    assert main(["embed", "a"]) == 1
    err = capsys.readouterr().err
    assert "No server was found on this computer." in err
    assert "  Kind 1  start 1\n" in err
    assert "opea demo" in err


# --- a conversation, in a terminal


class Terminal:
    """``opea chat`` in a terminal of its own."""

    def __init__(self, *line: str) -> None:
        self._here, there = pty.openpty()
        self._seen = ""
        variables = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "200"}
        command = [sys.executable, "-m", "opea_core", "chat", *line]
        self.process = subprocess.Popen(
            command, stdin=there, stdout=there, stderr=there, env=variables, start_new_session=True
        )
        os.close(there)

    def until(self, text: str) -> str:
        """What comes up to a text; fails if the program ends before."""
        while text not in self._seen:
            ready, _, _ = select.select([self._here], [], [], 20)
            assert ready, f"{text!r} did not come after {self._seen!r}"
            piece = os.read(self._here, 4096)  # OSError at its end: the text never came
            self._seen += piece.decode()
        found, _, self._seen = self._seen.partition(text)
        return found

    def type(self, text: str) -> None:
        os.write(self._here, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._here)


def test_a_conversation(server: ScriptedServer, tmp_path: Path) -> None:
    held, saved = threading.Event(), tmp_path / "said.json"
    server.model.api_key = None
    terminal = Terminal("--url", server.url)
    try:
        terminal.until("Talking to mine.")
        terminal.until("> ")
        terminal.type('"""one\ntwo"""\n')
        terminal.until("tokens in")
        slow = sse(chunk({"content": "begun "}), chunk({"content": "on"}), chunk({}, "stop"))
        server.script(slow.replace(steps=(slow.steps[0], Hold(held), *slow.steps[1:])))
        terminal.type("again\n")
        terminal.until("begun")
        terminal.process.send_signal(signal.SIGINT)
        terminal.until("(stopped)")
        server.script(error(400, "I do not like it."))
        terminal.type("/system Be brief.\nthird\n")
        terminal.until("I do not like it")
        terminal.type(f"/save {saved}\n")
        terminal.until("5 messages are in")
        terminal.type("/nothing\n")
        terminal.until("There is no command /nothing")
        terminal.type("/quit\n")
        assert terminal.process.wait(30) == 0
    finally:
        held.set()
        terminal.close()
    said = [(m["role"], m["content"]) for m in json.loads(saved.read_text())["messages"]]
    assert said[0] == ("system", "Be brief.")
    assert said[1] == ("user", "one\ntwo")
    assert said[3:] == [("user", "again"), ("assistant", "begun ")]
