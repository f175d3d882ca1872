"""The text, the reasoning and the pictures of an answer as LlamaIndex's blocks.

In the order in which they came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ImageBlock, TextBlock, ThinkingBlock

import opea_core as core

Block = TextBlock | ThinkingBlock | ImageBlock


def content_blocks(
    choice: core.Choice, text: str, parts: Sequence[Any], thought_tokens: int | None, apart: bool
) -> list[Block]:
    """One thinking block, one text block, then the pictures.

    Or, where the server had another order, that one.

    LlamaIndex puts a line break between blocks of text. So text is divided only where the server
    sent it as parts of its own (``apart``), or where it has a line break: the text of a message is
    what the model wrote.
    """
    blocks: list[Block] = _in_order(choice.blocks, apart) if choice.blocks else []
    # Nothing to divide.
    if not blocks or (not apart and sum(isinstance(block, TextBlock) for block in blocks) == 1):
        blocks = [TextBlock(text=text)] if text else []
        if choice.reasoning:
            blocks.insert(0, ThinkingBlock(content=choice.reasoning))
    if choice.reasoning_details and not any(isinstance(block, ThinkingBlock) for block in blocks):
        blocks.insert(0, ThinkingBlock(content=""))
    shown = [block for part in parts if (block := picture(part)) is not None]
    known = [block for block in blocks if isinstance(block, ImageBlock)]
    _add_information(blocks, choice, thought_tokens)
    return [*blocks, *shown[len(known) :]]


def picture(part: Any) -> ImageBlock | None:
    """A generated image; None for other parts, and for what is no URL."""
    given = part.get("image_url") if isinstance(part, Mapping) else None
    url = given.get("url") if isinstance(given, Mapping) else given
    if not isinstance(url, str):
        return None
    try:
        return ImageBlock(url=url)
    except ValueError:
        return None


def _in_order(pieces: Sequence[Mapping[str, Any]], apart: bool) -> list[Block]:
    found: list[Block] = []
    text: TextBlock | None = None
    for piece in pieces:
        if piece.get("type") == "reasoning":
            _add_thought(found, str(piece.get("reasoning") or ""))
        elif piece.get("type") == "text":
            written = str(piece.get("text") or "")
            if text is not None and (
                text is found[-1] or not (apart or _has_break(text.text, written))
            ):
                text.text += written
                continue
            if text is not None and text.text.endswith("\n"):
                text.text = text.text[:-1]  # LlamaIndex puts it there again
            elif text is not None:
                written = written.removeprefix("\n")
            text = TextBlock(text=written)
            found.append(text)
        elif (block := picture(piece)) is not None:
            found.append(block)
    return found


def _has_break(before: str, behind: str) -> bool:
    return before.endswith("\n") or behind.startswith("\n")


def _add_thought(found: list[Block], thought: str) -> None:
    last = found[-1] if found else None
    if isinstance(last, ThinkingBlock):
        last.content = (last.content or "") + thought
    else:
        found.append(ThinkingBlock(content=thought))


def _add_information(blocks: list[Block], choice: core.Choice, tokens: int | None) -> None:
    """What is known about all of the reasoning, in its first block."""
    kept = {
        "reasoning_field": choice.reasoning_field,
        "reasoning_details": choice.reasoning_details,
    }
    first = next((block for block in blocks if isinstance(block, ThinkingBlock)), None)
    if first is not None:
        first.num_tokens = tokens
        first.additional_information = {name: value for name, value in kept.items() if value}
