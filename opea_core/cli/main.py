"""``opea``: reads the command line and runs a command."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from opea_core.version import __version__

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status: 0, 1 after an error (its text is on stderr), 130 after Ctrl-C.

    As usual with argparse, ``--help``, ``--version`` and a wrong command line raise SystemExit.
    """
    arguments = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a model may write what the terminal cannot show
    try:
        _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # nobody reads any more: opea demo | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the last resort: a user gets the text, not the trace
        print(f"\nopea: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> None:
    from opea_core.cli import demo  # imports httpx and pydantic, which --version and --help do not need

    demo.run(calls=arguments.calls)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="opea", description="One dependable client for every server that speaks OpenAI's protocol.")
    parser.add_argument("--version", action="version", version=f"opea-core {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    demo = commands.add_parser(
        "demo",
        help="see what it does: on this computer alone, or with a server of yours",
        description="Shows a chat, a stream, tools, embeddings, and many calls while a server fails.",
        epilog="A scripted model answers, unless OPEA_API_URL is set (then OPEA_API_KEY and OPEA_MODEL count too).",
    )
    demo.add_argument("--calls", type=_positive, default=200, metavar="N", help="calls of the last part (default: 200)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
