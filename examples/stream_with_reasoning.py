"""An answer while it is written. What the model thinks comes apart from what it says."""

from demo_server import server

from opea_core import OPEA


def main() -> None:
    with server(), OPEA() as opea:
        question = "Is 91 a prime number?"
        thinking = False
        with opea.stream_chat(question, reasoning_effort="low", max_tokens=500) as stream:
            for chunk in stream:
                if chunk.reasoning and not thinking:
                    print("(thinks)", end=" ")
                if chunk.content and thinking:
                    print("\n(says)", end=" ")
                thinking = bool(chunk.reasoning) or (thinking and not chunk.content)
                print(chunk.reasoning or chunk.content, end="", flush=True)
        print()
        if stream.response is not None:
            print("finished because of:", stream.response.finish_reason)


if __name__ == "__main__":
    main()
