"""Content encodings, undone in bounded pieces."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

# A small body can unpack to gigabytes (L3).
_PIECE = 256 * 1024
_INPUT = 64 * 1024
_DRY = 64 * 1024
"""Bytes that may come with nothing to show for them.

File names, empty blocks and empty members can go on for ever.
"""
_MOST_MEMBERS = 10_000
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_NO_ENCODING = frozenset({"", "identity"})
_GZIP = b"\x1f\x8b"


class UndecodableBody(ValueError):
    """The body is not in the encoding its header names."""


class Inflater:
    """Undoes gzip or deflate as bytes arrive; never inflates more than 256 KiB at a time.

    Words that are not encodings (``utf-8``, ``none``) stand in the header, too: what can be read is
    read.
    """

    __slots__ = ("_decoder", "_dry", "_encoding", "_fed", "_head", "_members", "_word", "passes")

    def __init__(self, encoding: str) -> None:
        self._word = encoding.strip().lower()
        self._encoding = (
            self._word if self._word in _PACKED or not self._word else _packed(self._word)
        )
        self._decoder: zlib._Decompress | None = None
        self._head = b""  # what came before anything was decoded
        self._dry = self._members = 0
        self._fed = False
        self.passes = False
        """Whether all further data is handed on as it is."""

    def feed(self, data: bytes) -> Iterable[bytes]:
        """The decoded pieces of ``data``.

        Raises UndecodableBody if it is packed in a way that cannot be undone.
        """
        if self._decoder is not None:
            return self._inflated(data)
        if self._head:
            data, self._head = self._head + data, b""
        if len(data) < len(_GZIP):
            self._head = data
            return ()
        return self._inflated(data) if self._is_packed(data) else (data,)

    def end(self) -> bytes:
        """What is left of a body too short to tell what it is."""
        return b"" if self._decoder is not None else self._head

    def _is_packed(self, data: bytes) -> bool:
        """Decide by the first bytes; a decoder is there if they are packed."""
        if self._encoding:
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by its header
            return True
        # To guess what bytes are would hide real faults (P10).
        if data.startswith(_GZIP):
            raise UndecodableBody("the body is gzip although no Content-Encoding says so")
        # Proxies leave stale headers behind; a word that names no encoding harms no text (P10).
        if not (self._word in _NO_ENCODING or _is_text(data)):
            raise UndecodableBody(
                f"Content-Encoding {self._word!r} was not asked for and cannot be undone"
            )
        self.passes = True
        return False

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _INPUT):
            yield from self._unpacked(data[start : start + _INPUT])

    def _unpacked(self, data: bytes) -> Iterator[bytes]:
        assert self._decoder is not None
        self._dry += len(data)
        piece = b""
        while data or len(piece) == _PIECE:
            piece = self._decode(data)
            if piece:
                self._fed, self._dry = True, 0
                self._head = b""
                yield piece
            data = self._decoder.unconsumed_tail
            if self._decoder.eof:
                data, piece = self._decoder.unused_data.lstrip(b"\0"), b""
                if data:  # a further gzip member
                    self._members += 1
                    self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
        if self._dry > _DRY or self._members > _MOST_MEMBERS:
            raise UndecodableBody("the packed body goes on and holds nothing")

    def _decode(self, data: bytes) -> bytes:
        assert self._decoder is not None
        if not self._fed and self._encoding == "deflate":
            self._head += data
        try:
            return self._decoder.decompress(data, _PIECE)
        except zlib.error:
            if self._head and self._encoding == "deflate":  # some send raw deflate under that name
                data, self._head = self._head, b""
                self._decoder, self._encoding = zlib.decompressobj(-zlib.MAX_WBITS), "raw deflate"
                return self._decode(data)
            raise UndecodableBody(
                f"the body is not {self._encoding}, although Content-Encoding says so"
            ) from None


def _packed(word: str) -> str:
    """What a body is packed with, by several words; "" for nothing that is known here."""
    words = {part.partition(";")[0].strip() for part in word.split(",")}
    found: str = next(iter(words & _PACKED), "")
    if found and words - {found} - _NO_ENCODING:
        raise UndecodableBody(f"Content-Encoding {word!r} was not asked for and cannot be undone")
    return found


def _is_text(data: bytes) -> bool:
    """Whether a body seems to be text: no control characters among its first bytes."""
    return all(byte >= 32 or byte in b"\t\n\r" for byte in data[:32]) and 0xFF not in data[:32]
