"""Real jobs of Ray: what is kept in flight, what a kill leaves, and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed; make ray installs and tests it")

import pyarrow  # noqa: E402
from pyarrow import parquet  # noqa: E402
from ray.data import ActorPoolStrategy  # noqa: E402

from opea_core.on_ray import ChatStage, EmbedStage  # noqa: E402
from opea_core.testing import Answer, Hold, ScriptedServer, Seen, chat, error  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # what Ray warns about is Ray's
PATIENCE = 120.0
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A Ray of one host. Three CPUs on paper: the checkpoint's actor takes one, reading another."""
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
    context = ray.init(
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=200 * 1024 * 1024,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield context.address_info["gcs_address"]
    ray.shutdown()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        yield scripted


def rows_in(folder: Path, count: int) -> Path:
    """A folder with a file of so many rows, each with an id and a text of its own."""
    folder.mkdir()
    columns = {"id": [f"r{n}" for n in range(count)], "text": [f"t{n}" for n in range(count)]}
    parquet.write_table(pyarrow.table(columns), folder / "rows.parquet")
    return folder


def asked(
    rows: Any, stage: Any, server: ScriptedServer, size: int, actors: int = 1, **options: Any
) -> Any:
    """The rows through the actors of a stage."""
    return rows.map_batches(
        stage,
        fn_constructor_kwargs={"base_url": server.url, "model": "scripted-model", **options},
        batch_size=size,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=actors),
        num_cpus=0.1,
    )


def said(seen: Seen) -> str:
    text: str = seen.body["messages"][-1]["content"]
    return text


def noted() -> type[ChatStage]:
    """A stage that says in which process it is; made here, so that it travels as it is."""

    class Noted(ChatStage):
        """With each request, and in a folder."""

        def __init__(self, *, folder: str, **options: Any) -> None:
            Path(folder, str(os.getpid())).touch()
            super().__init__(**options, headers={"x-process": str(os.getpid())})

    return Noted


def test_one_actor_keeps_four_batches_in_flight(
    cluster: str, server: ScriptedServer, tmp_path: Path
) -> None:
    """No answer comes before 64 requests are there: four batches of 16 rows."""
    enough = threading.Event()

    def answer(seen: Seen) -> Answer:
        if server.in_flight >= 64:
            enough.set()
        whole = chat(said(seen))
        return Answer(headers=whole.headers, steps=(Hold(enough), *whole.steps))

    server.always(answer)
    rows = ray.data.read_parquet(str(rows_in(tmp_path / "in", 192)))
    found = asked(rows, ChatStage, server, 16, template="{text}", max_concurrent=64).take_all()
    assert server.max_in_flight == 64
    assert [row["answer"] for row in found] == [f"t{n}" for n in range(192)]
    assert len(server.seen) == 192


def test_errors_are_columns_and_the_job_goes_on(
    cluster: str, server: ScriptedServer, tmp_path: Path
) -> None:
    server.always(lambda seen: error(400, "no") if said(seen) == "t3" else chat(said(seen)))
    rows = ray.data.read_parquet(str(rows_in(tmp_path / "in", 8)))
    asked(rows, ChatStage, server, 4, template="{text}").write_parquet(str(tmp_path / "out"))
    found = {row["id"]: row for row in parquet.read_table(tmp_path / "out").to_pylist()}
    failed = [name for name, row in found.items() if row["error"] is not None]
    assert failed == ["r3"]
    assert (found["r3"]["error_type"], found["r3"]["retryable"]) == ("InvalidRequestError", False)
    assert found["r7"]["answer"] == "t7"


def test_a_wrong_key_ends_the_job_with_its_reason(
    cluster: str, server: ScriptedServer, tmp_path: Path
) -> None:
    server.always(error(401, "wrong key"))
    rows = ray.data.read_parquet(str(rows_in(tmp_path / "in", 64)))
    with pytest.raises(Exception, match=r"all failed alike.*wrong key"):
        asked(rows, ChatStage, server, 8, template="{text}").take_all()
    assert len(server.seen) <= 4 * 8


def test_vectors(cluster: str, server: ScriptedServer, tmp_path: Path) -> None:
    rows = ray.data.read_parquet(str(rows_in(tmp_path / "in", 40)))
    found = asked(rows, EmbedStage, server, 20, template="{text}").take_all()
    assert [len(row["embedding"]) for row in found] == [8] * 40
    assert sorted(text for seen in server.seen for text in seen.body["input"]) == sorted(
        f"t{n}" for n in range(40)
    )


def test_actors_keep_a_limit_together(cluster: str, server: ScriptedServer, tmp_path: Path) -> None:
    server.latency = 0.05
    rows = ray.data.read_parquet(str(rows_in(tmp_path / "in", 96)))
    blocks = rows.repartition(target_num_rows_per_block=16)
    limits = f"sqlite:///{tmp_path}/limits.db"
    options = {"template": "{text}", "max_concurrent": 6, "shared_limits": limits}
    stage, folder = noted(), str(tmp_path)
    found = asked(blocks, stage, server, 8, actors=2, folder=folder, **options).take_all()
    assert [row["error"] for row in found] == [None] * 96
    assert len({seen.headers["x-process"] for seen in server.seen}) == 2
    assert 1 < server.max_in_flight <= 6


