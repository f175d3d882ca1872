"""What the tests of batches share: inputs, outputs, and a server that says what it was asked."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from opea_core.testing import Answer, ScriptedServer, Seen, chat, error

POSIX = pytest.mark.skipif(
    os.name != "posix", reason="Windows has no kill -9, no limit on files, no Ctrl-C of a process"
)


def echo(seen: Seen) -> Answer:
    """The last message comes back; "bad" is refused for good, "busy" may be tried again."""
    said = seen.body["messages"][-1]["content"]
    if said.startswith("bad"):
        return error(400, "no such thing")
    return error(501, "not yet") if said.startswith("never") else chat(said)


def write_lines(path: Path, items: Iterable[Any]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items), "utf-8")
    return path


def prompts(path: Path, count: int) -> Path:
    """A file with this many rows, each with an id and a prompt of its own."""
    return write_lines(path, ({"id": f"r{n}", "prompt": f"p{n}"} for n in range(count)))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The documents of a file of JSON lines; none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def answers(path: Path) -> dict[str, str]:
    """The answer of each id; fails if an id is there twice."""
    found = read_lines(path)
    ids = Counter(line["custom_id"] for line in found)
    assert [row for row, count in ids.items() if count > 1] == []
    return {line["custom_id"]: text_of(line) for line in found}


def text_of(line: dict[str, Any]) -> str:
    """The text of an answer in a line of OpenAI's form."""
    text: str = line["response"]["body"]["choices"][0]["message"]["content"]
    return text


def asked(server: ScriptedServer) -> Counter[str]:
    """How often each text was asked."""
    return Counter(seen.body["messages"][-1]["content"] for seen in server.seen)
