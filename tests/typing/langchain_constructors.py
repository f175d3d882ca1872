"""``ChatOPEA`` and its siblings as people type them: checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

import httpx
from langchain_core.messages import AIMessage
from langchain_core.rate_limiters import InMemoryRateLimiter

from langchain_opea import ChatOPEA, OPEAEmbeddings, OPEARerank
from opea_core import OPEA, Capabilities, Endpoint, RetryPolicy


async def new_key() -> str:
    return "key"


# --- what is right

ChatOPEA(model="m", base_url="http://localhost:8000", api_key="key", temperature=0.5, stop=["."])
ChatOPEA(client=OPEA("http://localhost:8000"), timeout=httpx.Timeout(5.0), max_retries=0)
ChatOPEA(endpoints=["http://a", Endpoint(base_url="http://b")], api_key=new_key, breaker=False)
ChatOPEA(retry=RetryPolicy(), capabilities=Capabilities(), hooks=[print], verify=False)
ChatOPEA(rate_limiter=InMemoryRateLimiter(), tags=["a"], disable_streaming="tool_calling")
ChatOPEA(model_name="m", openai_api_base="http://a", request_timeout=5, max_completion_tokens=9)
OPEAEmbeddings(model="m", dimensions=64, chunk_size=8, query_prefix="query: ")
OPEARerank(model="m", top_n=None)
OPEARerank(top_k=3, http_library="aiohttp")

# --- what is wrong

ChatOPEA(temprature=0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
ChatOPEA(model=3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
ChatOPEA("m")  # type: ignore[arg-type, call-arg] # pyright: ignore[reportCallIssue]
ChatOPEA(client="http://a")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
ChatOPEA(timeout="5")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
ChatOPEA(root_client=None)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
OPEAEmbeddings(dimension=64)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
OPEAEmbeddings(chunk_size="8")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
OPEARerank(temperature=0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
OPEARerank(top_n="3")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

# --- calls are LangChain's

model = ChatOPEA()
assert_type(model.invoke("Hello", priority=0), AIMessage)
assert_type(model.bind(max_retries=0).invoke("Hello"), AIMessage)
assert_type(OPEAEmbeddings().embed_query("Hello"), list[float])


# --- a class of the user's own adds fields


class HouseModel(ChatOPEA):
    """With a default and a field of its own."""

    base_url: str | None = "http://gateway"
    team: str = ""


HouseModel(model="m", team="search")
HouseModel(team=3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def from_a_file(options: dict[str, Any]) -> ChatOPEA:
    """What is read at run time is checked at run time."""
    return ChatOPEA(**options)
