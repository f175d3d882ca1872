"""What became of each row, across runs: which rows are still to be asked."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from opea_core.batch.identity import Digests, State, hash_digest, id_digest
from opea_core.batch.journal import Entry
from opea_core.batch.rows import Row
from opea_core.display_text import fit
from opea_core.errors import ConfigurationError

_NAMED, _SHOWN = 10, 100


class Ledger:
    """Decides for each row of the input whether it is asked, and counts.

    Rows are admitted in the thread that reads the input, and answered in the event loop.
    """

    def __init__(self, retry_failed: bool = False, redo_changed: bool = False) -> None:
        self._retry_failed = retry_failed
        self._redo_changed = redo_changed
        self._digests = Digests()
        self._lock = threading.Lock()
        self.order: Any = None
        """The digests of the ids in the order of the input, if somebody wants them."""
        self.rows = 0
        """Rows that were read from the input."""
        self.there = 0
        """Rows that had an answer before."""
        self.given_up = 0
        """Rows that failed for good before, and are not tried again."""
        self.changed = 0
        self.changed_ids: list[str] = []
        """The first of the rows whose request is not the one that was answered."""
        self.suspect: Counter[str] = Counter()
        self.found = False
        """Whether earlier runs left anything."""
        self.untidy = False
        """Whether lines must be taken out of the output at the end."""

    # --- what earlier runs left

    def found_answer(self, entry: Entry) -> None:
        """A line of the output."""
        self.found = True
        digest = id_digest(entry.id)
        if self._digests.state(digest):
            self.untidy = True  # a run that asked changed rows again was killed
        self._digests.put(digest, hash_digest(entry.hash), State.ANSWERED)
        self.suspect.update(entry.document["opea"].get("suspect", ()))

    def found_failure(self, entry: Entry) -> None:
        """A line of the errors; an answer in the output counts more."""
        self.found = True
        digest = id_digest(entry.id)
        # A row that failed once may have been answered by a later run.
        if self._digests.state(digest) is not State.ANSWERED:
            may_help = entry.document["opea"].get("retryable", True)
            state = State.FAILED if may_help else State.REFUSED
            self._digests.put(digest, hash_digest(entry.hash), state)

    # --- this run

    def admit(self, row: Row) -> bool:
        """Whether a row of the input is to be asked; one whose id was there before gets another."""
        with self._lock:
            self.rows += 1
            digest = id_digest(row.id)
            # Two rows with one id could not be told apart in the output.
            if self._digests.state(digest) and self._digests.see(digest):
                row.problem = ConfigurationError(
                    f"Line {row.line}: the id {row.id!r} stands in the input twice."
                )
                row.id = f"{row.id} (line {row.line})"
                digest = id_digest(row.id)
            return self._admit(row, digest)

    def _admit(self, row: Row, digest: int) -> bool:
        request = hash_digest(row.hash)
        # An id alone would hand out the answer to another request (M10).
        state, is_same = self._digests.state(digest), self._digests.request(digest) == request
        wanted = True
        if state is State.ANSWERED:
            wanted = not is_same and self._redo_changed
            self.there += is_same
            if wanted:
                self._digests.put(digest, request, State.REPLACED)
                self.untidy = True
            elif not is_same:
                self._note_change(row.id)
        # To ask again what is refused for good only costs the server work (M11).
        elif state is State.REFUSED and is_same and not self._retry_failed:
            wanted = False
            self.given_up += 1
        else:
            self._digests.put(digest, request, State.OPEN)
        self._digests.see(digest)
        if self.order is not None:
            self.order.append(digest)
        return wanted

    def _note_change(self, row_id: str) -> None:
        self.changed += 1
        if len(self.changed_ids) < _NAMED:
            self.changed_ids.append(fit(row_id, _SHOWN))

    def note(self, row: Row, state: State) -> None:
        """What became of a row that was asked."""
        with self._lock:
            self._digests.put(id_digest(row.id), hash_digest(row.hash), state)

    # --- afterwards

    def is_current(self, entry: Entry) -> bool:
        """Whether a line of the output answers the request that its row has now."""
        digest = id_digest(entry.id)
        return self._digests.request(digest) == hash_digest(entry.hash)

    def is_failed(self, entry: Entry) -> bool:
        """Whether a line of the errors still tells how its row stands."""
        digest = id_digest(entry.id)
        failed = (State.FAILED, State.REFUSED, State.OPEN)
        return self._digests.state(digest) in failed and self.is_current(entry)
