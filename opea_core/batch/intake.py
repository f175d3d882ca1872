"""The rows of a batch that are to be asked, taken from its input as there is room."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

from opea_core.batch.feed import END, Feed
from opea_core.batch.job import Job
from opea_core.batch.ledger import Ledger
from opea_core.batch.rows import Record, Row
from opea_core.batch.sources import Input, chunks

_AT_ONCE = 64
"""Rows of a file that are read together: each hand-over from the reading thread has its price."""


class BrokenInput(Exception):
    """A file that cannot be read any further."""


class Intake:
    """Returns one row after another, until the input or the run is over."""

    def __init__(self, given: Input, job: Job, ledger: Ledger) -> None:
        self._input = given
        self._job = job
        self._ledger = ledger
        self._rows: deque[Row] = deque()
        self._held: Any = None
        """What came instead of the first row."""
        self._stop = asyncio.Event()
        self._feed = Feed(chunks(self._wanted(), _AT_ONCE if given.reads_ahead else 1))

    def _wanted(self) -> Iterator[Row]:
        job, ledger = self._job, self._ledger
        for number, record in self._records():
            if job.limit is not None and ledger.rows >= job.limit:
                break
            if job.takes(number):
                row = job.prompts.row(record, number)
                # OpenAI's form has no columns, and keeping them would take memory for nothing.
                if job.form == "openai":
                    row.columns = None
                if ledger.admit(row):
                    yield row

    def _records(self) -> Iterator[tuple[int, Record]]:
        """Each record and its number; what a caller's own iterable raises is left as it is."""
        try:
            yield from enumerate(self._input, 1)
        except Exception as error:
            # It is an error of the caller's own code, and not one of a file.
            if self._input.is_given:
                raise
            raise BrokenInput(str(error) or type(error).__name__) from error

    async def next(self) -> Any:
        """The next row, END, or what the input raised."""
        if self._held is not None:
            held, self._held = self._held, None
            return held
        if not self._rows and not self._stop.is_set():
            found = await self._read()
            if not isinstance(found, list):
                return found
            self._rows.extend(found)
        return END if self._stop.is_set() else self._rows.popleft()

    async def _read(self) -> Any:
        """Some rows, or END when the run stops first, however long the input is silent."""
        reading = asyncio.ensure_future(self._feed.next())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            # Standard input may be silent for hours, and Ctrl-C must not wait for it.
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return reading.result() if reading.done() else END
        finally:
            for task in (reading, stopping):
                task.cancel()

    async def first(self) -> Row | None:
        """The row that comes next, which stays where it is; None where there is none."""
        found = await self.next()
        if not isinstance(found, Row):
            self._held = found
            return None
        self._rows.appendleft(found)
        return found

    def stop(self) -> None:
        """No further row is wanted."""
        self._stop.set()

    def close(self) -> None:
        """The run is over."""
        self._feed.close()
        self._input.close()
