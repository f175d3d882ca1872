"""The LLMs of LlamaIndex."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from typing import Any

from .targets import KEY, MESSAGES, MODEL, Target


def save(text: str) -> str:
    """Save a text."""
    return text


class _LlamaIndex(Target):
    """``model`` is the LLM, ``embedder`` gives the vectors."""

    model: Any

    def embedder(self, floats: bool) -> Any:
        """LlamaIndex's object for vectors."""
        raise NotImplementedError

    def _messages(self) -> list[Any]:
        message = import_module("llama_index.core.llms").ChatMessage
        return [message(role=m["role"], content=m["content"]) for m in MESSAGES]

    def chat(self) -> str:
        text: str = self.model.chat(self._messages()).message.content
        return text

    async def achat(self) -> str:
        text: str = (await self.model.achat(self._messages())).message.content
        return text

    def stream(self) -> Iterator[str]:
        for response in self.model.stream_chat(self._messages()):
            yield response.delta or ""

    async def astream(self) -> AsyncIterator[str]:
        async for response in await self.model.astream_chat(self._messages()):
            yield response.delta or ""

    def tools(self) -> str:
        if not hasattr(self, "_tool"):
            self._tool = import_module("llama_index.core.tools").FunctionTool.from_defaults(save)
        (last,) = deque(
            self.model.stream_chat_with_tools([self._tool], user_msg="save it"), maxlen=1
        )
        call = next(block for block in last.message.blocks if block.block_type == "tool_call")
        arguments: Any = call.tool_kwargs
        return arguments if isinstance(arguments, str) else f'{{"text":"{arguments["text"]}"}}'

    def embed(self, texts: list[str], floats: bool) -> list[list[float]]:
        if not hasattr(self, "_embedder"):
            self._embedder = self.embedder(floats)
        vectors: list[list[float]] = self._embedder.get_text_embedding_batch(texts)
        return vectors


class LlamaIndexLike(_LlamaIndex):
    """LlamaIndex's OpenAILike."""

    venv = "llamaindex"
    imports = ("llama_index.llms.openai_like:OpenAILike",)
    packages = ("llama-index-llms-openai-like", "llama-index-core", "openai")

    def __init__(self, url: str, asynchronous: bool) -> None:  # noqa: ARG002 - one object for both
        self.url, llm = url, import_module("llama_index.llms.openai_like").OpenAILike
        known = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 8192}
        self.model = llm(model=MODEL, api_base=url, api_key=KEY, timeout=60, max_retries=0, **known)

    def embedder(self, floats: bool) -> Any:
        more = {"additional_kwargs": {"encoding_format": "float"}} if floats else {}
        embedding = import_module("llama_index.embeddings.openai_like").OpenAILikeEmbedding
        return embedding(
            model_name=MODEL, api_base=self.url, api_key=KEY, embed_batch_size=256, **more
        )


class LlamaIndexBase(_LlamaIndex):
    """An LLM with nothing in it but a bare HTTP client: what LlamaIndex's own frame around it
    costs. Imported: the base class alone.
    """

    venv = "llamaindex"
    imports = ("llama_index.core.llms.llm:LLM",)
    lacks = frozenset({"S2", "S2b", "S3s", "S3a", "S4", "S6", "S7", "S8", "S9", "S10"})

    def __init__(self, url: str, asynchronous: bool) -> None:  # noqa: ARG002 - only sync
        types = import_module("llama_index.core.base.llms.types")
        callback = import_module("llama_index.core.llms.callbacks").llm_chat_callback()
        http = import_module("httpx").Client(timeout=60, headers={"authorization": f"Bearer {KEY}"})

        def chat(_: Any, messages: Any, **__: Any) -> Any:
            body = {
                "model": MODEL,
                "messages": [
                    {"role": message.role.value, "content": message.content} for message in messages
                ],
            }
            text = (
                http.post(f"{url}/chat/completions", json=body)
                .raise_for_status()
                .json()["choices"][0]["message"]["content"]
            )
            return types.ChatResponse(message=types.ChatMessage(role="assistant", content=text))

        span = import_module("llama_index_instrumentation").get_dispatcher(__name__).span
        nothing = dict.fromkeys(("complete", "stream_complete"), lambda *_, **__: None)
        members = {
            **nothing,
            "metadata": property(lambda _: types.LLMMetadata()),
            "chat": span(callback(chat)),
        }
        self.model, self.http = (
            type("Bare", (import_module("llama_index.core.llms").CustomLLM,), members)(),
            http,
        )

    def close(self) -> None:
        self.http.close()


class LlamaIndexOPEA(_LlamaIndex):
    """This project in LlamaIndex."""

    venv = "llamaindex"
    imports = ("llama_index_opea:OPEALLM",)
    packages = ("llama-index-core",)

    def __init__(self, url: str, asynchronous: bool) -> None:  # noqa: ARG002 - one object for both
        self.url, llm = url, import_module("llama_index_opea").OPEALLM
        self.model = llm(
            model=MODEL,
            api_base=url,
            api_key=KEY,
            context_window=8192,
            max_concurrent_requests=1000,
        )

    def embedder(self, floats: bool) -> Any:  # noqa: ARG002 - numbers are what it asks for
        embedding = import_module("llama_index_opea").OPEAEmbedding
        return embedding(model_name=MODEL, api_base=self.url, api_key=KEY, embed_batch_size=256)
