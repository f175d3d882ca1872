"""A virtual environment for each family of clients:
ours and the peers side by side, on the same versions of what both use.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_WANTED = {
    "raw": ("-e", str(ROOT), "aiohttp", "orjson"),
    "langchain": ("-e", f"{ROOT}[langchain]", "langchain-openai"),
    "llamaindex": (
        "-e",
        f"{ROOT}[llama-index]",
        "llama-index-llms-openai-like",
        "llama-index-embeddings-openai-like",
    ),
}


def python(folder: Path, name: str) -> Path:
    """The interpreter of an environment."""
    return folder / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make(folder: Path, names: set[str]) -> None:
    """Make what is missing, with uv if it is there."""
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    for name in sorted(names):
        done = folder / name / ".done"
        wanted = " ".join(_WANTED[name])
        if done.exists() and done.read_text() == wanted:
            continue
        print(f"installing {folder.name}/{name} ...", file=sys.stderr, flush=True)
        _make(folder, name)
        done.write_text(wanted)


def _make(folder: Path, name: str) -> None:
    shutil.rmtree(folder / name, ignore_errors=True)
    interpreter, uv = str(python(folder, name)), shutil.which("uv")
    if uv:
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(folder / name))
        _run(uv, "pip", "install", "--quiet", "--python", interpreter, *_WANTED[name])
    else:
        _run(sys.executable, "-m", "venv", str(folder / name))
        _run(
            interpreter,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *_WANTED[name],
        )


def _run(*command: str) -> None:
    subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603 - our own command
