"""``opea models`` and ``opea embed``: what a server has, and vectors of texts."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from opea_core import ModelInfo
from opea_core.cli.screen import Screen, make_screen
from opea_core.cli.servers import CommandError, choose_model, connect

_FIRST = 4


def models(arguments: argparse.Namespace) -> None:
    """The models of one server or several, with how many tokens each takes."""
    screen = make_screen()
    found: list[tuple[str, ModelInfo]] = []
    for url in arguments.url or (None,):
        with connect(_one(arguments), screen, url) as opea:
            listed = opea.models()
            label = opea.endpoints[0].label
        wanted = [m for m in listed if arguments.model in (None, m.id)]
        found += [(label, model) for model in wanted]
    if arguments.json:
        rows = [
            {
                "endpoint": label,
                "id": model.id,
                "context_length": model.context_length,
                "owned_by": model.raw.get("owned_by"),
            }
            for label, model in found
        ]
        return print(json.dumps(rows, ensure_ascii=False, indent=2))
    if not found:
        return screen.say("No model is listed.")
    _table(screen, found, several=len(arguments.url or ()) > 1)


def _one(arguments: argparse.Namespace) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(arguments), "url": None, "model": None})


def _table(screen: Screen, found: list[tuple[str, ModelInfo]], several: bool) -> None:
    columns = (["endpoint"] if several else []) + ["id", "context", "owned by"]
    rows = []
    for label, model in found:
        window = f"{model.context_length:,}" if model.context_length else ""
        cells = [model.id, window, str(model.raw.get("owned_by") or "")]
        rows.append([label, *cells] if several else cells)
    screen.table(columns, rows, right=("context",))


def embed(arguments: argparse.Namespace) -> None:
    """Vectors of the texts of the command line, or of the lines of standard input."""
    screen = make_screen()
    texts = arguments.text or [line.rstrip("\n") for line in sys.stdin]
    texts = [text for text in texts if text]
    if not texts:
        raise CommandError("There is no text to embed. Write: opea embed 'a text' 'another'")
    with connect(arguments, screen) as opea:
        answer = opea.embed(texts, model=choose_model(opea, screen))
    if arguments.json:
        tokens = answer.usage.prompt_tokens if answer.usage else None
        whole: dict[str, Any] = {
            "model": answer.model,
            "dimensions": answer.dimensions,
            "prompt_tokens": tokens,
            "embeddings": answer.embeddings,
        }
        return print(json.dumps(whole))
    rows = [
        (text, str(len(vector)), _first(vector))
        for text, vector in zip(texts, answer.embeddings, strict=True)
    ]
    screen.table(("text", "numbers", "first of them"), rows, right=("numbers",))


def _first(vector: list[float]) -> str:
    more = " ..." if len(vector) > _FIRST else ""
    return " ".join(f"{number:.4f}" for number in vector[:_FIRST]) + more
