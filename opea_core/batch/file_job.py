"""A file in, a file out: ``run`` and ``arun``, which go on where an earlier run ended."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from opea_core.batch.job import (
    STDOUT,
    Job,
    Limit,
    Paths,
    read_count,
    read_form,
    read_schema,
    read_shard,
    read_template,
)
from opea_core.batch.manifest import shown_options
from opea_core.batch.progress import Progress, Silent, chosen
from opea_core.batch.sources import Input, Source, pyarrow_parquet
from opea_core.batch.summary import Summary
from opea_core.batch.templates import Template
from opea_core.batch.work import Batch
from opea_core.errors import ConfigurationError, nearest
from opea_core.transport.permit_holders import Caller

if TYPE_CHECKING:
    from typing import Unpack

    from opea_core.opea import OPEA


class BatchOptions(TypedDict, total=False):
    """Keywords of ``run`` that are not options of its calls."""

    template: str | None
    system: str | None
    model: str | None
    schema: str | os.PathLike[str] | Mapping[str, Any] | None
    max_concurrent: int | None
    limit: int | None
    shard: str | None
    retry_failed: bool
    redo_changed: bool
    ordered: bool
    form: str | None
    stop_after_errors: int | str | None
    progress: str


_OWN = frozenset(BatchOptions.__annotations__)


def run(
    opea: OPEA,
    source: Source,
    output: str | os.PathLike[str],
    *,
    options: Mapping[str, Any] | None = None,
    **settings: Unpack[BatchOptions],
) -> Summary:
    """Ask every row of a file, and write the answers to another; the same call again goes on.

    Args:
        opea: the object to ask.
        source: a path (JSONL, CSV, TSV, Parquet; the first three also ``.gz`` and ``.zst``), ``-``
            for standard input, or an iterable of requests as ``chat_many`` takes them.
        output: a path (JSONL, CSV, TSV, Parquet), or ``-`` for standard output.
        options: of every call, as ``chat`` takes them: ``{"temperature": 0.2}``.
        settings: ``template`` ("Translate: {text}"), ``system``, ``model`` (before that of a row),
            ``schema`` (a file, a schema, or OpenAI's form of one), ``max_concurrent``, ``limit``
            (rows), ``shard`` ("2/8", counted from 1), ``retry_failed`` (final failures too),
            ``redo_changed`` (rows whose request is not the one answered), ``ordered``, ``form``
            ("openai" or "flat", for JSONL), ``stop_after_errors`` (20, or "5%"), ``progress``
            ("auto", "bar", "lines", or "none", which is the default).

    An error of a row is a line beside the output, and never raised. Ctrl-C finishes what is on its
    way, a second one does not; either way the summary says ``interrupted``. Raises
    ConfigurationError, before anything is sent, for what can never work.
    """
    batch, progress = _made(opea, source, output, options, settings)
    with _interruptible(batch) as started:

        async def main() -> Summary:
            started(asyncio.get_running_loop())
            try:
                return await _counted(batch, progress)
            except asyncio.CancelledError:  # Ctrl-C twice, before anything was begun
                raise KeyboardInterrupt from None

        return _completed(main)


async def arun(
    opea: OPEA,
    source: Source,
    output: str | os.PathLike[str],
    *,
    options: Mapping[str, Any] | None = None,
    **settings: Unpack[BatchOptions],
) -> Summary:
    """``run`` for async code; cancelling it ends it at once, and the output stays whole."""
    batch, progress = _made(opea, source, output, options, settings)
    return await _counted(batch, progress)


def _made(
    opea: OPEA,
    source: Source,
    output: str | os.PathLike[str],
    options: Mapping[str, Any] | None,
    settings: BatchOptions,
) -> tuple[Batch, Progress]:
    """The batch, checked as far as that is possible without touching the output."""
    # A misspelled setting would change what is asked without a word.
    unknown = next((name for name in settings if name not in _OWN), None)
    if unknown is not None:
        raise ConfigurationError(
            f"There is no setting {unknown!r} of a batch.{nearest(unknown, _OWN)}",
            "Options of the calls go into options={...}.",
        )
    if opea._engine.drivers.only_sync:
        raise ConfigurationError(
            "A batch is asked in an event loop, and only a sync HTTP client was given.",
            "Give async_http_client= too, so that its calls go the same way.",
        )
    progress = chosen(settings.get("progress", "none"))
    given = Input(source)
    try:
        job = _job(opea, given, output, dict(options or {}), settings)
    except BaseException:
        given.close()
        raise
    return Batch(opea, given, job), progress


def _job(
    opea: OPEA,
    given: Input,
    output: str | os.PathLike[str],
    options: dict[str, Any],
    settings: BatchOptions,
) -> Job:
    prompts = read_template(settings.get("template"), settings.get("system"))
    if given.columns is not None:
        (prompts.template or Template("{prompt}")).check(given.columns)
    form = read_form(output, settings.get("form"))
    # Asked for now, and not after hours when the output is written.
    if form == "parquet":
        pyarrow_parquet()
    schema, asked = read_schema(settings.get("schema"))
    if asked is not None:
        options["output_schema"] = asked
    if _is_same(given, output):
        raise ConfigurationError(f"{output} is the input, too.", "Choose another output.")
    # An option that is wrong would fail every row alike.
    opea._engine.calls.chat("checked now, before any row", options, stream=False)
    paths = None if output == STDOUT else Paths.of(Path(output), form)
    if paths is None and (settings.get("ordered") or settings.get("redo_changed")):
        raise ConfigurationError("Standard output can be neither sorted nor changed afterwards.")
    return Job(
        paths=paths,
        form=form,
        prompts=prompts,
        options=options,
        model=settings.get("model"),
        schema=schema,
        most=read_count("max_concurrent", settings.get("max_concurrent")),
        limit=read_count("limit", settings.get("limit")),
        shard=read_shard(settings.get("shard")),
        stop_after=Limit.of(settings.get("stop_after_errors")),
        retry_failed=bool(settings.get("retry_failed")),
        redo_changed=bool(settings.get("redo_changed")),
        ordered=bool(settings.get("ordered")),
        conditions=_conditions(opea, options, settings),
    )


def _is_same(given: Input, output: str | os.PathLike[str]) -> bool:
    """Whether the output is the very file that is read."""
    if given.path is None or given.is_stdin or output == STDOUT or not os.path.exists(output):
        return False
    return os.path.samefile(given.path, output)


def _conditions(opea: OPEA, options: Mapping[str, Any], settings: BatchOptions) -> Any:
    """Under what a run asks, as the manifest notes it: plain values, and no secret among them."""
    conditions = {
        "servers": [endpoint.url.root for endpoint in opea.endpoints],
        "model": settings.get("model") or opea.model,
        "options": shown_options(options),
        "template": settings.get("template"),
        "system": settings.get("system"),
    }
    # As they are read back from the file, so that both can be compared.
    return json.loads(json.dumps(conditions, default=str))


async def _counted(batch: Batch, progress: Progress) -> Summary:
    """Run it, and meanwhile find out how many rows there are, if somebody looks."""
    counting = None
    if not isinstance(progress, Silent):
        counting = asyncio.ensure_future(_count(batch))
    try:
        return await batch.run(progress)
    finally:
        if counting is not None:
            counting.cancel()


async def _count(batch: Batch) -> None:
    """It is for the share and the time left alone, so what cannot be counted stays unknown."""
    with contextlib.suppress(Exception):
        batch.total = await asyncio.to_thread(batch.count)


def _completed(main: Callable[[], Coroutine[Any, Any, Summary]]) -> Summary:
    """The result of a coroutine function; in a thread where this one has a running loop."""
    with Caller().blocks():
        return _completed_for_caller(main)


def _completed_for_caller(main: Callable[[], Coroutine[Any, Any, Summary]]) -> Summary:
    if not _has_running_loop():
        return asyncio.run(main())
    # A notebook's loop runs in this thread already, and asyncio.run would refuse to begin.
    result: Future[Summary] = Future()

    def work() -> None:
        try:
            result.set_result(asyncio.run(main()))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            result.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name="opea-batch").start()
    return result.result()


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def _interruptible(
    batch: Batch,
) -> Iterator[Callable[[asyncio.AbstractEventLoop], None]]:
    """Let Ctrl-C end the batch; yields what is to be told the loop in which it runs."""
    loops = list[asyncio.AbstractEventLoop]()

    def interrupted(*_: object) -> None:
        # Before the loop runs there is nothing to finish.
        if not loops:
            raise KeyboardInterrupt
        with contextlib.suppress(RuntimeError):  # the loop is closed: it is over
            loops[0].call_soon_threadsafe(batch.interrupt)

    # Python takes handlers of signals in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield loops.append
        return
    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield loops.append
    finally:
        signal.signal(signal.SIGINT, before)
