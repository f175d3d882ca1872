"""Content encodings, undone in bounded pieces."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

_PIECE = 256 * 1024


class UndecodableBody(ValueError):
    """The body is not in the encoding its header names."""


class Inflater:
    """Undoes gzip or deflate as bytes arrive; never inflates more than 256 KiB at a time."""

    __slots__ = ("_decoder", "_encoding", "_fed", "_head", "passes")

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().lower()
        self._fed = False
        self.passes = False
        """Whether all further data is handed on as it is."""
        self._head = b""  # what came before anything was decoded
        if self._encoding in ("", "identity"):
            self._decoder = None
        elif self._encoding in ("gzip", "x-gzip", "deflate"):
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by its header
        else:
            raise UndecodableBody(f"Content-Encoding {self._encoding!r} was not asked for and cannot be undone")

    def feed(self, data: bytes) -> Iterable[bytes]:
        """The decoded pieces of ``data``; raises UndecodableBody if it is not what the header says."""
        if self._decoder is not None:
            return self._inflated(data)
        if data[:2] == b"\x1f\x8b" and not self.passes:
            raise UndecodableBody("the body is gzip although no Content-Encoding says so")
        self.passes = bool(data) or self.passes
        return (data,)

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        assert self._decoder is not None
        piece = b""
        while data or len(piece) == _PIECE:
            piece = self._decode(data)
            if piece:
                self._fed = True
                yield piece
            data = self._decoder.unconsumed_tail
            if self._decoder.eof:
                data, piece = self._decoder.unused_data.lstrip(b"\0"), b""
                if data:  # a further gzip member
                    self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def _decode(self, data: bytes) -> bytes:
        assert self._decoder is not None
        if not self._fed and self._encoding == "deflate":
            self._head += data
        try:
            return self._decoder.decompress(data, _PIECE)
        except zlib.error:
            if self._head:  # some send raw deflate under that name
                data, self._head = self._head, b""
                self._decoder, self._encoding = zlib.decompressobj(-zlib.MAX_WBITS), "raw deflate"
                return self._decode(data)
            raise UndecodableBody(f"the body is not {self._encoding}, although Content-Encoding says so") from None
