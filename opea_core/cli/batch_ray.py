"""``opea batch --ray``: the same job on a Ray cluster."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from opea_core import ConfigurationError
from opea_core.batch import ray_run
from opea_core.batch.job import read_schema

_UNKNOWN = (
    "form",
    "limit",
    "shard",
    "ordered",
    "retry_failed",
    "redo_changed",
    "stop_after_errors",
)


def run_on_ray(
    arguments: argparse.Namespace, options: dict[str, Any], servers: Mapping[str, Any] | None
) -> int:
    """Run the batch there and tell what came of it; gives the exit status."""
    unknown = next((name for name in _UNKNOWN if getattr(arguments, name)), None)
    if unknown is not None:
        raise ConfigurationError(
            f"--{unknown.replace('_', '-')} cannot be used with --ray.",
            "docs/ray.md says how it is done with Ray's own means.",
        )
    if servers is None:
        raise ConfigurationError(
            "With --ray the servers must be named.",
            "Give --url or --endpoints, with addresses that every host of the cluster reaches.",
        )
    if "-" in (arguments.input, arguments.output):
        raise ConfigurationError("Ray reads and writes files only, not standard input and output.")
    _, schema = read_schema(arguments.schema)
    connection = dict(servers)
    if arguments.max_concurrent is not None:
        connection["max_concurrent"] = arguments.max_concurrent
    stage = {
        "template": arguments.template,
        "system": arguments.system,
        "schema": schema,
        "options": options,
    }
    summary = ray_run.run(
        arguments.input,
        arguments.output,
        address=arguments.ray,
        connection=connection,
        stage=stage,
        progress=arguments.progress != "none",
    )
    if arguments.summary_json:
        print(json.dumps(summary.to_dict(), ensure_ascii=False, indent=1))
    for line in ray_run.lines(summary):
        print(line, file=sys.stderr)
    return summary.exit_code
