"""What is left after a crash, and that a run goes on from it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from asking import made
from jobs import POSIX, answers, asked, echo, prompts, read_lines
from torture import KILLED, instructions, play

from opea_core import ConfigurationError
from opea_core.batch import journal, lock, run
from opea_core.batch.job import Paths
from opea_core.batch.journal import Appender, Entry, read_entry, repair
from opea_core.testing import ScriptedServer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An output of five rows."""
    folder = tmp_path_factory.mktemp("whole")
    with ScriptedServer() as server, made(server) as opea:
        server.always(echo)
        run(opea, prompts(folder / "in.jsonl", 5), folder / "a.jsonl", model="scripted-model")
    return (folder / "a.jsonl").read_bytes()


def mended(path: Path) -> list[Entry]:
    found: list[Entry] = []
    repair(path, path.with_name("aside"), found.append)
    return found


def test_a_file_cut_at_any_byte_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rest = b'","custom_id":"\xc3\xa4","opea":{"hash":"%s"}}\n' % (b"0" * 32)
    lines = [b'{"id":"batch_req_' + row + rest for row in (b"1", b"2")]
    whole = b"".join(lines)
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        found = mended(path)
        # A line that lacks nothing but its end is whole.
        count = whole[: size + 1].count(b"\n")
        assert len(found) == count
        assert path.read_bytes() == b"".join(lines[:count])
    assert not (tmp_path / "aside").exists()


def test_a_run_goes_on_from_a_file_cut_anywhere(
    server: ScriptedServer, whole: bytes, tmp_path: Path
) -> None:
    server.always(echo)
    source, output = prompts(tmp_path / "in.jsonl", 5), tmp_path / "a.jsonl"
    with made(server, model="scripted-model") as opea:
        for size in range(1, len(whole), 97):
            server.seen.clear()
            output.write_bytes(whole[:size])
            summary = run(opea, source, output)
            assert answers(output) == {f"r{n}": f"p{n}" for n in range(5)}
            assert sum(asked(server).values()) == 5 - summary.there_before
            assert summary.there_before == whole[: size + 1].count(b"\n")


def test_what_cannot_be_read_in_the_middle_is_kept_aside(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = whole.splitlines(keepends=True)
    zeros = b"\0" * 100 + b"\n"
    path.write_bytes(b"".join([lines[0], zeros, lines[1], b"x\n", lines[2], b'{"id":"bat']))
    assert len(mended(path)) == 3
    assert path.read_bytes() == b"".join(lines[:3])
    assert (tmp_path / "aside").read_bytes() == zeros + b"x\n"


@pytest.mark.parametrize(
    "text", [b"mine\n", b"{}\n", b'{"id":"other","custom_id":"1"}\n', b"\n", b"\xff\xfe"]
)
def test_a_file_of_somebody_else_is_left_alone(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match="not the output of a run"):
        mended(path)
    assert path.read_bytes() == text


def test_a_line_is_ours_only_with_an_id_and_a_hash(whole: bytes) -> None:
    line = whole.splitlines()[0]
    assert read_entry(line) is not None
    assert read_entry(line.replace(b'"hash"', b'"hsah"')) is None
    assert read_entry(line.replace(b'"custom_id":"', b'"custom_id":1,"x":"')) is None


@pytest.mark.parametrize("end", ["superseded", "output"])
def test_a_run_that_is_killed_while_it_moves_old_answers(
    server: ScriptedServer, tmp_path: Path, end: str
) -> None:
    """Both answers of a row are in the output then; the superseded one may be moved already."""
    server.always(echo)
    old, new = ({"id": "a", "prompt": text} for text in ("old", "new"))
    output, moved = tmp_path / "a.jsonl", tmp_path / "a.superseded.jsonl"
    with made(server, model="scripted-model") as opea:
        run(opea, [old], output)
        before = output.read_bytes()
        run(opea, [new], output, redo_changed=True)
        if end == "output":
            moved.unlink()
        output.write_bytes(before + output.read_bytes())
        assert run(opea, [new], output).exit_code == 0
    assert (answers(output), answers(moved)) == ({"a": "new"}, {"a": "old"})


# --- one writer at a time


HOLD = """
import os, sys
from pathlib import Path
from opea_core.batch.lock import Lock
held = Lock(Path(sys.argv[1]), Path("a.jsonl"))
print("held", flush=True)
sys.stdin.read()
"""


@POSIX
def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    line = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConfigurationError, match=f"written by process {holder.pid} on "):
            lock.Lock(path, tmp_path / "a.jsonl")
        holder.kill()
    assert path.exists()
    lock.Lock(path, tmp_path / "a.jsonl").release()
    assert not path.exists()


