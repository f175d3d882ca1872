"""A batch at work: rows go out, and what comes of them is written as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from opea_core import errors
from opea_core.batch.dialects import from_responses
from opea_core.batch.files import Files, Folder, Stdout
from opea_core.batch.identity import State
from opea_core.batch.intake import BrokenInput, Intake
from opea_core.batch.job import Job
from opea_core.batch.ledger import Ledger
from opea_core.batch.many import AsyncMany
from opea_core.batch.outcome import Response, answer_line, error_line, may_help
from opea_core.batch.result import Result
from opea_core.batch.rows import FIELD, Row
from opea_core.batch.sources import Input
from opea_core.batch.summary import Summary
from opea_core.flow.embed import check_inputs
from opea_core.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from opea_core.batch.progress import Progress
    from opea_core.calls import Call
    from opea_core.opea import OPEA

_RECOVERY_WAIT = 600.0
"""Seconds that calls wait for a server to come back, where the call does not say."""


class _Unsent(errors.OPEAError):
    """A row that was taken and not sent, because the run is to end."""


class _Unwritable(Exception):
    """What was answered cannot be written."""


class Batch:
    """One run over an input."""

    def __init__(self, opea: OPEA, given: Input, job: Job) -> None:
        self.job = job
        self.opea = opea
        self.ledger = Ledger(job.retry_failed, job.redo_changed)
        self.answered = 0
        """Rows answered in this run."""
        self.failed: Counter[str] = Counter()
        """Rows that failed in this run, by class of error."""
        self.running = 0
        """Calls that are on their way, or wait for a permit."""
        self.total: int | None = None
        """Rows of the whole input, where that is known."""
        self.is_stopping = False
        self.started = time.monotonic()
        self._input = given
        self._intake = Intake(given, job, self.ledger)
        self._waiting = set[asyncio.Task[Any]]()
        self._cut = set[asyncio.Task[Any]]()
        self._interrupts = 0
        self._is_ending = False
        self._task: asyncio.Task[Any] | None = None
        self._tokens = [0, 0]
        self.stopped: str | None = None

    def count(self) -> int | None:
        """Rows that this run may have to ask; None where that cannot be known before the end."""
        rows = self._input.count()
        if rows is None:
            return None
        part, parts = self.job.shard
        rows = (rows - part + parts - 1) // parts
        return rows if self.job.limit is None else min(rows, self.job.limit)

    # --- ending early

    def interrupt(self) -> None:
        """Once: send nothing more, and wait for what is on its way. Twice: wait for nothing."""
        self._interrupts += 1
        self.stop(None)
        # Files that are being put in order are not left half done, however often Ctrl-C comes.
        if self._interrupts == 2 and self._task is not None and not self._is_ending:
            self._task.cancel()

    def stop(self, reason: str | None) -> None:
        """Send nothing more; what has no permit yet is not waited for."""
        self.stopped = self.stopped or reason
        self.is_stopping = True
        self._intake.stop()
        # What waits has cost the server nothing, and what is in flight is nearly there (M14).
        for task in self._waiting - self._cut:
            self._cut.add(task)
            task.cancel()

    # --- the run

    async def run(self, progress: Progress) -> Summary:
        """Ask every row that is to be asked; raises ConfigurationError if nothing can be begun."""
        self._task = asyncio.current_task()
        try:
            files = await self._files()
            return await self._run(files, progress)
        finally:
            self._intake.close()

    async def _files(self) -> Files:
        """Where answers go; what is there is read and repaired, which may take a while."""
        job = self.job
        if job.paths is None:
            return Stdout()
        # An output of 200,000 rows takes seconds to read, and the event loop is the caller's.
        opening = asyncio.ensure_future(asyncio.to_thread(Folder, job.paths, job, self.ledger))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            with contextlib.suppress(errors.ConfigurationError):
                folder = await opening  # its thread cannot be stopped, and holds the lock
                await asyncio.to_thread(folder.finish, None, False)
            raise

    async def _run(self, files: Files, progress: Progress) -> Summary:
        helpers = list[asyncio.Task[None]]()
        tidily = False
        try:
            await self._name_the_model()
            helpers.append(asyncio.ensure_future(files.sync_often()))
            helpers.append(asyncio.ensure_future(progress.show(self)))
            await self._work(files)
            tidily = True
        except asyncio.CancelledError:
            if self._interrupts < 2 or self._task is None:
                raise
            # It was Ctrl-C for the second time, which ends with a summary, not an exception.
            self._task.uncancel()
        finally:
            await self._end(files, helpers, tidily)
        return self._summary(files)

    async def _name_the_model(self) -> None:
        """Ask the server for its model where neither the run nor the first row names one."""
        first = await self._intake.first()
        if first is None or first.problem is not None or "model" in first.body:
            return
        if self.job.model is None and self.opea.model is None:
            await self.opea.adiscover()

    async def _work(self, files: Files) -> None:
        many: AsyncMany[Response] = AsyncMany(self._intake, self._ask, False, self.job.most)
        try:
            async for result in many:
                self._write(files, result)
                if files.problem is not None:
                    self.stop(files.problem)
        except _Unwritable as error:
            self.stop(str(error))
        except BrokenInput as error:
            self.stop(f"the input cannot be read any further: {error}")
        finally:
            self.stopped = self.stopped or many.stopped
            await many.aclose()

    async def _end(self, files: Files, helpers: list[asyncio.Task[None]], tidily: bool) -> None:
        self._is_ending = True
        for task in helpers:
            task.cancel()
        for found in await asyncio.gather(*helpers, return_exceptions=True):
            # Neither is worth an answer: the run has ended, and what was written is whole.
            if isinstance(found, Exception):
                logger.warning("What showed the batch, or synced it, failed: %r", found)
        counts = {"answered": self.answered, "failed": sum(self.failed.values())}
        finishing = asyncio.to_thread(files.finish, self._input.columns, tidily, **counts)
        # Cancelled in between, it would leave files that are half tidied.
        await asyncio.shield(finishing)

    # --- one row

    async def _ask(self, row: Row, on_place: Callable[[bool], None]) -> Response:
        if row.problem is not None:
            raise row.problem
        if self.is_stopping:
            raise _Unsent("The run is to end.")
        task = asyncio.current_task()
        assert task is not None
        call = self._call(row)

        def placed(has_place: bool) -> None:
            (self._waiting.discard if has_place else self._waiting.add)(task)
            on_place(has_place)

        call.spec.on_place = placed
        self.running += 1
        try:
            answer = await self.opea._engine.arun(call)
            response: Response = from_responses(answer) if row.kind == "responses" else answer
            return response
        except asyncio.CancelledError:
            if task not in self._cut:
                raise
            # Cancelled by ``stop``, and so the row is only not sent.
            task.uncancel()
            raise _Unsent("The run is to end.") from None
        finally:
            self.running -= 1
            self._waiting.discard(task)
            self._cut.discard(task)

    def _call(self, row: Row) -> Call:
        body = dict(row.body)
        if self.job.model is not None:
            # It wins over the row's, so that files written for another server can be used.
            body["model"] = self.job.model
        given = {"recovery_wait": _RECOVERY_WAIT, **self.job.options}
        # A row that says how it wants its answer is asked that way.
        if row.kind != "chat" or "response_format" in body:
            given.pop("output_schema", None)
        asked = body.pop(FIELD[row.kind])
        # A row's own fields win over those of the whole run.
        options = {name: value for name, value in given.items() if name not in body}
        options["extra_body"] = {**(given.get("extra_body") or {}), **body}
        calls = self.opea._engine.calls
        if row.kind == "chat":
            return calls.chat(asked, options, stream=False)
        if row.kind == "completion":
            return calls.completion(asked, options, stream=False)
        if row.kind == "responses":
            return calls.responses(asked, options, stream=False)
        return calls.embeddings(check_inputs(asked), options)

    def _write(self, files: Files, result: Result[Response]) -> None:
        row: Row = result.request
        # It is neither answered nor failed, so the next run asks it.
        if isinstance(result.error, _Unsent):
            return
        try:
            if result.error is None:
                self._write_answer(files, row, result.unwrap())
            else:
                self._write_failure(files, row, result.error)
        except OSError as error:
            where = self.job.paths.journal if self.job.paths is not None else "standard output"
            # To go on would ask for answers that cannot be kept (M15).
            raise _Unwritable(
                f"{where} cannot be written: {error.strerror or error}. What was written is whole; "
                "make room, and run the same command again."
            ) from None

    def _write_answer(self, files: Files, row: Row, response: Response) -> None:
        line, suspect = answer_line(row, response, self.job.schema, row.columns)
        # The file first: what the ledger counts must be there after a kill.
        files.answer(line, response.model)
        self.ledger.note(row, State.ANSWERED)
        self.ledger.suspect.update(suspect)
        self.answered += 1
        if response.usage is not None:
            self._tokens[0] += response.usage.prompt_tokens or 0
            self._tokens[1] += response.usage.completion_tokens or 0

    def _write_failure(self, files: Files, row: Row, error: errors.OPEAError) -> None:
        files.failure(error_line(row, error))
        self.ledger.note(row, State.FAILED if may_help(error) else State.REFUSED)
        self.failed[type(error).__name__] += 1
        failed = sum(self.failed.values())
        limit = self.job.stop_after
        if limit is not None and limit.is_reached(failed, failed + self.answered):
            self.stop(f"{failed} rows failed, and stop_after_errors says to stop then")

    # --- figures

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens in and out of this run, as the servers counted them."""
        return self._tokens[0], self._tokens[1]

    def _summary(self, files: Files) -> Summary:
        ledger, paths = self.ledger, self.job.paths
        failed = files.failures()
        return Summary(
            output=str(paths.output) if paths is not None else "-",
            errors_file=str(paths.errors) if paths is not None and failed else None,
            rows=ledger.rows,
            answered=ledger.there + self.answered,
            there_before=ledger.there,
            suspect=dict(ledger.suspect),
            failed=failed,
            changed=ledger.changed,
            changed_ids=list(ledger.changed_ids),
            prompt_tokens=self._tokens[0],
            completion_tokens=self._tokens[1],
            seconds=time.monotonic() - self.started,
            stopped=self.stopped or files.problem,
            interrupted=self._interrupts > 0,
            warnings=list(files.warnings),
        )
