"""What is measured: one small class for each client, which does what a user of it would write.

A worker imports this in every environment: nothing foreign may be imported outside ``__init__``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from typing import Any, ClassVar

KEY = "sk-bench"
MODEL = "bench-model"
MESSAGES = [
    {"role": "system", "content": "You are a terse assistant."},
    {"role": "user", "content": "Say three hundred tokens about foxes. " * 4},
]
_PARAMETERS = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
TOOL = {
    "type": "function",
    "function": {"name": "save", "description": "save a text", "parameters": _PARAMETERS},
}


class Target:
    """One client object, sync or async; an async one is made inside the running loop."""

    venv: ClassVar[str]
    """The environment it runs in."""
    imports: ClassVar[tuple[str, ...]]
    """What a program that uses it imports: modules, or ``module:name``."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions are shown."""
    lacks: ClassVar[frozenset[str]] = frozenset()
    """Scenarios it cannot take part in."""

    def __init__(self, url: str, asynchronous: bool) -> None:
        """Make the client, with limits that let every call of a scenario go out at once."""

    def chat(self) -> str:
        """The text of one answer."""
        raise NotImplementedError

    async def achat(self) -> str:
        """``chat``, async."""
        raise NotImplementedError

    def stream(self) -> Iterator[str]:
        """The text of every chunk."""
        raise NotImplementedError

    def astream(self) -> AsyncIterator[str]:
        """``stream``, async."""
        raise NotImplementedError

    def tools(self) -> str:
        """The arguments of a tool call, streamed."""
        raise NotImplementedError

    def embed(self, texts: list[str], floats: bool) -> list[list[float]]:
        """Vectors of texts; ``floats``: asked for as numbers,
        else as this client asks when told nothing.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End a sync client."""

    async def aclose(self) -> None:
        """End an async client."""


class HttpxAndPydantic(Target):
    """Only imported: what the core cannot do without."""

    venv = "raw"
    imports = ("httpx", "pydantic:BaseModel")


class OPEACore(Target):
    """This project, direct use."""

    venv = "raw"
    imports = ("opea_core:OPEA",)
    packages: ClassVar[tuple[str, ...]] = ("httpx", "pydantic")

    def __init__(self, url: str, asynchronous: bool) -> None:  # noqa: ARG002 - one object for both
        self.opea = import_module("opea_core").OPEA(
            base_url=url, api_key=KEY, model=MODEL, max_concurrent_requests=1000
        )

    def chat(self) -> str:
        text: str = self.opea.chat(MESSAGES).content
        return text

    async def achat(self) -> str:
        text: str = (await self.opea.achat(MESSAGES)).content
        return text

    def stream(self) -> Iterator[str]:
        for chunk in self.opea.stream_chat(MESSAGES):
            yield chunk.content

    async def astream(self) -> AsyncIterator[str]:
        async for chunk in self.opea.astream_chat(MESSAGES):
            yield chunk.content

    def tools(self) -> str:
        stream = self.opea.stream_chat(MESSAGES, tools=[TOOL])
        for _ in stream:
            pass
        arguments: str = stream.response.tool_calls[0].arguments
        return arguments

    def embed(self, texts: list[str], floats: bool) -> list[list[float]]:  # noqa: ARG002 - numbers are what it asks for
        vectors: list[list[float]] = self.opea.embed(texts).embeddings
        return vectors

    def close(self) -> None:
        self.opea.close()

    async def aclose(self) -> None:
        await self.opea.aclose()


class OPEAOverAiohttp(OPEACore):
    """The same, its async connections made by aiohttp."""

    packages = ("aiohttp",)
    lacks = frozenset({"S1", "S3s", "S5", "S7", "S10"})

    def __init__(self, url: str, asynchronous: bool) -> None:  # noqa: ARG002
        opea = import_module("opea_core").OPEA
        self.opea = opea(
            base_url=url,
            api_key=KEY,
            model=MODEL,
            max_concurrent_requests=1000,
            http_library="aiohttp",
        )


