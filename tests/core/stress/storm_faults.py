"""A server that answers each request with a fault drawn by its number,
or with an answer that only this question has.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from opea_core.testing import Answer, Seen, Wait, chat, error, html, json_answer, raw, sse, stream
from opea_core.testing.answers import LAST_CHUNK, envelope

Faulty = Callable[[random.Random, Answer, Seen], Answer]

WORDS = 12


def expected(number: int) -> str:
    """The whole answer to question so and so."""
    return (
        f"answer {number}: "
        + " ".join(f"{number}-{word}" for word in range(WORDS))
        + f" end of {number}"
    )


def vectors(number: int) -> list[list[float]]:
    """The vectors of its two texts."""
    return [[float(number), 0.0], [float(number), 1.0]]


def number_of(body: Any) -> int:
    """Which question a request's body asks."""
    if "messages" in body:
        text = body["messages"][-1]["content"]
    else:
        text = body["input"][0] if "input" in body else body["prompt"]
    return int(text.split()[1])


def _pieces(number: int) -> list[str]:
    text = expected(number)
    return [text[start : start + 17] for start in range(0, len(text), 17)]


def right(seen: Seen) -> Answer:
    """The right answer, in the form that was asked for."""
    number, body = number_of(seen.body), seen.body
    if "input" in body:
        data = [
            {"object": "embedding", "index": i, "embedding": v}
            for i, v in enumerate(vectors(number))
        ]
        return json_answer(
            {
                "object": "list",
                "data": data,
                "model": "scripted-model",
                "usage": {"prompt_tokens": 2, "total_tokens": 2},
            }
        )
    if "prompt" in body:
        return json_answer(
            envelope(
                "text_completion",
                "scripted-model",
                [{"index": 0, "text": expected(number), "finish_reason": "stop"}],
            )
        )
    return stream(_pieces(number)) if body.get("stream") else chat(expected(number))


# --- what may go wrong


def _status(status: int, **headers: str) -> Faulty:
    return lambda chance, answer, seen: error(
        status, f"fault {status}", headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


def _asked_wait(status: int) -> Faulty:
    return lambda chance, answer, seen: error(
        status, "wait", headers={"retry-after-ms": str(chance.randint(1, 8))}
    )


def _instead(how: Any) -> Faulty:
    return lambda chance, answer, seen: answer.replace(before=how)


def _with_end(how: Any) -> Faulty:
    return lambda chance, answer, seen: answer.replace(end=how)


def _half(how: Any) -> Faulty:
    """Part of the answer, framed as if more came; then the end."""

    def fault(chance: random.Random, answer: Answer, seen: Seen) -> Answer:
        if answer.length == "chunked":
            return answer.replace(
                steps=answer.steps[: chance.randrange(len(answer.steps))], end=how
            )
        body = answer.body
        return answer.replace(
            steps=(body[: chance.randrange(len(body))],), length=len(body), end=how
        )

    return fault


def _broken_json(chance: random.Random, answer: Answer, seen: Seen) -> Answer:
    body = answer.body
    cut = body[: chance.randrange(1, len(body) // 2)]
    return answer.replace(steps=(cut,)) if answer.length != "chunked" else sse(b"data: {broken\n\n")


def _error_in_the_middle(chance: random.Random, answer: Answer, seen: Seen) -> Answer:
    body = {"error": {"message": "fault in the answer", "code": 500, "type": "server_error"}}
    if answer.length != "chunked":
        return json_answer(body)
    place = chance.randrange(len(answer.steps))
    return answer.replace(
        steps=(*answer.steps[:place], b"data: %b\n\n" % json.dumps(body).encode())
    )


def _slow(chance: random.Random, answer: Answer, seen: Seen) -> Answer:
    steps = [step for part in answer.steps for step in (Wait(chance.random() * 0.006), part)]
    return answer.replace(steps=tuple(steps))


def _in_bits(chance: random.Random, answer: Answer, seen: Seen) -> Answer:
    """In pieces that mind no border."""
    size = chance.randint(5, 120)
    body = answer.body
    return answer.replace(
        steps=tuple(body[start : start + size] for start in range(0, len(body), size))
    )


def _and_somebody_elses(chance: random.Random, answer: Answer, seen: Seen) -> Answer:
    """Right, but bytes of an answer that nobody asked for follow on the same connection."""
    other = chat("an answer to somebody else")
    tail = LAST_CHUNK if answer.length == "chunked" else b""
    framed = b"".join(answer.frame(step) for step in answer.steps if isinstance(step, bytes))
    return raw(answer.head + framed + tail + other.head + other.body, end="keep")


def _other_form(chance: random.Random, answer: Answer, seen: Seen) -> Answer:
    """JSON for a stream, a stream for a plain chat."""
    if "messages" not in seen.body:
        return answer
    number = number_of(seen.body)
    return chat(expected(number)) if seen.body.get("stream") else stream(_pieces(number))


def _no_end_mark(chance: random.Random, answer: Answer, seen: Seen) -> Answer:
    return (
        answer.replace(steps=answer.steps[:-2])
        if answer.length == "chunked"
        else answer.replace(steps=())
    )


RIGHT: dict[str, tuple[int, Faulty]] = {
    "right": (40, lambda chance, answer, seen: answer),
    "slow": (10, _slow),
    "in bits": (8, _in_bits),
    "closes after it": (6, _with_end("close")),
    "resets after it": (2, _with_end("reset")),
    "other form": (3, _other_form),
    "somebody else's behind it": (3, _and_somebody_elses),
}
"""Names, how often of about a hundred, and what they do: answers that are right."""
WRONG: dict[str, tuple[int, Faulty]] = {
    "closes": (2, _instead("close")),
    "resets": (2, _instead("reset")),
    "half, closes": (2, _half("close")),
    "half, cut": (2, _half("cut")),
    "half, resets": (2, _half("reset")),
    "hangs": (0, _half("hang")),
    "no end mark": (1, _no_end_mark),
    "broken JSON": (1, _broken_json),
    "HTML": (1, lambda chance, answer, seen: html()),
    "empty": (1, lambda chance, answer, seen: answer.replace(steps=())),
    "an error inside": (2, _error_in_the_middle),
    "500": (1, _status(500)),
    "502": (1, _status(502)),
    "503": (2, _status(503)),
    "503 with a wait": (1, _asked_wait(503)),
    "429 with a wait": (1, _asked_wait(429)),
    "529": (1, _status(529)),
    "400": (1, _status(400)),
    "401": (1, _status(401)),
    "404": (1, _status(404)),
    "408": (1, _status(408)),
    "no retry": (1, _status(503, x_should_retry="false")),
}
CONNECT_CLASS = frozenset({"closes", "resets"})
"""Where nothing of an answer comes: the request may be sent again for nothing."""


class Faults:
    """Answers for several servers, the same for the same seed whatever the order of requests."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._table = {**RIGHT, **WRONG}
        self._names = list(self._table)
        self._weights = [weight for weight, _ in self._table.values()]
        self._lock = threading.Lock()
        self.given: defaultdict[int, list[str]] = defaultdict(list)
        """By question: what each of its requests was answered with."""

    def __call__(self, seen: Seen) -> Answer:
        number = number_of(seen.body)
        with self._lock:
            given = self.given[number]
            chance = random.Random(f"{self._seed}/{number}/{len(given)}")
            name = chance.choices(self._names, self._weights)[0]
            given.append(name)
        return self._table[name][1](chance, right(seen), seen)

    def counts(self) -> Counter[str]:
        """How often each was drawn."""
        with self._lock:
            return Counter(name for given in self.given.values() for name in given)
