"""An object as models write it into a text: both adapters read every one of these."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opea_core.testing import ScriptedServer

PERSON: dict[str, Any] = {"name": "Ann", "age": 7}
TEXT = json.dumps(PERSON)
CALL = json.dumps({"name": "Person", "arguments": PERSON})
WRITTEN: dict[str, str] = {
    "plain": TEXT,
    "with blanks": f"\n\n  {TEXT}  \n",
    "in a fence": f"```json\n{TEXT}\n```",
    "in a fence without a language": f"```\n{TEXT}\n```",
    "in a fence on one line": f"```json{TEXT}```",
    "in a fence that is not closed": f"```json\n{TEXT}",
    "in a fence among words": f"Sure! Here is {{it}}:\n```json\n{TEXT}\n```\nAnything else?",
    "among words": f"The person is {TEXT}, as far as I know.",
    "after thoughts": f"<think>maybe {{name}}?</think>\n\n{TEXT}",
    "after thoughts that began before": f"maybe {{name}}?</think>{TEXT}",
    "after thoughts, in a fence": f"<think>hm ```json\n{{}}\n```</think>\n```json\n{TEXT}\n```",
    "a call": CALL,
    "a call in a fence": f"```json\n{CALL}\n```",
    "a call with parameters": json.dumps({"name": "Person", "parameters": PERSON}),
    "a call with its type": json.dumps({"type": "function", "name": "Person", "arguments": PERSON}),
    "a call in tags": f"<tool_call>\n{CALL}\n</tool_call>",
    "a call after thoughts": f"<think>call it</think><tool_call>{CALL}</tool_call>",
    "a call with arguments as text": json.dumps({"name": "Person", "arguments": TEXT}),
    "a call as the protocol nests it": json.dumps(
        {"type": "function", "function": {"name": "Person", "arguments": PERSON}}
    ),
    "a call as the protocol writes it": json.dumps(
        {"type": "function", "function": {"name": "Person", "arguments": TEXT}}
    ),
    "a call in a list": f"[{CALL}]",
}


@contextmanager
def in_way(server: ScriptedServer, *words: object) -> Iterator[None]:
    """One of the ways of a test: the server has seen nothing yet,
    and a failure says which way it was.
    """
    server.seen.clear()
    try:
        yield
    except BaseException as error:
        error.add_note(f"asked in this way: {', '.join(map(str, words))}")
        raise
