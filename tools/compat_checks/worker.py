"""Runs in the environment of one SDK: tries every behaviour, prints the outcomes as JSON."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from behaviours import BEHAVIOURS
from snippets import run_snippet

PACKAGES = {
    "openai-3": "openai",
    "openai-2": "openai",
    "pydantic-ai": "pydantic-ai-slim",
}
PATIENCE = 60
"""Seconds after which a behaviour that hangs has failed."""


def tried(check: Any) -> str:
    """``ok``, ``cannot: why`` or ``failed: why``."""
    box: list[str] = []

    def work() -> None:
        try:
            check()
            box.append("ok")
        except NotImplementedError as why:
            box.append(f"cannot: {why}")
        except BaseException as error:  # noqa: BLE001 - whatever an SDK raises is the outcome
            traceback.print_exc()
            box.append(f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return box[0] if box else f"failed: no end within {PATIENCE} s"


def main(name: str) -> dict[str, Any]:
    """Every outcome of one SDK."""
    module = "sdk_openai" if name.startswith("openai-") and name != "openai-agents" else "sdk_"
    if module == "sdk_":
        module += name.replace("-", "_")
    sdk = importlib.import_module(module)
    cells = {what: tried(lambda check=check: check(sdk)) for what, check in BEHAVIOURS.items()}
    cells["snippet"] = tried(lambda: run_snippet(name))
    package = PACKAGES.get(name, name)
    versions = {package: version(package), "openai": version("openai")}
    return {
        "versions": ", ".join(f"{which} {found}" for which, found in versions.items()),
        "cells": cells,
    }


if __name__ == "__main__":
    if "--figures" in sys.argv:
        from fault_figures import figures

        found: dict[str, Any] = {"figures": figures()}
    else:
        found = main(sys.argv[1])
    sys.stdout.flush()
    print(json.dumps(found), flush=True)
