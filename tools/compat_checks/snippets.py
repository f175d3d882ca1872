"""The snippet of one SDK in docs/under-sdks.md, run as it stands there."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from opea_core.testing import ScriptedServer

PAGE = Path(__file__).parents[2] / "docs" / "under-sdks.md"
HEADINGS = {"openai-2": "openai", "openai-3": "openai"}


def snippet_of(name: str) -> tuple[str, str]:
    """The code under the heading of an SDK, and what it prints."""
    heading = re.escape(HEADINGS.get(name, name))
    page = PAGE.read_text("utf-8")
    section = re.search(rf"^### {heading}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    found = section and re.search(r"```py\n(.*?)```\n\n```text\n(.*?)```", section[1], re.DOTALL)
    assert found, f"docs/under-sdks.md has no snippet for {name}"
    return found[1], found[2]


def run_snippet(name: str) -> None:
    """Raises what it raises, or AssertionError if it prints something else."""
    code, output = snippet_of(name)
    with ScriptedServer() as one, ScriptedServer() as two:
        for said, server in (("http://localhost:8000", one), ("http://localhost:8001", two)):
            code = code.replace(said, server.origin)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, name, "exec"), {"__name__": "__main__"})  # noqa: S102 - our own page
    assert printed.getvalue().rstrip() == output.rstrip(), f"it prints {printed.getvalue()!r}"
