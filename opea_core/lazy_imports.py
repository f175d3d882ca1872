"""Packages whose names are imported when they are asked for.

Who imports one pays for what is used.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module

__all__ = ["importing", "names"]

importing = threading.RLock()
"""Held while something is imported late.

A process that forks waits for it, as its child could never end an import that another thread has
begun.
"""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=importing.acquire,
        after_in_parent=importing.release,
        after_in_child=importing.release,
    )


def names(
    package: str, homes: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The ``__getattr__`` and the ``__dir__`` of a package.

    ``homes`` says which of its modules has which names.
    """
    home = {name: module for module, found in homes.items() for name in found}

    def get(name: str) -> object:
        if name not in home and name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with importing:
            module = import_module(f"{package}.{home.get(name, name)}")
        value = getattr(module, name) if name in home else module
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted(
        {*vars(sys.modules[package]), *home, *(name for name in homes if name.isidentifier())}
    )
