"""Batches that lose, double or hide rows, or hold on to what they should let go of."""

from __future__ import annotations

from variant import Variant

_BATCH = "opea_core/batch/"
_TESTS = "tests/core/batch/"
_CRASH = _TESTS + "test_batch_crash.py -k 'not killed_at_random'"
_RUN = _TESTS + "test_batch_run.py"
_SIMULATED = "tests/core/simulation/test_jobs.py"

VARIANTS = [
    Variant(
        "M9: what is torn is not cut off",
        _BATCH + "journal.py",
        "os.truncate(path, good)",
        "pass",
        _CRASH,
    ),
    Variant(
        "M9: what cannot be read is thrown away",
        _BATCH + "journal.py",
        "file.writelines(line if",
        "file.writelines(b'' if",
        _CRASH,
    ),
    Variant(
        "M9: a line without its end is not ended",
        _BATCH + "journal.py",
        'file.write(b"\\n")  # cut',
        'file.write(b"")  # cut',
        _CRASH,
    ),
    Variant(
        "M8: a file of somebody else is taken for an output",
        _BATCH + "journal.py",
        "if not good and tail and not _may_be_ours(tail[0]):",
        "if False:",
        _CRASH,
    ),
    Variant(
        "M15: what does not fit on the disk stays",
        _BATCH + "journal.py",
        "os.ftruncate(self._file, self._size)",
        "pass",
        _CRASH,
    ),
    Variant(
        "M10: the id alone says that a row is there",
        _BATCH + "ledger.py",
        "state, is_same = self._digests.state(digest), self._digests.request(digest) == request",
        "state, is_same = self._digests.state(digest), True",
        _RUN,
    ),
    Variant(
        "M11: what failed for good is asked again",
        _BATCH + "ledger.py",
        "elif state is State.REFUSED and is_same and not self._retry_failed:",
        "elif False:",
        _RUN,
    ),
    Variant(
        "M11: a refused key is final",
        _BATCH + "outcome.py",
        "return isinstance(error, _MENDED)",
        "return False",
        _RUN,
    ),
    Variant(
        "M12: old answers are not moved",
        _BATCH + "files.py",
        "if tidily and ledger.untidy:",
        "if False:",
        _RUN + " -k changed",
    ),
    Variant(
        "M13: the lock is never taken",
        _BATCH + "lock.py",
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        _CRASH,
    ),
    Variant(
        "M14: rows that wait are waited for after Ctrl-C",
        _BATCH + "work.py",
        "        for task in self._waiting - self._cut:\n",
        "        for task in self._cut:\n",
        _RUN + " -k ctrl_c_twice",
    ),
    Variant(
        "M14: rows that were not sent are failures",
        _BATCH + "work.py",
        "        if isinstance(result.error, _Unsent):\n            return\n",
        "",
        _RUN + " -k ctrl_c",
    ),
    Variant(
        "M8: an id that stands twice is asked twice",
        _BATCH + "ledger.py",
        "if self._digests.state(digest) and self._digests.see(digest):",
        "if False:",
        _RUN,
    ),
    Variant(
        "M7: a bad text costs its whole batch",
        _BATCH + "vectors.py",
        "if len(texts) == 1 or not self._splits:",
        "if True:",
        _TESTS + "test_embed_many.py",
    ),
    Variant(
        "M1: rows are sent however many wait",
        _BATCH + "window.py",
        "and len(self._waiting) < _SPARE",
        "and len(self._waiting) < _MOST",
        _SIMULATED,
    ),
    Variant(
        "M1: a row that was told to wait does not count",
        _BATCH + "window.py",
        "(self._waiting.discard if has_one else self._waiting.add)(index)",
        "self._waiting.discard(index)",
        _SIMULATED,
    ),
    Variant(
        "M10: the index is there twice while it grows",
        _BATCH + "identity.py",
        "_PARTS = 16",
        "_PARTS = 1",
        _TESTS + "test_batch_parts.py -k digests",
    ),
]
