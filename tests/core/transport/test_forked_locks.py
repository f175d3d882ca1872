"""W14: a child of a fork needs no lock that a thread of the parent may have held."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from forking import FORKS, in_a_child

from opea_core import OPEA
from opea_core.lazy_imports import importing
from opea_core.testing import ScriptedServer

pytestmark = pytest.mark.skipif(not FORKS, reason="there is no fork here")
LOCKS = (type(threading.Lock()), type(threading.RLock()))


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What hangs on a value, with its name."""
    if isinstance(value, Mapping):
        yield from ((f"[{key!r:.30}]", part) for key, part in list(value.items()))
    elif isinstance(value, list | tuple | set | frozenset | deque | WeakSet):
        yield from ((f"[{number}]", part) for number, part in enumerate(list(value)))
    elif hasattr(value, "__self__"):
        yield ".__self__", value.__self__
    elif type(value).__module__.split(".")[0] in ("opea_core", "threading"):
        slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
        for name in (*getattr(value, "__dict__", ()), *slots):
            # Those who wait for a condition have locks of their own, which are held as they wait.
            if name not in ("__weakref__", "_waiters") and hasattr(value, name):
                yield f".{name}", getattr(value, name)


def locks_of(*roots: tuple[str, Any]) -> dict[str, Any]:
    """Every lock that can be reached, by the way to it."""
    found: dict[str, Any] = {}
    seen = {id(importing)}  # a fork waits for it
    todo = deque(roots)
    while todo:
        path, value = todo.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, LOCKS):
            found[path] = value
        elif not isinstance(value, type | str | bytes | int | threading.Thread):
            todo.extend((path + name, part) for name, part in parts(value))
    return found


@contextmanager
def held(locks: list[Any]) -> Iterator[None]:
    """Another thread has them all."""
    has_them, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            has_them.set()
            is_over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    has_them.wait()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_whatever_lock_is_held_a_child_calls_and_closes(
    server: ScriptedServer, tmp_path: Path, used: bool
) -> None:
    with OPEA(server.url, model="m", shared_limits=f"sqlite:///{tmp_path}/limits.db") as opea:
        if used:
            assert opea.chat("x")
            assert asyncio.run(opea.achat("x"))
        modules = [
            (f"{module.__name__}.{name}", value)
            for module in list(sys.modules.values())
            if getattr(module, "__name__", "").startswith("opea_core.transport")
            for name, value in vars(module).items()
            if isinstance(value, LOCKS)
        ]
        locks = locks_of(("opea", opea), *modules)
        names = " ".join(locks)
        assert all(word in names for word in ("renewal_lock", "drivers", "slots", "_context_lock"))
        assert not used or "_stop._cond" in names

        def child() -> bool:
            answers = opea.chat("x"), asyncio.run(opea.achat("x"))
            opea.close()
            return all(answers)

        with held(list(locks.values())):
            assert in_a_child(child), locks
