"""Every example a user can see is run here: Python blocks with the output they claim,
and the words of errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_index.core import Settings

from opea_core import OPEA, OPEAError
from opea_core.testing import Answer, ScriptedServer, error, html, raw

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LOCAL = "http://localhost:8000"


def blocks(page: Path, kind: str) -> list[tuple[str, str]]:
    """(rest of the info line, text) of the fenced blocks of a kind."""
    return re.findall(rf"^```{kind}[ ]?(.*)\n((?:.*\n)*?)```$", page.read_text(), re.MULTILINE)


def examples(page: Path) -> list[tuple[str, str | None]]:
    """The Python blocks of a page, each with the output block right behind it."""
    found = re.findall(
        r"^```python\n((?:.*\n)*?)```\n(?:\n```text\n((?:.*\n)*?)```)?",
        page.read_text(),
        re.MULTILINE,
    )
    return [(code, output or None) for code, output in found]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        yield scripted


@pytest.fixture
def _left_clean() -> Iterator[None]:
    """LlamaIndex's sync methods take the thread's event loop, or make one that nobody closes;
    its settings are global.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
    asyncio.set_event_loop(None)
    Settings._llm = Settings._embed_model = None


@pytest.mark.usefixtures("_left_clean")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if examples(page)], ids=lambda page: page.name
)
def test_the_examples_print_what_they_claim(page: Path, server: ScriptedServer) -> None:
    names: dict[str, object] = {}
    for code, output in examples(page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code.replace(LOCAL, server.origin), page.name, "exec"), names)
        if output is not None:
            host = server.origin.removeprefix("http://")
            assert (
                printed.getvalue()
                .rstrip()
                .replace(server.origin, LOCAL)
                .replace(host, "localhost:8000")
                == output.rstrip()
            )
    for value in names.values():
        if isinstance(value, OPEA):
            value.close()


PIECE = b'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n'
CUT = raw(
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    b"%x\r\n%s\r\n" % (len(PIECE), PIECE),
    end="close",
)
WRONG: dict[str, Answer] = {
    "unauthorized": error(401, "invalid api key"),
    "model": error(404, "model 'gpt-3.5-turbo' not found"),
    "overflow": error(400, "maximum context length is 32768 tokens, you requested 41210"),
    "html": html(200, "<html><head><title>Sign in</title></head></html>"),
    "cut": CUT,
}


@pytest.mark.parametrize("case", [case for case, _ in blocks(ROOT / "docs/errors.md", "error")])
def test_errors_are_worded_as_documented(
    case: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-host")
    documented = dict(blocks(ROOT / "docs/errors.md", "error"))[case]
    if case == "refused":
        server.pause()
    else:
        server.script(WRONG[case])
    if case == "model":
        server.script(
            Answer(
                headers={"content-type": "application/json"},
                steps=(b'{"data":[{"id":"llama3.2"},{"id":"qwen3:8b"}]}',),
            )
        )
    original = {"opea_api_url": server.origin}  # an object of this form has the original's model
    retries = 1 if case == "model" else 0  # who wants one request is told of no models
    with OPEA(metadata=original, max_retries=retries) as opea, pytest.raises(OPEAError) as caught:
        list(opea.stream_chat("Hello", **({"model": "qwen3"} if case == "overflow" else {})))
    said = "\n".join(str(caught.value).splitlines()[:2])
    host = server.origin.removeprefix("http://")
    assert said.replace(host, "localhost:8000") == documented.rstrip()
