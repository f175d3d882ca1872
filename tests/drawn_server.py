"""A server whose every ability is drawn.

It does something, ignores it, or refuses it in one of ten forms.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
from dataclasses import dataclass, field
from typing import Any, Literal

from opea_core.testing import Answer, Seen, chunk, error, html, json_answer, sse
from opea_core.testing.model import vector
from opea_core.testing.schema import instance

Truth = Literal["on", "ignored", "refused"]
BOTH = ("on", "refused")
ALL = ("on", "ignored", "refused")
DRAWN: dict[str, tuple[str, ...]] = {
    "usage": ("on", "ignored"),
    **dict.fromkeys(("max_tokens", "max_completion_tokens"), ALL),
    **dict.fromkeys(("stream", "usage in streams"), ALL),
    **dict.fromkeys(("tools", "tools in streams"), ALL),
    **dict.fromkeys(("tool_choice required", "tool_choice named"), ALL),
    "parallel tool calls": ("on", "ignored"),
    **dict.fromkeys(("json_schema", "json_object", "tools and json_schema"), ALL),
    **dict.fromkeys(("reasoning_effort", "chat_template_kwargs"), ALL),
    "reasoning sent back": (*ALL, "wanted"),
    "tools with reasoning": ("on", "ignored"),
    **dict.fromkeys(("empty content", "long tool ids"), BOTH),
    **dict.fromkeys(("developer role", "late system", "content as a list", "images"), ALL),
    **dict.fromkeys(("logprobs", "n", "stop", "seed"), ALL),
    **dict.fromkeys(("embeddings", "completions", "responses", "rerank", "tokenize"), BOTH),
    **dict.fromkeys(("embeddings base64", "embedding dimensions"), ALL),
    "embedding batch": BOTH,
    **dict.fromkeys(("checks the key", "checks the model's name"), ("on", "ignored")),
}
WORDS = ("three", "seven", "eleven", "nine", "ten", "twelve")
FORMS = 10
WANTED = "reasoning is wanted"


class Refused(Exception):
    """What the server refuses, by its name."""


def refusal(form: int, name: str) -> Answer:
    """The ten ways in which servers say no."""
    words = f"The field {name} is not supported by this model."
    if name == WANTED:
        words = "The reasoning_content of the assistant's message must be passed back."
    forms = (
        error(400, words, type="invalid_request_error", param=name),
        json_answer({"detail": [{"loc": ["body", name], "msg": words, "type": "extra"}]}, 422),
        json_answer({"error": words}, 400),
        json_answer({"message": words}, 404),
        error(500, words),
        error(501, words, code=501),
        json_answer({"error": {"message": words, "code": 400}}),
        html(403, f"<html><title>403 Forbidden</title><p>{words}</html>"),
        json_answer({"object": "error", "message": words, "code": 400}, 400),
        Answer(400, {"content-type": "text/plain"}, (words.encode(),)),
    )
    return forms[form]


@dataclass
class Drawn:
    """The abilities of one server, and its answers."""

    seed: int
    truth: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        dice = random.Random(self.seed)
        self.truth = {name: dice.choice(values) for name, values in DRAWN.items()}
        self.form = {name: dice.randrange(FORMS) for name in DRAWN}
        self.base = dice.choice(("/v1", "", "/api/v1"))
        self.field = dice.choice(("reasoning_content", "reasoning"))
        self._dice = random.Random(self.seed + 1)
        self._lock = threading.Lock()
        self.numbers = itertools.count()

    def does(self, name: str) -> bool:
        """Whether it does something; Refused if it does not even take it."""
        if self.truth[name] == "refused":
            raise Refused(name)
        return self.truth[name] == "on"

    def __call__(self, seen: Seen) -> Answer:
        try:
            return self._answer(seen)
        except Refused as refused:
            return refusal(self.form.get(str(refused), 0), str(refused))

    def _answer(self, seen: Seen) -> Answer:
        below = seen.path.removeprefix(self.base) if seen.path.startswith(self.base) else ""
        body = seen.body if isinstance(seen.body, dict) else {}
        if below == "/models":
            if "wrong" in seen.headers.get("authorization", "") and self.does("checks the key"):
                return error(401, "Invalid key.", code="invalid_api_key")
            entry = {"id": "drawn", "object": "model", "max_model_len": 4096}
            return json_answer({"object": "list", "data": [entry]})
        if below == "/chat/completions":
            return self._chat(body)
        if below == "/embeddings" and self.does("embeddings"):
            return self._embeddings(body)
        plain: dict[str, dict[str, Any]] = {
            "/completions": {"choices": [{"text": "four", "finish_reason": "length"}]},
            "/responses": {"object": "response", "output": [{"type": "message"}]},
            "/rerank": {"results": [{"index": 0, "relevance_score": 1.0}]},
            "/tokenize": {"count": 2, "tokens": [1, 2]},
        }
        name = "/" + seen.path.rpartition("/")[2]
        beside = name == "/tokenize" and seen.path == f"{self.base.removesuffix('/v1')}/tokenize"
        if name in plain and (below == name or beside) and self.does(name[1:]):
            return json_answer(plain[name])
        return error(404, "Not Found")

    # --- chat

    def _chat(self, body: dict[str, Any]) -> Answer:
        if body["model"] != "drawn" and self.does("checks the model's name"):
            return error(404, "The model does not exist.", code="model_not_found")
        limits = [
            body[name]
            for name in ("max_tokens", "max_completion_tokens")
            if name in body and self.does(name)
        ]
        text = self._read(body["messages"], self._thinks(body))
        form, calls = self._form(body), self._calls(body)
        thinks = self._thinks(body) and (not calls or self.does("tools with reasoning"))
        written = [self._text(body, form, text) for _ in range(self._count(body))]
        choices = []
        for index, content in enumerate(written):
            finish, tokens = "stop", content.split(" ")
            if "stop" in body and not form and self.does("stop"):
                tokens = content.partition(body["stop"][0])[0].split(" ")
            if limits and len(tokens) > min(limits):
                finish, tokens = "length", tokens[: min(limits)]
            message: dict[str, Any] = {"role": "assistant", "content": " ".join(tokens)}
            if thinks:
                message[self.field] = "I think so."
            if calls:
                message |= {"content": None, "tool_calls": calls}
                finish = "tool_calls"
            choice = {"index": index, "message": message, "finish_reason": finish}
            if "logprobs" in body and self.does("logprobs"):
                choice["logprobs"] = {"content": [{"token": tokens[0], "logprob": -1.0}]}
            choices.append(choice)
        count = len((choices[0]["message"]["content"] or "a b c d e").split(" "))
        read = len(text.split()) + 5
        usage = {
            "prompt_tokens": read, "completion_tokens": count, "total_tokens": read + count
        }  # fmt: skip
        return self._sent(body, choices, usage)

    def _sent(self, body: dict[str, Any], choices: list[Any], usage: dict[str, int]) -> Answer:
        if body.get("stream") and self.does("stream"):
            events = list[Any]()
            for choice in choices:
                message = choice["message"]
                words = (message["content"] or "").split(" ")
                events += [chunk({"content": f"{word} "}) for word in words]
                calls = enumerate(message.get("tool_calls", ()))
                events += [chunk({"tool_calls": [{"index": n, **call}]}) for n, call in calls]
                events.append(chunk({}, choice["finish_reason"]))
            if body.get("stream_options") and self.does("usage in streams"):
                events.append({"object": "chat.completion.chunk", "choices": [], "usage": usage})
            return sse(*events)
        if body.get("stream_options"):
            self.does("usage in streams")
        document = {"object": "chat.completion", "model": "drawn", "choices": choices}
        return json_answer(document | ({"usage": usage} if self.does("usage") else {}))

    def _read(self, messages: list[dict[str, Any]], thinks: bool) -> str:
        """The text that reaches the model."""
        read = []
        for place, message in enumerate(messages):
            content, role = message.get("content"), message["role"]
            if role == "developer" and not self.does("developer role"):
                continue
            if role == "system" and place and not self.does("late system"):
                continue
            if isinstance(content, list):
                content = self._parts(content)
            if message.get("tool_calls"):
                if content == "":
                    self.does("empty content")
                if len(message["tool_calls"][0]["id"]) > 40:
                    self.does("long tool ids")
                reasoning = message.get(self.field)
                if self.truth["reasoning sent back"] == "wanted" and thinks and not reasoning:
                    raise Refused(WANTED)
                if reasoning and (
                    self.truth["reasoning sent back"] == "wanted"
                    or self.does("reasoning sent back")
                ):
                    read.append(reasoning)
            read.append(content or "")
        return " ".join(read)

    def _parts(self, parts: list[dict[str, Any]]) -> str:
        texts = [part["text"] for part in parts if part["type"] == "text"]
        if len(texts) < len(parts):
            return f"{texts[0]} PICTURE " + "pixel " * 60 if self.does("images") else texts[0]
        return " ".join(texts) if self.does("content as a list") else texts[0]

    def _form(self, body: dict[str, Any]) -> str:
        asked = body.get("response_format", {}).get("type")
        if asked is None:
            return ""
        return asked if self.does("tools and json_schema" if "tools" in body else asked) else ""

    def _calls(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        if "tools" not in body:
            return []
        is_on, choice = self.does("tools"), body.get("tool_choice")
        name: str | None = None
        count = 1
        if choice == "required":
            is_on = self.does("tool_choice required")
        elif isinstance(choice, dict) and self.does("tool_choice named"):
            is_on, name = True, choice["function"]["name"]
        elif choice is None and body.get("stream"):
            is_on = self.does("tools in streams")
        elif "Rome" in str(body["messages"]) and self.does("parallel tool calls"):
            count = 2
        if not is_on or "response_format" in body or body["messages"][-1]["role"] == "tool":
            return []
        form = next(t["function"] for t in body["tools"] if name in (None, t["function"]["name"]))
        arguments = json.dumps(instance(form["parameters"]))
        function = {"name": form["name"], "arguments": arguments}
        return [{"id": f"c{n}", "type": "function", "function": function} for n in range(count)]

    def _thinks(self, body: dict[str, Any]) -> bool:
        asked = [name for name in ("reasoning_effort", "chat_template_kwargs") if name in body]
        done = [self.does(name) for name in asked]
        return any(done)

    def _count(self, body: dict[str, Any]) -> int:
        return int(body.get("n", 1)) if "n" in body and self.does("n") else 1

    def _text(self, body: dict[str, Any], form: str, text: str) -> str:
        if form == "json_schema":
            return json.dumps(instance(body["response_format"]["json_schema"]["schema"]))
        if form == "json_object":
            return '{"a": 1}'
        if "PICTURE" in text:
            return "It shows 47."
        with self._lock:
            dice = self._dice
            if "seed" in body and self.does("seed"):
                dice = random.Random(body["seed"])
            return " ".join(dice.choice(WORDS) for _ in range(30))

    def _embeddings(self, body: dict[str, Any]) -> Answer:
        inputs = body["input"]
        if len(inputs) > 64 and not self.does("embedding batch"):
            raise AssertionError
        size = 8
        if "dimensions" in body and self.does("embedding dimensions"):
            size = body["dimensions"]
        vectors: list[Any] = [vector(text, size) for text in inputs]
        if body.get("encoding_format") and self.does("embeddings base64"):
            vectors = ["AACAPwAAAEA="] * len(inputs)
        data = [{"index": n, "embedding": v} for n, v in enumerate(vectors)]
        return json_answer({"object": "list", "data": data, "model": "drawn"})
