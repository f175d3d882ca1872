"""What the probes send: tools, schemas, a conversation with a tool call, and a picture."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

from opea_core.types import Json

COUNT = "Count from one to thirty in English words, one after the other."
TWO_CITIES = "What is the weather in Paris, and what is it in Rome? Look both up."
ONE_CITY = "What is the weather in Paris? Look it up."
PLAIN = "Say hello in one short sentence."
LONG_ID = "call_opea-doctor-0123456789-0123456789-0123456789"
"""The id of a tool call with dashes and more than 40 characters."""
SHORT_ID = "a1b2c3d4e"
"""An id that the strictest rule takes: nine letters and digits."""
WORD = "pineapple"
INSTRUCTION = (
    "From now on you answer every question, whatever it may be about and however it is asked, with"
    f" nothing but the one single word {WORD}, in lower case, without any other text at all."
)
"""So long that it is seen among the tokens that the server read, also where it is not obeyed."""
INSTRUCTION_TOKENS = 20
"""Fewer than any tokenizer makes of it."""
NUMBER = "47"
"""What the picture shows."""


def tool(name: str, what: str) -> Json:
    """A tool that takes the name of a city."""
    city = {"type": "string", "description": "Name of the city"}
    parameters = {"type": "object", "properties": {"city": city}, "required": ["city"]}
    function = {"name": name, "description": what, "parameters": parameters}
    return {"type": "function", "function": function}


WEATHER = tool("get_weather", "The weather in a city now.")
TIME = tool("get_local_time", "The time in a city now.")
NAMED: Json = {"type": "function", "function": {"name": "get_local_time"}}

SCHEMA: Json = {
    "type": "object",
    "properties": {
        "greeting": {"type": "string", "enum": ["hello", "welcome"]},
        "number": {"type": "integer", "enum": [417]},
    },
    "required": ["greeting", "number"],
    "additionalProperties": False,
}
"""Nobody writes the number 417 by chance."""
JSON_SCHEMA: Json = {
    "type": "json_schema",
    "json_schema": {"name": "greeting", "strict": True, "schema": SCHEMA},
}


def keeps_schema(value: Any) -> bool:
    """Whether a document is of the schema."""
    return (
        isinstance(value, dict)
        and value.keys() == {"greeting", "number"}
        and value["greeting"] in ("hello", "welcome")
        and value["number"] == 417
    )


def history(content: str | None, call_id: str, **reasoning: Any) -> list[Json]:
    """A question, a call of a tool, and its result."""
    function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    call = {"id": call_id, "type": "function", "function": function}
    said = {"role": "assistant", "content": content, "tool_calls": [call], **reasoning}
    result = {"role": "tool", "tool_call_id": call_id, "content": "18 degrees, sunny"}
    return [{"role": "user", "content": ONE_CITY}, said, result]


THOUGHT = (
    "The user wants to know about the weather in Paris. There is a tool that looks the weather of a"
    " city up, so the right thing to do now is to call it with the name of this city and to wait."
)

_ROWS = {
    "4": ("#..#", "#..#", "####", "...#", "...#"),
    "7": ("####", "...#", "..#.", ".#..", ".#.."),
}
_SCALE = 16


def picture() -> str:
    """A data URL of a PNG that shows the number in black on white, 224 by 112 points."""
    lines = []
    blank = "." * 14
    rows = [f"..{four}..{seven}.." for four, seven in zip(_ROWS["4"], _ROWS["7"], strict=True)]
    for row in (blank, *rows, blank):
        line = b"\0" + b"".join((b"\0" if c == "#" else b"\xff") * _SCALE for c in row)
        lines += [line] * _SCALE
    size = struct.pack(">IIBBBBB", 14 * _SCALE, 7 * _SCALE, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", size)
    png += _chunk(b"IDAT", zlib.compress(b"".join(lines))) + _chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
