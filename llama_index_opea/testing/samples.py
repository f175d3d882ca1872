"""Tools, schemas and small valid files for the tests."""

from __future__ import annotations

import io
import struct
import wave
import zlib

from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

ADD = "Call add_numbers with 2 and 3."
ADD_TWICE = "Call add_numbers twice, at once: with 2 and 3, and with 4 and 5."
SAY_AND_ADD = "First say 'One moment, please.', then call add_numbers with 2 and 3."
SUM = 5


def add_numbers(a: int, b: int) -> int:
    """Add two integers."""
    return a + b


def name_of_city() -> str:
    """Tell the city in which we are."""
    return "Lima"


ADDING = FunctionTool.from_defaults(add_numbers)
CITY = FunctionTool.from_defaults(name_of_city)


class Address(BaseModel):
    """Where somebody lives."""

    street: str = Field(description="street and number")
    city: str = Field(description="name of the city")


class Item(BaseModel):
    """One line of an order."""

    name: str = Field(description="what is ordered")
    count: int = Field(description="how many, at least 1", ge=1)


class Order(BaseModel):
    """An order of goods."""

    customer: str = Field(description="name of the customer")
    address: Address
    items: list[Item] = Field(description="what is ordered, one entry each", min_length=1)
    note: str | None = Field(default=None, description="anything else")


ORDER = "Make up an order of {goods}: customer, address, and one or two items."
GOODS = {"goods": "apples"}


def _png() -> bytes:
    """A red square of 64 x 64 pixels."""

    def part(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = (b"\0" + b"\xd0\x20\x20" * 64) * 64
    head = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", head)
        + part(b"IDAT", zlib.compress(rows))
        + part(b"IEND", b"")
    )


def _wav() -> bytes:
    """A fifth of a second of a tone."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(bytes(128 + (60 if number % 16 < 8 else -60) for number in range(1600)))
    return file.getvalue()


def _pdf() -> bytes:
    """One page with a sentence."""
    text = b"BT /F1 12 Tf 20 20 Td (The sum is five.) Tj ET"
    objects: tuple[bytes, ...] = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 50]/Contents 4 0 R"
            b"/Resources<</Font<</F1 5 0 R>>>>>>"
        ),
        b"<</Length %d>>stream\n%b\nendstream" % (len(text), text),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    file, places = b"%PDF-1.4\n", b""
    for number, content in enumerate(objects, 1):
        places += b"%010d 00000 n \n" % len(file)
        file += b"%d 0 obj%b endobj\n" % (number, content)
    end = (len(objects) + 1, places, len(objects) + 1, len(file))
    return (
        file + b"xref\n0 %d\n0000000000 65535 f \n%btrailer"
        b"<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % end
    )


PNG, WAV, PDF = _png(), _wav(), _pdf()
