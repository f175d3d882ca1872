"""``ChatStage`` and ``EmbedStage``: what Ray Data makes one object of per actor."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from opea_core.batch.feed import Feed
from opea_core.batch.job import read_schema, read_template
from opea_core.batch.result import Result
from opea_core.batch.rows import Record, Row
from opea_core.batch.templates import Template
from opea_core.batch.vectors import AsyncVectors, limits, shared_options
from opea_core.batch.window import Window
from opea_core.errors import ConfigurationError, OPEAError
from opea_core.on_ray.columns import (
    Embedded,
    chat_columns,
    chat_kinds,
    check_names,
    embed_columns,
    embed_kinds,
)
from opea_core.on_ray.tables import Batch, names_of, rows_of, with_columns
from opea_core.opea import OPEA
from opea_core.types import ChatResponse

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from opea_core.call_options import ChatOptions, EmbedManyOptions
    from opea_core.object_options import Options

_RECOVERY_WAIT = 600.0
"""Seconds that calls wait for a server to come back, where the options do not say."""


class _Stage:
    """What both stages are: one ``OPEA`` object, and an end where nothing can work."""

    def __init__(self, connection: Options) -> None:
        self._opea = OPEA(**connection)
        self._window = Window(ordered=False)

    def close(self) -> None:
        """Close its ``OPEA`` object. An actor that ends needs no call of it."""
        self._opea.close()

    def _note(self, results: Iterable[Result[Any]]) -> None:
        """Raise ConfigurationError where the first requests show that nothing can ever work.

        A job with a wrong key would else end with an error in every row, all of them done.
        """
        for result in results:
            self._window.start()
            self._window.end(result)
        deque(self._window.ready(), maxlen=0)
        if self._window.stopped is not None:
            self._raise(self._window.stopped)

    @staticmethod
    def _raise(reason: str) -> None:
        raise ConfigurationError(
            reason, "The job is stopped. Mend it and run it again: what is written stays."
        )


class ChatStage(_Stage):
    """Chat completions for the rows of batches: ``Dataset.map_batches(ChatStage, ...)``.

    Each actor has one object, and in it one ``OPEA`` object, whose queue, limits, retries, breakers
    and failover serve all rows of the actor. ``shared_limits=`` keeps limits together with the
    other actors. Every row comes back: with ``answer`` and the fields of the schema, or with
    ``error``, ``error_type`` and ``retryable``; and beside them ``suspect``, ``finish_reason``,
    ``endpoint``, ``answered_by`` (the model), ``prompt_tokens``, ``completion_tokens``,
    ``attempts`` and ``seconds``.

    Args:
        template: the user's message with columns in it, ``"Translate: {text}"``. Without one the
            rows have a column ``messages`` (lists of messages) or ``prompt``.
        system: a system message for rows that have none.
        schema: a JSON schema of the answers. Each property becomes a column: strings, numbers and
            booleans as such, all else as JSON text.
        options: of every call, as ``chat`` takes them: ``{"temperature": 0.2}``.
        keep_response: add the column ``response``, the server's whole answer as JSON text (with
            reasoning, tool calls, log probabilities).
        connection: every keyword of ``OPEA``: ``base_url``, ``endpoints``, ``model``,
            ``api_key`` ...

    Raises:
        ConfigurationError: for what can never work: unknown options, a column that is missing or
            would be replaced, and first requests that are all refused for their key or model, or
            find nobody at the address.
    """

    def __init__(
        self,
        *,
        template: str | None = None,
        system: str | None = None,
        schema: Mapping[str, Any] | None = None,
        options: ChatOptions | None = None,
        keep_response: bool = False,
        **connection: Unpack[Options],
    ) -> None:
        self._prompts = read_template(template, system)
        self._schema, asked = read_schema(schema)
        self._kinds = chat_kinds(self._schema, keep_response)
        super().__init__(connection)
        given: Any = {"recovery_wait": _RECOVERY_WAIT, **(options or {})}
        self._options: ChatOptions = given | ({"output_schema": asked} if asked else {})
        self._opea._engine.calls.chat("checked now", dict(self._options), stream=False)

    async def __call__(self, batch: Batch) -> Batch:
        """The batch with the columns of its answers; rows keep their order."""
        names = names_of(batch)
        check_names(names, self._kinds)
        rows = [self._row(*found) for found in enumerate(rows_of(batch, self._needed(names)), 1)]
        results = await asyncio.gather(*(self._one(at, row) for at, row in enumerate(rows)))
        self._note(results)
        return with_columns(batch, chat_columns(results, self._schema, self._kinds))

    def _needed(self, names: list[str]) -> list[str]:
        template = self._prompts.template
        if template is not None:
            template.check(names)
            return template.names
        found = next((name for name in ("messages", "prompt") if name in names), None)
        if found is None:
            raise ConfigurationError(
                f"The rows have no column prompt or messages; they have: {', '.join(names)}.",
                'Give a template over their columns: template="Translate: {text}".',
            )
        return [found]

    def _row(self, number: int, values: dict[str, Any]) -> Row:
        if "messages" not in values or self._prompts.template is not None:
            return self._prompts.row(Record(number, values, is_table=True), number)
        return self._prompts.row(Record(number, {"messages": _given(values["messages"])}), number)

    async def _one(self, index: int, row: Row) -> Result[ChatResponse]:
        result: Result[ChatResponse] = Result(index, None, row, error=row.problem)
        if row.problem is None:
            try:
                result.response = await self._opea.achat(row.body["messages"], **self._options)
            except OPEAError as error:
                result.error = error
        return result


def _given(value: Any) -> Any:
    """A value of Arrow without what is None in it: each object there has the fields of all."""
    if isinstance(value, Mapping):
        return {name: _given(item) for name, item in value.items() if item is not None}
    return [_given(item) for item in value] if isinstance(value, list) else value


class EmbedStage(_Stage):
    """Vectors for the rows of batches: ``Dataset.map_batches(EmbedStage, ...)``.

    Rows go out several at a time, as ``embed_many`` sends them: fewer where the server takes fewer,
    and one bad text costs the others nothing. Every row comes back: with ``embedding`` (float32),
    or with ``error``, ``error_type`` and ``retryable``; and beside them ``endpoint``,
    ``answered_by`` (the model), ``attempts``, ``seconds`` and ``prompt_tokens``. The last is that
    of the whole request at its first row, and empty at the others, so that sums are right.

    Args:
        template: the text with columns in it; without one the rows have a column ``input``.
        options: of every call, as ``embed_many`` takes them: ``{"batch_size": 64}`` for the texts
            of a request, ``{"dimensions": 256}``.
        connection: every keyword of ``OPEA``: ``base_url``, ``endpoints``, ``model``,
            ``api_key`` ...

    Raises:
        ConfigurationError: as ``ChatStage`` does.
    """

    def __init__(
        self,
        *,
        template: str | None = None,
        options: EmbedManyOptions | None = None,
        **connection: Unpack[Options],
    ) -> None:
        self._template = Template(template if template is not None else "{input}")
        self._kinds = embed_kinds()
        super().__init__(connection)
        given = dict(options or {})
        self._limits, self._options = limits(given), shared_options(given)
        self._opea._embedding_calls(self._options)(["checked now"])

    async def __call__(self, batch: Batch) -> Batch:
        """The batch with the columns of its vectors; rows keep their order."""
        names = names_of(batch)
        check_names(names, self._kinds)
        self._template.check(names)
        texts = [self._template.fill(row) for row in rows_of(batch, self._template.names)]
        opea = self._opea
        vectors = _Vectors(
            opea._engine,
            Feed(texts),
            opea._sizes(self._options),
            lambda: opea._embedding_calls(self._options),
            self._limits,
        )
        results = [result async for result in vectors]
        self._note(results)
        if vectors.stopped is not None:
            self._raise(vectors.stopped)
        return with_columns(batch, embed_columns(results, self._kinds))


class _Vectors(AsyncVectors):
    """Vectors that know of which request they were part."""

    async def _ask_for(
        self, texts: Sequence[str], on_place: Callable[[bool], None]
    ) -> Sequence[list[float]]:
        vectors = await self._ask_whole(texts, on_place)
        usage = vectors.usage
        tokens = usage.prompt_tokens if usage is not None else None
        found = [
            Embedded(
                vector,
                vectors.endpoint,
                vectors.model,
                vectors.meta.attempts,
                vectors.meta.elapsed,
                tokens if at == 0 else None,
            )
            for at, vector in enumerate(vectors.embeddings)
        ]
        return cast("Sequence[list[float]]", found)
