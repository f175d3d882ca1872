"""Run OPEA under other people's SDKs: ``make compat``, or ``python tools/compat.py openai-3 dspy``.

Each SDK has an environment of its own under build/compat. In it every behaviour is tried against
scripted servers, the snippets of docs/under-sdks.md are run, and (openai) the faults are counted.
Prints one table; gives 1 if a cell failed, or if the page says something else than what came.
``--write`` puts the tables into the page; ``--figures`` counts the faults again, which takes
minutes.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "compat"
PAGE = ROOT / "docs" / "under-sdks.md"
WORKER = ROOT / "tools" / "compat_checks" / "worker.py"
SDKS = {
    "openai-3": ["openai>=3,<4"],
    "openai-2": ["openai>=2,<3"],
    "langchain-openai": ["langchain-openai"],
    "pydantic-ai": ["pydantic-ai-slim[openai]"],
    "instructor": ["instructor"],
    "openai-agents": ["openai-agents"],
    "litellm": ["litellm"],
    "dspy": ["dspy"],
}
"""What is installed beside OPEA, by the name of the environment."""
MARKS = {"sdks": "compat", "faults": "faults"}


def python_of(name: str) -> Path:
    """The interpreter of an environment."""
    return FOLDER / name / ("Scripts" if os.name == "nt" else "bin") / "python"


def run(command: list[str], env: "dict[str, str] | None" = None) -> str:
    """What a command of ours prints; the worker says with that whether it went well."""
    checked = env is None
    done = subprocess.run(  # noqa: S603 - our own words
        command, check=checked, stdout=subprocess.PIPE, text=True, env=env, cwd=FOLDER, timeout=900
    )
    return done.stdout


def make(name: str, upgrade: bool) -> None:
    """Make an environment, unless there is one with what is asked for."""
    stamp = FOLDER / f"{name}.stamp"
    asked = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + repr(SDKS[name]).encode())
    if not upgrade and stamp.is_file() and stamp.read_text() == asked.hexdigest():
        return
    print(f"{name}: installing {' '.join(SDKS[name])}", flush=True)
    python = python_of(name)
    if not python.exists():
        run([sys.executable, "-m", "venv", str(FOLDER / name)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--upgrade", "-e", str(ROOT), *SDKS[name]])
    stamp.write_text(asked.hexdigest())


def ask(name: str, *what: str) -> dict:
    """Run the worker in an environment; gives what it found."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("OPE")}
    plain |= {"PYTHONWARNINGS": "ignore", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    plain |= {"OPENAI_AGENTS_DISABLE_TRACING": "1", "OPENAI_API_KEY": "sk-of-the-environment"}
    said = run([str(python_of(name)), str(WORKER), name, *what], env=plain)
    try:
        found: dict = json.loads(said.splitlines()[-1])
    except (IndexError, ValueError):
        return {"versions": "", "cells": {"all": "failed: the worker broke"}}
    return found


def table(results: dict) -> str:
    """What came of each behaviour, as the page has it; what cannot be is said below."""
    names = list(dict.fromkeys(cell for found in results.values() for cell in found["cells"]))
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    notes: list[str] = []
    for sdk, found in results.items():
        marks = []
        for cell in names:
            outcome = found["cells"].get(cell, "failed: it was not tried")
            if outcome.startswith("cannot"):
                notes.append(outcome.partition(": ")[2])
                outcome = f"no ({notes.index(notes[-1]) + 1})"
            marks.append("yes" if outcome == "ok" else outcome)
        lines.append(f"| {sdk} | {' | '.join(marks)} |")
    kept = list(dict.fromkeys(notes))
    return "\n".join([*lines, "", *(f"({n + 1}) {note}" for n, note in enumerate(kept))]).rstrip()


def written(kind: str) -> str:
    """What the page has between the marks of a table."""
    mark = MARKS[kind]
    found = re.search(
        rf"<!-- {mark} -->\n(.*?)<!-- /{mark} -->", PAGE.read_text("utf-8"), re.DOTALL
    )
    return found[1].strip() if found else ""


def write(kind: str, text: str) -> None:
    """Put a table between its marks."""
    mark, page = MARKS[kind], PAGE.read_text("utf-8")
    new = f"<!-- {mark} -->\n{text}\n<!-- /{mark} -->"
    pattern = rf"<!-- {mark} -->\n.*?<!-- /{mark} -->"
    PAGE.write_text(re.sub(pattern, lambda _: new, page, flags=re.DOTALL), "utf-8")


def figures() -> str:
    """How the openai SDK alone and over OPEA takes every fault, as the page has it."""
    rows = ask("openai-3", "--figures")["figures"]
    lines = ["| what the caller gets | openai alone | openai over OPEA |", "|---|---|---|"]
    return "\n".join(lines + [f"| {what} | {alone} | {over} |" for what, alone, over in rows])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sdks", nargs="*", metavar="SDK", help=f"some of {', '.join(SDKS)}")
    parser.add_argument("--upgrade", action="store_true", help="install the newest versions")
    parser.add_argument("--write", action="store_true", help="put what came into the page")
    parser.add_argument("--figures", action="store_true", help="count the faults, too")
    given = parser.parse_args()
    unknown = sorted(set(given.sdks) - set(SDKS))
    if unknown:
        parser.error(f"there is no SDK {unknown[0]!r}; there are {', '.join(SDKS)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in given.sdks or SDKS:
        make(name, given.upgrade)
        results[name] = ask(name)
        print(f"{name}: {results[name]['versions']}", flush=True)
        for cell, outcome in results[name]["cells"].items():
            print(f"    {cell:<12} {outcome}", flush=True)
    bad = [
        f"{name}, {cell}: {outcome}"
        for name, found in results.items()
        for cell, outcome in found["cells"].items()
        if outcome != "ok" and not outcome.startswith("cannot")
    ]
    text = table(results)
    print(f"\n{text}\n")
    if given.write and not given.sdks:
        write("sdks", text)
    elif not given.sdks and written("sdks") != text:
        bad.append(f"{PAGE.name} has another table: run python tools/compat.py --write")
    if given.figures:
        counted = figures()
        print(counted)
        if given.write:
            write("faults", counted)
    print("\n".join(f"failed: {what}" for what in bad) or "Every cell is green or says why not.")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
