"""A LangChain agent with a tool. Needs: pip install 'opea-core[langchain]' langchain"""

from demo_server import server
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool

from langchain_opea import ChatOPEA
from opea_core import OPEA


@tool
def get_weather(city: str) -> str:
    """The weather in a city now."""
    return f"18 degrees and clear in {city}"


def main() -> None:
    with server(), OPEA() as opea:
        model = ChatOPEA(client=opea)  # all models over one OPEA object share its queue and limits
        agent = create_agent(model, [get_weather])
        result = agent.invoke({"messages": [HumanMessage("What is the weather in Paris?")]})
        for message in result["messages"]:
            print(f"{message.type}:", message.text or [call["name"] for call in message.tool_calls])


if __name__ == "__main__":
    main()
