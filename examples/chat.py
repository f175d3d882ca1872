"""One question, one answer, and what is known about it."""

from demo_server import server

from opea_core import OPEA


def main() -> None:
    with server(), OPEA() as opea:
        reply = opea.chat("What is the capital of France?", temperature=0, max_tokens=200)
        print(reply.content)
        print("finished because of:", reply.finish_reason)
        if reply.usage is not None:  # not every server counts
            print("tokens:", reply.usage.prompt_tokens, "in,", reply.usage.completion_tokens, "out")
        print("from:", reply.endpoint, "model:", reply.model)


if __name__ == "__main__":
    main()
