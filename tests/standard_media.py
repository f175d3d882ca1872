"""Small valid files, made here, instead of those
that the standard tests would fetch from the web.
"""

from __future__ import annotations

import struct
import zlib
from types import SimpleNamespace
from typing import Any


def _png() -> bytes:
    """An 8 x 8 image of two colours."""
    rows = b"".join(
        b"\0" + (b"\xc0\x40\x20" if row % 2 else b"\x20\x40\xc0") * 8 for row in range(8)
    )

    def part(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", head)
        + part(b"IDAT", zlib.compress(rows))
        + part(b"IEND", b"")
    )


def _wav() -> bytes:
    """Ten milliseconds of a tone: 80 samples of 8 bits."""
    samples = bytes(128 + (60 if number % 8 < 4 else -60) for number in range(80))
    form = struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(samples))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", len(samples))
        + samples
    )


def _pdf() -> bytes:
    """One page that says "scripted"."""
    text = b"BT /F1 12 Tf 20 20 Td (scripted) Tj ET"
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 50]/Contents 4 0 "
            b"R/Resources<</Font<</F1 5 0 R>>>>>>"
        ),
        b"<</Length %d>>stream\n%b\nendstream" % (len(text), text),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    file, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj%b endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    return file + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer<</Size %d/Root 1 0 "
        b"R>>\nstartxref\n%d\n%%%%EOF\n"
    ) % (
        count,
        table,
        count,
        len(file),
    )


PNG, WAV, PDF = _png(), _wav(), _pdf()
FILES = {".png": PNG, ".wav": WAV, ".pdf": PDF}


def get(url: str, **_: Any) -> SimpleNamespace:
    """In the place of ``httpx.get``: the file of this kind, whatever the address."""
    kind = url[url.rindex(".") :]
    return SimpleNamespace(content=FILES[kind])
