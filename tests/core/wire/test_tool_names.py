"""Names of tools: what is sent, and whose they are when they come back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opea_core.types import Json
from opea_core.wire.tool_names import Form, fits, with_sent_names

FORMS: list[Form] = ["clean", "plain"]
NAMES = st.one_of(
    st.text(min_size=1, max_size=80),
    st.text("ab.-_/ 1", min_size=1, max_size=5),
    st.sampled_from(["a" * 64 + end for end in ".-x"]),
)


def body_of(names: list[str]) -> Json:
    """A request that names each tool in every place."""
    return {
        "tools": [
            {"type": "function", "function": {"name": name, "parameters": {}}} for name in names
        ],
        "tool_choice": {"type": "function", "function": {"name": names[0]}},
        "messages": [
            {"role": "user", "content": "x", "name": "a person"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": n, "function": {"name": n, "arguments": "{}"}} for n in names
                ],
            },
            *(
                {"role": "tool", "tool_call_id": name, "name": name, "content": "1"}
                for name in names
            ),
        ],
    }


def names_in(body: Json) -> list[list[str]]:
    """The names in tools, in calls and in results."""
    return [
        [tool["function"]["name"] for tool in body["tools"]],
        [call["function"]["name"] for call in body["messages"][1]["tool_calls"]],
        [message["name"] for message in body["messages"][2:]],
    ]


@settings(deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=8, unique=True), form=st.sampled_from(FORMS))
def test_names_that_are_sent_fit_differ_and_lead_back(names: list[str], form: Form) -> None:
    given = body_of(names)
    before = copy.deepcopy(given)
    body, own = with_sent_names(given, form)
    sent, called, answered = names_in(body)
    assert all(fits(name, form) for name in sent)
    assert len(set(sent)) == len(names)
    assert [own.get(name, name) for name in sent] == names
    assert all(name == new for name, new in zip(names, sent, strict=True) if fits(name, form))
    assert called == answered == sent
    assert body["tool_choice"]["function"]["name"] == sent[0]
    assert body["messages"][0] == given["messages"][0]
    assert given == before


@pytest.mark.parametrize(
    ("name", "form", "sent"),
    [
        ("a/b.c", "clean", "a_b_c"),
        ("a-b", "clean", "a-b"),
        ("a-b", "plain", "a_b"),
        ("1st", "clean", "1st"),
        ("1st", "plain", "_1st"),
        ("é", "clean", "_"),
        ("a" * 65, "clean", "a" * 64),
        ("a" * 64, "plain", "a" * 63),
        ("a/b", "keep", "a/b"),
    ],
)
def test_what_a_name_is_sent_as(name: str, form: Form, sent: str) -> None:
    body, own = with_sent_names(body_of([name]), form)
    assert names_in(body) == [[sent]] * 3
    assert own == ({} if sent == name else {sent: name})


@pytest.mark.parametrize("names", [["a.b", "a_b", "a b"], ["a b", "a.b", "a_b"]])
def test_a_name_that_fits_is_nobody_elses(names: list[str]) -> None:
    sent = names_in(with_sent_names(body_of(names), "clean")[0])[0]
    assert sent[names.index("a_b")] == "a_b"
    assert len(set(sent)) == 3


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tools": "x"},
        {"tools": [None, {}], "messages": ["x"]},
        {"tools": [{"function": {"name": 1}}]},
    ],
)
def test_odd_bodies_have_no_names(body: Any) -> None:
    assert with_sent_names(body, "clean") == (body, {})
