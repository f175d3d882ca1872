"""``opea doctor``: what servers can do, found out by asking them."""

from __future__ import annotations

import argparse
import ipaddress
import json
import sys
from typing import Any

from opea_core import OPEA, OPEAError
from opea_core.cli.screen import Screen, make_screen
from opea_core.cli.servers import CommandError
from opea_core.doctor.diagnosis import Diagnosis
from opea_core.doctor.plan import MOST

_COLOURS = {"yes": "green", "no": "red", "ignored": "yellow", "unknown": "dim"}
_UNUSABLE, _NOTHING = 1, 2


def run(arguments: argparse.Namespace) -> int:
    """0 if all can be used for chat or embeddings, 1 if one cannot, 2 if nothing is known."""
    screen = make_screen()
    if arguments.save and len(arguments.url) > 1:
        raise CommandError("--save keeps one profile. Give one URL with it.")
    opeas = [_opea(url, arguments) for url in arguments.url]
    distant = [opea.endpoints[0].url.host for opea in opeas if not _is_here(opea)]
    if distant and not arguments.yes:
        raise CommandError(
            f"{', '.join(distant)} is not on this computer. At most {MOST} small requests would be"
            " sent to each server, which may cost a little.\nAdd --yes to do it."
        )
    found: list[Diagnosis] = []
    status = 0
    for opea in opeas:
        try:
            found.append(_diagnose(opea, screen, arguments))
        except OPEAError as error:
            if len(opeas) == 1:
                raise
            print(f"\nopea: {error}", file=sys.stderr)
            status = _NOTHING
    if arguments.json:
        documents = [one.as_dict() for one in found]
        whole: Any = documents[0] if len(opeas) == 1 else documents
        print(json.dumps(whole, ensure_ascii=False, indent=2))
    return max([status, *(0 if one.is_usable else _UNUSABLE for one in found)])


def _opea(url: str, arguments: argparse.Namespace) -> OPEA:
    options: dict[str, Any] = {} if arguments.key is None else {"api_key": arguments.key}
    return OPEA(url, model=arguments.model, **options)


def _is_here(opea: OPEA) -> bool:
    """Whether a server is on this computer, so that asking it costs nobody anything."""
    host = opea.endpoints[0].url.origin.partition("://")[2]
    host = host.rpartition("]")[0].removeprefix("[") or host.partition(":")[0]
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _diagnose(opea: OPEA, screen: Screen, arguments: argparse.Namespace) -> Diagnosis:
    """Ask one server, with progress, and show what was found."""
    label = opea.endpoints[0].label
    print(f"Asking {label}: at most {MOST} small requests.", file=sys.stderr)
    live = sys.stderr.isatty()

    def tell(sent: int, name: str) -> None:
        if live:
            print(f"\r\x1b[2K{sent + 1:>3} of at most {MOST}: {name}", end="", file=sys.stderr)
            sys.stderr.flush()

    try:
        with opea:
            diagnosis = opea.diagnose(progress=tell)
    finally:
        if live:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
    if arguments.save:
        diagnosis.save(arguments.save)
    if arguments.markdown:
        screen.say(f"{diagnosis.url}, {diagnosis.model}\n\n{diagnosis.markdown()}")
    elif not arguments.json:
        _show(diagnosis, screen, arguments.save)
    return diagnosis


def _show(diagnosis: Diagnosis, screen: Screen, saved: str | None) -> None:
    screen.say(f"{diagnosis.url}, model {diagnosis.model}")
    rows = [(row.name, row.value, row.detail) for row in diagnosis.rows]
    screen.table(("what", "works", "what was seen"), rows, colours=_COLOURS)
    screen.say(f"{diagnosis.requests} requests in {diagnosis.seconds:.1f} s.")
    if not diagnosis.is_usable:
        return screen.say("It can be used neither for chat nor for embeddings.")
    screen.say("\nTo use it:")
    for what, line in diagnosis.settings(saved).items():
        screen.say(f"  {what:<12}  {line}")
    if saved:
        screen.say(f"The profile is in {saved}.")
    else:
        again = f"opea doctor {diagnosis.url} --save profile.json"
        screen.say(f"To keep what was found: {again}, and OPEA(..., capabilities='profile.json').")
