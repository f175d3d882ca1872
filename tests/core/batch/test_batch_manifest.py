"""The manifest beside an output: what is damaged in it counts as not there, as it only warns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opea_core.batch.manifest import Manifest

DAMAGED = (
    b"", b"null", b"[1,2]", b"[" * 100_000, b"\xff\xfe", b'{"runs":null}', b'{"runs":5}',
    b'{"runs":[5,null,[]]}', b'{"runs":[{"answered_by":5,"servers":1}]}',
    b'{"runs":[{"answered_by":null,"model":{"a":[]}}]}', b'{"runs":[{"model":"\\ud800"}]}',
    b'{"output":5}', b'{"output":["a"]}', b'{"output":""}', b'{"output":"/"}', b'{"output":".."}',
    b'{"output":"../../etc/passwd"}', b'{"output":"a\\u0000b"}', b'{"output":"\\ud800"}',
    b'{"output":"' + b"x" * 5000 + b'"}', b'{"runs":[{"started":' + b"9" * 5000 + b"}]}",
)  # fmt: skip


@pytest.mark.parametrize("data", DAMAGED, ids=lambda data: repr(data[:40]))
def test_a_damaged_manifest_is_written_anew(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.manifest.json"
    path.write_bytes(data)
    Manifest(path, "a.jsonl", {"model": "m"}).write(answered=1)
    document = json.loads(path.read_text("utf-8"))
    assert document["output"] == "a.jsonl"
    assert document["runs"][-1]["answered"] == 1
    # It can be read again, and what it keeps of the damaged one does no harm.
    assert Manifest(path, "a.jsonl", {"model": "m"}).differences == []
