"""A LlamaIndex agent with a tool. Needs: pip install 'opea-core[llama-index]'"""

import asyncio

from demo_server import server
from llama_index.core.agent.workflow import FunctionAgent

from llama_index_opea import OPEALLM
from opea_core import OPEA


def get_weather(city: str) -> str:
    """The weather in a city now."""
    print("the tool is called")
    return f"18 degrees and clear in {city}"


async def main() -> None:
    with server():
        async with OPEA() as opea:
            llm = OPEALLM(client=opea)  # all models over one OPEA object share its queue and limits
            agent = FunctionAgent(tools=[get_weather], llm=llm)
            print(await agent.run("What is the weather in Paris?"))


if __name__ == "__main__":
    asyncio.run(main())
