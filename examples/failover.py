"""Two endpoints, of which one is down: every call is answered by the other one."""

import asyncio
import os
from collections import Counter

from demo_server import server

from opea_core import OPEA, Endpoint

NOBODY = "http://127.0.0.1:9"  # nothing listens there


async def main() -> None:
    with server() as url:
        key = os.environ.get("OPEA_API_KEY")  # each endpoint has its own
        endpoints = [Endpoint(base_url=NOBODY), Endpoint(base_url=url, api_key=key)]
        async with OPEA(endpoints=endpoints, retry={"initial_delay": 0.1}) as opea:
            replies = await asyncio.gather(*(opea.achat(f"question {n}") for n in range(20)))
            by_endpoint = Counter(reply.endpoint for reply in replies)
            moved = sum(reply.meta.attempts > 1 for reply in replies)

        for endpoint, count in by_endpoint.items():
            print(f"{count} answers from {endpoint}")
        print("after a first attempt elsewhere:", moved)


if __name__ == "__main__":
    asyncio.run(main())
