"""``opea batch`` as a user runs it: in this process, and where it must be in one of its own."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from opea_core import OPEA, Endpoint, RateLimited
from opea_core.batch import bar, progress
from opea_core.batch.progress import Figures, Lines, Silent, chosen
from opea_core.cli import batch_demo
from opea_core.cli.batch import made, read_endpoints
from opea_core.cli.batch_options import add_batch_command
from opea_core.cli.console import Console
from opea_core.cli.demo import Stage
from opea_core.cli.main import main
from opea_core.testing import ScriptedServer, chat, error, faults

KEY = "sk-only-for-this-server"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(model="mine", api_key=KEY) as server:
        yield server


@pytest.fixture
def rows() -> str:
    Path("in.jsonl").write_text("".join(f'{{"id": {n}, "prompt": "p{n}"}}\n' for n in range(5)))
    return "in.jsonl"


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_file_in_a_file_out(
    server: ScriptedServer, rows: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["batch", rows, "-o", "a.jsonl", "--url", server.url, "--key", KEY]
    line += ["--set", "temperature=0.2", "--system", "be brief", "--summary-json"]
    assert main(line) == 0
    out, err = capsys.readouterr()
    summary = json.loads(out)
    assert (summary["rows"], summary["answered"], summary["exit_code"]) == (5, 5, 0)
    assert "5 of 5 rows answered" in err
    assert len(lines("a.jsonl")) == 5
    body = server.seen[-1].body
    assert (body["temperature"], body["model"]) == (0.2, "mine")
    assert body["messages"][0] == {"role": "system", "content": "be brief"}


def test_failures_are_told_with_what_to_do_and_how_to_go_on(
    server: ScriptedServer, rows: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.always(lambda seen: error(400, "no such thing"))
    line = ["batch", rows, "-o", "my answers.jsonl", "--model", "mine"]
    assert main([*line, "--url", server.url.replace("//", "//user:word@")]) == 1
    err = capsys.readouterr().err
    assert "failed     5 rows: InvalidRequestError, for example " in err
    assert "mend them. Not tried again without --retry-failed." in err
    port = server.url.rpartition(":")[2]
    assert (
        f"to go on   opea batch in.jsonl -o 'my answers.jsonl' --url 'http://***@127.0.0.1:{port}'"
        " --model mine --retry-failed\n"
    ) in err
    assert not [path for path in Path().iterdir() if KEY in path.read_text()]
    assert KEY not in err
    assert "word" not in err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--set", "temperature"], "--set temperature: it is written as NAME=JSON"),
        (["--set", "user=me"], "NAME=JSON"),
        (["--set", "model=1"], "--set cannot say model"),
        (["--set", "timeout=-1"], "timeout"),
        (["--shard", "0/2"], "shard is '0/2'"),
        (["--stop-after-errors", "x"], "stop_after_errors is 'x'"),
        (["--endpoints", "none.toml"], "none.toml cannot be read"),
        (["--endpoints", "in.jsonl"], "in.jsonl cannot be read"),
        (["--url", "http://other:1", "--key", "k"], "--key does not say for which"),
        (["--schema", "none.json"], "schema none.json"),
    ],
)
def test_what_cannot_be_begun_ends_with_2(
    server: ScriptedServer,
    rows: str,
    given: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = [] if "--endpoints" in given else ["--url", server.url]
    assert main(["batch", rows, "-o", "a.jsonl", *url, *given]) == 2
    assert words in capsys.readouterr().err
    assert server.seen == []
    assert not Path("a.jsonl").exists()


def test_servers_from_a_file_with_keys_from_the_environment(
    server: ScriptedServer,
    rows: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("servers.toml").write_text(
        f'max_retries = 0\nmodel = "other"\n\n[[endpoints]]\nbase_url = "{server.url}"\n'
        'label = "one"\napi_key_env = "KEY_OF_ONE"\n'
    )
    line = ["batch", rows, "-o", "a.jsonl", "--endpoints", "servers.toml", "--model", "mine"]
    assert main(line) == 2
    assert "The variable KEY_OF_ONE is not set" in capsys.readouterr().err
    monkeypatch.setenv("KEY_OF_ONE", KEY)
    assert main(line) == 0
    assert {found["opea"]["endpoint"] for found in lines("a.jsonl")} == {"one"}
    assert main([*line, "--url", server.url]) == 2
    assert "Give no --url and no --key beside it" in capsys.readouterr().err


def test_the_key_of_the_environment_goes_to_one_server_only(
    rows: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPEA_API_KEY", KEY)
    with ScriptedServer() as one, ScriptedServer() as other:
        urls = ["--url", one.url, "--url", other.url]
        assert main(["batch", rows, "-o", "a.jsonl", *urls]) == 0
        sent = [seen.headers.get("authorization") for seen in (*one.seen, *other.seen)]
    assert set(sent) == {None}
    assert "OPEA_API_KEY is not sent" in capsys.readouterr().err


@pytest.mark.parametrize("named", [True, False])
def test_limits_a_minute_are_those_of_each_server(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.setenv("OPEA_API_URL", server.url)
    commands = argparse.ArgumentParser().add_subparsers()
    add_batch_command(commands)
    line = ["in", "-o", "out", "--rpm", "90", "--tpm", "9000", "--shared-limits", "sqlite:///l.db"]
    line += ["--url", server.url] if named else []
    with made(commands.choices["batch"].parse_args(line)) as opea:
        endpoint = opea.endpoints[0]
        assert (endpoint.url.root, endpoint.rpm, endpoint.tpm) == (server.url, 90, 9000)
        assert opea.settings.shared_limits is not None


def test_pipes(server: ScriptedServer) -> None:
    line = [sys.executable, "-m", "opea_core", "batch", "-", "-o", "-", "--url", server.url]
    done = subprocess.run(
        [*line, "--key", KEY, "--model", "mine"],
        input='{"id": "a", "prompt": "x"}\n',
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["custom_id"] == "a"
    assert "1 of 1 rows answered" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="Windows sends no Ctrl-C to one process")
def test_ctrl_c_ends_with_130_and_the_command_that_goes_on(
    server: ScriptedServer, rows: str
) -> None:
    """The first row is answered, the second one hangs, and standard input stays open."""
    server.model.api_key = None
    server.script(chat("here"), faults.hang)
    line = [sys.executable, "-m", "opea_core", "batch", "-", "-o", "a.jsonl", "--model", "mine"]
    with subprocess.Popen(
        [*line, "--url", server.url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write('{"prompt": "x"}\n')
        running.stdin.flush()
        until(lambda: Path("a.jsonl").exists() and Path("a.jsonl").stat().st_size > 0, "a row", 20)
        running.stdin.write('{"prompt": "y"}\n')
        running.stdin.flush()
        until(lambda: len(server.seen) == 2, "the second row", 20)
        os.kill(running.pid, signal.SIGINT)
        assert running.stderr.readline().startswith("No new rows: 1 on their way")
        os.kill(running.pid, signal.SIGINT)
        assert running.wait(20) == 130
        said = running.stderr.read()
    assert "1 of 2 rows answered" in said
    assert "interrupted" in said
    assert not Path("a.lock").exists()


# --- the page about it

PAGE = (Path(__file__).parents[3] / "docs/batch.md").read_text("utf-8")


def test_the_page_tells_every_option() -> None:
    commands = argparse.ArgumentParser().add_subparsers()
    add_batch_command(commands)
    parser = commands.choices["batch"]
    options = {option for action in parser._actions for option in action.option_strings}
    told = {option for option in options if re.search(rf"(?<![\w-]){option}(?![\w-])", PAGE)}
    elsewhere = {"-h", "--help", "-o", "--output", "--debug", "--ray"}
    assert options - told <= elsewhere


def test_the_file_of_servers_on_the_page_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    Path("servers.toml").write_text(block[1])
    for name in re.findall(r'api_key_env = "(\w+)"', block[1]):
        monkeypatch.setenv(name, KEY)
    with OPEA(**read_endpoints(Path("servers.toml"))) as opea:
        assert [endpoint.tier for endpoint in opea.endpoints] == [0, 1]
        assert opea.model == "qwen3"


# --- progress


@pytest.fixture
def standing() -> Iterator[Figures]:
    """How a batch stands; one endpoint answered, and the other one asked for 30 s of rest."""
    with ScriptedServer() as north, ScriptedServer() as south:
        north.always(error(429, "later", headers={"retry-after": "30"}))
        servers = {"north": north.url, "south": south.url}
        endpoints = [Endpoint(base_url=url, label=label) for label, url in servers.items()]
        with OPEA(endpoints=endpoints, model="m", max_retries=0) as opea:
            with pytest.raises(RateLimited):
                opea.chat("x", endpoint="north")
            opea.chat("x", endpoint="south")
            yield Figures(
                done=1500,
                total=6000,
                here=1500,
                per_second=50.0,
                tokens_per_second=1234.4,
                left=90.0,
                retries=7,
                failed={"RateLimited": 2},
                running=3,
                seconds=30.0,
                is_stopping=False,
                endpoints=opea.get_stats()["endpoints"],
            )


def test_a_line_of_progress(standing: Figures) -> None:
    rows, north, south = standing.line().split("; ")
    assert rows == (
        "1,500 of 6,000 (25%) rows, 50.0 rows/s, 1,234 tokens/s, 1:30 left, 7 retries, "
        "failed: 2 RateLimited"
    )
    assert re.fullmatch(r"north 0/\d+ in flight closed, rests 3\d s", north)  # up to 20 % more
    assert re.fullmatch(r"south 0/\d+ in flight closed p50 \d\.\d\d s", south)


def test_the_bar_says_the_same(standing: Figures) -> None:
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=100).print(bar.drawn(standing))
    words = re.sub(r"\s+", " ", text.getvalue())
    for part in ("25%", "1,500 of 6,000 rows", "1:30 left", "50.0 rows/s", "7 retries"):
        assert part in words
    assert re.search(r"north 0/\d+ in flight closed, rests 3\d s ", words)
    assert re.search(r"south 0/\d+ in flight closed p50 \d\.\d\d s", words)


def test_what_shows_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(chosen("none"), Silent)
    assert isinstance(chosen("auto"), Lines)  # standard error is no terminal here
    assert isinstance(chosen("bar"), bar.Bar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert isinstance(chosen("auto"), bar.Bar)
    monkeypatch.setitem(sys.modules, "opea_core.batch.bar", None)
    assert isinstance(chosen("auto"), Lines)
    with pytest.raises(progress.ConfigurationError, match="drawn by rich"):
        chosen("bar")


def test_the_demo_kills_a_batch_and_goes_on(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.model.api_key = None
    server.latency = 0.02
    with OPEA(server.url, model="mine") as opea:
        stage = Stage(Console(), lambda: opea, opea, 100, {"north": server})
        batch_demo.batch(stage)
    out = capsys.readouterr().out
    killed = re.search(r"killed +with (\d+) of 100 rows", out)
    assert killed is not None
    assert 0 < int(killed[1]) < 100
    assert re.search(r"100 of 100 rows answered \(\d+ before, \d+ now\)", out)
    assert "missing 0, twice 0" in out
