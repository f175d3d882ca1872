"""The command line of ``opea batch``."""

from __future__ import annotations

import argparse

_EXAMPLES = """\
examples:
  opea batch prompts.jsonl -o answers.jsonl --url http://gpu1:8000 --url http://gpu2:8000
  opea batch texts.csv -o answers.csv --template "Translate into French: {text}"
  opea batch openai-batch.jsonl -o answers.jsonl --endpoints servers.toml --model qwen3

The same command again goes on where the last one ended, however it ended.

exit status: 0 every row is answered, 1 some are not, 2 nothing was begun, 130 interrupted
"""


def add_batch_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add it to the parser of ``opea``."""
    parser = commands.add_parser(
        "batch",
        help="ask every row of a file, and write the answers to another",
        description="Asks every row of a file, as many at once as the servers take, "
        "and writes each answer as it comes.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="JSONL (prompts, messages, bodies, OpenAI's batch lines), CSV, TSV or Parquet; the "
        "first three also .gz or .zst; - is standard input (JSONL)",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUTPUT",
        help="JSONL, CSV, TSV or Parquet by its name; - is standard output, which keeps nothing",
    )
    _add_servers(parser.add_argument_group("servers"))
    _add_requests(parser.add_argument_group("requests"))
    _add_rows(parser.add_argument_group("rows"))
    _add_run(parser.add_argument_group("run"))
    parser.set_defaults(on_error=2)


def _add_servers(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--url",
        action="append",
        default=[],
        metavar="URL",
        help="a server; may be given several times (default: OPEA_API_URL, else one here)",
    )
    group.add_argument(
        "--endpoints",
        metavar="FILE",
        help="a TOML file of servers: [[endpoints]] with base_url, api_key_env and so on",
    )
    group.add_argument("--key", metavar="KEY", help="for one server only (default: OPEA_API_KEY)")
    group.add_argument(
        "--model",
        metavar="NAME",
        help="instead of the rows' own; default: OPEA_MODEL, or the only one",
    )
    group.add_argument(
        "--max-concurrent",
        type=int,
        metavar="N",
        help="the most requests at once (default: found out)",
    )
    for name, what in (("rpm", "requests"), ("tpm", "tokens")):
        group.add_argument(
            f"--{name}", type=int, metavar="N", help=f"most {what} in any 60 seconds, per server"
        )
    group.add_argument(
        "--shared-limits",
        metavar="STORE",
        help="keep limits together with other processes: sqlite:///limits.db, redis://host:6379/0",
    )


def _add_requests(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--template", metavar="TEXT", help='a prompt with columns: "Sum up: {text}"')
    group.add_argument("--system", metavar="TEXT", help="a system message for rows that have none")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="an option of every request, such as temperature=0.2; may be given several times",
    )
    group.add_argument(
        "--schema",
        metavar="FILE",
        help="a JSON schema that answers must keep to; others are marked",
    )


def _add_rows(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--limit", type=int, metavar="N", help="only the first N rows")
    group.add_argument(
        "--shard",
        metavar="I/N",
        help="only the I-th of N parts, counted from 1; give each host another one",
    )
    group.add_argument(
        "--retry-failed", action="store_true", help="try rows again that failed for good"
    )
    group.add_argument(
        "--redo-changed",
        action="store_true",
        help="ask rows again whose request is not the one that was answered",
    )
    group.add_argument("--stop-after-errors", metavar="N|P%", help="end when so many rows failed")


def _add_run(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--form",
        choices=("openai", "flat"),
        help="of a JSONL output: OpenAI's batch lines (default), or columns and answer",
    )
    group.add_argument("--ordered", action="store_true", help="sort the output as the input is")
    group.add_argument(
        "--progress",
        choices=("auto", "bar", "lines", "none"),
        default="auto",
        help="how to show it (default: a bar on a terminal that has rich, else lines)",
    )
    group.add_argument(
        "--summary-json", action="store_true", help="write the summary as JSON to standard output"
    )
    group.add_argument(
        "--ray",
        metavar="auto|ADDRESS",
        help="run it on a Ray cluster, over files that Ray reads and writes (docs/ray.md)",
    )
    group.add_argument("--debug", action="store_true", help="show where an error comes from")
