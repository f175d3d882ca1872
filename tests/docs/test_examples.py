"""Every program in examples/ runs, prints what it is about,
and asks the server it is told to ask.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from opea_core.testing import ScriptedServer

EXAMPLES = Path(__file__).parents[2] / "examples"
LONGEST = 40
PRINTS = {
    "chat": (
        r'You wrote: "What is the capital of France\?"\nfinished because of: stop\ntokens: 6 '
        r"in, "
    ),
    "failover": r"^20 answers from 127\.0\.0\.1:\d+\n",
    "langchain_agent": (
        r"^human: .*\nai: \['get_weather'\]\ntool: 18 degrees "
        r".*\nai: The tool says: "
    ),
    "llama_index_agent": r'^the tool is called\nThe tool says: "18 degrees',
    "many_calls": r"^100 answers, 0 errors in ",
    "stream_with_reasoning": (
        r"^\(thinks\) The scripted model thinks .*\n\(says\) "
        r"This is .*\nfinished "
    ),
    "tools": r'^the model calls get_weather \{\'city\': \'Paris\'\}\nThe tool says: "18 degrees',
}


def test_each_example_is_run_listed_and_short() -> None:
    there = {path.stem: path for path in EXAMPLES.glob("*.py")}
    assert set(there) - {"demo_server"} == set(PRINTS)
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    assert [name for name in PRINTS if f"[{name}.py]({name}.py)" not in listed] == []
    lines = {name: path.read_text("utf-8").count("\n") for name, path in there.items()}
    assert {name: count for name, count in lines.items() if count >= LONGEST} == {}


@pytest.fixture
def _beside_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if started in their folder, with nothing set by whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("OPEA_")]:
        monkeypatch.delenv(name)
    monkeypatch.syspath_prepend(str(EXAMPLES))


@pytest.mark.usefixtures("_beside_the_examples")
@pytest.mark.filterwarnings(
    "ignore::pydantic.PydanticDeprecatedSince20:inspect"
)  # LlamaIndex's agents
@pytest.mark.parametrize("name", PRINTS)
def test_an_example_runs_with_a_server_of_its_own(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert re.search(PRINTS[name], capsys.readouterr().out)


@pytest.mark.usefixtures("_beside_the_examples")
@pytest.mark.parametrize("name", [name for name in PRINTS if not name.endswith("_agent")])
def test_an_example_asks_the_server_it_is_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(model="mine", api_key="sk-mine") as server:
        for key, value in {"URL": server.url, "KEY": "sk-mine"}.items():
            monkeypatch.setenv(f"OPEA_API_{key}", value)
        monkeypatch.setenv("OPEA_MODEL", "mine")
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        assert {(seen.body["model"], seen.answer) for seen in server.seen} == {("mine", "200")}


def test_an_example_runs_from_the_shell() -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OPEA_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "chat.py")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=plain,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(PRINTS["chat"], done.stdout)
