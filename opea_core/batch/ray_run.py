"""``opea batch --ray``: the rows of files that Ray reads, asked by its actors, written by Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from opea_core.batch.summary import FailureKind, Summary, spoken
from opea_core.errors import ConfigurationError, OPEAError
from opea_core.lazy_imports import importing

_READERS = {".parquet": "read_parquet", ".jsonl": "read_json", ".csv": "read_csv"}
_WRITERS = {".parquet": "write_parquet", ".jsonl": "write_json"}
_IDS = ("id", "custom_id")
_BATCH = 64
"""Rows of a batch: an actor has four batches at a time, so up to 256 rows."""
_BLOCK = 512
"""Rows of a block, which is what a checkpoint knows as done."""
_CPUS = 2
"""One reads and writes, one belongs to the actor that leaves out what is done."""
_TOLD = (
    "error",
    "error_type",
    "retryable",
    "suspect",
    "prompt_tokens",
    "completion_tokens",
)


@dataclass
class Tally:
    """What stands in an output."""

    rows: int = 0
    suspect: Counter[str] = field(default_factory=Counter)
    failed: dict[str, FailureKind] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def failures(self) -> int:
        """Rows with an error."""
        return sum(kind.count for kind in self.failed.values())

    def add(self, row: Mapping[str, Any], row_id: object) -> None:
        """Count a row: its columns as ``ChatStage`` names them."""
        self.rows += 1
        self.prompt_tokens += row.get("prompt_tokens") or 0
        self.completion_tokens += row.get("completion_tokens") or 0
        self.suspect.update((row.get("suspect") or "").split(",") if row.get("suspect") else ())
        name = row.get("error_type")
        if name:
            words, may_help = str(row.get("error")), bool(row.get("retryable"))
            kind = self.failed.setdefault(name, FailureKind(0, str(row_id), words, may_help))
            kind.count += 1


def run(
    source: str,
    output: str,
    *,
    address: str,
    connection: Mapping[str, Any],
    stage: Mapping[str, Any],
    progress: bool = True,
) -> Summary:
    """Ask the rows of files in actors of Ray; the same call again goes on.

    Args:
        source: a file, folder or URL of Parquet, JSONL or CSV, with a column ``id`` or
            ``custom_id`` that is another one in each row.
        output: a folder that Ray makes; its name ends in ``.parquet`` or ``.jsonl``. The ids of
            rows that are done are in a folder beside it, which ends in ``.checkpoints``.
        address: of a Ray cluster: ``auto``, ``local`` for one of its own, or ``ray://host:port``.
        connection: keywords of ``OPEA``.
        stage: the other keywords of ``ChatStage``.
        progress: whether Ray shows how far it is.

    Raises ConfigurationError for what can never work.
    """
    reader, writer = _by_name(source, _READERS, "input"), _by_name(output, _WRITERS, "output")
    source, output = _whole(source), _whole(output)
    begin = time.monotonic()
    ray = connected(address)
    read = getattr(ray.data, reader)
    with importing:
        from opea_core.on_ray.sealed import Sealed, SealedChatStage
    with _quiet(ray):
        id_column = _id_of(read(source).columns() or [], source)
        _check_size(ray, connection)
        before = _tally(ray.data, output, id_column)
    with contextlib.nullcontext() if progress else _quiet(ray):
        asked = _asked(ray, lambda: read(source), f"{output}.checkpoints", id_column)
        answered = asked.map_batches(
            SealedChatStage,
            # Ray can export the arguments of an operator as text, keys among them.
            fn_constructor_args=(Sealed({**stage, **connection}),),
            batch_size=_BATCH,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=_nodes(ray)),
            # An actor only waits, and must not hold a CPU that reading and writing need.
            num_cpus=0,
        )
        try:
            getattr(answered, writer)(output)
        except ray.exceptions.RayError as error:
            # Ray wraps an error of a stage in its own words, which hide what to do.
            raise (_own(error) or error) from None
    with _quiet(ray):
        after = _tally(ray.data, output, id_column)
        return summary_of(before, after, read(source).count(), output, begin)


def _own(error: BaseException) -> OPEAError | None:
    """The error of a stage as it was raised, without Ray's words; None where it is another one."""
    cause = getattr(error, "cause", None)
    return type(cause)(cause.message, cause.hint) if isinstance(cause, OPEAError) else None


def _whole(path: str) -> str:
    """A path as each process of this host finds it; an URL as it is."""
    return path.rstrip("/") if "://" in path else os.path.abspath(path)


def _id_of(names: list[str], source: str) -> str:
    found = next((name for name in _IDS if name in names), None)
    if found is None:
        raise ConfigurationError(
            f"{source} has no column id or custom_id; it has: {', '.join(names)}.",
            "Ray knows by it which rows are done, so it must be another one in each row.",
        )
    return found


