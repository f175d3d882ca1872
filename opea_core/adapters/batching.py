"""Texts in requests of limited size, by their relevance, and how many tokens they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from opea_core.types import RerankResponse, Usage

Item = TypeVar("Item")


def batches(texts: Sequence[str], count: int, max_bytes: int) -> Iterator[list[str]]:
    """Texts in their order, at most ``count`` and about ``max_bytes`` of UTF-8 at once.

    A longer text goes alone.
    """
    batch: list[str] = []
    size = 0
    for text in texts:
        length = len(text.encode("utf-8", "replace"))
        if batch and (len(batch) >= count or size + length > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += length
    if batch:
        yield batch


def best_first(items: Sequence[Item], response: RerankResponse) -> list[tuple[Item, float]]:
    """What was ranked in its new order, each with its score; ``items`` as they were sent."""
    return [(items[found.index], found.relevance_score) for found in response.results]


def token_counts(usage: Usage) -> tuple[int, int, int] | None:
    """Input, output and total; None where these cannot be told.

    One that was left out follows from the others.

    Reasoning that a server counts apart from the completion is part of the output tokens.
    """
    prompt, completion, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
    if total is not None:
        prompt = total - completion if prompt is None and completion is not None else prompt
        completion = total - prompt if completion is None and prompt is not None else completion
    if prompt is None or completion is None:
        return None
    apart = usage.reasoning_tokens or 0
    if total == prompt + completion + apart or (total is None and apart > completion):
        completion += apart
    return prompt, completion, prompt + completion if total is None else total
