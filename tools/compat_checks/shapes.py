"""What is asked for in every SDK."""

from __future__ import annotations

from pydantic import BaseModel

MODEL = "scripted-model"


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"18 degrees in {city}"


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
