"""Every fault under the openai SDK alone, and under the same SDK over OPEA: what the caller gets.

The fault comes once and then the server is well (``once``), or it stays (``for ever``). Nothing is
asked of either that the other does not get: one server, the same timeout, the SDK's own retries.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
from behaviours import ANSWER, BRISK, QUESTION
from shapes import MODEL

from opea_core import OPEA
from opea_core.testing import FAULTS, Fault, ScriptedServer
from opea_core.testing.faults import status
from opea_core.transports import openai_client

TIMEOUT = 1.0
"""Seconds between two bytes."""
PATIENCE = 12.0
"""Seconds after which a caller is said to hang: three attempts and their pauses end before."""
STATUSES = (429, 500, 502, 503, 504)
ENDLESS = frozenset({"endless", "bomb", "huge-head"})
"""They would fill the memory of the one without a bound."""


def faults() -> list[Fault]:
    """What is tried: everything that is no right answer, and the statuses that pass."""
    odd = [fault for name, fault in FAULTS.items() if not fault.harmless and name not in ENDLESS]
    return [*odd, *(status(code) for code in STATUSES)]


def outcome(client: Any, *, stream: bool) -> str:
    """``right``, ``wrong`` (no error, and another answer), ``error`` or ``hangs``."""
    box: list[str] = []

    def ask() -> None:
        asked = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}
        try:
            answer: Any = client.chat.completions.create(**asked, stream=stream)
            if stream:
                pieces = [chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices]
                text = "".join(pieces)
            else:
                text = answer.choices[0].message.content
        except openai.OpenAIError:
            box.append("error")
        except Exception as problem:  # noqa: BLE001 - of httpx in a stream, or a bad answer's
            ours = type(problem).__module__.startswith(("httpx", "opea", "json"))
            box.append("error" if ours else "wrong")
        else:
            box.append("right" if text == ANSWER else "wrong")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return box[0] if box else "hangs"


def tried(fault: Fault, *, stream: bool, once: bool, over: bool) -> str:
    """One cell."""
    with ScriptedServer() as server:
        if once:
            server.script(fault)
        else:
            server.always(fault)
        if not over:
            client: Any = openai.OpenAI(base_url=server.url, api_key="sk", timeout=TIMEOUT)
            return outcome(client, stream=stream)
        with OPEA(server.url, retry=BRISK, recovery_wait=1) as opea:
            return outcome(openai_client(opea, timeout=TIMEOUT), stream=stream)


WORDS = {
    "right": "the right answer",
    "error": "an error",
    "wrong": "a short or empty answer, or an odd object, without an error",
    "hangs": f"nothing within {PATIENCE:g} s",
}


def figures() -> list[tuple[str, str, str]]:
    """The rows: what, for the SDK alone, over OPEA."""
    cells = [
        (fault, stream, once)
        for fault in faults()
        for stream in (False, True)
        for once in (True, False)
    ]
    counts: dict[tuple[bool, bool], Counter[str]] = {}
    with ThreadPoolExecutor(max_workers=6) as pool:
        for over in (False, True):
            jobs = [
                (once, pool.submit(tried, fault, stream=stream, once=once, over=over))
                for fault, stream, once in cells
            ]
            for once, job in jobs:
                counts.setdefault((once, over), Counter())[job.result()] += 1
    rows = []
    for once, when in ((True, "the fault comes once"), (False, "the fault stays")):
        alone, over_opea = counts[once, False], counts[once, True]
        rows.append((f"**{when}** ({alone.total()} faults)", "", ""))
        rows += [
            (word, str(alone[what]), str(over_opea[what]))
            for what, word in WORDS.items()
            if alone[what] or over_opea[what]
        ]
    return rows
