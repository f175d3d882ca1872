"""A file in, a file out, against a scripted server: what is written, and how a run goes on."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import made
from jobs import POSIX, answers, asked, echo, prompts, read_lines, write_lines
from waiting import until

from opea_core import OPEA, ConfigurationError
from opea_core.batch import arun, run
from opea_core.testing import Answer, ScriptedServer, Seen, chat, error, faults


@pytest.fixture
def opea(server: ScriptedServer) -> Iterator[OPEA]:
    server.always(echo)
    with made(server, max_retries=0, model="scripted-model") as made_:
        yield made_


def test_each_row_has_its_line_in_the_form_of_openais_batch_files(
    opea: OPEA, tmp_path: Path
) -> None:
    output = tmp_path / "answers.jsonl"
    summary = run(opea, prompts(tmp_path / "in.jsonl", 40), output)
    assert answers(output) == {f"r{n}": f"p{n}" for n in range(40)}
    assert (summary.rows, summary.answered, summary.exit_code) == (40, 40, 0)
    assert summary.completion_tokens > 0
    line = read_lines(output)[0]
    assert set(line) == {"id", "custom_id", "response", "error", "opea"}
    assert (line["response"]["status_code"], line["error"]) == (200, None)
    assert line["opea"]["endpoint"] == opea.endpoints[0].label
    assert len(line["opea"]["hash"]) == 32
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"in.jsonl", "answers.jsonl", "answers.manifest.json"}


def test_failures_have_a_file_of_their_own(opea: OPEA, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    write_lines(source, ["good", "bad", "never"])
    source.write_text(source.read_text() + "no json\n\n[1]\n")
    output = tmp_path / "a.jsonl"
    summary = run(opea, source, output)
    assert answers(output) == {"row-1": "good"}
    failed = {line["custom_id"]: line for line in read_lines(tmp_path / "a.errors.jsonl")}
    assert {row: line["opea"]["class"] for row, line in failed.items()} == {
        "row-2": "InvalidRequestError",
        "row-3": "ServerError",
        "row-4": "ConfigurationError",
        "row-5": "ConfigurationError",
    }
    assert [failed[row]["opea"]["status"] for row in ("row-2", "row-4")] == [400, None]
    assert failed["row-2"]["response"]["status_code"] == 400
    assert "no such thing" in failed["row-2"]["error"]["message"]
    assert "Line 4" in failed["row-4"]["error"]["message"]
    assert failed["row-5"]["opea"]["line"] == 6
    assert (summary.failures, summary.exit_code) == (4, 1)
    assert summary.failed["ConfigurationError"].count == 2


def test_the_same_call_again_asks_only_what_may_succeed(
    opea: OPEA, server: ScriptedServer, tmp_path: Path
) -> None:
    is_down = True

    def answer(seen: Seen) -> Answer:
        said = seen.body["messages"][-1]["content"]
        return error(503, "busy", headers={}) if said == "p1" and is_down else echo(seen)

    server.always(answer)
    source, output = tmp_path / "in.jsonl", tmp_path / "a.jsonl"
    write_lines(source, [{"id": n, "prompt": text} for n, text in enumerate(("p0", "p1", "bad"))])
    once = {"recovery_wait": 0}
    assert run(opea, source, output, options=once).failures == 2
    is_down = False
    server.seen.clear()
    summary = run(opea, source, output, options=once)
    assert asked(server) == {"p1": 1}
    assert (summary.answered, summary.there_before, summary.failures) == (2, 1, 1)
    assert [line["custom_id"] for line in read_lines(tmp_path / "a.errors.jsonl")] == ["2"]
    server.seen.clear()
    assert run(opea, source, output, options=once, retry_failed=True).failures == 1
    assert asked(server) == {"bad": 1}
    server.always(lambda seen: chat("well"))
    assert run(opea, source, output, options=once, retry_failed=True).exit_code == 0
    assert answers(output) == {"0": "p0", "1": "p1", "2": "well"}
    assert not (tmp_path / "a.errors.jsonl").exists()


def test_a_row_that_changed_is_named_and_asked_only_if_wanted(
    opea: OPEA, server: ScriptedServer, tmp_path: Path
) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "a.jsonl"
    run(opea, write_lines(source, [{"id": n, "prompt": f"p{n}"} for n in range(3)]), output)
    write_lines(source, [{"id": n, "prompt": f"p{n or 'new'}"} for n in range(3)])
    server.seen.clear()
    summary = run(opea, source, output)
    assert (summary.changed, summary.changed_ids, summary.exit_code) == (1, ["0"], 1)
    assert server.seen == []
    assert run(opea, source, output, redo_changed=True).exit_code == 0
    assert answers(output) == {"0": "pnew", "1": "p1", "2": "p2"}
    assert answers(tmp_path / "a.superseded.jsonl") == {"0": "p0"}
    assert run(opea, source, output).exit_code == 0
    assert asked(server) == {"pnew": 1}


def test_an_id_that_stands_twice_is_a_failed_row(opea: OPEA, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [{"id": "a", "prompt": text} for text in "xyx"])
    for _ in range(2):
        summary = run(opea, source, tmp_path / "a.jsonl")
        assert answers(tmp_path / "a.jsonl") == {"a": "x"}
        failed = [line["custom_id"] for line in read_lines(tmp_path / "a.errors.jsonl")]
        assert sorted(failed) == ["a (line 2)", "a (line 3)"]
        assert summary.failures == 2


def test_suspect_answers_are_written_marked_and_counted(
    opea: OPEA, server: ScriptedServer, tmp_path: Path
) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    server.script(chat('{"n": 1}'), chat('{"n"', finish_reason="length"), chat('{"n": "x"}'))
    summary = run(opea, ["a", "b", "c"], tmp_path / "a.jsonl", schema=schema, max_concurrent=1)
    marks = {
        line["custom_id"]: line["opea"].get("suspect") for line in read_lines(tmp_path / "a.jsonl")
    }
    assert marks == {"row-1": None, "row-2": ["length", "schema"], "row-3": ["schema"]}
    assert (summary.suspect, summary.exit_code) == ({"length": 1, "schema": 2}, 0)
    assert (
        run(opea, ["a", "b", "c"], tmp_path / "a.jsonl", schema=schema).suspect == summary.suspect
    )


def test_shards_share_the_rows_and_keep_their_ids(opea: OPEA, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [f"p{n}" for n in range(1, 12)])
    found = dict[str, str]()
    for part in (1, 2, 3):
        output = tmp_path / f"part{part}.jsonl"
        run(opea, source, output, shard=f"{part}/3")
        assert not found.keys() & answers(output).keys()
        found |= answers(output)
    assert found == {f"row-{n}": f"p{n}" for n in range(1, 12)}


def test_a_limit_counts_rows_of_the_input(
    opea: OPEA, server: ScriptedServer, tmp_path: Path
) -> None:
    source = prompts(tmp_path / "in.jsonl", 9)
    for limit in (2, 2, 5):
        assert run(opea, source, tmp_path / "a.jsonl", limit=limit).answered == limit
    assert asked(server) == {f"p{n}": 1 for n in range(5)}


def test_ordered_sorts_the_output(opea: OPEA, server: ScriptedServer, tmp_path: Path) -> None:
    source, output = prompts(tmp_path / "in.jsonl", 30), tmp_path / "a.jsonl"
    run(opea, write_lines(tmp_path / "old.jsonl", [{"id": "old", "prompt": "x"}]), output)
    run(opea, source, output, shard="2/2")
    run(opea, source, output, ordered=True)
    assert list(answers(output)) == [*(f"r{n}" for n in range(30)), "old"]


def test_other_conditions_are_told(opea: OPEA, tmp_path: Path) -> None:
    source, output = prompts(tmp_path / "in.jsonl", 3), tmp_path / "a.jsonl"
    secret = {"extra_headers": {"x-secret": "sesame"}}
    run(opea, source, output, limit=1, options={"temperature": 0.2, **secret})
    told = run(opea, source, output, options={"temperature": 0.5}).warnings
    assert any("options is now" in text and "0.5" in text and "0.2" in text for text in told)
    text = (tmp_path / "a.manifest.json").read_text()
    assert "sesame" not in text
    runs = json.loads(text)["runs"]
    assert [found["ended"]["answered"] for found in runs] == [1, 2]
    assert runs[1]["answered_by"] == ["scripted-model"]


def test_rows_of_several_kinds(opea: OPEA, server: ScriptedServer, tmp_path: Path) -> None:
    server.always(None)
    rows = [
        {
            "custom_id": "e",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"input": ["a", "b"]},
        },
        {"custom_id": "c", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}},
        {
            "custom_id": "m",
            "body": {"model": "other", "messages": [{"role": "user", "content": "x"}]},
        },
    ]
    options = {"temperature": 0.5, "user": "me"}
    run(opea, rows, tmp_path / "a.jsonl", model="scripted-model", options=options)
    found = {
        line["custom_id"]: line["response"]["body"] for line in read_lines(tmp_path / "a.jsonl")
    }
    assert [len(data["embedding"]) for data in found["e"]["data"]] == [8, 8]
    assert "scripted model" in found["c"]["choices"][0]["text"]
    assert found["m"]["choices"][0]["message"]["role"] == "assistant"
    assert {seen.body["model"] for seen in server.seen} == {"scripted-model"}
    assert {seen.body["user"] for seen in server.seen} == {"me"}


def test_rows_and_servers_of_the_responses_dialect(server: ScriptedServer, tmp_path: Path) -> None:
    rows = [
        {"custom_id": "r", "url": "/v1/responses", "body": {"input": "x", "model": "m"}},
        {"custom_id": "c", "body": {"messages": [{"role": "user", "content": "y"}]}},
    ]
    with made(server, model="scripted-model", dialect="responses") as opea:
        summary = run(opea, rows, tmp_path / "a.jsonl")
    lines = read_lines(tmp_path / "a.jsonl")
    found = {line["custom_id"]: line["response"]["body"] for line in lines}
    assert found["r"]["object"] == "response"
    assert found["c"]["object"] == "chat.completion"
    assert "scripted model" in found["c"]["choices"][0]["message"]["content"]
    assert found["c"]["choices"][0]["finish_reason"] == "stop"
    assert {seen.path for seen in server.seen} == {"/v1/responses"}
    assert (summary.answered, summary.prompt_tokens) == (2, 2)


def test_the_server_is_asked_for_its_model_where_nobody_names_one(
    server: ScriptedServer, tmp_path: Path
) -> None:
    with OPEA(base_url=server.url) as opea:
        assert run(opea, ["a"], tmp_path / "a.jsonl").exit_code == 0
    assert [seen.body["model"] for seen in server.seen if seen.body] == ["scripted-model"]


# --- ending early


def test_it_stops_where_nothing_can_work_and_those_rows_are_tried_again(
    opea: OPEA, server: ScriptedServer, tmp_path: Path
) -> None:
    server.always(error(401, "bad key"))
    source = prompts(tmp_path / "in.jsonl", 500)
    summary = run(opea, source, tmp_path / "a.jsonl")
    assert "all failed alike" in (summary.stopped or "")
    assert 5 <= summary.failures < 100
    assert any("OPEA_API_KEY" in line for line in summary.lines())
    server.always(echo)
    assert run(opea, source, tmp_path / "a.jsonl").exit_code == 0
    assert len(answers(tmp_path / "a.jsonl")) == 500


def test_it_stops_after_so_many_failures(opea: OPEA, tmp_path: Path) -> None:
    rows = itertools.chain(["good"], itertools.repeat("bad"))
    summary = run(opea, rows, tmp_path / "a.jsonl", stop_after_errors=3, max_concurrent=2)
    assert 3 <= summary.failures <= 6
    assert "stop_after_errors" in (summary.stopped or "")
    assert summary.exit_code == 1


def test_what_the_input_raises_ends_it_after_what_is_on_its_way(opea: OPEA, tmp_path: Path) -> None:
    def rows() -> Iterator[str]:
        yield from ("a", "b")
        raise OSError("the disk of the input is gone")

    with pytest.raises(OSError, match="the disk of the input is gone"):
        run(opea, rows(), tmp_path / "a.jsonl")
    assert sorted(answers(tmp_path / "a.jsonl").values()) == ["a", "b"]
    assert not (tmp_path / "a.lock").exists()


def endless() -> Iterator[str]:
    return (f"p{n}" for n in itertools.count())


@POSIX
def test_ctrl_c_finishes_what_is_on_its_way(
    opea: OPEA, server: ScriptedServer, tmp_path: Path
) -> None:
    requests = itertools.count(1)

    def pressing(seen: Seen) -> Answer:
        if next(requests) == 20:
            os.kill(os.getpid(), signal.SIGINT)  # Python hears it in the main thread
        return echo(seen)

    server.always(pressing)
    before = signal.getsignal(signal.SIGINT)
    summary = run(opea, endless(), tmp_path / "a.jsonl")
    assert (summary.interrupted, summary.exit_code, summary.failures) == (True, 130, 0)
    assert sorted(answers(tmp_path / "a.jsonl").values()) == sorted(asked(server))
    assert signal.getsignal(signal.SIGINT) is before


@POSIX
def test_ctrl_c_twice_waits_for_nothing(server: ScriptedServer, tmp_path: Path) -> None:
    server.always(faults.hang)
    heard: list[bool] = []
    with made(server, model="scripted-model", max_concurrent=4) as opea:
        presses = threading.Thread(target=_press_twice, args=(opea, server, heard))
        presses.start()
        summary = run(opea, endless(), tmp_path / "a.jsonl")
        presses.join()
        assert opea.get_stats()["in_flight"] == 0
    assert heard == [True]
    assert (summary.interrupted, summary.answered, summary.failures) == (True, 0, 0)
    assert not (tmp_path / "a.lock").exists()


def _press_twice(opea: OPEA, server: ScriptedServer, heard: list[bool]) -> None:
    """The second press comes when the first was heard: nothing waits for a place any more."""
    until(lambda: server.in_flight == 4 and opea.get_stats()["queued"] > 0, "a full server")
    os.kill(os.getpid(), signal.SIGINT)
    try:
        until(lambda: opea.get_stats()["queued"] == 0, "the first Ctrl-C")
        heard.append(True)
    finally:
        os.kill(os.getpid(), signal.SIGINT)


def test_cancelling_leaves_the_output_whole_and_unlocked(
    opea: OPEA, server: ScriptedServer, tmp_path: Path
) -> None:
    async def cancelled() -> None:
        task = asyncio.ensure_future(arun(opea, endless(), tmp_path / "a.jsonl"))
        while len(server.seen) < 10:  # noqa: ASYNC110 - it is another thread that counts
            await asyncio.sleep(0.001)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert set(answers(tmp_path / "a.jsonl").values()) <= set(asked(server))
    assert not (tmp_path / "a.lock").exists()
    assert opea.get_stats()["in_flight"] == 0


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_cancelling_at_the_beginning_leaves_it_unlocked(
    opea: OPEA, tmp_path: Path, steps: int
) -> None:
    async def cancelled() -> None:
        task = asyncio.ensure_future(arun(opea, endless(), tmp_path / "a.jsonl"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert run(opea, ["a"], tmp_path / "a.jsonl").answered == 1


def test_in_a_running_loop_it_works_in_a_thread(opea: OPEA, tmp_path: Path) -> None:
    async def notebook() -> int:
        return run(opea, ["a"], tmp_path / "a.jsonl").exit_code

    assert asyncio.run(notebook()) == 0


# --- what can never work


@pytest.mark.parametrize(
    ("source", "output", "settings", "words"),
    [
        ("none.jsonl", "a.jsonl", {}, "none.jsonl cannot be read: No such file"),
        ("in.jsonl", "none/a.jsonl", {}, "Nothing can be written in"),
        ("in.jsonl", "in.jsonl/a.jsonl", {}, "Nothing can be written in"),
        ("in.jsonl", "a.txt", {}, "form of a.txt"),
        ("in.doc", "a.jsonl", {}, "kind of in.doc"),
        ("in.jsonl", "in.jsonl", {}, "is the input, too"),
        ("in.jsonl", "other.jsonl", {}, "not the output of a run"),
        ("in.jsonl", "notes.csv", {}, "not the output of a run"),
        ("in.csv", "a.jsonl", {}, "no column 'prompt'"),
        ("in.csv", "a.jsonl", {"template": "{tex}"}, "no column 'tex'.*mean 'text'"),
        ("in.jsonl", "a.jsonl", {"ordred": True}, "'ordred'.*mean 'ordered'"),
        ("in.jsonl", "a.jsonl", {"max_concurrent": 0}, "max_concurrent"),
        ("in.jsonl", "a.jsonl", {"schema": "none.json"}, "schema none.json cannot be read"),
        ("in.jsonl", "-", {"ordered": True}, "Standard output"),
        ("in.jsonl", "a.jsonl", {"progress": "loud"}, "progress is 'loud'"),
    ],
)
def test_what_can_never_work_is_told_before_anything_is_sent(
    opea: OPEA,
    server: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    output: str,
    settings: dict[str, Any],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    prompts(tmp_path / "in.jsonl", 3)
    Path("in.csv").write_text("text\na\n")
    Path("notes.csv").write_text("mine\n")
    Path("other.jsonl").write_text('{"prompt": "mine"}\n')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigurationError, match=words):
        run(opea, source, output, **settings)
    assert server.seen == []
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_output_of_the_same_name_is_refused(opea: OPEA, tmp_path: Path) -> None:
    (tmp_path / "a.manifest.json").write_text('{"output": "a.tsv"}')  # which is not there
    run(opea, ["a"], tmp_path / "a.jsonl")
    with pytest.raises(ConfigurationError, match=r"a\.manifest\.json belongs to a\.jsonl"):
        run(opea, ["a"], tmp_path / "a.csv")
