"""Text, reasoning and other parts of an answer in the order in which they came."""

from __future__ import annotations

from collections.abc import Sequence

from opea_core.types import Json

_USUAL = ("reasoning", "text", "part")


def in_order(
    order: Sequence[tuple[str, int]], parts: Sequence[Json], content: str, reasoning: str
) -> list[Json]:
    """Blocks of the content; none where that is reasoning, then text, then other parts.

    ``order``: each kind in turn, and where it begins: in ``content``, in ``reasoning``, or the
    place among ``parts``.
    """
    kinds = [kind for kind, _ in order]
    texts_alone = [kind for kind in kinds if kind != "part"]
    if kinds == sorted(kinds, key=_USUAL.index) and len(set(texts_alone)) == len(texts_alone):
        return []
    texts = {"text": content, "reasoning": reasoning}
    ends = {kind: len(text) for kind, text in texts.items()}
    found: list[Json] = []
    for kind, at in reversed(order):
        if kind == "part":
            found.append(parts[at])
        else:
            found.append({"type": kind, kind: texts[kind][at : ends[kind]]})
            ends[kind] = at
    return found[::-1]
