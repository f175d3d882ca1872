"""NO_PROXY: hosts that are reached without the environment's proxy."""

from __future__ import annotations

import ipaddress
import re
from urllib.request import proxy_bypass

_SEPARATORS = re.compile(r"[\s,]+")


def goes_direct(host: str, port: int, no_proxy: str | None) -> bool:
    """Whether a host is reached without a proxy.

    ``no_proxy`` is a list of names (``corp``, ``.corp``, ``*.corp``: with all below them),
    addresses (IPv6 with or without brackets), networks (``10.0.0.0/8``), each with a port or
    without, or ``*``. None asks the system's settings.
    """
    if no_proxy is None:
        return bool(proxy_bypass(host))
    host = host.rstrip(".").lower()
    address = _address(host)
    return any(
        _matches(entry.lower(), host, address, port)
        for entry in _SEPARATORS.split(no_proxy)
        if entry
    )


def _matches(
    entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int
) -> bool:
    if entry == "*":
        return True
    entry, wanted = _split(entry)
    if wanted not in (None, port):
        return False
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except (ValueError, TypeError):
            return False
    name = entry.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith("." + name))


def _split(entry: str) -> tuple[str, int | None]:
    """An entry's host and port."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(\d+))?", entry)
    if bracketed:
        return bracketed[1], int(bracketed[2]) if bracketed[2] else None
    host, colon, port = entry.rpartition(":")
    if colon and ":" not in host and port.isdigit():
        return host, int(port)
    return entry, None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
