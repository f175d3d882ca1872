"""A process that asks a server as fast as it may, sharing its limits; run by test_processes.py.

``shared_worker.py URL STORE MAX_CONCURRENT RPM``: a line when it begins, and one for each answer,
until it is killed.
"""

from __future__ import annotations

import sys
import threading

from opea_core import OPEA, OPEAError


def main() -> None:
    url, store, places, rpm = sys.argv[1:5]
    opea = OPEA(
        url,
        model="m",
        shared_limits=store,
        max_concurrent=int(places) or None,
        rpm=int(rpm) or None,
    )

    def ask() -> None:
        while True:
            try:
                opea.chat("x")
            except OPEAError as error:
                print(f"failed: {error}", flush=True)
                return
            print("answered", flush=True)

    print("asking", flush=True)
    threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
