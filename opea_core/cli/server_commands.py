"""The command lines of what talks to a server: ``chat``, ``models``, ``embed``, ``doctor``."""

from __future__ import annotations

import argparse


def add_server_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add them to the parser of ``opea``."""
    _add_chat(commands)
    parser = commands.add_parser(
        "models",
        help="which models a server has",
        description="Lists the models of a server, with how many tokens each takes.",
    )
    _add_server(parser, several=True)
    parser = commands.add_parser(
        "embed",
        help="vectors of texts",
        description="Asks for vectors of texts: those given, or the lines of standard input.",
    )
    parser.add_argument("text", nargs="*", metavar="TEXT", help="texts (default: standard input)")
    _add_server(parser)
    _add_doctor(commands)


def _add_chat(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "chat",
        help="talk to a server",
        description="Answers one question, or holds a conversation if there is none.",
        epilog="examples: opea chat 'Why is the sky blue?'; opea chat < question.txt; opea chat",
    )
    parser.add_argument(
        "prompt",
        nargs="?",
        metavar="PROMPT",
        help="the question; - reads it from standard input; without it a conversation begins",
    )
    parser.add_argument("--system", metavar="TEXT", help="how the model is to answer")
    _add_server(parser)


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="find out what a server can do, by asking it",
        description="Asks a server with at most 40 tiny requests what works: yes, no, ignored or"
        " unknown. Ends with the settings to use.",
        epilog="exit status: 0 it can be used for chat or embeddings, 1 it answers and cannot,"
        " 2 nothing was found out",
    )
    parser.add_argument("url", nargs="+", metavar="URL", help="the server, with or without /v1")
    parser.add_argument("--key", metavar="KEY", help="its API key (default: OPEA_API_KEY)")
    parser.add_argument(
        "--model", metavar="NAME", help="the model to ask; default: OPEA_MODEL, or the only one"
    )
    parser.add_argument(
        "--yes", action="store_true", help="ask a server that is not on this computer"
    )
    parser.add_argument(
        "--save", metavar="FILE", help="keep the profile, for OPEA(capabilities=FILE)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write JSON")
    form.add_argument("--markdown", action="store_true", help="write a table in Markdown")
    _add_debug(parser)
    parser.set_defaults(on_error=2)


def _add_server(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """``--url``, ``--key``, ``--model`` and ``--json``."""
    parser.add_argument(
        "--url",
        action="append" if several else "store",
        metavar="URL",
        help="the server, with or without /v1 (default: OPEA_API_URL, else one on this computer)"
        + ("; may be given several times" if several else ""),
    )
    parser.add_argument(
        "--key", metavar="KEY", help="its API key (default: OPEA_API_KEY, which other users of this"
        " computer do not see)",
    )  # fmt: skip
    parser.add_argument(
        "--model", metavar="NAME", help="default: OPEA_MODEL, else the one that the server has"
    )
    parser.add_argument("--json", action="store_true", help="write JSON")
    _add_debug(parser)


def _add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
