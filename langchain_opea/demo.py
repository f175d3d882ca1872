"""The LangChain part of ``opea demo``.

A chain and a structured answer over the demo's own servers.
"""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel, Field

from langchain_opea.chat_models import ChatOPEA
from opea_core import OPEA


class Recipe(BaseModel):
    """A short recipe."""

    name: str = Field(description="What it is called")
    minutes: int = Field(description="How long it takes")


def show(opea: OPEA, fact: Callable[[str, object], None]) -> None:
    """Run a chain and tell what came; ``fact`` takes a label and a value.

    Raises what goes wrong.
    """
    model = ChatOPEA(client=opea, max_tokens=200)
    prompt = ChatPromptTemplate.from_messages(
        [("system", "You answer in one sentence."), ("user", "What is {thing}?")]
    )
    chain = prompt | model | StrOutputParser()
    fact("chain", "prompt | ChatOPEA(client=opea) | StrOutputParser()")
    fact("answer", "".join(chain.stream({"thing": "a retry budget"})))
    recipe = model.with_structured_output(Recipe).invoke("A recipe for pancakes.")
    fact("structured", repr(recipe))
