"""The conversation of ``opea chat``: questions, answers, and commands that begin with a slash."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opea_core import OPEA, OPEAError
from opea_core.cli.chat import show, system_message
from opea_core.cli.screen import Screen
from opea_core.display_text import fit

_HELP = """\
/model [NAME]    the models of the server, or talk to another one from now on
/system [TEXT]   how it is to answer: shown, or set; /system - takes it back
/save FILE       keep the conversation: as JSON, or as text if FILE ends with .md or .txt
/help            this
/quit            end (so does Ctrl-D)

A line that ends with \\ goes on in the next one; \"\"\" begins and ends a text of several lines.
The arrow keys bring back earlier lines. Ctrl-C ends an answer, and not the program."""
_FENCE = '"""'


class Conversation:
    """What was said so far, with whom."""

    def __init__(self, opea: OPEA, model: str, screen: Screen, system: str | None = None) -> None:
        self._opea = opea
        self._model = model
        self._screen = screen
        self._system = system
        self._messages: list[dict[str, Any]] = []
        self._commands: dict[str, Callable[[str], None]] = {
            "model": self._choose,
            "system": self._instruct,
            "save": self._save,
            "help": lambda _: self._screen.say(_HELP),
        }

    def run(self) -> None:
        """Read and answer until /quit or Ctrl-D."""
        with contextlib.suppress(ImportError):  # where there is none, lines cannot be edited
            import readline  # noqa: F401 - input() then has the arrow keys

        self._screen.aside(f"Talking to {fit(self._model, 80)}. /help lists the commands.")
        while True:
            try:
                text = _read()
            except EOFError:
                return self._screen.say()
            except KeyboardInterrupt:
                self._screen.aside("\n(Ctrl-D or /quit ends)")
                continue
            if text in ("/quit", "/exit"):
                return
            if text:
                self._take(text)

    def _take(self, text: str) -> None:
        """Answer a question or do a command; what goes wrong is said, and the program goes on."""
        try:
            if text.startswith("/"):
                self._command(text)
            else:
                self._answer(text)
        except (OPEAError, OSError) as error:
            self._screen.say(f"{error}")
        except KeyboardInterrupt:
            self._screen.write("\n")
            self._screen.aside("(stopped)")

    def _command(self, line: str) -> None:
        name, _, rest = line[1:].partition(" ")
        command = self._commands.get(name)
        if command is None:
            return self._screen.say(f"There is no command /{name}. /help lists them.")
        command(rest.strip())

    def _answer(self, text: str) -> None:
        """Ask; the question stays in the conversation only if something came."""
        asked = [*self._messages, {"role": "user", "content": text}]
        sent = [*system_message(self._system), *asked]
        stream = self._opea.stream_chat(sent, model=self._model)
        try:
            show(stream, self._screen, with_figures=True)
        finally:  # what was said before it was stopped is part of the conversation, too
            if stream.response is not None and stream.response.content:
                self._messages = [*asked, stream.response.message]

    def _choose(self, name: str) -> None:
        if name:
            self._model = name
            return self._screen.say(f"From now on {name} answers.")
        for model in self._opea.models():
            mark = "*" if model.id == self._model else " "
            self._screen.say(f"{mark} {model.id}")

    def _instruct(self, text: str) -> None:
        if text:
            self._system = None if text == "-" else text
        self._screen.say(f"system: {self._system}" if self._system else "There is no system text.")

    def _save(self, name: str) -> None:
        if not name:
            return self._screen.say("Say where: /save FILE")
        path = Path(name).expanduser()
        messages = [*system_message(self._system), *self._messages]
        if path.suffix in (".md", ".txt"):
            text = "\n\n".join(f"## {m['role']}\n\n{m['content']}" for m in messages)
        else:
            whole = {"model": self._model, "messages": messages}
            text = json.dumps(whole, ensure_ascii=False, indent=2)
        path.write_text(f"{text}\n", encoding="utf-8")
        self._screen.say(f"{len(messages)} messages are in {path}.")


def _read() -> str:
    """What was typed: a line, or several lines that belong together."""
    lines = [input("> ")]
    if lines[0].strip().startswith(_FENCE):
        lines[0] = lines[0].strip().removeprefix(_FENCE)
        while not lines[-1].rstrip().endswith(_FENCE):
            lines.append(input("... "))
        lines[-1] = lines[-1].rstrip().removesuffix(_FENCE)
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input("... "))
    return "\n".join(lines).strip()
