"""``opea``: reads the command line and runs a command."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from opea_core.cli.batch_options import add_batch_command
from opea_core.cli.bench_options import add_bench_command
from opea_core.cli.server_commands import add_server_commands
from opea_core.version import __version__

_INTERRUPTED = 130
COMMANDS = {
    "chat": ("chat", "run"),
    "models": ("ask", "models"),
    "embed": ("ask", "embed"),
    "doctor": ("doctor", "run"),
    "batch": ("batch", "run"),
    "bench": ("bench", "run"),
    "fake": ("fake", "run"),
}
"""The module and the function of each command that takes its arguments as they are."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status.

    It is 0, 1 after an error (its text is on stderr; some commands have another status for it), 130
    after Ctrl-C. Without a command the help is shown. As usual with argparse, ``--help``,
    ``--version`` and a wrong command line raise SystemExit.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a model may write what the terminal cannot show
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # nobody reads any more: opea demo | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001
        # The last resort: a user gets the text, not the trace.
        if getattr(arguments, "debug", False):
            traceback.print_exc()
        print(f"\nopea: {_spelled(str(error), arguments) or type(error).__name__}", file=sys.stderr)
        return int(getattr(arguments, "on_error", 1))
    return status


def _run(arguments: argparse.Namespace) -> int:
    """The exit status of a command; its module is imported now, as --help needs none of them."""
    if arguments.command == "demo":
        from opea_core.cli import demo

        demo.run(calls=arguments.calls)
        return 0
    module, function = COMMANDS[arguments.command]
    status: int | None = getattr(import_module(f"opea_core.cli.{module}"), function)(arguments)
    return status or 0


_SPELLED = (
    ("base_url=", "--url"),
    ("api_key=", "--key"),
    ("model=.", "--model."),
    ("model=", "--model "),
)
"""What Python calls it, and what the command line does."""


def _spelled(text: str, arguments: argparse.Namespace) -> str:
    """The words of an error with the names that the command line has for options."""
    for name, option in _SPELLED if hasattr(arguments, "key") else ():
        text = text.replace(name, option)
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="opea",
        description="One dependable client for every server that speaks OpenAI's protocol.",
    )
    parser.add_argument("--version", action="version", version=f"opea-core {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    add_server_commands(commands)
    demo = commands.add_parser(
        "demo",
        help="see what it does: on this computer alone, or with a server of yours",
        description=(
            "Shows a chat, a stream, tools, embeddings, and many calls while a server fails."
        ),
        epilog=(
            "A scripted model answers, unless OPEA_API_URL is set"
            " (then OPEA_API_KEY and OPEA_MODEL count too)."
        ),
    )
    demo.add_argument(
        "--calls",
        type=count,
        default=200,
        metavar="N",
        help="calls of the last part (default: 200)",
    )
    add_batch_command(commands)
    add_bench_command(commands)
    _add_fake(commands)
    return parser


def _add_fake(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "fake",
        help="a scripted server to test clients against, right or with faults",
        description=(
            "Serves chat, completions, embeddings, rerank and models of a scripted model,"
            " and fails as it is told."
        ),
        epilog="example: opea fake --fault cut --fault 503 --share 0.2",
    )
    parser.add_argument("--list", action="store_true", help="list the faults and end")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME",
        help="what goes wrong; several take turns",
    )
    parser.add_argument(
        "--share",
        type=share,
        default=1.0,
        help="the share of the requests that get a fault, 0 to 1 (default: 1)",
    )
    parser.add_argument(
        "--first", type=count, metavar="N", help="only the first N requests get faults"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the dice behind --share")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=port, default=8000, help="port (default: 8000; 0 takes a free one)"
    )
    parser.add_argument(
        "--model", default="scripted-model", help="the model's name (default: scripted-model)"
    )
    parser.add_argument("--api-key", metavar="KEY", help="answer 401 unless this key comes")
    parser.add_argument(
        "--latency", type=seconds, default=0.0, metavar="SECONDS", help="before each answer"
    )
    parser.add_argument(
        "--capacity", type=count, metavar="N", help="so many requests at once; the others get 429"
    )
    parser.add_argument(
        "--wait", action="store_true", help="the others wait for their turn instead"
    )


# --- what argparse calls by their names: "invalid share value: '2'"


def share(text: str) -> float:
    """A number from 0 to 1."""
    return _within(float(text), 0, 1)


def seconds(text: str) -> float:
    """A number from 0."""
    return _within(float(text), 0, 1e6)


def port(text: str) -> int:
    """A port, or 0."""
    return int(_within(int(text), 0, 65535))


def count(text: str) -> int:
    """A number from 1."""
    return int(_within(int(text), 1, 10**9))


def _within(number: float, low: float, high: float) -> float:
    if not low <= number <= high:
        raise ValueError
    return number
