"""Writes docs/servers.md: what ``opea doctor`` finds at real servers, and at the scripted one.

    python tools/servers_page.py "llama-server=http://127.0.0.1:8080" "LiteLLM=http://127.0.0.1:4100#m"

Behind ``#`` stands the model, where a server has several. OPEA_API_KEY is the key of all of them.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from opea_core import OPEA, __version__
from opea_core.testing import ScriptedServer

if TYPE_CHECKING:
    from opea_core.doctor.diagnosis import Diagnosis

PAGE = Path(__file__).parent.parent / "docs/servers.md"
_HEAD = """\
# What real servers do

Found out by `opea doctor` ([doctor.md](doctor.md)) on {date} with opea-core {version}, by asking
each server itself. No figure here was written by hand: `make servers` makes the page again. The
names of models and versions are those of the servers at that time; another model behind the same
server may do other things.

**yes**: it works. **no**: it is refused. **ignored**: it is accepted and not done. **unknown**: it
could not be found out. A dash: it was not asked, as what it needs is not there.

The small model of `llama-server` here calls fixed tools with fixed arguments, so a named tool and
two calls at once say something of this model, and not of llama.cpp. LiteLLM stands in front of it.
aimock answers from a script, whatever is asked for.
"""
_NOT_SHOWN = ("models", "base path", "time to first token", "tokens per second", "requests at once",
              "server", "context length")  # fmt: skip
"""What is told in words, or differs from run to run."""


def diagnose(url: str, key: str | None) -> Diagnosis:
    """What is found at a URL, with the model behind ``#``."""
    base, _, model = url.partition("#")
    with OPEA(base, api_key=key, model=model or None) as opea:
        return opea.diagnose()


def page(found: dict[str, Diagnosis]) -> str:
    """The whole page: a table of all, and one of each with its words."""
    lines = [_HEAD.format(date=f"{datetime.now(UTC):%Y-%m-%d}", version=__version__)]
    names = list(found)
    lines += ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    rows = {row.name: None for one in found.values() for row in one.rows}
    for name in rows:
        if name not in _NOT_SHOWN:
            lines.append(
                f"| {name} | " + " | ".join(cell(one, name) for one in found.values()) + " |"
            )
    for name, one in found.items():
        about = f"Model `{one.model}`, {one.requests} requests in {one.seconds:.1f} s."
        lines += ["", f"## {name}", "", about, "", one.markdown().rstrip()]
    return "\n".join(lines) + "\n"


def cell(diagnosis: Diagnosis, name: str) -> str:
    """What was found, or a dash."""
    return next((row.value for row in diagnosis.rows if row.name == name), "-")


def main(servers: list[str]) -> None:
    """Ask them all and write the page."""
    key = os.environ.get("OPEA_API_KEY")
    found: dict[str, Diagnosis] = {}
    for server in servers:
        name, _, url = server.partition("=")
        print(f"asking {name}", file=sys.stderr)
        found[name] = diagnose(url, key)
    with ScriptedServer() as server:
        found["`opea fake`"] = diagnose(server.url, None)
    PAGE.write_text(page(found), encoding="utf-8")
    print(f"wrote {PAGE}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
