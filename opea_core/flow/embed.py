"""Embedding many texts: a batch that is refused as too large is split and tried again."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from opea_core import errors
from opea_core.types import CallMeta, EmbeddingResponse
from opea_core.wire.usage import merge_usage, read_usage

_LISTED = 10
_THINGS = (
    r"(items?|inputs?|texts?|documents?|requests?|instances?|strings?|element(s|\(s\))?|entries"
    r"|sentences|chunks|passages|embeddings|samples|values)"
)
# By words, as servers do not announce their limit (R26).
_TOO_LARGE = (
    rf"(?i)too many {_THINGS}|(at most|max(imum)?( of| is)?|limit( is| of)?|no more than"
    rf"|not( be)? (larger|greater|more) than|exceed\w{{0,3}}( the)?|up to|less than or equal to"
    rf"|fewer than)\D{{0,40}}\d+ ?{_THINGS}\b(?! (per|a|each) (day|minute|hour|second|month))"
    rf"|\b({_THINGS}|array|list|batch)\b.{{0,60}}\b(at most|maximum|max|exceed\w{{0,3}}"
    r"|too (long|large"
    rf"|many|big)|(larger|greater|more|longer) than|limit)\b"
    r"|batch[ _]size\b.{0,60}(invalid|larger|exceed|too|must|should|max|limit|greater|>)"
    r"|array length|length <= \d|\bceiling\b|不能超过|超过|maximum item count|submitted batch"
    r"|input is too large|is too large to process"
    r"|\b3210\b|批|不得超过|最多"
)


CallT = TypeVar("CallT")


class Sizes:
    """How many texts a server took at once after it had refused more."""

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self._refused = False

    def refused(self) -> None:
        """A batch was too large."""
        self._refused = True
        self.most = None

    def taken(self, count: int) -> None:
        """A batch was answered."""
        # Without a refusal the size of a batch says nothing about the most that is taken.
        if self._refused:
            self.most = max(count, self.most or 0)


def embed_flow(
    inputs: Any, ask: Callable[[list[str]], CallT], sizes: Sizes
) -> Generator[CallT, EmbeddingResponse | errors.OPEAError, EmbeddingResponse]:
    """Yields the call for a batch, takes its answer or its error.

    Returns one answer for all, in order.

    ``sizes`` remembers from flow to flow what is too much.
    """
    texts = check_inputs(inputs)
    size = sizes.most or len(texts) or 1
    waiting, answers = (
        [(start, texts[start : start + size]) for start in range(0, len(texts), size)],
        [],
    )
    while waiting:
        start, batch = waiting.pop(0)
        answer = yield ask(batch)
        if isinstance(answer, errors.OPEAError):
            # Half of a batch is always a valid request, but half of a text is not (R26).
            if len(batch) < 2 or not is_too_large(answer):
                raise _with_blanks(answer, start, batch)
            sizes.refused()
            half = len(batch) // 2
            # In front, so that the vectors stay in the order of the texts.
            waiting[:0] = [(start, batch[:half]), (start + half, batch[half:])]
        else:
            sizes.taken(len(batch))
            answers.append(answer)
    return _joined(answers)


def is_too_large(error: errors.OPEAError) -> bool:
    """Whether a batch was refused for its size."""
    # A blank text is refused in whatever batch it stands.
    if re.search(r"(?i)\b(empty|blank)\b", error.message):
        return False
    if error.status_code == 413 or str(error.code) == "3210":
        return True
    return isinstance(error, errors.InvalidRequestError | errors.ServerError) and bool(
        re.search(_TOO_LARGE, error.message)
    )


def _with_blanks(error: errors.OPEAError, start: int, batch: Sequence[str]) -> errors.OPEAError:
    """The error of a batch, with the positions of blank texts in it.

    Most servers refuse these and do not say which.
    """
    blank = [str(place) for place, text in enumerate(batch, start) if not text.strip()]
    if blank and isinstance(error, errors.RequestError | errors.ServerError):
        more = ", ..." if len(blank) > _LISTED else ""
        blanks = ", ".join(blank[:_LISTED])
        told = f"Blank texts among the inputs, counted from 0: {blanks}{more}. {error.hint}"
        error.hint = told.strip()
    return error


def check_inputs(inputs: Any) -> list[str]:
    """Texts to embed as a list, or ConfigurationError."""
    if isinstance(inputs, str):
        return [inputs]
    if not isinstance(inputs, Sequence) or not all(isinstance(text, str) for text in inputs):
        raise errors.ConfigurationError("The input to embed must be a string or a list of strings.")
    return list(inputs)


def _joined(answers: list[EmbeddingResponse]) -> EmbeddingResponse:
    if not answers:
        return EmbeddingResponse([], meta=CallMeta(attempts=0))
    if len(answers) == 1:
        return answers[0]
    whole = answers[0]
    usage = {}
    for name in ("prompt_tokens", "total_tokens"):
        counts = [getattr(answer.usage, name) for answer in answers if answer.usage is not None]
        # A sum without the batch that has no count would be too small.
        if counts and None not in counts:
            usage[name] = sum(counts)
    whole.embeddings = [vector for answer in answers for vector in answer.embeddings]
    whole.usage = read_usage(merge_usage(None, usage)) if usage else None
    whole.raw = {"batches": [answer.raw for answer in answers]}
    return whole
