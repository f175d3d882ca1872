"""``OPEALLM`` and its siblings as people type them: checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.callbacks import CallbackManager

from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from opea_core import OPEA, Timeouts

# --- what is right

OPEALLM("m", api_base="http://localhost:8000", api_key="key", temperature=None)
OPEALLM(model="m", base_url="http://a", max_retries=0, timeout=(5, 60), context_window=8192)
OPEALLM(client=OPEA("http://a"), is_chat_model=False, callback_manager=CallbackManager())
OPEALLM(model_name="m", max_new_tokens=9, additional_kwargs={"top_k": 3}, headers={"a": "b"})
OPEAEmbedding("m", embed_batch_size=8, num_workers=2, timeout=Timeouts(idle=5))
OPEAEmbedding(model_name="m", text_prefix="passage: ", dimensions=64)
OPEARerank("m", top_n=3, endpoints=["http://a", "http://b"])
OPEARerank(top_k=3, http_library="aiohttp")

# --- what is wrong

OPEALLM(temprature=0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
OPEALLM(model=3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
OPEALLM(3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
OPEALLM("m", "http://a")  # type: ignore[arg-type, call-arg] # pyright: ignore[reportCallIssue]
OPEALLM(max_retries="three")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
OPEALLM(openai_client=None)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
OPEAEmbedding(temperature=0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
OPEAEmbedding(dimensions="64")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
OPEARerank(top=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
OPEARerank(top_n=None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

# --- calls are LlamaIndex's

llm = OPEALLM("m")
assert_type(llm.chat([ChatMessage("Hello")], priority=0), ChatResponse)
assert_type(llm.complete("Once", max_retries=0), CompletionResponse)


# --- a class of the user's own adds fields


class HouseLLM(OPEALLM):
    """With a default and a field of its own."""

    api_base: str | None = "http://gateway"
    team: str = ""


HouseLLM(model="m", team="search")
HouseLLM(team=3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def from_a_file(options: dict[str, Any]) -> OPEALLM:
    """What is read at run time is checked at run time."""
    return OPEALLM(**options)
