"""The chat models of LangChain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from typing import Any

from .targets import KEY, MESSAGES, MODEL, TOOL, Target


class _Langchain(Target):
    """``model`` is the chat model, ``embedder`` gives the vectors."""

    model: Any

    def embedder(self, floats: bool) -> Any:
        """LangChain's object for vectors."""
        raise NotImplementedError

    def _messages(self) -> list[Any]:
        messages = import_module("langchain_core.messages")
        return [
            messages.SystemMessage(MESSAGES[0]["content"]),
            messages.HumanMessage(MESSAGES[1]["content"]),
        ]

    def chat(self) -> str:
        text: str = self.model.invoke(self._messages()).content
        return text

    async def achat(self) -> str:
        text: str = (await self.model.ainvoke(self._messages())).content
        return text

    def stream(self) -> Iterator[str]:
        for chunk in self.model.stream(self._messages()):
            yield chunk.content

    async def astream(self) -> AsyncIterator[str]:
        async for chunk in self.model.astream(self._messages()):
            yield chunk.content

    def tools(self) -> str:
        chunks = self.model.bind_tools([TOOL]).stream(self._messages())
        return "".join(call["args"] or "" for chunk in chunks for call in chunk.tool_call_chunks)

    def added(self) -> str:
        """``tools`` in the documented way: ``full = full + chunk``."""
        whole: Any = None
        for chunk in self.model.bind_tools([TOOL]).stream(self._messages()):
            whole = chunk if whole is None else whole + chunk
        arguments: str = whole.tool_call_chunks[0]["args"]
        return arguments

    def embed(self, texts: list[str], floats: bool) -> list[list[float]]:
        if not hasattr(self, "_embedder"):
            self._embedder = self.embedder(floats)
        vectors: list[list[float]] = self._embedder.embed_documents(texts)
        return vectors


class LangchainOpenAI(_Langchain):
    """langchain-openai."""

    venv = "langchain"
    imports = ("langchain_openai:ChatOpenAI",)
    packages = ("langchain-openai", "langchain-core")

    def __init__(self, url: str, asynchronous: bool) -> None:  # noqa: ARG002 - one object for both
        self.url, chat = url, import_module("langchain_openai").ChatOpenAI
        self.model = chat(model=MODEL, base_url=url, api_key=KEY, timeout=60, max_retries=0)

    def embedder(self, floats: bool) -> Any:
        more = {"model_kwargs": {"encoding_format": "float"}} if floats else {}
        embeddings = import_module("langchain_openai").OpenAIEmbeddings
        return embeddings(
            model=MODEL, base_url=self.url, api_key=KEY, check_embedding_ctx_length=False, **more
        )


class LangchainBase(_Langchain):
    """A chat model with nothing in it but a bare HTTP client: LangChain's own frame.

    Imported: the base class alone.
    """

    venv = "langchain"
    imports = ("langchain_core.language_models:BaseChatModel",)
    lacks = frozenset({"S1", "S2", "S2b", "S3s", "S4", "S7", "S8", "S9", "S10"})

    def __init__(self, url: str, asynchronous: bool) -> None:
        messages, outputs = (
            import_module("langchain_core.messages"),
            import_module("langchain_core.outputs"),
        )
        raw = import_module(f"{__package__}.raw").RawHttpx(url, asynchronous)

        def result(text: str) -> Any:
            return outputs.ChatResult(
                generations=[outputs.ChatGeneration(message=messages.AIMessage(text))]
            )

        def generate(*_: Any, **__: Any) -> Any:
            return result(raw.chat())

        async def agenerate(*_: Any, **__: Any) -> Any:
            return result(await raw.achat())

        async def astream(*_: Any, **__: Any) -> AsyncIterator[Any]:
            async for text in raw.astream():
                yield outputs.ChatGenerationChunk(message=messages.AIMessageChunk(text))

        members = {
            "_llm_type": "bare",
            "_generate": generate,
            "_agenerate": agenerate,
            "_astream": astream,
        }
        self.model, self.raw = (
            type(
                "Bare", (import_module("langchain_core.language_models").BaseChatModel,), members
            )(),
            raw,
        )

    def close(self) -> None:
        self.raw.close()

    async def aclose(self) -> None:
        await self.raw.aclose()


class LangchainOPEA(_Langchain):
    """This project in LangChain."""

    venv = "langchain"
    imports = ("langchain_opea:ChatOPEA",)
    packages = ("langchain-core",)

    def __init__(self, url: str, asynchronous: bool) -> None:  # noqa: ARG002 - one object for both
        self.url, chat = url, import_module("langchain_opea").ChatOPEA
        self.model = chat(model=MODEL, base_url=url, api_key=KEY, max_concurrent_requests=1000)

    def embedder(self, floats: bool) -> Any:  # noqa: ARG002 - numbers are what it asks for
        return import_module("langchain_opea").OPEAEmbeddings(
            model=MODEL, base_url=self.url, api_key=KEY
        )
