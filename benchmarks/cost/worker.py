"""One scenario with one target, in the target's environment. Prints a line of JSON."""

import json
import os
import sys

from .fresh import start
from .targets import find


def main(job: dict[str, str], scale: float) -> dict[str, float] | dict[str, str]:
    """The figures of a job, or the versions of what is measured."""
    if job["core"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(job["core"])})
    make, scenario = find(job["target"]), job["scenario"]
    if scenario == "versions":
        from importlib.metadata import version

        if "S5" not in make.lacks:
            start(make, job["server"])  # writes the byte code that a second import finds
        return {name: version(name) for name in make.packages}
    if scenario == "S5":
        return start(make, job["server"])
    import resource

    from .growth import GROWTH
    from .measure import Bench
    from .scenarios import SCENARIOS

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (4096 if most == resource.RLIM_INFINITY else min(65536, most), most)
    )
    return {**SCENARIOS, **GROWTH}[scenario](Bench(make, job["server"], scale))


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print(json.dumps(main(job, float(job["scale"]))))