class OpenAISDK(Target):
    """The openai SDK, as langchain-openai uses it: in the same environment."""

    venv = "langchain"
    imports: ClassVar[tuple[str, ...]] = ("openai:OpenAI", "openai:AsyncOpenAI")
    packages = ("openai",)

    def __init__(self, url: str, asynchronous: bool) -> None:
        openai = import_module("openai")
        self.client: Any = (openai.AsyncOpenAI if asynchronous else openai.OpenAI)(
            base_url=url, api_key=KEY, timeout=60, max_retries=0
        )
        self.create = self.client.chat.completions.create

    def chat(self) -> str:
        text: str = self.create(model=MODEL, messages=MESSAGES).choices[0].message.content
        return text

    async def achat(self) -> str:
        text: str = (await self.create(model=MODEL, messages=MESSAGES)).choices[0].message.content
        return text

    def stream(self) -> Iterator[str]:
        for chunk in self.create(model=MODEL, messages=MESSAGES, stream=True):
            yield chunk.choices[0].delta.content or ""

    async def astream(self) -> AsyncIterator[str]:
        async for chunk in await self.create(model=MODEL, messages=MESSAGES, stream=True):
            yield chunk.choices[0].delta.content or ""

    def tools(self) -> str:
        pieces = []
        for chunk in self.create(model=MODEL, messages=MESSAGES, stream=True, tools=[TOOL]):
            pieces += [
                call.function.arguments or "" for call in chunk.choices[0].delta.tool_calls or ()
            ]
        return "".join(pieces)

    def embed(self, texts: list[str], floats: bool) -> list[list[float]]:
        options = {"encoding_format": "float"} if floats else {}
        return [
            item.embedding
            for item in self.client.embeddings.create(model=MODEL, input=texts, **options).data
        ]

    def close(self) -> None:
        self.client.close()

    async def aclose(self) -> None:
        await self.client.close()


class OpenAIOverOPEA(OpenAISDK):
    """The same SDK over this project: its calls are ours below."""

    imports = ("openai:OpenAI", "openai:AsyncOpenAI", "opea_core.transports:openai_client")

    def __init__(self, url: str, asynchronous: bool) -> None:
        self.opea = import_module("opea_core").OPEA(
            base_url=url, api_key=KEY, model=MODEL, max_concurrent_requests=1000
        )
        transports = import_module("opea_core.transports")
        make = transports.async_openai_client if asynchronous else transports.openai_client
        self.client = make(self.opea, timeout=60, max_retries=0)
        self.create = self.client.chat.completions.create

    def close(self) -> None:
        super().close()
        self.opea.close()

    async def aclose(self) -> None:
        await super().aclose()
        await self.opea.aclose()


def find(name: str) -> type[Target]:
    """A target by its name."""
    place = TARGETS[name]
    target: type[Target] = getattr(import_module(f"{__package__}.{place[0]}"), place[1])
    return target


TARGETS = {
    "httpx_pydantic": ("targets", "HttpxAndPydantic"),
    "raw_httpx": ("raw", "RawHttpx"),
    "raw_aiohttp": ("raw", "RawAiohttp"),
    "opea_core": ("targets", "OPEACore"),
    "opea_aiohttp": ("targets", "OPEAOverAiohttp"),
    "openai": ("targets", "OpenAISDK"),
    "openai_over_opea": ("targets", "OpenAIOverOPEA"),
    "langchain_openai": ("langchain", "LangchainOpenAI"),
    "langchain_opea": ("langchain", "LangchainOPEA"),
    "llama_index_like": ("llama_index", "LlamaIndexLike"),
    "llama_index_opea": ("llama_index", "LlamaIndexOPEA"),
    "langchain_base": ("langchain", "LangchainBase"),
    "llama_index_base": ("llama_index", "LlamaIndexBase"),
}