def test_an_actor_that_is_killed_costs_no_row(
    cluster: str, server: ScriptedServer, tmp_path: Path
) -> None:
    """Ray makes another one, and hands it the rows that had not come back."""
    server.latency = 0.05
    pids = tmp_path / "pids"
    pids.mkdir()

    def kill_once() -> None:
        server.wait_seen(60, timeout=PATIENCE)
        os.kill(int(next(pids.iterdir()).name), signal.SIGKILL)

    killer = threading.Thread(target=kill_once)
    killer.start()
    rows = ray.data.read_parquet(str(rows_in(tmp_path / "in", 192)))
    blocks = rows.repartition(target_num_rows_per_block=32)
    options = {"template": "{text}", "folder": str(pids), "max_concurrent": 16}
    found = asked(blocks, noted(), server, 8, **options).take_all()
    killer.join()
    assert len(list(pids.iterdir())) == 2
    assert Counter(row["id"] for row in found) == Counter(f"r{n}" for n in range(192))
    assert [row for row in found if row["error"] is not None] == []


def run_job(cluster: str, server: ScriptedServer, folder: Path) -> subprocess.Popen[bytes]:
    names = [str(folder / name) for name in ("in", "out", "checkpoints")]
    line = [sys.executable, str(HERE / "killed_job.py"), cluster, server.url, *names]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def written(folder: Path) -> Counter[str]:
    """How often each id is in the files of an output."""
    return Counter(
        row
        for path in folder.glob("*.parquet")
        if "pending" not in path.name
        for row in parquet.read_table(path)["id"].to_pylist()
    )


def test_a_job_that_is_killed_goes_on(cluster: str, server: ScriptedServer, tmp_path: Path) -> None:
    """It asks again only what was in no written block."""
    pytest.importorskip("ray.data.checkpoint", reason="This Ray is too old for checkpoints")
    server.latency = 0.05
    rows_in(tmp_path / "in", 200)
    with run_job(cluster, server, tmp_path) as job:
        files = tmp_path / "checkpoints"
        server.wait(
            lambda: len(list(files.glob("*.parquet"))) > 1 or job.poll() is not None, PATIENCE
        )
        assert job.poll() is None
        job.kill()
    kept = written(tmp_path / "checkpoints")
    assert 20 <= len(kept) < 200
    first = len(server.seen)
    with run_job(cluster, server, tmp_path) as job:
        assert job.wait(PATIENCE) == 0
    assert written(tmp_path / "out") == Counter(f"r{n}" for n in range(200))
    again = {said(seen).replace("t", "r") for seen in server.seen[first:]}
    assert again & set(kept) == set()


# --- opea batch --ray


def opea(*line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "opea_core", "batch", *line],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_the_command_goes_on_where_it_ended(
    cluster: str, server: ScriptedServer, tmp_path: Path
) -> None:
    pytest.importorskip("ray.data.checkpoint", reason="This Ray is too old for checkpoints")
    server.always(lambda seen: error(400, "no") if said(seen) == "Say x3" else chat(said(seen)))
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    line = [str(source), "-o", str(output), "--ray", cluster, "--url", server.url]
    line += ["--template", "Say {text}", "--model", "m", "--set", "temperature=0.5"]
    for count in (4, 6):
        rows = [{"id": f"r{n}", "text": f"x{n}"} for n in range(count)]
        source.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
        done = opea(*line, "--summary-json", "--progress", "none")
        assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["answered"], summary["there_before"]) == (6, 5, 3)
    assert summary["failed"]["InvalidRequestError"]["example_id"] == "r3"
    assert "5 of 6 rows answered (3 of them before)" in done.stderr
    texts = [line for path in output.glob("*.json*") for line in path.read_text().splitlines()]
    assert sorted(json.loads(text)["id"] for text in texts) == [f"r{n}" for n in range(6)]
    assert Counter(said(seen) for seen in server.seen) == Counter(f"Say x{n}" for n in range(6))
    assert {seen.body["temperature"] for seen in server.seen} == {0.5}


def test_the_command_says_why_nothing_can_work(
    cluster: str, server: ScriptedServer, tmp_path: Path
) -> None:
    pytest.importorskip("ray.data.checkpoint", reason="This Ray is too old for checkpoints")
    server.always(error(401, "wrong key"))
    source = rows_in(tmp_path / "in", 64)
    line = [str(source), "-o", str(tmp_path / "out.parquet"), "--ray", cluster]
    done = opea(*line, "--url", server.url, "--template", "{text}", "--model", "m")
    assert done.returncode == 2
    assert "wrong key" in done.stderr
    assert "Traceback" not in done.stderr.splitlines()[-5:]
