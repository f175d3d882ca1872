"""The command line of ``opea bench``."""

from __future__ import annotations

import argparse

_PROMPT = "Write a short story about a lighthouse."


def add_bench_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add it to the parser of ``opea``."""
    parser = commands.add_parser(
        "bench",
        help="how much a server takes at once, and how fast it is then",
        description="Streams chats, 1, 2, 4 ... at once, until more no longer pays. "
        "This is load: use it on servers of your own.",
    )
    parser.add_argument("url", metavar="URL", help="the server, with or without /v1")
    parser.add_argument("--key", metavar="KEY", help="its API key (default: OPEA_API_KEY)")
    parser.add_argument(
        "--model", metavar="NAME", help="default: OPEA_MODEL, else the one that the server has"
    )
    parser.add_argument(
        "--prompt", default=_PROMPT, metavar="TEXT", help="what is asked (default: a short story)"
    )
    parser.add_argument(
        "--max-tokens", type=count, default=128, metavar="N", help="of each answer (default: 128)"
    )
    parser.add_argument(
        "--most", type=count, default=512, metavar="N", help="at once (default: 512)"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw it as SVG (extra [bench])")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")


def count(text: str) -> int:
    """A number from 1."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number