@POSIX
def test_a_lock_file_that_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text("who knows")
    held = lock.Lock(path, tmp_path / "a.jsonl")
    path.write_text("{")
    with pytest.raises(ConfigurationError, match="another process"):
        lock.Lock(path, tmp_path / "a.jsonl")
    held.release()


def test_a_second_run_is_refused_while_the_first_one_writes(
    server: ScriptedServer, tmp_path: Path
) -> None:
    paths = Paths.of(tmp_path / "a.jsonl", "openai")
    held = lock.Lock(paths.lock, paths.output)
    with made(server) as opea, pytest.raises(ConfigurationError, match="is being written by"):
        run(opea, ["a"], paths.output)
    held.release()
    assert server.seen == []


# --- disks


@POSIX
def test_a_full_disk_leaves_nothing_of_a_line(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from opea_core.batch.journal import Appender
resource.setrlimit(resource.RLIMIT_FSIZE, (25, 25))
file = Appender(Path(sys.argv[1]))
file.append(b"0123456789\\n")
file.append(b"0123456789\\n")
try:
    file.append(b"0123456789\\n")
except OSError as error:
    print(error.errno)
file.append(b"ab\\n")
file.close()
"""
    path = tmp_path / "a"
    line = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout == f"{errno.EFBIG}\n"
    assert path.read_bytes() == b"0123456789\n" * 2 + b"ab\n"


@POSIX
def test_a_run_on_a_full_disk_says_so_and_goes_on_later(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.always(echo)
    source, output = prompts(tmp_path / "in.jsonl", 30), tmp_path / "a.jsonl"
    line = [sys.executable, str(KILLED), server.url, str(source), str(output), "-1", "4000"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a.jsonl cannot be written: File too large" in done.stderr
    there = len(answers(output))
    assert 0 < there < 30
    server.seen.clear()
    with made(server, model="scripted-model") as opea:
        assert run(opea, source, output).exit_code == 0
    assert (len(answers(output)), len(server.seen)) == (30, 30 - there)


def test_a_replacement_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write() -> None:
        with journal.replacing(path) as file:
            file.write(b"new")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space"):
        write()
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"old"]


def test_an_appender_starts_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for line in (b"1\n", b"2\n"):
        file = Appender(path)
        file.append(line)
        file.close()
    assert path.read_bytes() == b"1\n2\n"


# --- killed


@POSIX
def test_killed_at_random_instructions_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    """One small round; ``make batch-torture`` plays fifty larger ones."""
    with ScriptedServer() as server:
        server.always(echo)
        (tmp_path / "whole").mkdir()
        count = instructions(server, tmp_path / "whole", 10)
        assert count > 5000
        (tmp_path / "round").mkdir()
        found = play(server, tmp_path / "round", 10, count, seed=2)
        try:
            assert found.done["killed"] > 0
            assert found.check() == (0, 0)
        finally:
            found.close()
        assert list(tmp_path.rglob("*.new")) == []


def test_the_first_answer_is_in_the_file_before_the_last_is_asked(
    server: ScriptedServer, tmp_path: Path
) -> None:
    """Nothing is held back: what was answered is there, whatever happens to the process then."""
    server.always(echo)
    output = tmp_path / "a.jsonl"
    seen: list[int] = []

    def rows() -> object:
        for number in range(200):
            seen.append(len(read_lines(output)))
            yield f"p{number}"

    with made(server, model="scripted-model") as opea:
        run(opea, rows(), output, max_concurrent=2)  # type: ignore[arg-type]
    assert 0 < seen[30] <= 30
