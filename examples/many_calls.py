"""A hundred calls at once. The queue sends only as many as the server takes."""

import asyncio
import time

from demo_server import server

from opea_core import OPEA, OPEAError

CALLS = 100


async def main() -> None:
    with server():
        async with OPEA() as opea:
            begin = time.perf_counter()
            questions = [f"How much is {n} times {n}?" for n in range(CALLS)]
            calls = (opea.achat(question, max_tokens=50) for question in questions)
            answers = await asyncio.gather(*calls, return_exceptions=True)
            elapsed = time.perf_counter() - begin

        failed = [answer for answer in answers if isinstance(answer, OPEAError)]
        print(f"{len(answers) - len(failed)} answers, {len(failed)} errors in {elapsed:.1f} s")
        for error in failed[:1]:
            print(error)


if __name__ == "__main__":
    asyncio.run(main())
