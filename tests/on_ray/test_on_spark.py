"""The same class in Spark: ``mapInPandas`` on a session of one machine."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed; make ray installs and tests it")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java, and there is none", allow_module_level=True)

from pyspark.sql import SparkSession

from opea_core.testing import ScriptedServer, chat, error

pytestmark = pytest.mark.filterwarnings("ignore")  # what Spark warns about is Spark's
COLUMNS = "id long, text string, answer string, error_type string, prompt_tokens long"


def test_rows_of_spark_get_answers_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the code of docs/ray.md."""
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    with ScriptedServer() as server:
        server.always(
            lambda seen: (
                error(400, "no")
                if seen.body["messages"][0]["content"] == "Say t3"
                else chat(seen.body["messages"][0]["content"])
            )
        )
        url = server.url

        def ask(frames: Iterator[Any]) -> Iterator[Any]:
            from opea_core.on_ray import ChatStage

            stage = ChatStage(base_url=url, model="scripted-model", template="Say {text}")
            with asyncio.Runner() as runner:
                for frame in frames:
                    answered = runner.run(stage(frame))
                    yield answered[["id", "text", "answer", "error_type", "prompt_tokens"]]
            stage.close()

        session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
        spark = session.getOrCreate()
        try:
            rows = spark.createDataFrame([(n, f"t{n}") for n in range(20)], "id long, text string")
            found = {row["id"]: row for row in rows.mapInPandas(ask, COLUMNS).collect()}
        finally:
            spark.stop()
    assert {n: row["answer"] for n, row in found.items()} == {
        n: None if n == 3 else f"Say t{n}" for n in range(20)
    }
    assert [n for n, row in found.items() if row["error_type"] is not None] == [3]
    assert found[3]["prompt_tokens"] is None
