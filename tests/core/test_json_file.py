"""Files of JSON that users name: whatever stands there is read, or refused in words."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from no_secrets import PASSWORD, USER, everything, found_in

from opea_core import OPEA, Capabilities, ConfigurationError
from opea_core.profiles import read_profile


def file(data: bytes) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "p.json").write_bytes(data)
        return str(folder / "p.json")

    return make


def pipe(folder: Path) -> str:
    """Nobody writes to it, so who opens it waits."""
    os.mkfifo(folder / "pipe")
    return str(folder / "pipe")


def loop(folder: Path) -> str:
    (folder / "loop").symlink_to(folder / "loop")
    return str(folder / "loop")


BAD: dict[str, tuple[Callable[[Path], str], str]] = {
    "lists in lists": (file(b"[" * 100_000), "nested too deeply"),
    "objects in objects": (file(b'{"a":' * 100_000), "nested too deeply"),
    "a long number": (file(b'{"context_window":' + b"9" * 5000 + b"}"), "is no JSON"),
    "UTF-16": (file('{"a":1}'.encode("utf-16")), "is no JSON"),
    "bytes": (file(b"\xff\xfe\0"), "is no JSON"),
    "nothing": (file(b""), "is no JSON"),
    "a list": (file(b"[1]"), "is no JSON object"),
    "another form": (file(b'{"opea_profile":{"a":1}}'), "form"),
    "a folder": (str, "is no ordinary file"),
    "nowhere": (lambda folder: str(folder / "none"), "cannot be read"),
    "a home of nobody": (lambda _: "~nobody-of-this-name/p.json", "cannot be read"),
    "a link to itself": (loop, "cannot be read"),
    "a long name": (lambda _: "x" * 5000, "cannot be read"),
    "a NUL": (lambda _: "a\0b", "cannot be read"),
    "half a character": (lambda _: "\ud800", "cannot be read"),
    "a URL": (lambda _: f"http://{USER}:{PASSWORD}@h/p.json", "cannot be read"),
    "a URL without its scheme": (lambda _: f"{USER}:{PASSWORD}@h/p.json", "cannot be read"),
    "a pipe": (pipe, "is no ordinary file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_profile_is_refused_in_words(name: str, tmp_path: Path) -> None:
    if name == "a pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("there are no such pipes here")
    make, words = BAD[name]
    path = make(tmp_path)
    with pytest.raises(ConfigurationError, match=words) as caught:
        read_profile(path)
    str(caught.value).encode()
    assert found_in(everything(caught.value)) == []


def test_a_list_in_a_list_is_refused_as_it_may_have_no_end() -> None:
    endless: list[Any] = [{}]
    endless.append(endless)
    for value in (endless, [[{}]], ((Capabilities(),),)):
        with pytest.raises(ConfigurationError, match="list in a list"):
            OPEA("http://localhost:9", capabilities=value)
