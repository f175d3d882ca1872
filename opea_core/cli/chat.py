"""``opea chat``: one question, or a conversation."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from opea_core import ChatResponse, ChatStream
from opea_core.cli.screen import Screen, make_screen
from opea_core.cli.servers import CommandError, choose_model, connect


def run(arguments: argparse.Namespace) -> None:
    """Answer the prompt, or what standard input says; without either, hold a conversation."""
    screen = make_screen()
    prompt = arguments.prompt
    if prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        prompt = sys.stdin.read().strip()
        if not prompt:
            raise CommandError("Standard input is empty.")
    if arguments.json and prompt is None:
        raise CommandError("--json needs a question: opea chat --json 'a question'")
    with connect(arguments, screen) as opea:
        model = choose_model(opea, screen)
        if prompt is None:
            from opea_core.cli.conversation import Conversation

            return Conversation(opea, model, screen, arguments.system).run()
        messages = [*system_message(arguments.system), {"role": "user", "content": prompt}]
        if arguments.json:
            return _as_json(opea.chat(messages, model=model))
        show(opea.stream_chat(messages, model=model), screen, with_figures=screen.is_terminal)


def system_message(text: str | None) -> list[dict[str, Any]]:
    """The message that says how to answer, if there is one."""
    return [{"role": "system", "content": text}] if text else []


def show(stream: ChatStream, screen: Screen, with_figures: bool) -> None:
    """Write an answer while it comes, and what it took.

    Ctrl-C ends the answer and raises KeyboardInterrupt. Reasoning is for people: it is dimmed on a
    terminal, and left out elsewhere.
    """
    thought, said = False, False
    with stream:
        for chunk in stream:
            if chunk.reasoning and screen.is_terminal:
                if not (thought or screen.has_colour):
                    screen.write("(reasoning) ")
                screen.write(chunk.reasoning, dim=True)
                thought = True
            text = chunk.content or chunk.refusal
            if text and thought and not said:
                text = "\n\n" + text.lstrip("\n")
            if text:
                screen.write(text)
                said = True
    screen.end()
    response = stream.response
    if response is not None and with_figures:
        screen.aside(figures(response))
        for warning in response.warnings:
            screen.aside(f"note: {warning}")


def figures(response: ChatResponse) -> str:
    """Tokens, the time to the first of them, and how many a second, as far as they are known."""
    usage, meta = response.usage, response.meta
    parts = []
    if usage is not None and usage.completion_tokens is not None:
        before = f"{usage.prompt_tokens:,} tokens in, " if usage.prompt_tokens is not None else ""
        parts.append(f"{before}{usage.completion_tokens:,} out")
    if meta.first_content is not None:
        parts.append(f"{meta.first_content:.2f} s to the first")
        writing = meta.elapsed - meta.queued - meta.first_content
        if usage is not None and (usage.completion_tokens or 0) > 1 and writing > 0:
            parts.append(f"{(usage.completion_tokens or 0) / writing:,.0f} tokens/s")
    if response.finish_reason not in (None, "stop"):
        parts.append(f"ended by: {response.finish_reason}")
    return ", ".join(parts) or "no figures came"


def _as_json(response: ChatResponse) -> None:
    usage, meta = response.usage, response.meta
    whole = {
        "content": response.content,
        "reasoning": response.reasoning or None,
        "finish_reason": response.finish_reason,
        "model": response.model,
        "endpoint": response.endpoint,
        "prompt_tokens": None if usage is None else usage.prompt_tokens,
        "completion_tokens": None if usage is None else usage.completion_tokens,
        "seconds": round(meta.elapsed, 3),
        "changed": list(meta.dropped),
        "warnings": response.warnings,
    }
    print(json.dumps(whole, ensure_ascii=False, indent=2))
