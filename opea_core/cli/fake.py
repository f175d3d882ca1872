"""``opea fake``: the scripted server from the shell, right or with faults."""

from __future__ import annotations

import argparse
import contextlib
import threading
import time

from opea_core.cli.console import Console
from opea_core.testing import FAULTS, ScriptedServer, Seen, faults, in_turn, sometimes
from opea_core.testing.faults import Script

_RIGHT = {"200"} | {fault.name for fault in FAULTS.values() if fault.harmless}


def run(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C, with a line per request; or list the faults."""
    console = Console()
    if arguments.list:
        return _list(console)
    chosen = [faults.find(name) for name in arguments.fault]
    server = ScriptedServer(
        model=arguments.model,
        api_key=arguments.api_key,
        latency=arguments.latency,
        capacity=arguments.capacity,
        overload="wait" if arguments.wait else None,
        host=arguments.host,
        port=arguments.port,
        on_end=lambda seen: _tell(console, server, seen),
    )
    with server, contextlib.suppress(KeyboardInterrupt):
        console.say(f"Serving {server.url} with the model {arguments.model}; Ctrl-C ends it.")
        if chosen:
            console.say(f"Faults: {', '.join(fault.name for fault in chosen)}{_when(arguments)}.")
            _script(server, in_turn(*chosen), arguments)
        threading.Event().wait()


def _script(server: ScriptedServer, what: Script, arguments: argparse.Namespace) -> None:
    if arguments.share < 1:
        what = sometimes(arguments.share, what, arguments.seed)
    if arguments.first:
        server.script(what, times=arguments.first)
    else:
        server.always(what)


def _when(arguments: argparse.Namespace) -> str:
    share = f", to {arguments.share:.0%} of the requests" if arguments.share < 1 else ""
    return f"{share}{f', of the first {arguments.first}' if arguments.first else ''}"


def _list(console: Console) -> None:
    width = max(map(len, FAULTS))
    for harmless, title in ((False, "Faults"), (True, "Odd, but right")):
        console.heading(title)
        for fault in FAULTS.values():
            if fault.harmless is harmless:
                console.say(f"{fault.name:<{width}}  {fault.what}")
    console.say("\nand every status from 400 to 599, as in --fault 503")


def _tell(console: Console, server: ScriptedServer, seen: Seen) -> None:
    server.seen.clear()  # it may run for weeks
    body = seen.body if isinstance(seen.body, dict) else {}
    kind = " stream" if body.get("stream") else ""
    left = ", the client left" if seen.disconnected else ""
    mark = " " if seen.answer in _RIGHT else "!"
    seconds = (seen.ended_at - seen.at) / 1e9
    console.say(
        f"{time.strftime('%H:%M:%S')} {mark} {seen.method} {seen.path}{kind}:"
        f" {seen.answer} ({seconds:.2f} s{left})"
    )
