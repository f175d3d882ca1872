"""Taking ``<think>...</think>`` out of content, however the tags are cut across deltas."""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"


class ThinkSplitter:
    """Turns pieces of content into pieces of (content, reasoning).

    The block is looked for at the beginning of the answer only. In a stream, a reply with only
    ``</think>`` (the template opened it) stays content: it has been handed out before the tag
    comes.
    """

    # The states: start -> inside -> behind (blank lines are skipped) -> after.
    __slots__ = ("_blanks", "_held", "_state")

    def __init__(self) -> None:
        self._blanks: list[str] = []  # at the beginning
        self._held = ""
        self._state = "start"

    def push(self, text: str) -> tuple[str, str]:
        """The (content, reasoning) that is certain now."""
        text, self._held = self._held + text, ""
        if self._state == "start":
            bare = text.lstrip()
            self._blanks.append(text[: len(text) - len(bare)])
            if _OPEN.startswith(bare):
                self._held = bare
                return "", ""
            if not bare.startswith(_OPEN):
                self._state, text = "after", "".join((*self._blanks, bare))
            else:
                self._state, text = "inside", bare.removeprefix(_OPEN)
            self._blanks.clear()
        if self._state == "behind":
            text = text.lstrip("\n")
            self._state = "after" if text else "behind"
        if self._state in ("behind", "after"):
            return text, ""
        thought, tag, rest = text.partition(_CLOSE)
        if tag:
            rest = rest.lstrip("\n")
            self._state = "after" if rest else "behind"
            return rest, thought
        # The end of a piece may be the beginning of the tag.
        keep = next((n for n in range(len(_CLOSE) - 1, 0, -1) if text.endswith(_CLOSE[:n])), 0)
        self._held = text[len(text) - keep :] if keep else ""
        return "", text[: len(text) - keep]

    def end(self) -> tuple[str, str]:
        """What was held back and turned out to be no tag; changes nothing."""
        return (
            ("", self._held)
            if self._state == "inside"
            else ("".join((*self._blanks, self._held)), "")
        )


def split_whole(text: str) -> tuple[str, str]:
    """(content, reasoning) of a whole answer, also of one with only the closing tag."""
    if _CLOSE in text and not text.lstrip().startswith(_OPEN):
        thought, _, rest = text.partition(_CLOSE)
        return rest.lstrip("\n"), thought
    splitter = ThinkSplitter()
    first, second = splitter.push(text), splitter.end()
    return first[0] + second[0], first[1] + second[1]
