"""Run tests/on_ray under a real Ray: ``make ray``, or ``python tools/ray_tests.py``.

Ray has an environment of its own, build/ray-env, since it is large and brings much along. Spark is
tried in it, too, where it can be installed and there is Java. With
``--if-possible`` a Ray that cannot be installed is no failure: a line says what was skipped.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "ray-env"
PYTHON = FOLDER / ("Scripts" if os.name == "nt" else "bin") / "python"
STAMP = FOLDER / ".opea-stamp"
PACKAGES = ["pytest>=8.3", "pytest-asyncio>=1.0"]
SPARK = ["pyspark>=4"]
_LONGEST = 1200


def make() -> None:
    """Make the environment, unless there is one with what is asked for."""
    asked = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + repr(PACKAGES + SPARK).encode())
    if STAMP.is_file() and STAMP.read_text() == asked.hexdigest():
        return
    print("Setting up build/ray-env with Ray; a few minutes with a good network.", flush=True)
    FOLDER.parent.mkdir(exist_ok=True)
    if not PYTHON.exists():
        command = [sys.executable, "-m", "venv", str(FOLDER)]
        subprocess.run(command, check=True)  # noqa: S603 - our own words
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "-e", f"{ROOT}[ray]", *PACKAGES]
    subprocess.run(command, check=True, timeout=_LONGEST)  # noqa: S603 - our own words
    command = [*pip, *SPARK]  # without it its test says that it is skipped
    subprocess.run(command, check=False, timeout=_LONGEST)  # noqa: S603 - our own words
    STAMP.write_text(asked.hexdigest())


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--if-possible", action="store_true", help="skip where Ray cannot be had")
    given = parser.parse_args()
    try:
        make()
    except (OSError, subprocess.SubprocessError) as error:
        print(f"build/ray-env could not be made: {error}", flush=True)
        begin = "SKIPPED" if given.if_possible else "NOT RUN"
        print(f"{begin}: tests/on_ray, as Ray cannot be installed here.", flush=True)
        return 0 if given.if_possible else 1
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OPEA_")}
    tests = [str(PYTHON), "-m", "pytest", "-q", "-W", "default", "tests/on_ray"]
    return subprocess.run(tests, check=False, cwd=ROOT, env=plain).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
