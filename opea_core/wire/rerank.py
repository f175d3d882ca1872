"""Rerank answers: Cohere's and Jina's ``results``, Voyage's ``data``.

Best first, whatever order they came in.
"""

from __future__ import annotations

from typing import Any

from opea_core.errors import BadAnswerError
from opea_core.types import Json, RerankResponse, RerankResult
from opea_core.wire.usage import read_usage

_HIGHEST = 1e300
_SCORES = ("relevance_score", "score")


def read_rerank(raw: Any, count: int, top_n: int | None = None) -> RerankResponse:
    """The scores of ``count`` documents, at most ``top_n`` of them.

    Raises BadAnswerError when they do not fit.
    """
    document: Json = raw if isinstance(raw, dict) else {"results": raw}
    entries = next(
        (document[key] for key in ("results", "data") if isinstance(document.get(key), list)), None
    )
    if entries is None:
        raise BadAnswerError(
            "The rerank answer has no list named 'results' or 'data'.", "Is it a reranking model?"
        )
    results = [_result(entry, count) for entry in entries]
    if len({result.index for result in results}) != len(results):
        raise BadAnswerError("The rerank answer names a document twice.")
    results.sort(key=lambda result: -result.relevance_score)
    meta = document.get("meta")
    model, usage = (
        document.get("model"),
        document.get("usage") or (meta.get("tokens") if isinstance(meta, dict) else None),
    )
    return RerankResponse(
        results=results[:top_n],
        model=model if isinstance(model, str) else "",
        usage=read_usage(usage) if isinstance(usage, dict) else None,
        raw=document,
    )


def _result(entry: Any, count: int) -> RerankResult:
    fields = entry if isinstance(entry, dict) else {}
    index = fields.get("index")
    # The score belongs to a document of the caller's: a guess would rank another one (P37).
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
        raise BadAnswerError(
            f"The rerank answer names document {index!r:.60}, and {count} were sent."
        )
    score = next((fields[name] for name in _SCORES if fields.get(name) is not None), None)
    if (
        isinstance(score, bool)
        or not isinstance(score, int | float)
        or not -_HIGHEST < score < _HIGHEST
    ):
        raise BadAnswerError(f"The rerank answer has no score for document {index}.")
    text = fields.get("document")
    return RerankResult(index, float(score), text.get("text") if isinstance(text, dict) else text)
