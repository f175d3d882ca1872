"""Taking <think> blocks out of the content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opea_core.wire.think import ThinkSplitter, split_whole


def split(*pieces: str) -> tuple[str, str]:
    """(content, reasoning) of an answer that came in pieces."""
    splitter = ThinkSplitter()
    parts = [splitter.push(piece) for piece in pieces] + [splitter.end()]
    return "".join(content for content, _ in parts), "".join(reasoning for _, reasoning in parts)


ANSWERS = {
    "no tags": ("Hi", "Hi", ""),
    "a block": ("<think>why</think>Hi", "Hi", "why"),
    "blanks before": ("\n <think>why</think>Hi", "Hi", "why"),
    "blank lines after": ("<think>why</think>\n\nHi\n", "Hi\n", "why"),
    "an empty block": ("<think></think>Hi", "Hi", ""),
    "an empty block with blank lines": ("<think>\n\n</think>\n\nHi", "Hi", "\n\n"),
    "never closed": ("<think>why", "", "why"),
    "never closed, half a tag": ("<think>why</thi", "", "why</thi"),
    "a tag later on is text": ("Hi <think>x</think>", "Hi <think>x</think>", ""),
    "a second block is text": ("<think>why</think>Hi<think>x</think>", "Hi<think>x</think>", "why"),
    "half a tag is text": ("<thi", "<thi", ""),
    "another tag is text": ("<thing>Hi", "<thing>Hi", ""),
    "signs that look like the end": ("<think>a < b </ c</think>Hi", "Hi", "a < b </ c"),
    "blanks only": (" \n", " \n", ""),
    "nothing": ("", "", ""),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_block_at_the_beginning_is_reasoning(name: str) -> None:
    text, content, reasoning = ANSWERS[name]
    assert split(text) == (content, reasoning)


@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("name", ANSWERS)
def test_tags_may_be_cut_anywhere(name: str, size: int) -> None:
    text, content, reasoning = ANSWERS[name]
    assert split(*[text[at : at + size] for at in range(0, len(text), size)]) == (
        content,
        reasoning,
    )


JUNK = st.lists(
    st.sampled_from(["<think>", "</think>", "<", "</", "thi", "nk>", "\n", " ", "a"]), max_size=5
).map("".join)
TEXTS = st.tuples(
    st.sampled_from(["", "\n", "<think>"]),
    JUNK,
    st.sampled_from(["", "</think>", "</think>\n\n"]),
    JUNK,
).map("".join)


@given(TEXTS, st.lists(st.integers(1, 5), min_size=1, max_size=9))
def test_any_splitting_gives_the_same(text: str, sizes: list[int]) -> None:
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    assert split(*pieces) == split(text)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_whole_answer_is_split_as_a_stream_is(name: str) -> None:
    text, content, reasoning = ANSWERS[name]
    if not name.startswith(("a tag later", "a second")):
        assert split_whole(text) == (content, reasoning)


def test_a_whole_answer_with_only_the_closing_tag_is_split_there() -> None:
    assert split_whole("why</think>\n\nHi") == ("Hi", "why")


def test_nothing_is_held_back_longer_than_needed() -> None:
    splitter = ThinkSplitter()
    assert [splitter.push(piece) for piece in ("<th", "ink>wh", "y</", "x", "</think>", "Hi")] == [
        ("", ""), ("", "wh"), ("", "y"), ("", "</x"), ("", ""), ("Hi", ""),
    ]  # fmt: skip


def test_text_that_cannot_become_a_tag_is_given_at_once() -> None:
    assert ThinkSplitter().push("Hi") == ("Hi", "")
