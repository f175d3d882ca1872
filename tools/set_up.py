"""Set up .venv for ``make``, and say so: ``python tools/set_up.py demo`` or ``dev``.

Does nothing if .venv has already what pyproject.toml asks for. Runs under the Python that the user
has, so it must be read by old ones, too: they are told that they are too old.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
BIN = os.path.join(VENV, "Scripts" if os.name == "nt" else "bin")
OLDEST = (3, 11)
KINDS = {
    "demo": ("all", "the demo (httpx, pydantic, LangChain, LlamaIndex)", "a minute or two"),
    "dev": ("dev", "tests and checks (the demo's, pytest, mypy, ruff ...)", "two to five minutes"),
    "bench": ("dev,bench", "benchmarks (the tests', matplotlib)", "two to five minutes"),
}


def version_of(python: str) -> str:
    """Its version as "3.11.7"; empty if it does not run."""
    code = "import platform; print(platform.python_version())"
    try:
        run = [python, "-c", code]
        done = subprocess.run(run, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def minor(version: str) -> str:
    """The "3.11" of "3.11.7"."""
    return ".".join(version.split(".")[:2])


def wanted(kind: str, version: str) -> str:
    """What the stamp of a finished set-up says: the kind, the Python, and what was asked for."""
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        asked = hashlib.sha256(file.read()).hexdigest()[:16]
    return f"{kind} {minor(version)} {asked}"


def said(kind: str) -> str:
    """What the stamp says; empty without one."""
    try:
        with open(os.path.join(VENV, "." + kind), encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def installers(python: str) -> "tuple[list[str], list[str]]":
    """The commands that make the environment and that install: uv's if there is one, else pip's."""
    uv = shutil.which("uv")
    if uv:
        return (
            [uv, "venv", "--quiet", "--python", sys.executable, VENV],
            [uv, "pip", "install", "--quiet", "--python", python],
        )
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return [sys.executable, "-m", "venv", VENV], pip


def main(kind: str, chosen: bool) -> None:
    """Set up what the kind needs; ``chosen``: the user said which Python to use."""
    extras, what, long = KINDS[kind]
    mine = version_of(sys.executable)
    python = os.path.join(BIN, "python")
    there = version_of(python) if os.path.lexists(python) else None
    if there and minor(there) != minor(mine):
        text = f".venv has Python {there}, and {sys.executable} is {mine}."
        if chosen:
            sys.exit(text + " To use that one: make clean, and again.")
        print(text + " Going on with .venv's; make clean would change it.", flush=True)
    if there and said(kind) == wanted(kind, there):
        return
    if not there and sys.version_info < OLDEST:
        text = f"Python 3.11 or newer is needed, and {sys.executable} is {mine}"
        sys.exit(f"{text}: make PYTHON=python3.11 ...")
    make, install = installers(python)
    by = "uv" if make[0] != sys.executable else "pip"
    print(
        f"Setting up .venv with Python {there or mine} and {by} for {what}.",
        f"Once, and whenever pyproject.toml changes; {long} with a good network.",
        sep="\n",
        flush=True,
    )
    begin = time.monotonic()
    if not there:
        if os.path.isdir(VENV):
            print("The Python that .venv was made of is gone; making it anew.", flush=True)
            shutil.rmtree(VENV)
        subprocess.run(make, check=True)  # noqa: S603 - our own words
    subprocess.run([*install, "-e", f".[{extras}]"], check=True, cwd=ROOT)  # noqa: S603
    for part in list(KINDS)[: list(KINDS).index(kind) + 1]:  # each has what those before it have
        with open(os.path.join(VENV, "." + part), "w", encoding="utf-8") as file:
            file.write(wanted(part, there or mine) + "\n")
    print(f"Done in {time.monotonic() - begin:.0f} s.", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1], "--chosen" in sys.argv)
    except subprocess.CalledProcessError as error:
        sys.exit(f"Setting up .venv failed (exit code {error.returncode}).")
