"""Our stage of Ray Data beside Ray's own HTTP stage, at a server that takes 0.2 s for each answer.

``python -m benchmarks.ray_stage [ROWS]`` needs build/ray-env (``make ray`` makes it), and says so
where there is none. It is measured at the server, so that starting Ray does not count.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / "build" / "ray-env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
ROWS, BATCH, LATENCY = 400, 16, 0.2
STAGES = ("ChatStage", "HttpRequestProcessorConfig")
_LONGEST = 600.0


class Found(NamedTuple):
    """What a stage made of the rows."""

    answered: int
    most: int
    """Requests that were in flight at once."""
    pace: float
    """Rows a second, from the first request to the last answer."""


# --- in Ray's environment


def run(stage: str, url: str, rows: int) -> None:
    """Ask the rows with one actor, and print how many have an answer."""
    ray = import_module("ray")
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    asked = (_ours if stage == STAGES[0] else _rays)(ray.data.range(rows), url)
    print(sum(bool(row["answer"]) for row in asked.take_all()), flush=True)


def _ours(rows: Any, url: str) -> Any:
    from opea_core.on_ray import ChatStage

    return rows.map_batches(
        ChatStage,
        fn_constructor_kwargs={"base_url": url, "model": "m", "template": "Row {id}."},
        batch_size=BATCH,
        batch_format="pyarrow",
        compute=import_module("ray.data").ActorPoolStrategy(size=1),
        num_cpus=0.1,
    )


def _rays(rows: Any, url: str) -> Any:
    llm = import_module("ray.data.llm")

    def payload(row: dict[str, Any]) -> dict[str, Any]:
        messages = [{"role": "user", "content": f"Row {row['id']}."}]
        return {"payload": {"model": "m", "messages": messages}}

    def answer(row: dict[str, Any]) -> dict[str, Any]:
        return {"answer": row["http_response"]["choices"][0]["message"]["content"]}

    config = llm.HttpRequestProcessorConfig(
        url=f"{url}/chat/completions", batch_size=BATCH, concurrency=1
    )
    return llm.build_processor(config, preprocess=payload, postprocess=answer)(rows)


# --- beside the server


def measured(stage: str, rows: int) -> Found:
    """What the server saw of one stage."""
    from opea_core.testing import ScriptedServer

    with ScriptedServer(latency=LATENCY) as server:
        line = [str(PYTHON), "-m", "benchmarks.ray_stage", stage, server.url, str(rows)]
        pipe = subprocess.PIPE
        done = subprocess.run(  # noqa: S603 - our own words
            line, stdout=pipe, stderr=pipe, text=True, check=False, cwd=ROOT, timeout=_LONGEST
        )
        if done.returncode:
            sys.exit(f"{stage} failed:\n{done.stderr}")
        asked = [seen for seen in server.seen if seen.path == "/v1/chat/completions"]
        taken = (max(seen.ended_at for seen in asked) - min(seen.at for seen in asked)) / 1e9
        answered = int(done.stdout.split()[-1])
        return Found(answered, server.max_in_flight, answered / taken)


def main(rows: int = ROWS) -> None:
    """Measure both and print the table."""
    print(f"\nRay Data: {rows} rows, batches of {BATCH}, one actor, {LATENCY} s for an answer")
    if not PYTHON.exists():
        print("skipped: there is no build/ray-env with Ray in it (make ray makes it)", flush=True)
        return
    print(f"{'':28}{'answered':>10}{'most in flight':>16}{'rows a second':>15}", flush=True)
    for stage in STAGES:
        found = measured(stage, rows)
        print(f"{stage:28}{found.answered:>10}{found.most:>16}{found.pace:>15.0f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        main(*map(int, sys.argv[1:]))