@contextlib.contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Have Ray tell nothing but warnings."""
    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        context.enable_progress_bars = before[0]
        logger.setLevel(before[1])


def connected(address: str) -> Any:
    """The module ``ray``, connected to a cluster; raises ConfigurationError where there is none."""
    with importing:
        try:
            ray: Any = import_module("ray")
            import_module("ray.data")
        except ImportError:
            raise ConfigurationError(
                "Ray is not installed.", "pip install 'opea-core[ray]'"
            ) from None
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, ValueError) as error:
            raise ConfigurationError(
                f"There is no Ray cluster at {address!r}: {error}",
                "Start one with: ray start --head. Or give --ray local.",
            ) from None
    return ray


def _by_name(path: str, known: Mapping[str, str], what: str) -> str:
    """What reads or writes a path by the end of its name, or of the files in it."""
    found = Path(path).suffix.lower()
    if found not in known and what == "input" and os.path.isdir(path):
        ends = {Path(name).suffix.lower() for name in os.listdir(path) if not name.startswith(".")}
        found = ends.pop() if len(ends) == 1 else ""
    if found not in known:
        raise ConfigurationError(
            f"The form of the {what} {path} is not known by its name.",
            f"With Ray it ends in {' or '.join(known)}.",
        )
    return known[found]


def _check_size(ray: Any, connection: Mapping[str, Any]) -> None:
    cpus, nodes = ray.cluster_resources().get("CPU", 0), _nodes(ray)
    if cpus < _CPUS:
        raise ConfigurationError(
            f"The Ray cluster has {cpus:g} CPU.",
            f"It needs {_CPUS}: one that reads and writes, one that leaves out what is done.",
        )
    # Each actor would keep to the limit for itself, and all together would break it.
    if connection.get("max_concurrent") and nodes > 1 and not connection.get("shared_limits"):
        raise ConfigurationError(
            f"max_concurrent holds for each actor, and there are {nodes}.",
            'Write shared_limits = "redis://..." into the file for --endpoints, and it holds for '
            "all of them.",
        )


def _nodes(ray: Any) -> int:
    return sum(1 for node in ray.nodes() if node["Alive"])


def _asked(ray: Any, read: Callable[[], Any], path: str, id_column: str) -> Any:
    """The rows that are to be asked, in blocks, each of which is done when it is written.

    A data set keeps the settings under which it was made, so it is made under these. With
    ``raise_original_map_exception`` an error of a stage comes as it is, and not only as its text.
    """
    checkpoint = _checkpoints(ray)
    context = ray.data.DataContext.get_current()
    before = context.checkpoint_config, context.raise_original_map_exception
    context.raise_original_map_exception = True
    # The same command again has to know what is done, also after a success.
    context.checkpoint_config = checkpoint.CheckpointConfig(
        id_column=id_column, checkpoint_path=path, delete_checkpoint_on_success=False
    )
    try:
        return read().repartition(target_num_rows_per_block=_BLOCK)
    finally:
        context.checkpoint_config, context.raise_original_map_exception = before


def _checkpoints(ray: Any) -> Any:
    """Ray's module for them; raises ConfigurationError where it is too old for them."""
    with importing:
        try:
            return import_module("ray.data.checkpoint")
        except ImportError:
            raise ConfigurationError(
                f"Ray {ray.__version__} has no checkpoints, by which a job goes on.",
                "They came with Ray 2.54: pip install --upgrade 'ray[data]'",
            ) from None


def _tally(data: Any, output: str, id_column: str) -> Tally:
    """What stands in the output now; nothing where there is none."""
    tally = Tally()
    if "://" not in output and not (os.path.isdir(output) and os.listdir(output)):
        return tally
    found = getattr(data, _by_name(output, _READERS, "output"))(output)
    names = [name for name in (id_column, *_TOLD) if name in (found.columns() or [])]
    for row in _rows(found.select_columns(names)):
        tally.add(row, row.get(id_column))
    return tally


def _rows(dataset: Any) -> Iterable[dict[str, Any]]:
    for table in dataset.iter_batches(batch_size=4096, batch_format="pyarrow"):
        yield from table.to_pylist()


def summary_of(before: Tally, after: Tally, rows: int, output: str, begin: float) -> Summary:
    """What the run came to: the output now, and what it was before."""
    warnings = []
    if after.rows != rows:
        warnings.append(
            f"the output has {after.rows:,} rows and the input {rows:,}; are the ids all different?"
        )
    return Summary(
        output=output,
        rows=rows,
        answered=after.rows - after.failures,
        there_before=before.rows - before.failures,
        suspect=dict(after.suspect),
        failed=after.failed,
        prompt_tokens=after.prompt_tokens - before.prompt_tokens,
        completion_tokens=after.completion_tokens - before.completion_tokens,
        seconds=time.monotonic() - begin,
        warnings=warnings,
    )


def lines(summary: Summary) -> list[str]:
    """The summary as people read it; for Ray the failed rows of an output are done, too."""
    tokens = f"{summary.prompt_tokens:,} tokens in, {summary.completion_tokens:,} out"
    rows = f"{summary.answered:,} of {summary.rows:,} rows answered"
    before = f" ({summary.there_before:,} of them before)" if summary.there_before else ""
    found = [f"{rows}{before}, {tokens}, {spoken(summary.seconds)}"]
    for name, kind in summary.failed.items():
        found += [
            f"failed     {kind.rows}: {name}, for example {kind.example_id}:",
            f"           {kind.message}",
        ]
    if summary.failed:
        found.append("           They are in the output, with their error; docs/ray.md says how to")
        found.append("           ask them again.")
    found += [f"suspect    {count:,} {name}" for name, count in summary.suspect.items()]
    found += [f"warning    {warning}" for warning in summary.warnings]
    return [*found, f"answers    {summary.output}"]
