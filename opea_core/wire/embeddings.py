"""Embedding answers: vectors as lists or base64, put in the order of the inputs."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

from opea_core.errors import BadAnswerError
from opea_core.types import EmbeddingResponse
from opea_core.wire.usage import read_usage


def read_embeddings(
    raw: Any, count: int, dtype: str = "float32", dimensions: int | None = None
) -> EmbeddingResponse:
    """The vectors of an answer to ``count`` inputs; raises BadAnswerError when they do not fit.

    Vectors are told apart by the type of the value: a list of numbers, or base64 of little-endian
    float32 (or int8, which cannot be told apart by length and must be configured).
    """
    entries = raw.get("data") if isinstance(raw, dict) else None
    if not isinstance(entries, list):
        raise BadAnswerError("The embeddings answer has no list named 'data'.")
    # A vector at the wrong text is worse than an error (P36).
    if len(entries) != count:
        raise BadAnswerError(f"{count} inputs were sent, {len(entries)} vectors came back.")
    vectors = [_vector(entry, dtype, dimensions) for entry in _ordered(entries)]
    lengths = {len(vector) for vector in vectors}
    if len(lengths) > 1:
        raise BadAnswerError(f"The vectors have different lengths: {sorted(lengths)}.")
    model = raw.get("model")
    usage = raw.get("usage")
    return EmbeddingResponse(
        embeddings=vectors,
        model=model if isinstance(model, str) else "",
        usage=read_usage(usage) if isinstance(usage, dict) else None,
        raw=raw,
    )


def _ordered(entries: list[Any]) -> list[Any]:
    """By ``index`` if the indices are a permutation of the inputs, else as they came."""
    indices: list[Any] = [
        entry.get("index") if isinstance(entry, dict) else None for entry in entries
    ]
    if all(isinstance(i, int) and not isinstance(i, bool) for i in indices) and sorted(
        indices
    ) == list(range(len(entries))):
        placed = dict(zip(indices, entries, strict=True))
        return [placed[index] for index in range(len(entries))]
    return entries


def _vector(entry: Any, dtype: str, dimensions: int | None) -> list[float]:
    value = entry.get("embedding") if isinstance(entry, dict) else entry
    if isinstance(value, str):
        return _from_base64(value, dtype, dimensions)
    if not isinstance(value, list) or not value:
        raise BadAnswerError("An embedding is neither a list of numbers nor base64 text.")
    if isinstance(value[0], list):
        raise BadAnswerError(
            "The embeddings are one vector per token, not one per input.",
            "Start the server with a pooling mode (llama.cpp: --pooling mean).",
        )
    try:
        vector = list(map(float, value))
    except (TypeError, ValueError, OverflowError):
        raise BadAnswerError(
            "An embedding holds something that is no number (null or text)."
        ) from None
    return _finite(vector)


def _from_base64(text: str, dtype: str, dimensions: int | None) -> list[float]:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise BadAnswerError("An embedding is text that is no base64.") from None
    # As many bytes as dimensions can only be int8.
    size = 1 if dtype == "int8" or len(data) == dimensions else 4
    if not data or len(data) % size or (dimensions and len(data) != size * dimensions):
        raise BadAnswerError(
            f"A base64 embedding has {len(data)} bytes, which does not fit {dtype}"
            + (f" x {dimensions}." if dimensions else "."),
            "If the server sends int8 vectors, set Capabilities(embedding_dtype='int8').",
        )
    return _finite(
        list(map(float, struct.unpack(f"<{len(data) // size}{'b' if size == 1 else 'f'}", data)))
    )


def _finite(vector: list[float]) -> list[float]:
    if not all(map(math.isfinite, vector)):
        raise BadAnswerError(
            "An embedding holds NaN or infinity.",
            "If the server sends int8 vectors, set Capabilities(embedding_dtype='int8').",
        )
    return vector
