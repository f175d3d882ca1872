"""S5: import, construct, first call, in a process that has imported nothing else."""

import sys
import time
from importlib import import_module

from .targets import Target


def start(make: type[Target], server: str) -> dict[str, float]:
    """Milliseconds of CPU, and modules; every figure counts from the beginning of the import."""
    modules, begin = len(sys.modules), time.process_time()
    for name in make.imports:
        module, _, attribute = name.partition(":")
        found = import_module(module)
        if attribute:
            getattr(found, attribute)
    figures = {
        "S5.import.cpu_ms": (time.process_time() - begin) * 1e3,
        "S5.modules": float(len(sys.modules) - modules),
    }
    if make.__init__ is not Target.__init__:
        target = make(f"{server}/x/v1", False)
        target.chat()
        figures["S5.first_call.cpu_ms"] = (time.process_time() - begin) * 1e3
        target.close()
    return figures
