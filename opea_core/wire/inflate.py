"""Content encodings, undone in bounded pieces."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_PIECE = 256 * 1024


class UndecodableBody(ValueError):
    """The body is not in the encoding its header names."""


class Inflater:
    """Undoes gzip or deflate as bytes arrive; never inflates more than 256 KiB at a time."""

    __slots__ = ("_decoder", "_encoding", "_fed")

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().lower()
        self._fed = False
        if self._encoding in ("", "identity"):
            self._decoder = None
        elif self._encoding in ("gzip", "x-gzip", "deflate"):
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by its header
        else:
            raise UndecodableBody(f"Content-Encoding {self._encoding!r} was not asked for and cannot be undone")

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded pieces of ``data``; raises UndecodableBody if it is not what the header says."""
        if self._decoder is None:
            if not self._fed and data[:2] == b"\x1f\x8b":
                raise UndecodableBody("the body is gzip although no Content-Encoding says so")
            self._fed = self._fed or bool(data)
            yield data
            return
        while data:
            piece = self._decode(data)
            self._fed = True
            if piece:
                yield piece
            data = self._decoder.unconsumed_tail
            if self._decoder.eof:
                data = self._decoder.unused_data.lstrip(b"\0")
                if data:  # a further gzip member
                    self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def _decode(self, data: bytes) -> bytes:
        assert self._decoder is not None
        try:
            return self._decoder.decompress(data, _PIECE)
        except zlib.error:
            if not self._fed and self._encoding == "deflate":  # some send raw deflate under that name
                self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
                self._fed = True
                return self._decode(data)
            raise UndecodableBody(f"the body is not {self._encoding}, although Content-Encoding says so") from None
