"""The model calls a function of yours and answers with its result."""

from typing import Any

from demo_server import server

from opea_core import OPEA

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "examples": ["Paris"]}},
            "required": ["city"],
        },
    },
}


def main() -> None:
    with server(), OPEA() as opea:
        messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
        reply = opea.chat(messages, tools=[WEATHER])
        messages.append(reply.message)
        for call in reply.tool_calls:
            print("the model calls", call.name, call.args)
            result = f"18 degrees and clear in {call.args.get('city')}"  # your own code here
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        print(opea.chat(messages, tools=[WEATHER]).content if reply.tool_calls else reply.content)


if __name__ == "__main__":
    main()
